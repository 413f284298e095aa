//! What survives: key–value pairs, written in batches that are on disk as a whole or not at all.
//!
//! [`Store`] is all that the daemon asks of a disk; [`disk`] does it with two sled databases and a write-ahead log,
//! [`record`] says which pairs there are and how they look as bytes, [`late`] waits for a disk that cannot be written at the
//! start, [`keeper`] gives the store a thread of its own, so that a slow disk never stops the daemon from listening.
#![doc = include_str!("store/format.md")]

pub mod anomalies;
pub mod disk;
pub mod history;
pub mod inspect;
pub mod keeper;
pub mod late;
pub mod models;
mod private;
pub mod record;
pub mod samples;
mod small_bytes;
mod snapshot;
mod wal;

pub use small_bytes::SmallBytes;

use std::collections::BTreeSet;
use std::fmt;

/// Changes that belong together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Keys and their new values; none: the key is removed.
    pub entries: Vec<(SmallBytes, Option<SmallBytes>)>,
}

impl Batch {
    /// Sets a key.
    pub fn put(&mut self, key: impl Into<SmallBytes>, value: impl Into<SmallBytes>) {
        self.entries.push((key.into(), Some(value.into())));
    }

    /// Removes a key, if it is there.
    pub fn delete(&mut self, key: impl Into<SmallBytes>) {
        self.entries.push((key.into(), None));
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes of all keys and values.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|(key, value)| (key.len() + value.as_ref().map_or(0, |value| value.len())) as u64).sum()
    }
}

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreError {
    /// What was attempted, in words.
    pub attempt: String,
    /// What went wrong.
    pub reason: String,
}

impl StoreError {
    fn new(attempt: impl Into<String>, reason: impl fmt::Display) -> StoreError {
        StoreError { attempt: attempt.into(), reason: reason.to_string() }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.attempt, self.reason)
    }
}

impl std::error::Error for StoreError {}

/// What a store has lost, for those who go on with what is left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loss {
    /// What is missing, in words.
    pub what: String,
    /// Whether the store was moved aside, and another one begun.
    pub is_beyond_use: bool,
    /// Whether the end is missing: events may have been published with numbers that the store does not know of.
    pub is_open: bool,
    /// Events with numbers below this one were published, as far as is known outside of the store.
    pub next_seq: u64,
    /// The alarms whose lasting part was written behind all that is missing, by their handles.
    pub rewritten: BTreeSet<u32>,
    /// What the first commit has to put, so that the next start does not take the same damage for another one.
    pub told: Option<Pair>,
}

/// A key with its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// An ordered map on disk.
pub trait Store: Send {
    /// Writes all changes of the batch, or none. When it returns, they survive a power cut.
    ///
    /// # Errors
    /// Why they may not be on disk.
    fn commit(&mut self, batch: Batch) -> Result<(), StoreError>;

    /// Notes, beside the store, that events with numbers below this one may be published from now on. `is_durable`: all
    /// that was published is in the store. After damage this tells what is missing at the end.
    ///
    /// Returns whether the next start will find the note. A store without one says yes.
    fn confirm(&mut self, next_seq: u64, is_durable: bool) -> bool {
        let _ = (next_seq, is_durable);
        true
    }

    /// Pairs whose keys begin with `prefix`, from `from` on, in order, `limit` at most.
    ///
    /// # Errors
    /// Why they cannot be read.
    fn scan(&mut self, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError>;

    /// Pairs whose keys begin with `prefix`, before `before`, the last one first, `limit` at most.
    ///
    /// # Errors
    /// Why they cannot be read.
    fn scan_back(&mut self, prefix: &[u8], before: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError>;

    /// Whether a scan begins at once. Otherwise it waits for something that takes its time, and so would a write behind it.
    fn reads_at_once(&self) -> bool {
        true
    }
}
