//! The history on disk: how entries look as bytes, and how the oldest go.
//!
//! | key | value |
//! |---|---|
//! | `f` number | what an alarm was called, and how bad it was |
//! | `h` number | an entry, with the number of its alarm's name |
//! | `v` number | entries that were bound together, from this number on: see `volumes` |
//! | `c` number | which names are in which of the volumes from this number on |
//! | `x` name number | nothing: the entries of one alarm, from a store of an earlier release |
//!
//! Names change rarely and are said once, so an entry has some fifty bytes. How they are searched is in `search`.

pub(super) mod search;
pub(super) mod volumes;

pub use search::Search;
pub use volumes::{Binding, BlockIndex, Single, bindable};

use super::record::codes::Code as _;
use super::record::{self, ValueRecord};
use super::{Batch, SmallBytes, Store, StoreError};
use crate::domain::engine::{Cause, Event, ShelvingChange, State};
use crate::domain::history::{DeliveryOutcome, DeliveryReport, Entry};
use crate::domain::model::{AlarmFacts, AlarmId, AlarmType, Severity, Value};
use crate::domain::time::{Moment, Stamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

#[derive(Serialize, Deserialize)]
struct NameRecord {
    thing: String,
    property: String,
    level: String,
    alarm_type: u8,
    severity: u8,
    title: String,
}

#[derive(Serialize, Deserialize)]
struct EntryRecord {
    name: u32,
    moment: i64,
    at: i64,
    occurrence: u64,
    by: Option<String>,
    comment: Option<String>,
    what: WhatRecord,
}

#[derive(Serialize, Deserialize)]
enum WhatRecord {
    Event {
        seq: u64,
        from: u8,
        to: u8,
        since: Option<i64>,
        cause: u8,
        value: Option<ValueRecord>,
        value_at: Option<i64>,
        average: Option<f64>,
    },
    Shelving {
        state: u8,
        until: Option<i64>,
    },
    Delivery {
        reaction: String,
        delivery: String,
        outcome: u8,
        attempt: u32,
    },
}

/// The names of alarms by number; those of earlier configurations, too.
pub type Names = BTreeMap<u32, Arc<AlarmFacts>>;

/// An entry that is old enough to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Old {
    /// Its number.
    pub number: u64,
    /// The number of its alarm's name.
    pub name: u32,
    /// When it happened, on the engine's time line.
    pub at: Moment,
}

/// The first byte of the keys of entries that are not bound. Their numbers only rise: a key above all that there were was
/// never there before.
pub(super) const ENTRIES: u8 = b'h';
const VOLUMES: u8 = b'v';
const CONTENTS: u8 = b'c';
const EARLIER_INDEX: u8 = b'x';
/// The first bytes of the keys of the history, in order: most of what is in a store.
pub(super) const KEYS: [u8; 4] = [CONTENTS, ENTRIES, VOLUMES, EARLIER_INDEX];

fn entry_key(number: u64) -> SmallBytes {
    record::numbered_key(ENTRIES, number)
}

/// The key of an entry in the index that earlier releases kept.
fn index_key(name: u32, number: u64) -> Vec<u8> {
    let mut key = record::key(EARLIER_INDEX, name).to_vec();
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// The number in a key; none: it is no key of ours.
fn number_of(key: &[u8]) -> Option<u64> {
    key.get(1..)?.try_into().ok().map(u64::from_be_bytes)
}

/// Adds the name of an alarm.
pub fn put_name(batch: &mut Batch, number: u32, facts: &AlarmFacts) {
    let record = NameRecord {
        thing: facts.thing.to_string(),
        property: facts.property.to_string(),
        level: facts.level.to_string(),
        alarm_type: facts.alarm_type.code(),
        severity: facts.severity.code(),
        title: facts.title.to_string(),
    };
    batch.put(record::key(b'f', number), record::frame(&record));
}

/// All names.
///
/// # Errors
/// Why the store cannot be read.
pub fn names(store: &mut dyn Store, damaged: &mut usize) -> Result<Names, StoreError> {
    let mut names = Names::new();
    record::for_each(store, b"f", |key, value| {
        if let (Some(number), Some(name)) = (record::handle_of(key), record::readable::<NameRecord>(value, damaged)?)
            && let Some(facts) = name.into_facts()
        {
            names.insert(number, Arc::new(facts));
        }
        Ok(())
    })?;
    Ok(names)
}

/// Takes out the names that no entry has and that are not needed otherwise, and returns their keys.
///
/// # Errors
/// Why the store cannot be read.
pub fn forget_unused(
    store: &mut dyn Store,
    names: &mut Names,
    is_needed: &dyn Fn(&AlarmId) -> bool,
) -> Result<Vec<SmallBytes>, StoreError> {
    let Some(used) = volumes::used_names(store)? else { return Ok(Vec::new()) };
    let mut unused = Vec::new();
    names.retain(|number, facts| {
        let is_used = used.contains(number) || is_needed(&facts.id);
        if !is_used {
            unused.push(record::key(b'f', *number));
        }
        is_used
    });
    Ok(unused)
}

impl NameRecord {
    fn into_facts(self) -> Option<AlarmFacts> {
        Some(AlarmFacts {
            id: AlarmId::new(&self.thing, &self.property, &self.level),
            thing: self.thing.into(),
            property: self.property.into(),
            level: self.level.into(),
            alarm_type: AlarmType::of(self.alarm_type)?,
            severity: Severity::of(self.severity)?,
            title: self.title.into(),
        })
    }
}

/// Adds an entry.
pub fn put_entry(batch: &mut Batch, entry: &Single) {
    batch.put(entry_key(entry.number), entry.value.clone());
}

/// An entry as it is stored.
pub fn single(number: u64, name: u32, moment: Moment, entry: &Entry) -> Single {
    let state = |state: &State| state.code();
    let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
    let record = match entry {
        Entry::Event(event) => EntryRecord {
            name,
            moment: moment.as_micros(),
            at: event.at.as_micros(),
            occurrence: event.occurrence,
            by: text(&event.by),
            comment: text(&event.comment),
            what: WhatRecord::Event {
                seq: event.seq,
                from: state(&event.from),
                to: state(&event.to),
                since: event.since.map(Stamp::as_micros),
                cause: event.cause.code(),
                value: event.value.as_ref().map(ValueRecord::from),
                value_at: event.value_at.map(Stamp::as_micros),
                average: event.average,
            },
        },
        Entry::Shelving(shelving) => EntryRecord {
            name,
            moment: moment.as_micros(),
            at: shelving.at.as_micros(),
            occurrence: shelving.occurrence,
            by: text(&shelving.by),
            comment: text(&shelving.comment),
            what: WhatRecord::Shelving { state: state(&shelving.state), until: shelving.until.map(Stamp::as_micros) },
        },
        Entry::Delivery(report) => EntryRecord {
            name,
            moment: moment.as_micros(),
            at: report.at.as_micros(),
            occurrence: report.occurrence,
            by: None,
            comment: Some(report.said.to_string()),
            what: WhatRecord::Delivery {
                reaction: report.reaction.to_string(),
                delivery: report.delivery.to_string(),
                outcome: report.outcome.code(),
                attempt: report.attempt,
            },
        },
    };
    Single { number, name, value: record::frame(&record) }
}

impl EntryRecord {
    fn into_entry(self, names: &Names) -> Option<Entry> {
        let alarm = names.get(&self.name)?.clone();
        let state = |place: u8| State::of(place);
        let (at, occurrence) = (Stamp::from_micros(self.at), self.occurrence);
        let (by, comment) = (self.by.map(Arc::from), self.comment.map(Arc::from));
        Some(match self.what {
            WhatRecord::Event { seq, from, to, since, cause, value, value_at, average } => Entry::Event(Event {
                seq,
                alarm,
                ix: None,
                from: state(from)?,
                to: state(to)?,
                at,
                since: since.map(Stamp::from_micros),
                occurrence,
                cause: Cause::of(cause)?,
                value: value.map(Value::from),
                value_at: value_at.map(Stamp::from_micros),
                average,
                by,
                comment,
                quiet: false,
                seq_gap: false,
            }),
            WhatRecord::Delivery { reaction, delivery, outcome, attempt } => Entry::Delivery(DeliveryReport {
                alarm,
                at,
                occurrence,
                reaction: reaction.into(),
                delivery: delivery.into(),
                outcome: DeliveryOutcome::of(outcome)?,
                attempt,
                said: comment.unwrap_or_else(|| "".into()),
            }),
            WhatRecord::Shelving { state: was, until } => Entry::Shelving(ShelvingChange {
                alarm,
                place: 0,
                at,
                state: state(was)?,
                occurrence,
                until: until.map(Stamp::from_micros),
                by,
                comment,
            }),
        })
    }
}

/// How the entries in a store are kept.
///
/// # Errors
/// Why it cannot be read.
pub fn shelved(store: &mut dyn Store) -> Result<Shelved, StoreError> {
    let has_earlier_index = !store.scan(&[EARLIER_INDEX], &[EARLIER_INDEX], 1)?.is_empty();
    Ok(Shelved { bound: volumes::bound_until(store)?, has_earlier_index })
}

/// Removes these entries, the oldest that there are. What is bound leaves with the last of its volume. `shelved` is what
/// the caller knows of how they are kept.
pub fn delete<'a>(batch: &mut Batch, gone: Range<u64>, entries: impl Iterator<Item = &'a Old>, shelved: Shelved) {
    for old in entries.filter(|old| old.number >= shelved.bound) {
        batch.delete(entry_key(old.number));
        if shelved.has_earlier_index {
            batch.delete(index_key(old.name, old.number));
        }
    }
    volumes::delete(batch, gone, shelved.bound);
}

/// How the entries are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shelved {
    /// Those before this number are bound.
    pub bound: u64,
    /// Whether those that are not bound are in the index that earlier releases kept.
    pub has_earlier_index: bool,
}

/// The oldest entries from this number on.
///
/// # Errors
/// Why the store cannot be read.
pub fn oldest(store: &mut dyn Store, from: u64, limit: usize) -> Result<Vec<Old>, StoreError> {
    let mut entries = volumes::entries_from(store, from, limit)?;
    let rest = limit.saturating_sub(entries.len());
    let single = store.scan(&[ENTRIES], &entry_key(from), rest)?;
    entries.extend(single.into_iter().filter_map(|(key, value)| Some((number_of(&key)?, value))));
    let read = entries.into_iter().take(limit).map(|(number, value)| {
        // A damaged entry is as old as can be, and leaves.
        record::unframe::<EntryRecord>(&value).map_or(
            Old { number, name: u32::MAX, at: Moment::from_micros(i64::MIN) },
            |record| Old { number, name: record.name, at: Moment::from_micros(record.moment) },
        )
    });
    Ok(read.collect())
}
