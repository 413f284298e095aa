//! The records of reactions: `d` number is a delivery, `r` alarm NUL reaction the course of a reaction to an alarm.
//!
//! Reactions are named, not numbered, because their order in the file may change between two runs.

use super::codes::Code as _;
use super::{for_each, frame, numbered_key, readable};
use crate::domain::model::{AlarmId, Severity};
use crate::domain::notify::delivery::{Delivery, Kind, Occasion};
use crate::domain::notify::queue::MAX_BYTES;
use crate::domain::notify::schedule::{Course, CourseId};
use crate::domain::notify::{ReactionIx, Reactions};
use crate::domain::time::{Moment, Stamp};
use crate::io::store::{Batch, Store, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

#[derive(Serialize, Deserialize)]
struct OccasionRecord {
    event_id: String,
    event: String,
    facts: String,
    opened: Option<(String, i64)>,
    at: i64,
}

#[derive(Serialize, Deserialize)]
struct DeliveryRecord {
    id: String,
    reaction: String,
    alarm: (String, String, String),
    severity: u8,
    kind: u8,
    repeat: u32,
    occasion: OccasionRecord,
    due: i64,
    due_wall: i64,
    after: Option<u64>,
    done: Vec<String>,
    told_by: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct CourseRecord {
    reaction: String,
    alarm: (String, String, String),
    occasion: OccasionRecord,
    severity: u8,
    first_at: i64,
    next: Option<u32>,
    delivered: bool,
    waiting: Option<u64>,
}

/// What was stored of reactions.
#[derive(Debug, Default)]
pub struct RecoveredReactions {
    /// Deliveries that wait, by number.
    pub deliveries: Vec<(u64, Delivery)>,
    /// Courses of alarms that are active.
    pub courses: Vec<(CourseId, Course)>,
    /// Deliveries that are not made: number, reaction, id and the reason.
    pub orphans: Vec<(u64, String, String, &'static str)>,
    /// Records that could not be read.
    pub damaged: usize,
    /// Keys of records that are of no use any more.
    pub obsolete: Vec<Vec<u8>>,
}

/// Why a delivery is not made.
const NOT_CONFIGURED: &str = "the reaction is not configured any more";
const TOO_MANY: &str = "more deliveries were waiting than there is room for";
const EVENT_IS_LOST: &str = "the store is damaged, and the event that it belongs to is lost";

impl RecoveredReactions {
    /// The store has lost something: deliveries and courses go of which the event is not known, by alarm and event id.
    pub fn keep_known(&mut self, reactions: &Reactions, is_known: &dyn Fn(&AlarmId, &str) -> bool) {
        let name = |ix: ReactionIx| reactions.get(ix).map_or_else(String::new, |reaction| reaction.name.clone());
        let is_lost = |(_, delivery): &mut (u64, Delivery)| !is_known(&delivery.alarm, &delivery.occasion.event_id);
        let lost = self.deliveries.extract_if(.., is_lost);
        self.orphans.extend(lost.map(|(number, lost)| (number, name(lost.reaction), lost.id, EVENT_IS_LOST)));
        let is_lost = |((alarm, _), course): &mut (CourseId, Course)| !is_known(alarm, &course.occasion.event_id);
        let lost = self.courses.extract_if(.., is_lost);
        self.obsolete.extend(lost.map(|((alarm, ix), _)| course_key(&alarm, &name(ix))));
    }
}

fn kind_number(kind: Kind) -> u8 {
    match kind {
        Kind::First => 0,
        Kind::Repeat(_) => 1,
        Kind::Clear => 2,
        Kind::Change | Kind::Test => 3,
    }
}

fn kind_of(number: u8, repeat: u32) -> Option<Kind> {
    [Kind::First, Kind::Repeat(repeat), Kind::Clear, Kind::Change].get(usize::from(number)).copied()
}

/// Where a course is kept.
pub fn course_key(alarm: &AlarmId, reaction: &str) -> Vec<u8> {
    let mut key = vec![b'r'];
    key.extend_from_slice(alarm.as_str().as_bytes());
    key.push(0);
    key.extend_from_slice(reaction.as_bytes());
    key
}

/// Adds a delivery, or that there is none any more.
pub fn put_delivery(batch: &mut Batch, number: u64, delivery: Option<&Delivery>, reactions: &Reactions) {
    let key = numbered_key(b'd', number);
    let Some(delivery) = delivery else { return batch.delete(key) };
    let Some(reaction) = reactions.get(delivery.reaction) else { return };
    let repeat = match delivery.kind {
        Kind::Repeat(repeat) => repeat,
        Kind::First | Kind::Clear | Kind::Change | Kind::Test => 0,
    };
    let record = DeliveryRecord {
        id: delivery.id.clone(),
        reaction: reaction.name.clone(),
        alarm: parts(&delivery.alarm),
        severity: delivery.severity.code(),
        kind: kind_number(delivery.kind),
        repeat,
        occasion: OccasionRecord::from(&*delivery.occasion),
        due: delivery.due.as_micros(),
        due_wall: delivery.due_wall.as_micros(),
        after: delivery.after,
        done: delivery.done.clone(),
        told_by: delivery.told_by,
    };
    batch.put(key, frame(&record));
}

/// Adds a course, or that there is none any more.
pub fn put_course(batch: &mut Batch, (alarm, ix): &CourseId, course: Option<&Course>, reactions: &Reactions) {
    let Some(reaction) = reactions.get(*ix) else { return };
    let key = course_key(alarm, &reaction.name);
    let Some(course) = course else { return batch.delete(key) };
    let record = CourseRecord {
        reaction: reaction.name.clone(),
        alarm: parts(alarm),
        occasion: OccasionRecord::from(&*course.occasion),
        severity: course.severity.code(),
        first_at: course.first_at.as_micros(),
        next: course.next,
        delivered: course.delivered,
        waiting: course.waiting,
    };
    batch.put(key, frame(&record));
}

/// Removes a delivery of which nothing but the number is known.
pub fn delete_delivery(batch: &mut Batch, number: u64) {
    batch.delete(numbered_key(b'd', number));
}

/// Reads what was stored of reactions.
///
/// # Errors
/// Why the store cannot be read, or that a newer release wrote it.
pub fn recover_reactions(store: &mut dyn Store, reactions: &Reactions) -> Result<RecoveredReactions, StoreError> {
    let mut recovered = RecoveredReactions::default();
    // An earlier release bound them by number only. Those that are too many never stand in memory together.
    let (mut deliveries, mut bytes, mut dropped) = (VecDeque::<(u64, Delivery)>::new(), 0, BTreeSet::new());
    for_each(store, b"d", |key, value| {
        let number = key.get(1..).and_then(|tail| tail.try_into().ok()).map(u64::from_be_bytes);
        let record: Option<DeliveryRecord> = readable(value, &mut recovered.damaged)?;
        let (Some(number), Some(record)) = (number, record) else { return Ok(()) };
        match reactions.find(&record.reaction) {
            None => recovered.orphans.push((number, record.reaction, record.id, NOT_CONFIGURED)),
            Some(ix) => {
                let delivery = record.into_delivery(ix);
                bytes += delivery.as_ref().map_or(0, Delivery::bytes);
                deliveries.extend(delivery.map(|delivery| (number, delivery)));
            }
        }
        while bytes > MAX_BYTES
            && let Some((number, oldest)) = deliveries.pop_front()
        {
            bytes -= oldest.bytes();
            let reaction = reactions.get(oldest.reaction).map_or_else(String::new, |reaction| reaction.name.clone());
            recovered.orphans.push((number, reaction, oldest.id, TOO_MANY));
            dropped.insert(number);
        }
        Ok(())
    })?;
    recovered.deliveries = deliveries.into();
    for_each(store, b"r", |key, value| {
        let Some(record): Option<CourseRecord> = readable(value, &mut recovered.damaged)? else { return Ok(()) };
        match reactions.find(&record.reaction) {
            None => recovered.obsolete.push(key.to_vec()),
            Some(ix) => {
                let course = record.into_course(ix).map(|(id, course)| {
                    let waiting = course.waiting.filter(|number| !dropped.contains(number));
                    (id, Course { waiting, ..course })
                });
                recovered.courses.extend(course);
            }
        }
        Ok(())
    })?;
    Ok(recovered)
}

/// An alarm's thing, property and level.
fn parts(alarm: &AlarmId) -> (String, String, String) {
    use crate::api::topics::decode;
    let mut parts = alarm.as_str().splitn(3, '/').map(|part| decode(part).into_owned());
    let mut next = || parts.next().unwrap_or_default();
    (next(), next(), next())
}

impl From<&Occasion> for OccasionRecord {
    fn from(occasion: &Occasion) -> OccasionRecord {
        OccasionRecord {
            event_id: occasion.event_id.clone(),
            event: occasion.event.to_string(),
            facts: occasion.facts.to_string(),
            opened: occasion.opened_by.clone().zip(occasion.opened_at.map(Stamp::as_micros)),
            at: occasion.at.as_micros(),
        }
    }
}

impl From<OccasionRecord> for Occasion {
    fn from(record: OccasionRecord) -> Occasion {
        let (opened_by, opened_at) = record.opened.unzip();
        Occasion {
            event_id: record.event_id,
            occurrence: crate::api::reaction::occurrence(&record.event),
            event: record.event.into(),
            facts: record.facts.into(),
            opened_by,
            opened_at: opened_at.map(Stamp::from_micros),
            at: Stamp::from_micros(record.at),
        }
    }
}

impl DeliveryRecord {
    fn into_delivery(self, reaction: ReactionIx) -> Option<Delivery> {
        let (thing, property, level) = &self.alarm;
        Some(Delivery {
            id: self.id,
            reaction,
            alarm: AlarmId::new(thing, property, level),
            severity: Severity::of(self.severity)?,
            kind: kind_of(self.kind, self.repeat)?,
            occasion: Arc::new(self.occasion.into()),
            due: Moment::from_micros(self.due),
            due_wall: Stamp::from_micros(self.due_wall),
            after: self.after,
            done: self.done,
            told_by: self.told_by,
        })
    }
}

impl CourseRecord {
    fn into_course(self, reaction: ReactionIx) -> Option<(CourseId, Course)> {
        let (thing, property, level) = &self.alarm;
        let course = Course {
            occasion: Arc::new(self.occasion.into()),
            thing: thing.as_str().into(),
            severity: Severity::of(self.severity)?,
            first_at: Moment::from_micros(self.first_at),
            next: self.next,
            delivered: self.delivered,
            waiting: self.waiting,
        };
        Some(((AlarmId::new(thing, property, level), reaction), course))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::io::store::disk::DiskStore;
    use std::path::Path;

    fn reactions(names: &[&str]) -> Reactions {
        let text: String = names
            .iter()
            .map(|name| format!("[[reaction]]\nname = \"{name}\"\ntype = \"mqtt\"\ntopic = \"t\"\n"))
            .collect();
        let config = Config::parse(Path::new("x"), &text).unwrap_or_else(|problems| panic!("{}", problems.to_text())).0;
        (*config.reactions).clone()
    }

    fn occasion() -> Arc<Occasion> {
        Arc::new(Occasion {
            event_id: "gw-42".to_owned(),
            occurrence: 0,
            event: "{\"seq\":42}".into(),
            facts: "{\"alarm\":{}}".into(),
            opened_by: Some("gw-41".to_owned()),
            opened_at: Some(Stamp::from_micros(5)),
            at: Stamp::from_micros(7),
        })
    }

    /// An earlier release bound deliveries by number, and kept texts whole.
    #[test]
    fn of_more_deliveries_than_there_is_room_for_the_oldest_are_dropped_and_their_alarms_go_on() {
        let (reactions, alarm) = (reactions(&["mail"]), AlarmId::new("press", "p", "hi"));
        let large = Arc::new(Occasion { event: "x".repeat(1 << 20).into(), ..(*occasion()).clone() });
        let delivery = |number: u64| Delivery {
            id: format!("gw-{number}"),
            reaction: ReactionIx::new(0),
            alarm: alarm.clone(),
            severity: Severity::Critical,
            kind: Kind::First,
            occasion: large.clone(),
            due: Moment::from_micros(11),
            due_wall: Stamp::from_micros(12),
            after: None,
            done: Vec::new(),
            told_by: None,
        };
        let dir = tempfile::tempdir().unwrap();
        let mut store = DiskStore::open(dir.path()).unwrap().store;
        for number in 0..100 {
            let mut batch = Batch::default();
            put_delivery(&mut batch, number, Some(&delivery(number)), &reactions);
            let course = Course {
                occasion: occasion(),
                thing: "press".into(),
                severity: Severity::Critical,
                first_at: Moment::from_micros(21),
                next: Some(2),
                delivered: false,
                waiting: Some(number),
            };
            let id = (AlarmId::new(&format!("press-{number}"), "p", "hi"), ReactionIx::new(0));
            put_course(&mut batch, &id, Some(&course), &reactions);
            store.commit(batch).unwrap();
        }
        let RecoveredReactions { deliveries, courses, orphans, .. } =
            recover_reactions(&mut store, &reactions).unwrap();
        let first = deliveries[0].0;
        assert!((36..42).contains(&first) && deliveries.len() as u64 == 100 - first, "{first}");
        assert_eq!(orphans.iter().map(|(number, ..)| *number).collect::<Vec<_>>(), (0..first).collect::<Vec<_>>());
        assert!(orphans.iter().all(|(_, reaction, _, reason)| reaction == "mail" && *reason == TOO_MANY));
        // What waited for one of them goes on with the next.
        let waiting: BTreeSet<u64> = courses.iter().filter_map(|(_, course)| course.waiting).collect();
        assert_eq!(waiting, (first..100).collect());
    }

    #[test]
    fn what_is_stored_comes_back_under_the_number_that_its_reaction_has_then() {
        let (before, after) = (reactions(&["old", "mail", "gone"]), reactions(&["mail", "old"]));
        let alarm = AlarmId::new("line 1/press", "p %", "hi");
        let delivery = |reaction: usize, kind: Kind| Delivery {
            id: format!("gw-42-{reaction}"),
            reaction: ReactionIx::new(reaction),
            alarm: alarm.clone(),
            severity: Severity::Critical,
            kind,
            occasion: occasion(),
            due: Moment::from_micros(11),
            due_wall: Stamp::from_micros(12),
            after: Some(3),
            done: vec!["a@b".to_owned()],
            told_by: Some(4),
        };
        let course = Course {
            occasion: occasion(),
            thing: "line 1/press".into(),
            severity: Severity::Critical,
            first_at: Moment::from_micros(21),
            next: Some(2),
            delivered: true,
            waiting: Some(9),
        };
        let mut batch = Batch::default();
        let kinds = [Kind::First, Kind::Repeat(7), Kind::Clear];
        for (number, kind) in (0..).zip(kinds) {
            put_delivery(&mut batch, number, Some(&delivery(usize::try_from(number).unwrap(), kind)), &before);
        }
        put_course(&mut batch, &(alarm.clone(), ReactionIx::new(1)), Some(&course), &before);
        put_course(&mut batch, &(alarm.clone(), ReactionIx::new(2)), Some(&course), &before);
        let folder = tempfile::tempdir().unwrap();
        let mut store = DiskStore::open(folder.path()).unwrap().store;
        store.commit(batch).unwrap();
        let recovered = recover_reactions(&mut store, &after).unwrap();
        let moved =
            |reaction: usize, to: usize, kind| Delivery { reaction: ReactionIx::new(to), ..delivery(reaction, kind) };
        assert_eq!(recovered.deliveries, [(0, moved(0, 1, Kind::First)), (1, moved(1, 0, Kind::Repeat(7)))]);
        assert_eq!(recovered.orphans, [(2, "gone".to_owned(), "gw-42-2".to_owned(), NOT_CONFIGURED)]);
        assert_eq!(recovered.courses, [((alarm.clone(), ReactionIx::new(0)), course)]);
        assert_eq!(recovered.obsolete, [course_key(&alarm, "gone")]);
        let mut batch = Batch::default();
        put_delivery(&mut batch, 0, None, &after);
        delete_delivery(&mut batch, 2);
        put_course(&mut batch, &(alarm, ReactionIx::new(0)), None, &after);
        recovered.obsolete.into_iter().for_each(|key| batch.delete(key));
        store.commit(batch).unwrap();
        assert_eq!(store.scan(b"d", b"d", 9).unwrap().len(), 1, "the second delivery is left");
        assert!(store.scan(b"r", b"r", 9).unwrap().is_empty());
    }
}
