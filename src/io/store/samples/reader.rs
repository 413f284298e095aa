//! Reads the samples of a property in the order of their times, a few blocks at once.
//!
//! A [`Plan`] is made where the blocks are known, in no time; the [`Reader`] then fetches and unpacks them wherever there
//! is time for it. A block that has gone meanwhile, or was damaged, is as good as none.

use super::{BlockRecord, Sample, samples_of, unframe};
use crate::domain::time::Stamp;
use crate::io::store::{Store, StoreError};
use std::collections::VecDeque;

/// Blocks that are fetched at once: 16 KiB, which is in memory or takes a disk a few milliseconds.
pub const FETCHED: usize = 8;

#[derive(Debug, Clone)]
enum Piece {
    Stored(Vec<u8>),
    Held(Vec<Sample>),
}

/// Where samples are.
#[derive(Debug, Clone)]
pub struct Plan {
    range: (Stamp, Stamp),
    pieces: Vec<(Stamp, Piece)>,
    count: u64,
}

impl Plan {
    pub(super) fn new(range: (Stamp, Stamp)) -> Plan {
        Plan { range, pieces: Vec::new(), count: 0 }
    }

    pub(super) fn add_stored(&mut self, first: Stamp, key: Vec<u8>, count: u64) {
        self.pieces.push((first, Piece::Stored(key)));
        self.count += count;
    }

    pub(super) fn add_held(&mut self, samples: &[Sample]) {
        let (from, to) = self.range;
        let begin = samples.partition_point(|sample| sample.at < from);
        let end = samples.partition_point(|sample| sample.at <= to);
        if let Some(found @ [first, ..]) = samples.get(begin..end) {
            self.pieces.push((first.at, Piece::Held(found.to_vec())));
            self.count += found.len() as u64;
        }
    }

    /// How many samples there are at most.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Not after the first of them.
    pub fn begin(&self) -> Stamp {
        self.pieces.iter().map(|(first, _)| *first).min().unwrap_or(self.range.0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// A reader that begins at the beginning.
    pub fn reader(&self) -> Reader {
        let mut pieces = self.pieces.clone();
        pieces.sort_by_key(|(first, _)| *first);
        Reader {
            range: self.range,
            pieces: pieces.into_iter().map(|(_, piece)| piece).collect(),
            ready: VecDeque::new(),
            last: None,
        }
    }
}

/// Hands out samples.
#[derive(Debug)]
pub struct Reader {
    range: (Stamp, Stamp),
    pieces: VecDeque<Piece>,
    ready: VecDeque<Sample>,
    last: Option<Stamp>,
}

/// What was found under some keys.
pub type Fetched = Vec<Option<Vec<u8>>>;

/// Looks up some keys.
///
/// # Errors
/// Why they cannot be read.
pub fn fetch(store: &mut dyn Store, keys: &[Vec<u8>]) -> Result<Fetched, StoreError> {
    let found = |key: &Vec<u8>| {
        let pairs = store.scan(key, key, 1)?;
        Ok(pairs.into_iter().find(|(found, _)| found == key).map(|(_, value)| value))
    };
    keys.iter().map(found).collect()
}

impl Reader {
    /// The next sample; `fetch` looks up keys. Times rise: what a clock that was set back has put between others is left
    /// out.
    ///
    /// # Errors
    /// Why nothing could be fetched.
    pub fn next(
        &mut self,
        fetch: &mut dyn FnMut(Vec<Vec<u8>>) -> Result<Fetched, StoreError>,
    ) -> Result<Option<Sample>, StoreError> {
        loop {
            while let Some(sample) = self.ready.pop_front() {
                let is_wanted = (self.range.0..=self.range.1).contains(&sample.at);
                if is_wanted && self.last.is_none_or(|last| sample.at > last) {
                    self.last = Some(sample.at);
                    return Ok(Some(sample));
                }
            }
            match self.pieces.pop_front() {
                None => return Ok(None),
                Some(Piece::Held(samples)) => self.ready.extend(samples),
                Some(Piece::Stored(key)) => {
                    let mut keys = vec![key];
                    while keys.len() < FETCHED
                        && let Some(Piece::Stored(_)) = self.pieces.front()
                        && let Some(Piece::Stored(key)) = self.pieces.pop_front()
                    {
                        keys.push(key);
                    }
                    for value in fetch(keys)?.into_iter().flatten() {
                        let record = unframe::<BlockRecord>(&value).ok();
                        self.ready.extend(record.and_then(|record| samples_of(&record)).unwrap_or_default());
                    }
                }
            }
        }
    }
}
