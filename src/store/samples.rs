//! What properties were: their numeric values of the last weeks, in blocks.
//!
//! | key | value |
//! |---|---|
//! | `p` thing `/` property 0 number | a block of samples |
//!
//! It decides when a block is written and when it goes. A block that is not full yet is written again with the next
//! ones in it, under the same key. Times are kept to the millisecond. Which properties are kept, and until when, is said
//! by whoever calls.

pub mod codec;

use super::record::{frame, unframe};
use super::{Batch, Store, StoreError};
use crate::anomaly::series::Sample;
use crate::time::{Span, Stamp};
use crate::wire::topics::encode;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Samples of a full block: about 2 KiB, which is written at once every quarter of an hour for one value a second.
const FULL: usize = 1_024;
/// Blocks that are read from the store at once: a megabyte, roughly.
const PAGE: usize = 512;
/// What a block costs beside its samples: key, frame, and its place in the index.
const OVERHEAD: u64 = 96;
const KIND: u8 = b'p';

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Blocks whose samples are all older go.
    pub age: Span,
    /// If all blocks together are larger, the oldest go.
    pub bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct BlockRecord {
    first: i64,
    last: i64,
    count: u32,
    samples: Vec<u8>,
}

/// A block that is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    number: u64,
    first: Stamp,
    last: Stamp,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Blocks {
    written: VecDeque<Block>,
    /// Samples of the block that is not full yet; its number is `next`.
    open: Vec<Sample>,
    next: u64,
    changed: bool,
    /// Blocks that are full and have not been written.
    full: Vec<(u64, Vec<Sample>)>,
}

/// The values of all properties that are kept.
#[derive(Debug)]
pub struct Samples {
    properties: BTreeMap<Vec<u8>, Blocks>,
    bounds: Bounds,
    bytes: u64,
    damaged: usize,
}

impl Samples {
    /// Finds out which blocks there are. A damaged one costs its samples and nothing else.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn open(store: &mut dyn Store, bounds: Bounds) -> Result<Samples, StoreError> {
        let mut samples = Samples { properties: BTreeMap::new(), bounds, bytes: 0, damaged: 0 };
        let mut from = vec![KIND];
        loop {
            let page = store.scan(&[KIND], &from, PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(samples) };
            from = after(last);
            for (key, value) in &page {
                samples.found(key, value);
            }
        }
    }

    fn found(&mut self, key: &[u8], value: &[u8]) {
        let number = key.last_chunk::<8>().map(|number| u64::from_be_bytes(*number));
        let (Some(number), Ok(record)) = (number, unframe::<BlockRecord>(value)) else {
            self.damaged += 1;
            return;
        };
        let blocks = self.properties.entry(key[..key.len() - 8].to_vec()).or_default();
        let bytes = value.len() as u64 + OVERHEAD;
        let (first, last) = (Stamp::from_micros(record.first), Stamp::from_micros(record.last));
        blocks.written.push_back(Block { number, first, last, bytes });
        blocks.next = number + 1;
        self.bytes += bytes;
    }

    /// Keeps a value.
    pub fn push(&mut self, thing: &str, property: &str, sample: Sample) {
        let blocks = self.properties.entry(prefix(thing, property)).or_default();
        let at = Stamp::from_micros(sample.at.as_micros().div_euclid(1_000).saturating_mul(1_000));
        blocks.open.push(Sample { at, value: sample.value });
        blocks.changed = true;
        if blocks.open.len() == FULL {
            blocks.full.push((blocks.next, std::mem::take(&mut blocks.open)));
            blocks.next += 1;
        }
    }

    /// Adds to a batch what has not been written, and removes what is too old or too much.
    pub fn write(&mut self, now: Stamp, batch: &mut Batch) {
        for (prefix, blocks) in &mut self.properties {
            if !std::mem::take(&mut blocks.changed) {
                continue;
            }
            let full = std::mem::take(&mut blocks.full);
            let open = (!blocks.open.is_empty()).then(|| (blocks.next, blocks.open.clone()));
            for (number, samples) in full.into_iter().chain(open) {
                let value = block(&samples);
                let bytes = value.len() as u64 + OVERHEAD;
                if let Some(before) = blocks.written.back().copied().filter(|last| last.number == number) {
                    blocks.written.pop_back();
                    self.bytes -= before.bytes;
                }
                let (first, last) = bounds_of(&samples);
                blocks.written.push_back(Block { number, first, last, bytes });
                self.bytes += bytes;
                batch.put(key(prefix, number), value);
            }
        }
        self.shrink(now, batch);
    }

    fn shrink(&mut self, now: Stamp, batch: &mut Batch) {
        let oldest = now - self.bounds.age;
        for (prefix, blocks) in &mut self.properties {
            while let Some(block) = blocks.written.front().copied().filter(|block| block.last < oldest) {
                blocks.written.pop_front();
                self.bytes -= block.bytes;
                batch.delete(key(prefix, block.number));
                if block.number == blocks.next {
                    blocks.open.clear();
                    blocks.next += 1;
                }
            }
        }
        while self.bytes > self.bounds.bytes {
            // The block that is being filled stays: without it nothing would be kept at all.
            let crowded = self.properties.iter_mut().filter(|(_, blocks)| blocks.written.len() > 1);
            let first = |blocks: &Blocks| blocks.written.front().map(|block| block.first);
            let Some((prefix, blocks)) = crowded.min_by_key(|(_, blocks)| first(blocks)) else { return };
            let Some(block) = blocks.written.pop_front() else { return };
            self.bytes -= block.bytes;
            batch.delete(key(prefix, block.number));
        }
    }

    /// Hands out the samples of a property between two times, both included, in the order in which they came. Those that
    /// were not written yet are among them.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn read(
        &self,
        store: &mut dyn Store,
        (thing, property): (&str, &str),
        (from, to): (Stamp, Stamp),
        mut each: impl FnMut(Sample),
    ) -> Result<(), StoreError> {
        let prefix = prefix(thing, property);
        let Some(blocks) = self.properties.get(&prefix) else { return Ok(()) };
        let mut hand_out = |samples: &[Sample]| {
            samples.iter().filter(|sample| (from..=to).contains(&sample.at)).for_each(|sample| each(*sample));
        };
        let unwritten = blocks.full.first().map_or(blocks.next, |(number, _)| *number);
        let wanted = |block: &&Block| block.number < unwritten && block.first <= to && block.last >= from;
        for block in blocks.written.iter().filter(wanted) {
            let key = key(&prefix, block.number);
            let pairs = store.scan(&key, &key, 1)?;
            // A block that was damaged since is as good as none.
            let record = pairs.first().and_then(|(_, value)| unframe::<BlockRecord>(value).ok());
            hand_out(&record.and_then(|record| samples_of(&record)).unwrap_or_default());
        }
        blocks.full.iter().for_each(|(_, samples)| hand_out(samples));
        hand_out(&blocks.open);
        Ok(())
    }

    /// How many bytes all blocks take.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Blocks that could not be read.
    pub fn damaged(&self) -> usize {
        self.damaged
    }
}

fn block(samples: &[Sample]) -> Vec<u8> {
    let (first, last) = bounds_of(samples);
    let count = u32::try_from(samples.len()).unwrap_or(u32::MAX);
    frame(&BlockRecord { first: first.as_micros(), last: last.as_micros(), count, samples: codec::encode(samples) })
}

fn samples_of(record: &BlockRecord) -> Option<Vec<Sample>> {
    codec::decode(&record.samples, usize::try_from(record.count).ok()?)
}

/// The earliest and the latest time: a clock that was set back may have mixed them up.
fn bounds_of(samples: &[Sample]) -> (Stamp, Stamp) {
    let times = || samples.iter().map(|sample| sample.at);
    (times().min().unwrap_or_default(), times().max().unwrap_or_default())
}

/// Encoded names contain no zero, so no prefix is the beginning of another one.
fn prefix(thing: &str, property: &str) -> Vec<u8> {
    let mut prefix = vec![KIND];
    prefix.extend_from_slice(format!("{}/{}\0", encode(thing), encode(property)).as_bytes());
    prefix
}

fn key(prefix: &[u8], number: u64) -> Vec<u8> {
    [prefix, &number.to_be_bytes()].concat()
}

fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

#[cfg(test)]
mod tests;
