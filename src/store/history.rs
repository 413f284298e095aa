//! The history on disk: how entries look as bytes, how they are searched, and how the oldest go.
//!
//! | key | value |
//! |---|---|
//! | `f` number | what an alarm was called, and how bad it was |
//! | `h` number | an entry, with the number of its alarm's name |
//! | `x` name number | nothing: the entries of one alarm |
//!
//! Names change rarely and are said once, so an entry has some fifty bytes. A search goes back through the entries of the
//! alarms that it is about, or through all entries where it is about many; it does so a slice at a time, so that writes
//! come in between.

use super::record::{self, ValueRecord};
use super::{Batch, Store, StoreError};
use crate::engine::{Cause, Event, ShelvingChange, State};
use crate::history::{DeliveryFate, DeliveryReport, Entry, Filter};
use crate::model::{AlarmFacts, AlarmId, AlarmType, Severity, Value};
use crate::time::{Moment, Stamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Entries that one slice of a search looks at: a few milliseconds.
const SLICE: usize = 512;
/// With more alarms than this it is cheaper to look at all entries than to join theirs.
const JOINED: usize = 64;

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
        fate: u8,
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

/// The first bytes of the keys of entries and of their index: most of what is in a store.
pub(super) const KEYS: [u8; 2] = *b"hx";

fn entry_key(number: u64) -> Vec<u8> {
    record::numbered_key(KEYS[0], number)
}

fn index_key(name: u32, number: u64) -> Vec<u8> {
    let mut key = record::key(KEYS[1], name);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// The number at the end of a key.
fn number_of(key: &[u8]) -> Option<u64> {
    key.last_chunk().copied().map(u64::from_be_bytes)
}

/// Adds the name of an alarm.
pub fn put_name(batch: &mut Batch, number: u32, facts: &AlarmFacts) {
    let record = NameRecord {
        thing: facts.thing.to_string(),
        property: facts.property.to_string(),
        level: facts.level.to_string(),
        alarm_type: record::place(&AlarmType::ALL, &facts.alarm_type),
        severity: record::place(&Severity::ALL, &facts.severity),
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

impl NameRecord {
    fn into_facts(self) -> Option<AlarmFacts> {
        Some(AlarmFacts {
            id: AlarmId::new(&self.thing, &self.property, &self.level),
            thing: self.thing.into(),
            property: self.property.into(),
            level: self.level.into(),
            alarm_type: record::at_place(&AlarmType::ALL, self.alarm_type)?,
            severity: record::at_place(&Severity::ALL, self.severity)?,
            title: self.title.into(),
        })
    }
}

/// Adds an entry.
pub fn put_entry(batch: &mut Batch, number: u64, name: u32, moment: Moment, entry: &Entry) {
    let state = |state: &State| record::place(&State::ALL, state);
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
                cause: record::place(&Cause::ALL, &event.cause),
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
                fate: record::place(&DeliveryFate::ALL, &report.fate),
                attempt: report.attempt,
            },
        },
    };
    batch.put(entry_key(number), record::frame(&record));
    batch.put(index_key(name, number), Vec::new());
}

impl EntryRecord {
    fn into_entry(self, names: &Names) -> Option<Entry> {
        let alarm = names.get(&self.name)?.clone();
        let state = |place: u8| record::at_place(&State::ALL, place);
        let (at, occurrence) = (Stamp::from_micros(self.at), self.occurrence);
        let (by, comment) = (self.by.map(Arc::from), self.comment.map(Arc::from));
        Some(match self.what {
            WhatRecord::Event { seq, from, to, since, cause, value, value_at, average } => Entry::Event(Event {
                seq,
                alarm,
                from: state(from)?,
                to: state(to)?,
                at,
                since: since.map(Stamp::from_micros),
                occurrence,
                cause: record::at_place(&Cause::ALL, cause)?,
                value: value.map(Value::from),
                value_at: value_at.map(Stamp::from_micros),
                average,
                by,
                comment,
                quiet: false,
            }),
            WhatRecord::Delivery { reaction, delivery, fate, attempt } => Entry::Delivery(DeliveryReport {
                alarm,
                at,
                occurrence,
                reaction: reaction.into(),
                delivery: delivery.into(),
                fate: record::at_place(&DeliveryFate::ALL, fate)?,
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

/// Removes an entry.
pub fn delete_entry(batch: &mut Batch, old: &Old) {
    batch.delete(entry_key(old.number));
    batch.delete(index_key(old.name, old.number));
}

/// The oldest entries from this number on.
///
/// # Errors
/// Why the store cannot be read.
pub fn oldest(store: &mut dyn Store, from: u64, limit: usize) -> Result<Vec<Old>, StoreError> {
    let pairs = store.scan(b"h", &entry_key(from), limit)?;
    let read = pairs.iter().filter_map(|(key, value)| {
        let number = number_of(key)?;
        // A damaged entry is as old as can be, and leaves.
        let old = record::unframe::<EntryRecord>(value).map_or(
            Old { number, name: u32::MAX, at: Moment::from_micros(i64::MIN) },
            |record| Old { number, name: record.name, at: Moment::from_micros(record.moment) },
        );
        Some(old)
    });
    Ok(read.collect())
}

/// A search that is going on.
#[derive(Debug)]
pub struct Search {
    filter: Filter,
    names: Arc<Names>,
    /// The names of the alarms that it is about; none: of all.
    about: Option<BTreeSet<u32>>,
    /// Only entries before this one are left to be looked at.
    before: u64,
    /// What was found, newest first.
    pub found: Vec<Entry>,
    /// Where to go on for more; none: there is no more.
    pub next: Option<u64>,
}

impl Search {
    /// A search among alarms with these names.
    pub fn new(filter: Filter, names: Arc<Names>) -> Search {
        let about = filter
            .names_alarms()
            .then(|| names.iter().filter(|(_, facts)| filter.is_about(facts)).map(|(number, _)| *number).collect());
        Search { before: filter.before(), filter, names, about, found: Vec::new(), next: None }
    }

    /// Looks at the next slice. True: the search is over.
    ///
    /// # Errors
    /// Why the store cannot be read.
    pub fn advance(&mut self, store: &mut dyn Store) -> Result<bool, StoreError> {
        let slice = match &self.about {
            Some(names) if names.len() <= JOINED => joined(store, names, self.before)?,
            Some(_) | None => store
                .scan_back(b"h", &entry_key(self.before), SLICE)?
                .into_iter()
                .filter_map(|(key, value)| number_of(&key).map(|number| (number, Some(value))))
                .collect(),
        };
        let is_last = slice.len() < SLICE;
        for (number, value) in slice {
            self.before = number;
            let value = match value {
                Some(value) => value,
                None => match store.scan(&entry_key(number), &entry_key(number), 1)?.pop() {
                    Some((_, value)) => value,
                    None => continue,
                },
            };
            let Ok(record) = record::unframe::<EntryRecord>(&value) else { continue };
            if self.about.as_ref().is_some_and(|names| !names.contains(&record.name)) {
                continue;
            }
            let Some(entry) = record.into_entry(&self.names).filter(|entry| self.filter.takes(entry)) else { continue };
            if self.found.len() == self.filter.limit() {
                self.next = Some(number + 1);
                return Ok(true);
            }
            self.found.push(entry);
        }
        Ok(is_last)
    }
}

/// The number of an entry, and the entry itself if it has been read.
type Candidate = (u64, Option<Vec<u8>>);

/// The newest entries of some alarms, by number; their values have to be read one by one.
fn joined(store: &mut dyn Store, names: &BTreeSet<u32>, before: u64) -> Result<Vec<Candidate>, StoreError> {
    let mut numbers = Vec::new();
    for name in names {
        let pairs = store.scan_back(&record::key(KEYS[1], *name), &index_key(*name, before), SLICE)?;
        numbers.extend(pairs.iter().filter_map(|(key, _)| number_of(key)));
    }
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    numbers.truncate(SLICE);
    Ok(numbers.into_iter().map(|number| (number, None)).collect())
}
