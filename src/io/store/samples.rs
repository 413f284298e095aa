//! What properties were: their numeric values of the last weeks, in blocks.
//!
//! | key | value |
//! |---|---|
//! | `p` thing `/` property 0 number | a block of samples |
//! | `p` thing `/` property 0 number part | a part of the block that is not full yet |
//!
//! It decides what is written and what goes. Each write adds what has come since the last one as a small part; when the
//! block is full it takes the place of its parts. So a value costs a few bytes of flash, whatever happens how often, and a
//! crash costs the values since the last write and no others. Times are kept to the millisecond. Which properties are
//! kept, and until when, is said by whoever calls.

pub mod codec;
mod covered;
mod keys;
pub mod reader;

use super::record::{frame, unframe};
use super::{Batch, SmallBytes, Store, StoreError};
use crate::domain::anomaly::series::Sample;
use crate::domain::time::{Span, Stamp};
use covered::Covered;
use keys::{KIND, after, key, part_key, prefix};
use reader::Plan;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Samples of a full block: about 2 KiB, which is a quarter of an hour of one value a second.
const FULL: usize = 1_024;
/// Blocks that are read from the store at once: a megabyte, roughly.
const PAGE: usize = 512;
/// What a block costs beside its samples: key, frame, and its place in the index.
const OVERHEAD: u64 = 96;
/// Full blocks that wait in memory while the disk refuses: 4 MiB. Of more, the oldest of the property with most are lost.
const WAITING: usize = 256;
/// Full blocks that do not wait for the next checkpoint: 1 MiB.
const CROWDED: usize = 64;

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

/// A full block that is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    number: u64,
    first: Stamp,
    last: Stamp,
    count: u32,
    bytes: u64,
}

/// The block that is not full yet. All of it is in memory; its parts are in the store.
#[derive(Debug, Default)]
struct Open {
    number: u64,
    samples: Vec<Sample>,
    /// How many of the samples are in the store, in how many parts of how many bytes.
    stored: usize,
    parts: u16,
    bytes: u64,
    /// The number of parts that there may be, should the last write have failed.
    tried: u16,
}

/// A block that is full and was not written, and how many parts of it were.
#[derive(Debug, Clone)]
struct Waiting {
    number: u64,
    parts: u16,
    part_bytes: u64,
    samples: Vec<Sample>,
}

#[derive(Debug, Default)]
struct Blocks {
    written: VecDeque<Block>,
    waiting: Vec<Waiting>,
    open: Option<Open>,
    next: u64,
}

/// How much is kept of some properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    /// How many samples.
    pub samples: u64,
    /// How many bytes they take.
    pub bytes: u64,
    /// From the earliest to the latest.
    pub covers: Option<(Stamp, Stamp)>,
}

/// What a write has changed, should it fail.
#[derive(Debug, Default)]
struct Unconfirmed {
    blocks: Vec<(Vec<u8>, Waiting)>,
    /// Properties whose open block got a part: how many samples and parts there were before, and the part's bytes.
    parts: Vec<(Vec<u8>, usize, u64)>,
}

/// The values of all properties that are kept.
#[derive(Debug)]
pub struct Samples {
    properties: BTreeMap<Vec<u8>, Blocks>,
    bounds: Bounds,
    bytes: u64,
    count: u64,
    /// Full blocks that wait to be written.
    waiting: usize,
    damaged: usize,
    lost: u64,
    is_changed: bool,
    unconfirmed: Unconfirmed,
}

impl Samples {
    /// Finds out which blocks there are. A damaged one costs its samples and nothing else.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn open(store: &mut dyn Store, bounds: Bounds) -> Result<Samples, StoreError> {
        let mut samples = Samples {
            properties: BTreeMap::new(),
            bounds,
            bytes: 0,
            count: 0,
            waiting: 0,
            damaged: 0,
            lost: 0,
            is_changed: false,
            unconfirmed: Unconfirmed::default(),
        };
        let mut from = vec![KIND];
        loop {
            let page = store.scan(&[KIND], &from, PAGE)?;
            let Some((last, _)) = page.last() else {
                samples.is_changed = samples.bytes > bounds.bytes;
                return Ok(samples);
            };
            from = after(last);
            for (key, value) in &page {
                if samples.found(key, value).is_none() {
                    samples.damaged += 1;
                }
            }
        }
    }

    fn found(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let end = key.iter().position(|byte| *byte == 0)? + 1;
        let (prefix, place) = key.split_at(end);
        let number = u64::from_be_bytes(*place.first_chunk::<8>()?);
        let bytes = value.len() as u64 + OVERHEAD;
        let blocks = self.properties.entry(prefix.to_vec()).or_default();
        blocks.next = number + 1;
        let record = unframe::<BlockRecord>(value).ok();
        match *place {
            [_, _, _, _, _, _, _, _] => {
                let BlockRecord { first, last, count, .. } = record?;
                let (first, last) = (Stamp::from_micros(first), Stamp::from_micros(last));
                blocks.written.push_back(Block { number, first, last, count, bytes });
                self.count += u64::from(count);
            }
            [_, _, _, _, _, _, _, _, high, low] => {
                let open = blocks.open.get_or_insert_with(|| Open { number, ..Open::default() });
                // Only the last block can have parts; what is left of another one is as good as damaged.
                if open.number != number {
                    return None;
                }
                open.parts = u16::from_be_bytes([high, low]).saturating_add(1);
                open.tried = open.parts;
                open.bytes += bytes;
                let samples = record.and_then(|record| samples_of(&record));
                open.samples.extend(samples.iter().flatten());
                self.count += samples.iter().flatten().count() as u64;
                open.stored = open.samples.len();
                self.bytes += bytes;
                return samples.map(|_| ());
            }
            _ => return None,
        }
        self.bytes += bytes;
        Some(())
    }

    /// Other bounds hold from now on.
    pub fn change_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Keeps a value.
    pub fn push(&mut self, thing: &str, property: &str, sample: Sample) {
        self.is_changed = true;
        let blocks = self.properties.entry(prefix(thing, property)).or_default();
        let sample = Sample { at: to_millis(sample.at), value: sample.value };
        // Within a block time goes on: one in which the clock was set back would have to be sorted by every reader.
        let last = blocks.open.as_ref().and_then(|open| open.samples.last());
        if last.is_some_and(|last| last.at == sample.at) {
            return;
        }
        let goes_back = |open: &Open| open.samples.last().is_some_and(|last| sample.at < last.at);
        if blocks.open.as_ref().is_some_and(goes_back) {
            blocks.close();
            self.waiting += 1;
        }
        self.count += 1;
        let open = blocks.open.get_or_insert_with(|| Open { number: blocks.next, ..Open::default() });
        blocks.next = open.number + 1;
        open.samples.push(sample);
        if open.samples.len() == FULL {
            blocks.close();
            self.waiting += 1;
        }
    }

    /// Keeps values of the past, in the order of their times; which of them is told. What lies within a time that is kept
    /// already is left out: it is there, or it was not observed.
    pub fn import(&mut self, thing: &str, property: &str, mut samples: Vec<Sample>) -> usize {
        self.is_changed = true;
        let blocks = self.properties.entry(prefix(thing, property)).or_default();
        samples.iter_mut().for_each(|sample| sample.at = to_millis(sample.at));
        samples.sort_by_key(|sample| sample.at);
        samples.dedup_by_key(|sample| sample.at);
        let kept = Covered::new(blocks.spans());
        samples.retain(|sample| !kept.covers(sample.at));
        let mut rest = samples.as_slice();
        while let Some(first) = rest.first() {
            // A block must not reach over what is kept.
            let end = kept.next_after(first.at);
            let free = rest.partition_point(|sample| end.is_none_or(|end| sample.at < end));
            let (block, more) = rest.split_at(free.min(FULL));
            blocks.waiting.push(Waiting { number: blocks.next, parts: 0, part_bytes: 0, samples: block.to_vec() });
            blocks.next += 1;
            self.waiting += 1;
            rest = more;
        }
        self.count += samples.len() as u64;
        samples.len()
    }

    /// Whether there is something to write.
    pub fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// Whether so many full blocks wait that the next checkpoint is too late for them.
    pub fn is_crowded(&self) -> bool {
        self.waiting >= CROWDED
    }

    /// Has the next write remove what is too old or too much, although nothing has come.
    pub fn look_for_old(&mut self, now: Stamp) {
        self.is_changed |= self.is_too_much(now);
    }

    fn is_too_much(&self, now: Stamp) -> bool {
        let oldest = now - self.bounds.age;
        let is_old = |blocks: &Blocks| {
            let open = blocks.open.as_ref().and_then(|open| open.samples.last()).map(|last| last.at);
            blocks.written.iter().map(|block| block.last).chain(open).any(|last| last < oldest)
        };
        self.bytes > self.bounds.bytes || self.properties.values().any(is_old)
    }

    /// Adds to a batch what has not been written, and removes what is too old or too much. Then either
    /// [`Samples::stored`] or [`Samples::failed`] is to be told.
    pub fn write(&mut self, now: Stamp, batch: &mut Batch) {
        if !std::mem::take(&mut self.is_changed) {
            return;
        }
        self.waiting = 0;
        for (prefix, blocks) in &mut self.properties {
            for waiting in std::mem::take(&mut blocks.waiting) {
                let Waiting { number, parts, part_bytes, samples } = &waiting;
                let value = block(samples);
                let bytes = value.len() as u64 + OVERHEAD;
                let (first, last) = bounds_of(samples);
                let count = u32::try_from(samples.len()).unwrap_or(u32::MAX);
                blocks.written.push_back(Block { number: *number, first, last, count, bytes });
                self.bytes = (self.bytes + bytes).saturating_sub(*part_bytes);
                batch.put(key(prefix, *number), value);
                (0..*parts).for_each(|part| batch.delete(part_key(prefix, *number, part)));
                self.unconfirmed.blocks.push((prefix.clone(), waiting));
            }
            if let Some(open) = blocks.open.as_mut().filter(|open| open.samples.len() > open.stored) {
                let value = block(open.samples.get(open.stored..).unwrap_or_default());
                let bytes = value.len() as u64 + OVERHEAD;
                self.unconfirmed.parts.push((prefix.clone(), open.stored, bytes));
                batch.put(part_key(prefix, open.number, open.parts), value);
                open.stored = open.samples.len();
                open.parts = open.parts.saturating_add(1);
                open.tried = open.tried.max(open.parts);
                open.bytes += bytes;
                self.bytes += bytes;
            }
        }
        self.shrink(now, batch);
    }

    /// What was written is on disk.
    pub fn stored(&mut self) {
        self.unconfirmed = Unconfirmed::default();
    }

    /// It may not be: it is to be written again.
    pub fn failed(&mut self) {
        let Unconfirmed { blocks, parts } = std::mem::take(&mut self.unconfirmed);
        self.is_changed |= !blocks.is_empty() || !parts.is_empty();
        for (prefix, waiting) in blocks {
            let Some(known) = self.properties.get_mut(&prefix) else { continue };
            if let Some(place) = known.written.iter().position(|block| block.number == waiting.number) {
                let bytes = known.written.remove(place).map_or(0, |block| block.bytes);
                self.bytes = (self.bytes + waiting.part_bytes).saturating_sub(bytes);
            }
            known.waiting.push(waiting);
        }
        for (prefix, stored, bytes) in parts {
            let known = self.properties.get_mut(&prefix);
            let Some(open) = known.and_then(|known| known.open.as_mut()) else { continue };
            // Parts keep their numbers: the next one has in it what this one had.
            open.stored = stored.min(open.samples.len());
            open.bytes = open.bytes.saturating_sub(bytes);
            open.parts = open.parts.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        for known in self.properties.values_mut() {
            known.waiting.sort_by_key(|waiting| waiting.number);
        }
        self.waiting = self.properties.values().map(|known| known.waiting.len()).sum();
        // Property by property, so that none loses all.
        while self.waiting > WAITING {
            let longest = self.properties.values_mut().max_by_key(|known| known.waiting.len());
            let Some(longest) = longest.filter(|known| !known.waiting.is_empty()) else { return };
            let lost = longest.waiting.remove(0).samples.len() as u64;
            (self.lost, self.count, self.waiting) = (self.lost + lost, self.count - lost, self.waiting - 1);
        }
    }

    fn shrink(&mut self, now: Stamp, batch: &mut Batch) {
        let oldest = now - self.bounds.age;
        for (prefix, blocks) in &mut self.properties {
            blocks.written.retain(|block| {
                let stays = block.last >= oldest;
                if !stays {
                    self.count = self.count.saturating_sub(u64::from(block.count));
                    self.bytes = self.bytes.saturating_sub(block.bytes);
                    batch.delete(key(prefix, block.number));
                }
                stays
            });
            let is_old = |open: &&mut Open| open.samples.last().is_some_and(|last| last.at < oldest);
            if let Some(open) = blocks.open.as_mut().filter(is_old) {
                (0..open.tried).for_each(|part| batch.delete(part_key(prefix, open.number, part)));
                self.bytes = self.bytes.saturating_sub(open.bytes);
                self.count = self.count.saturating_sub(open.samples.len() as u64);
                blocks.open = None;
            }
        }
        while self.bytes > self.bounds.bytes {
            // The block that is being filled stays: without it nothing would be kept at all.
            let oldest = |blocks: &Blocks| blocks.written.iter().map(|block| block.first).min();
            let crowded =
                self.properties.iter_mut().filter_map(|(prefix, blocks)| Some((oldest(blocks)?, prefix, blocks)));
            let Some((first, prefix, blocks)) = crowded.min_by_key(|(first, ..)| *first) else { return };
            let place = blocks.written.iter().position(|block| block.first == first);
            let Some(block) = place.and_then(|place| blocks.written.remove(place)) else { return };
            self.bytes = self.bytes.saturating_sub(block.bytes);
            self.count = self.count.saturating_sub(u64::from(block.count));
            batch.delete(key(prefix, block.number));
        }
    }

    /// Where the samples of a property between two times are, both included.
    pub fn plan(&self, thing: &str, property: &str, (from, to): (Stamp, Stamp)) -> Plan {
        let prefix = prefix(thing, property);
        let mut plan = Plan::new((from, to));
        let Some(blocks) = self.properties.get(&prefix) else { return plan };
        for block in blocks.written.iter().filter(|block| block.first <= to && block.last >= from) {
            plan.add_stored(block.first, key(&prefix, block.number), u64::from(block.count));
        }
        let open = blocks.open.iter().map(|open| &open.samples);
        for samples in blocks.waiting.iter().map(|waiting| &waiting.samples).chain(open) {
            plan.add_held(samples);
        }
        plan
    }

    /// All properties of which something is kept.
    pub fn properties(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.properties.keys().filter_map(|prefix| keys::names(prefix))
    }

    /// How much is kept of a property.
    pub fn extent(&self, thing: &str, property: &str) -> Extent {
        let mut extent = Extent::default();
        let Some(blocks) = self.properties.get(&prefix(thing, property)) else { return extent };
        extent.samples = blocks.written.iter().map(|block| u64::from(block.count)).sum();
        extent.bytes = blocks.written.iter().map(|block| block.bytes).sum();
        for held in blocks.waiting.iter().map(|waiting| &waiting.samples) {
            extent.samples += held.len() as u64;
        }
        if let Some(open) = &blocks.open {
            extent.samples += open.samples.len() as u64;
            extent.bytes += open.bytes;
        }
        let spans = blocks.spans();
        let first = spans.iter().map(|(first, _)| *first).min();
        extent.covers = first.zip(spans.iter().map(|(_, last)| *last).max());
        extent
    }

    /// How many bytes all blocks take.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many samples there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Blocks that could not be read.
    pub fn damaged(&self) -> usize {
        self.damaged
    }

    /// Samples that were lost because the disk refused them for too long.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

impl Blocks {
    /// The open block gets no more samples.
    fn close(&mut self) {
        if let Some(Open { number, samples, tried, bytes, .. }) = self.open.take() {
            self.waiting.push(Waiting { number, parts: tried, part_bytes: bytes, samples });
        }
    }

    /// The times that blocks cover.
    fn spans(&self) -> Vec<(Stamp, Stamp)> {
        let held =
            self.waiting.iter().map(|waiting| &waiting.samples).chain(self.open.iter().map(|open| &open.samples));
        let held = held.filter(|samples| !samples.is_empty()).map(|samples| bounds_of(samples));
        self.written.iter().map(|block| (block.first, block.last)).chain(held).collect()
    }
}

fn to_millis(at: Stamp) -> Stamp {
    Stamp::from_micros(at.as_micros().div_euclid(1_000).saturating_mul(1_000))
}

fn block(samples: &[Sample]) -> SmallBytes {
    let (first, last) = bounds_of(samples);
    let count = u32::try_from(samples.len()).unwrap_or(u32::MAX);
    frame(&BlockRecord { first: first.as_micros(), last: last.as_micros(), count, samples: codec::encode(samples) })
}

fn samples_of(record: &BlockRecord) -> Option<Vec<Sample>> {
    codec::decode(&record.samples, usize::try_from(record.count).ok()?)
}

/// The earliest and the latest time.
fn bounds_of(samples: &[Sample]) -> (Stamp, Stamp) {
    let times = || samples.iter().map(|sample| sample.at);
    (times().min().unwrap_or_default(), times().max().unwrap_or_default())
}

#[cfg(test)]
mod tests;
