//! Entries that are bound together, so that the databases have few things to keep.
//!
//! An entry is written alone, with the event that it tells of. When all entries of a volume are there, the next write
//! puts them into one value, as they are; most have not even reached a database by then, and whoever wrote them has them
//! at hand. Which names are in which volume is said once for a block index of volumes, so a search for one alarm reads little more
//! than the volumes that it is in.
//!
//! Volumes and shelves begin at multiples of their size, whatever numbers are missing. So it needs no list of them: what
//! is bound ends at one number, and what is to leave is told by another.

use super::{CONTENTS, ENTRIES, EntryRecord, Shelved, VOLUMES, entry_key, index_key, number_of};
use crate::io::store::record;
use crate::io::store::{Batch, SmallBytes, Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Entries of a volume: some three kilobytes, which a database keeps and reads as easily as fifty bytes.
const ENTRIES_OF_VOLUME: u64 = 64;
/// Volumes of a block index: one bit for each in a word.
const VOLUMES_PER_INDEX: u64 = 32;
const ENTRIES_PER_INDEX: u64 = ENTRIES_OF_VOLUME * VOLUMES_PER_INDEX;
/// Volumes that one write binds at most. A turn adds fewer, so this only bounds the first writes to the store of an
/// earlier release.
const AT_ONCE: usize = 128;

/// The entries of a volume, each with its place and as it was on its own.
#[derive(Serialize, Deserialize)]
struct VolumeRecord<'a> {
    #[serde(borrow)]
    entries: Vec<(u8, &'a Bytes)>,
}

/// The names on a block index, each with a bit for each volume.
#[derive(Serialize, Deserialize)]
struct ContentsRecord {
    names: Vec<(u32, u32)>,
}

fn volume_key(volume: u64) -> SmallBytes {
    record::numbered_key(VOLUMES, volume * ENTRIES_OF_VOLUME)
}

fn contents_key(block_index: u64) -> SmallBytes {
    record::numbered_key(CONTENTS, block_index * ENTRIES_PER_INDEX)
}

/// An entry as it is stored, with its number.
pub(super) type Stored = (u64, Vec<u8>);

/// An entry as it is stored, with what has to be known of it to bind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Single {
    /// Its number.
    pub number: u64,
    /// The number of its alarm's name.
    pub name: u32,
    /// How it is stored.
    pub value: SmallBytes,
}

/// Which names are in which volumes of the block index that is being filled, as far as that was seen.
#[derive(Debug, Default)]
pub struct BlockIndex {
    number: u64,
    /// A bit for each volume that was seen.
    seen: u32,
    names: BTreeMap<u32, u32>,
}

impl BlockIndex {
    fn add(&mut self, volume: u64, names: impl Iterator<Item = u32>) {
        if self.number != volume / VOLUMES_PER_INDEX {
            *self = BlockIndex { number: volume / VOLUMES_PER_INDEX, ..BlockIndex::default() };
        }
        let bit = 1 << (volume % VOLUMES_PER_INDEX);
        self.seen |= bit;
        names.for_each(|name| *self.names.entry(name).or_default() |= bit);
    }

    /// What is to be said of it. What was not seen is read.
    fn contents(&mut self, store: &mut dyn Store) -> Result<ContentsRecord, StoreError> {
        let seen = self.seen;
        for place in (0..VOLUMES_PER_INDEX).filter(|place| seen & (1 << place) == 0) {
            let volume = self.number * VOLUMES_PER_INDEX + place;
            let entries = entries_of(store, volume)?;
            self.add(volume, entries.iter().filter_map(|(_, value)| name_in(value)));
        }
        Ok(ContentsRecord { names: self.names.iter().map(|(name, volumes)| (*name, *volumes)).collect() })
    }
}

/// What one write may bind.
#[derive(Debug)]
pub struct Binding {
    /// How the entries are kept before it.
    pub shelved: Shelved,
    /// Those that are stored and not about to leave.
    pub kept: Range<u64>,
    /// Those of them that need not be read, in order.
    pub singles: Vec<Single>,
    /// The block index that is being filled.
    pub block_index: BlockIndex,
}

/// Up to where entries are bound.
pub(super) fn bound_until(store: &mut dyn Store) -> Result<u64, StoreError> {
    let last = store.scan_back(&[VOLUMES], &[VOLUMES + 1], 1)?;
    let first_single = store.scan(&[ENTRIES], &[ENTRIES], 1)?;
    let single = first_single.first().and_then(|(key, _)| number_of(key));
    let bound =
        last.first().and_then(|(key, _)| number_of(key)).map_or(0, |number| number.saturating_add(ENTRIES_OF_VOLUME));
    Ok(single.map_or(bound, |single| (single / ENTRIES_OF_VOLUME * ENTRIES_OF_VOLUME).max(bound)))
}

/// Of entries that are stored up to this number, those before the one that is returned can be bound.
pub fn bindable(stored: u64) -> u64 {
    stored / ENTRIES_OF_VOLUME * ENTRIES_OF_VOLUME
}

impl Binding {
    /// Adds to a batch what binds them, and returns up to where entries are bound with it. What has to be read is read;
    /// while the store cannot be read without waiting nothing is bound: a write must not wait for it.
    ///
    /// # Errors
    /// Why the store cannot be read; nothing was added to the batch then.
    pub fn add(&mut self, store: &mut dyn Store, batch: &mut Batch) -> Result<u64, StoreError> {
        let Shelved { mut bound, has_earlier_index } = self.shelved;
        let (first, end) = (bound.max(self.kept.start) / ENTRIES_OF_VOLUME, self.kept.end / ENTRIES_OF_VOLUME);
        if first >= end || !store.reads_at_once() {
            return Ok(bound);
        }
        let mut additions = Batch::default();
        for volume in (first..end).take(AT_ONCE) {
            let numbers = volume * ENTRIES_OF_VOLUME..(volume + 1) * ENTRIES_OF_VOLUME;
            let read;
            let singles = match self.known(&numbers) {
                Some(known) => known,
                None => {
                    read = singles(store, &numbers)?;
                    &read
                }
            };
            for Single { number, name, .. } in singles {
                additions.delete(entry_key(*number));
                if has_earlier_index {
                    additions.delete(index_key(*name, *number));
                }
            }
            let kept = singles.iter().filter(|single| single.number >= self.kept.start);
            let place = |number: u64| u8::try_from(number - numbers.start).unwrap_or(u8::MAX);
            let entries: Vec<(u8, &Bytes)> =
                kept.map(|single| (place(single.number), Bytes::new(&single.value))).collect();
            if !entries.is_empty() {
                additions.put(volume_key(volume), record::frame(&VolumeRecord { entries }));
            }
            let names: Vec<u32> = singles.iter().map(|single| single.name).collect();
            self.block_index.add(volume, names.into_iter());
            bound = numbers.end;
            if bound.is_multiple_of(ENTRIES_PER_INDEX) {
                let contents = self.block_index.contents(store)?;
                additions.put(contents_key(volume / VOLUMES_PER_INDEX), record::frame(&contents));
            }
        }
        batch.entries.append(&mut additions.entries);
        Ok(bound)
    }

    /// The entries with these numbers, if all of them are known.
    fn known(&self, numbers: &Range<u64>) -> Option<&[Single]> {
        let first = self.singles.partition_point(|single| single.number < numbers.start);
        let end = self.singles.partition_point(|single| single.number < numbers.end);
        let known = self.singles.get(first..end)?;
        (known.len() as u64 == numbers.end - numbers.start).then_some(known)
    }
}

fn singles(store: &mut dyn Store, numbers: &Range<u64>) -> Result<Vec<Single>, StoreError> {
    let limit = usize::try_from(numbers.end - numbers.start).unwrap_or(usize::MAX);
    let pairs = store.scan(&[ENTRIES], &entry_key(numbers.start), limit)?;
    let numbered = pairs.into_iter().filter_map(|(key, value)| Some((number_of(&key)?, value)));
    let read = numbered.take_while(|(number, _)| *number < numbers.end).map(|(number, value)| {
        // Nobody asks for an entry that is damaged.
        Single { number, name: name_in(&value).unwrap_or(u32::MAX), value: value.into() }
    });
    Ok(read.collect())
}

fn name_in(value: &[u8]) -> Option<u32> {
    record::unframe::<EntryRecord>(value).ok().map(|record| record.name)
}

/// The entries of a volume, as far as they can be read; none if it is not there.
fn entries_of(store: &mut dyn Store, volume: u64) -> Result<Vec<Stored>, StoreError> {
    let key = volume_key(volume);
    let pairs = store.scan(&key, &key, 1)?;
    Ok(pairs.first().map_or_else(Vec::new, |(_, value)| opened(volume * ENTRIES_OF_VOLUME, value)))
}

/// Where this volume begins, or the last one before it that there is, and its entries.
fn last_until(store: &mut dyn Store, volume: u64) -> Result<Option<(u64, Vec<Stored>)>, StoreError> {
    let mut behind = volume_key(volume).to_vec();
    behind.push(0);
    let pairs = store.scan_back(&[VOLUMES], &behind, 1)?;
    let found = pairs.first().and_then(|(key, value)| Some((number_of(key)?, value)));
    Ok(found.map(|(first, value)| (first, opened(first, value))))
}

fn opened(first: u64, value: &[u8]) -> Vec<Stored> {
    let Ok(VolumeRecord { entries }) = record::unframe(value) else { return Vec::new() };
    entries.into_iter().map(|(place, value)| (first.saturating_add(u64::from(place)), value.to_vec())).collect()
}

/// Bound entries from this number on, `limit` or some more.
pub(super) fn entries_from(store: &mut dyn Store, from: u64, limit: usize) -> Result<Vec<Stored>, StoreError> {
    let mut entries = Vec::new();
    let mut next = volume_key(from / ENTRIES_OF_VOLUME).to_vec();
    while entries.len() < limit
        && let Some((mut key, value)) = store.scan(&[VOLUMES], &next, 1)?.pop()
    {
        let first = number_of(&key).unwrap_or(0);
        entries.extend(opened(first, &value).into_iter().filter(|(number, _)| *number >= from));
        // The least key behind this one.
        key.push(0);
        next = key;
    }
    Ok(entries)
}

/// Removes volumes whose entries have all left, `gone` being those that leave now.
pub(super) fn delete(batch: &mut Batch, gone: Range<u64>, bound: u64) {
    let end = gone.end.min(bound);
    (gone.start / ENTRIES_OF_VOLUME..end / ENTRIES_OF_VOLUME).for_each(|volume| batch.delete(volume_key(volume)));
    (gone.start / ENTRIES_PER_INDEX..end / ENTRIES_PER_INDEX)
        .for_each(|block_index| batch.delete(contents_key(block_index)));
}

/// Goes back through the bound entries, past the volumes that nobody asks for.
#[derive(Debug)]
pub(super) struct Backwards {
    /// The block index that is looked at, and a bit for each of its volumes that are wanted.
    block_index: Option<(u64, u32)>,
}

impl Backwards {
    pub(super) fn new() -> Backwards {
        Backwards { block_index: None }
    }

    /// The next volume, of those that begin before this number and end after `first`, in which some name is wanted; none:
    /// there is no more. It looks at so many things in the store at most, and then returns an empty list. The number is
    /// where to go on.
    pub(super) fn next(
        &mut self,
        store: &mut dyn Store,
        range: Range<u64>,
        is_wanted: Option<&dyn Fn(u32) -> bool>,
        looks: &mut usize,
    ) -> Result<Option<(u64, Vec<Stored>)>, StoreError> {
        let mut before = range.end;
        while before > range.start {
            let volume = (before - 1) / ENTRIES_OF_VOLUME;
            let block_index = volume / VOLUMES_PER_INDEX;
            if *looks == 0 {
                return Ok(Some((before, Vec::new())));
            }
            let wanted = match (self.block_index, is_wanted) {
                (_, None) => u32::MAX,
                (Some((looked_at, wanted)), _) if looked_at == block_index => wanted,
                (_, Some(is_wanted)) => {
                    *looks -= 1;
                    let wanted = wanted_on(store, block_index, is_wanted)?;
                    self.block_index = Some((block_index, wanted));
                    wanted
                }
            };
            // Of this volume and those to its left.
            let left = wanted & (u32::MAX >> (VOLUMES_PER_INDEX - 1 - volume % VOLUMES_PER_INDEX));
            if left == 0 {
                before = block_index * ENTRIES_PER_INDEX;
                continue;
            }
            if *looks == 0 {
                return Ok(Some((before, Vec::new())));
            }
            *looks -= 1;
            let volume = block_index * VOLUMES_PER_INDEX + u64::from(left.ilog2());
            let Some((first, mut entries)) = last_until(store, volume)? else { break };
            if first / ENTRIES_PER_INDEX != block_index && is_wanted.is_some() {
                // There is nothing between; what is wanted on that block index has not been looked at.
                before = first.saturating_add(ENTRIES_OF_VOLUME).min(block_index * ENTRIES_PER_INDEX);
                continue;
            }
            entries.retain(|(number, _)| range.contains(number) && *number < before);
            return Ok(Some((first.min(before - 1), entries)));
        }
        Ok(None)
    }
}

/// The numbers of the names that entries have; none: something cannot be read, and nobody knows.
pub(super) fn used_names(store: &mut dyn Store) -> Result<Option<BTreeSet<u32>>, StoreError> {
    let (mut used, mut is_known) = (BTreeSet::new(), true);
    let mut full = 0;
    record::for_each(store, &[CONTENTS], |key, value| {
        match record::unframe::<ContentsRecord>(value) {
            Ok(ContentsRecord { names }) => used.extend(names.into_iter().map(|(name, _)| name)),
            Err(_) => is_known = false,
        }
        full = number_of(key).map_or(full, |first| first.saturating_add(ENTRIES_PER_INDEX));
        Ok(())
    })?;
    // The last block index is said to be full when it is; entries behind it are read.
    let mut use_of = |value: &[u8]| match name_in(value) {
        Some(name) => {
            used.insert(name);
        }
        None => is_known = false,
    };
    for (_, value) in entries_from(store, full.saturating_sub(ENTRIES_PER_INDEX), usize::MAX)? {
        use_of(&value);
    }
    record::for_each(store, &[ENTRIES], |_, value| {
        use_of(value);
        Ok(())
    })?;
    Ok(is_known.then_some(used))
}

/// The volumes of a block index that have a wanted name: all, while the block index is not full or what it says cannot be read.
fn wanted_on(store: &mut dyn Store, block_index: u64, is_wanted: &dyn Fn(u32) -> bool) -> Result<u32, StoreError> {
    let key = contents_key(block_index);
    let pairs = store.scan(&key, &key, 1)?;
    let Some(Ok(ContentsRecord { names })) = pairs.first().map(|(_, value)| record::unframe(value)) else {
        return Ok(u32::MAX);
    };
    Ok(names.into_iter().filter(|(name, _)| is_wanted(*name)).fold(0, |wanted, (_, bits)| wanted | bits))
}
