//! A search through the history, newest first, a slice at a time, so that writes come in between.

use super::volumes::{Backwards, Stored};
use super::{ENTRIES, EntryRecord, Names, entry_key, number_of};
use crate::domain::history::{Entry, Filter};
use crate::io::store::{Store, StoreError, record};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// Entries that one slice takes of those that are not bound.
const SLICE: usize = 512;
/// Volumes and tables of contents that one slice looks at: a few milliseconds.
const LOOKS: usize = 16;

/// Bytes of what one search finds, as an answer shows it: what brokers and clients take everywhere.
const FOUND_BYTES: usize = 256 << 10;

/// Bytes of an entry in an answer, about: what is stored of it, its alarm's names, which are there twice, and the words
/// around them.
fn bytes_of(stored: &[u8], entry: &Entry) -> usize {
    let alarm = entry.alarm();
    stored.len() + 2 * alarm.id.as_str().len() + alarm.title.len() + 320
}

/// A search that is going on.
#[derive(Debug)]
pub struct Search {
    filter: Filter,
    names: Arc<Names>,
    /// The names of the alarms that it is about; none: of all.
    about: Option<BTreeSet<u32>>,
    /// Only these entries are left to be looked at.
    left: Range<u64>,
    volumes: Backwards,
    /// What was found, newest first.
    pub found: Vec<Entry>,
    /// Bytes of that, about.
    bytes: usize,
    /// Where to go on for more; none: there is no more.
    pub next: Option<u64>,
}

impl Search {
    /// A search among the entries with these numbers, of alarms with these names.
    pub fn new(filter: Filter, names: Arc<Names>, numbers: Range<u64>) -> Search {
        let about = filter.about(names.iter());
        let left = numbers.start..numbers.end.min(filter.before());
        Search { left, filter, names, about, volumes: Backwards::new(), found: Vec::new(), bytes: 0, next: None }
    }

    /// Looks at the next slice. True: the search is over.
    ///
    /// # Errors
    /// Why the store cannot be read.
    pub fn advance(&mut self, store: &mut dyn Store) -> Result<bool, StoreError> {
        // What is not bound is newer than all that is, at any time.
        let single = store.scan_back(&[ENTRIES], &entry_key(self.left.end), SLICE)?;
        let single: Vec<Stored> =
            single.into_iter().filter_map(|(key, value)| Some((number_of(&key)?, value))).collect();
        if !single.is_empty() {
            return Ok(self.take(single.into_iter()));
        }
        let mut looks = LOOKS;
        while looks > 0 {
            let is_wanted = self.about.as_ref().map(|about| move |name| about.contains(&name));
            let is_wanted = is_wanted.as_ref().map(|is_wanted| is_wanted as &dyn Fn(u32) -> bool);
            let Some((first, entries)) = self.volumes.next(store, self.left.clone(), is_wanted, &mut looks)? else {
                return Ok(true);
            };
            if self.take(entries.into_iter().rev()) {
                return Ok(true);
            }
            self.left.end = first;
        }
        Ok(self.left.is_empty())
    }

    /// Takes what is looked for, newest first. True: that is enough.
    fn take(&mut self, entries: impl Iterator<Item = Stored>) -> bool {
        for (number, value) in entries {
            if number < self.left.start {
                return true;
            }
            self.left.end = number;
            let Ok(record) = record::unframe::<EntryRecord>(&value) else { continue };
            if self.about.as_ref().is_some_and(|names| !names.contains(&record.name)) {
                continue;
            }
            let Some(entry) = record.into_entry(&self.names).filter(|entry| self.filter.takes(entry)) else { continue };
            let is_full = self.bytes + bytes_of(&value, &entry) > FOUND_BYTES && !self.found.is_empty();
            if is_full || self.found.len() == self.filter.limit() {
                self.next = Some(number + 1);
                return true;
            }
            self.bytes += bytes_of(&value, &entry);
            self.found.push(entry);
        }
        false
    }
}
