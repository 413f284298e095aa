//! What happened to alarms, as it is remembered: every event, every shelving, and what became of every delivery.
//!
//! Entries are numbered without a break, in the order in which they were decided. How they look on disk and how they are
//! searched: [`crate::io::store::history`]; how they look to those who ask: `api::history`.

use crate::domain::engine::{Event, ShelvingChange, State};
use crate::domain::model::{AlarmFacts, Selector};
use crate::domain::time::Stamp;
use std::collections::BTreeSet;
use std::sync::Arc;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A state changed.
    Event(Event),
    /// A shelving began or ended.
    Shelving(ShelvingChange),
    /// A delivery of a reaction has ended, or has failed for the first time.
    Delivery(DeliveryReport),
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryReport {
    /// The alarm that it was about.
    pub alarm: Arc<AlarmFacts>,
    /// When it ended or failed.
    pub at: Stamp,
    /// The occurrence that it was about.
    pub occurrence: u64,
    /// The reaction that it belongs to.
    pub reaction: Arc<str>,
    /// Its id.
    pub delivery: Arc<str>,
    /// What became of it.
    pub outcome: DeliveryOutcome,
    /// In which attempt, from 1; 0: it was never attempted.
    pub attempt: u32,
    /// What the other side said, or why it has not got it.
    pub said: Arc<str>,
}

/// What can become of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The other side has it.
    Delivered,
    /// Not yet: it is tried again. Further failures of the same delivery are not remembered.
    Failed,
    /// It will never be delivered.
    Dropped,
}

impl DeliveryOutcome {
    /// All of them.
    pub const ALL: [DeliveryOutcome; 3] =
        [DeliveryOutcome::Delivered, DeliveryOutcome::Failed, DeliveryOutcome::Dropped];

    /// As topics and answers spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            DeliveryOutcome::Delivered => "delivered",
            DeliveryOutcome::Failed => "failed",
            DeliveryOutcome::Dropped => "dropped",
        }
    }
}

impl Entry {
    /// The alarm to which it happened, as it was called then.
    pub fn alarm(&self) -> &Arc<AlarmFacts> {
        match self {
            Entry::Event(event) => &event.alarm,
            Entry::Shelving(shelving) => &shelving.alarm,
            Entry::Delivery(report) => &report.alarm,
        }
    }

    fn at(&self) -> Stamp {
        match self {
            Entry::Event(event) => event.at,
            Entry::Shelving(shelving) => shelving.at,
            Entry::Delivery(report) => report.at,
        }
    }

    fn occurrence(&self) -> u64 {
        match self {
            Entry::Event(event) => event.occurrence,
            Entry::Shelving(shelving) => shelving.occurrence,
            Entry::Delivery(report) => report.occurrence,
        }
    }

    fn entered(&self) -> Entered {
        match self {
            Entry::Event(event) => Entered::State(event.to),
            Entry::Shelving(ShelvingChange { until: Some(_), .. }) => Entered::Shelved,
            Entry::Shelving(ShelvingChange { until: None, .. }) => Entered::Unshelved,
            Entry::Delivery(report) => Entered::Delivery(report.outcome),
        }
    }
}

/// A question to the history, ready to be put to entries.
#[derive(Debug, Clone)]
pub struct Filter {
    alarm: Option<Selector>,
    thing: Option<Selector>,
    query: HistoryQuery,
}

impl Filter {
    /// The question.
    pub fn new(query: HistoryQuery) -> Filter {
        // A pattern that is too long was refused when the question was read.
        let selector = |text: &String| Selector::parse(text).unwrap_or_else(|_| Selector::One(text.clone()));
        Filter { alarm: query.alarm.as_ref().map(selector), thing: query.thing.as_ref().map(selector), query }
    }

    /// The names of the alarms that it is about; none: of all. An alarm or a thing with exactly the name that was written
    /// goes before the pattern that it may be, too.
    pub fn about<'a>(
        &self,
        names: impl Iterator<Item = (&'a u32, &'a Arc<AlarmFacts>)> + Clone,
    ) -> Option<BTreeSet<u32>> {
        let HistoryQuery { alarm, thing, .. } = &self.query;
        if alarm.is_none() && thing.is_none() {
            return None;
        }
        let fits = |exactly: Option<&str>, selector: &Option<Selector>, name: &str| match exactly {
            Some(exactly) => name == exactly,
            None => selector.as_ref().is_none_or(|selector| selector.fits(name)),
        };
        let is_alarm = |wanted: &&str| names.clone().any(|(_, facts)| facts.id.as_str() == *wanted);
        let is_thing = |wanted: &&str| names.clone().any(|(_, facts)| *facts.thing == **wanted);
        let (exact_alarm, exact_thing) = (alarm.as_deref().filter(is_alarm), thing.as_deref().filter(is_thing));
        let is_about = |facts: &AlarmFacts| {
            fits(exact_alarm, &self.alarm, facts.id.as_str()) && fits(exact_thing, &self.thing, &facts.thing)
        };
        Some(names.clone().filter(|(_, facts)| is_about(facts)).map(|(number, _)| *number).collect())
    }

    /// Whether it is about this entry of such an alarm.
    pub fn takes(&self, entry: &Entry) -> bool {
        let HistoryQuery { states, from, to, occurrence, .. } = &self.query;
        (states.is_empty() || states.contains(&entry.entered()))
            && from.is_none_or(|from| entry.at() >= from)
            && to.is_none_or(|to| entry.at() <= to)
            && occurrence.is_none_or(|occurrence| entry.occurrence() == occurrence)
    }

    /// How many entries are wanted at most.
    pub fn limit(&self) -> usize {
        self.query.limit
    }

    /// Only entries before this one are wanted.
    pub fn before(&self) -> u64 {
        self.query.before.unwrap_or(u64::MAX)
    }
}

/// Which part of the history to show.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryQuery {
    /// An alarm's id, or a pattern over ids; none: all.
    pub alarm: Option<String>,
    /// A thing's id, or a pattern over ids; none: all.
    pub thing: Option<String>,
    /// What alarms changed to; empty: anything.
    pub states: Vec<Entered>,
    /// Not before.
    pub from: Option<Stamp>,
    /// Not after.
    pub to: Option<Stamp>,
    /// Only this occurrence.
    pub occurrence: Option<u64>,
    /// How many at most.
    pub limit: usize,
    /// Only entries before the one with this number.
    pub before: Option<u64>,
}

/// What an entry of the history tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// A change to this state.
    State(State),
    /// The beginning of a shelving.
    Shelved,
    /// Its end.
    Unshelved,
    /// What became of a delivery.
    Delivery(DeliveryOutcome),
}

impl Entered {
    /// As requests and answers spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Entered::State(state) => state.as_str(),
            Entered::Shelved => "shelved",
            Entered::Unshelved => "unshelved",
            Entered::Delivery(outcome) => outcome.as_str(),
        }
    }

    pub(crate) fn all() -> impl Iterator<Item = Entered> + Clone {
        let deliveries = DeliveryOutcome::ALL.into_iter().map(Entered::Delivery);
        State::ALL.into_iter().map(Entered::State).chain([Entered::Shelved, Entered::Unshelved]).chain(deliveries)
    }
}
