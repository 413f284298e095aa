//! Which subscriptions the broker's session may have: it remembers them for longer than this process lives.
//!
//! What an earlier configuration subscribed and this one does not want has to be unsubscribed, or its messages would go on
//! coming. So the store keeps every filter that may be in the session, until the broker has confirmed that it has what is
//! wanted and nothing else.

use super::durable::{Durable, Write};
use crate::io::store::record;
use std::collections::BTreeSet;

/// The filters of this configuration, and those that earlier ones may have left.
#[derive(Debug, Default)]
pub(super) struct Filters {
    wanted: BTreeSet<String>,
    earlier: BTreeSet<String>,
    stored: BTreeSet<String>,
    /// Whether the store does not know what may be there.
    must_be_written: bool,
}

impl Filters {
    /// What an earlier run has left, and what is wanted now.
    pub(super) fn restore(stored: Vec<String>, wanted: &[(String, u8)]) -> Filters {
        let stored: BTreeSet<String> = stored.into_iter().collect();
        let mut filters = Filters { wanted: names(wanted), earlier: stored.clone(), stored, must_be_written: false };
        filters.compare();
        filters
    }

    /// Filters that the session may have from before.
    pub(super) fn earlier(&self) -> impl Iterator<Item = String> + '_ {
        self.earlier.iter().cloned()
    }

    /// Others are wanted.
    pub(super) fn change(&mut self, wanted: &[(String, u8)]) {
        let before = std::mem::replace(&mut self.wanted, names(wanted));
        self.earlier.extend(before);
        self.compare();
    }

    /// The session has what is wanted and nothing else.
    pub(super) fn confirmed(&mut self) {
        self.earlier.clear();
        self.compare();
    }

    fn known(&self) -> BTreeSet<String> {
        self.wanted.union(&self.earlier).cloned().collect()
    }

    fn compare(&mut self) {
        self.must_be_written = self.known() != self.stored;
    }
}

impl Durable for Filters {
    /// True if the store does not know which filters the session may have.
    fn must_be_written(&self) -> bool {
        self.must_be_written
    }

    fn put(&mut self, write: &mut Write) {
        if write.is_whole || self.must_be_written {
            let known: Vec<String> = self.known().into_iter().collect();
            record::put_texts(&mut write.batch, record::FILTERS, &known);
        }
    }

    fn stored(&mut self) {
        if self.must_be_written {
            self.stored = self.known();
            self.must_be_written = false;
        }
    }

    fn failed(&mut self) {}
}

fn names(filters: &[(String, u8)]) -> BTreeSet<String> {
    filters.iter().map(|(filter, _)| filter.clone()).collect()
}
