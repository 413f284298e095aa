//! Entries that are bound together, so that the databases have few things to keep.
//!
//! An entry is written alone, with the event that it tells of. When all entries of a volume are there, the next write
//! takes them from where they are and puts them into one value, as they are; most have not even reached a database by
//! then. Which names are in which volume is said once for a shelf of volumes, so a search for one alarm reads little more
//! than the volumes that it is in.
//!
//! Volumes and shelves begin at multiples of their size, whatever numbers are missing. So it needs no list of them: what
//! is bound ends at one number, and what is to leave is told by another.

use super::{CONTENTS, ENTRIES, EntryRecord, VOLUMES, entry_key, index_key, number_of};
use crate::store::record;
use crate::store::{Batch, Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Range;

/// Entries of a volume: some three kilobytes, which a database keeps and reads as easily as fifty bytes.
const ENTRIES_OF_VOLUME: u64 = 64;
/// Volumes of a shelf: one bit for each in a word.
const VOLUMES_OF_SHELF: u64 = 32;
const ENTRIES_OF_SHELF: u64 = ENTRIES_OF_VOLUME * VOLUMES_OF_SHELF;
/// Volumes that one write binds at most. A turn adds fewer, so this only bounds the first writes to the store of an
/// earlier release.
const AT_ONCE: usize = 128;

/// The entries of a volume, each with its place and as it was on its own.
#[derive(Serialize, Deserialize)]
struct VolumeRecord<'a> {
    #[serde(borrow)]
    entries: Vec<(u8, &'a Bytes)>,
}

/// The names on a shelf, each with a bit for each volume.
#[derive(Serialize, Deserialize)]
struct ContentsRecord {
    names: Vec<(u32, u32)>,
}

fn volume_key(volume: u64) -> Vec<u8> {
    record::numbered_key(VOLUMES, volume * ENTRIES_OF_VOLUME)
}

fn contents_key(shelf: u64) -> Vec<u8> {
    record::numbered_key(CONTENTS, shelf * ENTRIES_OF_SHELF)
}

/// An entry as it is stored, with its number.
pub(super) type Stored = (u64, Vec<u8>);

/// Up to where entries are bound.
pub(super) fn bound_until(store: &mut dyn Store) -> Result<u64, StoreError> {
    let last = store.scan_back(&[VOLUMES], &[VOLUMES + 1], 1)?;
    let first_single = store.scan(&[ENTRIES], &[ENTRIES], 1)?;
    let single = first_single.first().and_then(|(key, _)| number_of(key));
    let bound =
        last.first().and_then(|(key, _)| number_of(key)).map_or(0, |number| number.saturating_add(ENTRIES_OF_VOLUME));
    Ok(single.map_or(bound, |single| (single / ENTRIES_OF_VOLUME * ENTRIES_OF_VOLUME).max(bound)))
}

/// Binds what can be bound of the entries that are stored. `bound` is up to where they are, `kept` are those that are not
/// about to leave. Returns up to where they are bound with this batch. While the store cannot be read without waiting
/// nothing is bound: a write must not wait for it.
///
/// # Errors
/// Why the store cannot be read; nothing was added to the batch then.
pub fn bind(
    store: &mut dyn Store,
    batch: &mut Batch,
    bound: u64,
    kept: &Range<u64>,
    has_earlier_index: bool,
) -> Result<u64, StoreError> {
    if !store.reads_at_once() {
        return Ok(bound);
    }
    let (first, end) = (bound.max(kept.start) / ENTRIES_OF_VOLUME, kept.end / ENTRIES_OF_VOLUME);
    let mut additions = Batch::default();
    let mut names_of: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    let mut bound = bound;
    for volume in (first..end).take(AT_ONCE) {
        let numbers = volume * ENTRIES_OF_VOLUME..(volume + 1) * ENTRIES_OF_VOLUME;
        let entries = singles(store, &numbers)?;
        let mut names = Vec::new();
        for (number, value) in &entries {
            additions.delete(entry_key(*number));
            let Ok(EntryRecord { name, .. }) = record::unframe(value) else { continue };
            if has_earlier_index {
                additions.delete(index_key(name, *number));
            }
            names.push(name);
        }
        let kept = entries.iter().filter(|(number, _)| *number >= kept.start);
        let place = |number: u64| u8::try_from(number - numbers.start).unwrap_or(u8::MAX);
        let entries: Vec<(u8, &Bytes)> = kept.map(|(number, value)| (place(*number), Bytes::new(value))).collect();
        if !entries.is_empty() {
            additions.put(volume_key(volume), record::frame(&VolumeRecord { entries }));
        }
        names_of.insert(volume, names);
        bound = numbers.end;
        if bound.is_multiple_of(ENTRIES_OF_SHELF) {
            let shelf = volume / VOLUMES_OF_SHELF;
            additions.put(contents_key(shelf), record::frame(&contents(store, shelf, &names_of)?));
        }
    }
    batch.entries.append(&mut additions.entries);
    Ok(bound)
}

fn singles(store: &mut dyn Store, numbers: &Range<u64>) -> Result<Vec<Stored>, StoreError> {
    let limit = usize::try_from(numbers.end - numbers.start).unwrap_or(usize::MAX);
    let pairs = store.scan(&[ENTRIES], &entry_key(numbers.start), limit)?;
    let numbered = pairs.into_iter().filter_map(|(key, value)| Some((number_of(&key)?, value)));
    Ok(numbered.take_while(|(number, _)| *number < numbers.end).collect())
}

/// Which names are in which volumes of a shelf; those of new volumes are told, the others are read.
fn contents(store: &mut dyn Store, shelf: u64, new: &BTreeMap<u64, Vec<u32>>) -> Result<ContentsRecord, StoreError> {
    let mut bits: BTreeMap<u32, u32> = BTreeMap::new();
    for place in 0..VOLUMES_OF_SHELF {
        let volume = shelf * VOLUMES_OF_SHELF + place;
        let read;
        let names = match new.get(&volume) {
            Some(names) => names,
            None => {
                read = names_in(&entries_of(store, volume)?);
                &read
            }
        };
        for name in names {
            *bits.entry(*name).or_default() |= 1 << place;
        }
    }
    Ok(ContentsRecord { names: bits.into_iter().collect() })
}

fn names_in(entries: &[Stored]) -> Vec<u32> {
    let read = entries.iter().filter_map(|(_, value)| record::unframe::<EntryRecord>(value).ok());
    read.map(|record| record.name).collect()
}

/// The entries of a volume, as far as they can be read; none if it is not there.
fn entries_of(store: &mut dyn Store, volume: u64) -> Result<Vec<Stored>, StoreError> {
    let key = volume_key(volume);
    let pairs = store.scan(&key, &key, 1)?;
    Ok(pairs.first().map_or_else(Vec::new, |(_, value)| opened(volume * ENTRIES_OF_VOLUME, value)))
}

/// Where this volume begins, or the last one before it that there is, and its entries.
fn last_until(store: &mut dyn Store, volume: u64) -> Result<Option<(u64, Vec<Stored>)>, StoreError> {
    let mut behind = volume_key(volume);
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
    let mut next = volume_key(from / ENTRIES_OF_VOLUME);
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
    (gone.start / ENTRIES_OF_SHELF..end / ENTRIES_OF_SHELF).for_each(|shelf| batch.delete(contents_key(shelf)));
}

/// Goes back through the bound entries, past the volumes that nobody asks for.
#[derive(Debug)]
pub(super) struct Backwards {
    /// The shelf that is looked at, and a bit for each of its volumes that are wanted.
    shelf: Option<(u64, u32)>,
}

impl Backwards {
    pub(super) fn new() -> Backwards {
        Backwards { shelf: None }
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
            let shelf = volume / VOLUMES_OF_SHELF;
            if *looks == 0 {
                return Ok(Some((before, Vec::new())));
            }
            let wanted = match (self.shelf, is_wanted) {
                (_, None) => u32::MAX,
                (Some((looked_at, wanted)), _) if looked_at == shelf => wanted,
                (_, Some(is_wanted)) => {
                    *looks -= 1;
                    let wanted = wanted_on(store, shelf, is_wanted)?;
                    self.shelf = Some((shelf, wanted));
                    wanted
                }
            };
            // Of this volume and those to its left.
            let left = wanted & (u32::MAX >> (VOLUMES_OF_SHELF - 1 - volume % VOLUMES_OF_SHELF));
            if left == 0 {
                before = shelf * ENTRIES_OF_SHELF;
                continue;
            }
            if *looks == 0 {
                return Ok(Some((before, Vec::new())));
            }
            *looks -= 1;
            let volume = shelf * VOLUMES_OF_SHELF + u64::from(left.ilog2());
            let Some((first, mut entries)) = last_until(store, volume)? else { break };
            if first / ENTRIES_OF_SHELF != shelf && is_wanted.is_some() {
                // There is nothing between; what is wanted on that shelf has not been looked at.
                before = first.saturating_add(ENTRIES_OF_VOLUME).min(shelf * ENTRIES_OF_SHELF);
                continue;
            }
            entries.retain(|(number, _)| range.contains(number) && *number < before);
            return Ok(Some((first.min(before - 1), entries)));
        }
        Ok(None)
    }
}

/// The volumes of a shelf that have a wanted name: all, while the shelf is not full or what it says cannot be read.
fn wanted_on(store: &mut dyn Store, shelf: u64, is_wanted: &dyn Fn(u32) -> bool) -> Result<u32, StoreError> {
    let key = contents_key(shelf);
    let pairs = store.scan(&key, &key, 1)?;
    let Some(Ok(ContentsRecord { names })) = pairs.first().map(|(_, value)| record::unframe(value)) else {
        return Ok(u32::MAX);
    };
    Ok(names.into_iter().filter(|(name, _)| is_wanted(*name)).fold(0, |wanted, (_, bits)| wanted | bits))
}
