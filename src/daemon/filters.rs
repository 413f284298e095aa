//! Subscriptions that the broker's session may have: it remembers them for longer than this process lives.
//!
//! A filter that an earlier configuration subscribed and this one does not want has to be unsubscribed, or its messages
//! would go on coming. So the store keeps every filter that may be in the session, until the broker has confirmed that
//! the session has exactly the wanted ones.

use super::durable::{Durable, Write};
use crate::io::store::record;
use std::collections::BTreeSet;

/// The filters of this configuration, and those that earlier ones may have left.
#[derive(Debug, Default)]
pub(super) struct Filters {
    wanted: BTreeSet<String>,
    earlier: BTreeSet<String>,
    stored: BTreeSet<String>,
    /// True if the store does not have all filters that the session may have, or has others.
    must_be_written: bool,
}

impl Filters {
    /// Combines the stored filters of earlier runs with the wanted ones.
    pub(super) fn restore(stored: Vec<String>, wanted: &[(String, u8)]) -> Filters {
        let stored: BTreeSet<String> = stored.into_iter().collect();
        let mut filters = Filters { wanted: names(wanted), earlier: stored.clone(), stored, must_be_written: false };
        filters.compare();
        filters
    }

    /// Filters of earlier configurations that the session may still have.
    pub(super) fn earlier(&self) -> impl Iterator<Item = String> + '_ {
        self.earlier.iter().cloned()
    }

    /// Replaces the wanted filters; those before may still be in the session.
    pub(super) fn change(&mut self, wanted: &[(String, u8)]) {
        let before = std::mem::replace(&mut self.wanted, names(wanted));
        self.earlier.extend(before);
        self.compare();
    }

    /// Forgets earlier filters, because the session has exactly the wanted ones.
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
    /// True if the store must be updated before the session changes.
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
