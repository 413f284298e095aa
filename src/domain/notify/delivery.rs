//! One delivery: what has to reach the other side, and what became of an attempt.

use super::ReactionIx;
use crate::domain::engine::{Event, State};
use crate::domain::model::{AlarmId, Severity};
use crate::domain::time::{Moment, Stamp};
use std::sync::Arc;

/// Why something is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The alarm was activated.
    First,
    /// It is still active: the repeat with this number, from 1.
    Repeat(u32),
    /// It has idled, and its activation was delivered.
    Clear,
    /// It changed in another way that was asked for.
    Change,
    /// Somebody wants to see whether it works.
    Test,
}

impl Kind {
    /// As templates and reports spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::First => "first",
            Kind::Repeat(_) => "repeat",
            Kind::Clear => "clear",
            Kind::Change => "change",
            Kind::Test => "test",
        }
    }

    /// The last part of the delivery's id.
    pub const fn number(self) -> u32 {
        match self {
            Kind::Repeat(number) => number,
            Kind::First | Kind::Clear | Kind::Change | Kind::Test => 0,
        }
    }
}

/// What reactions have to know of an event, kept until nobody needs it any more.
#[derive(Debug, Clone, PartialEq)]
pub struct Occasion {
    /// The event's id: `gw-01-42`.
    pub event_id: String,
    /// The occurrence that the event belongs to.
    pub occurrence: u64,
    /// The event as it was published, byte for byte.
    pub event: Arc<str>,
    /// What templates may use besides, as a JSON object.
    pub facts: Arc<str>,
    /// The id of the event that began the occurrence.
    pub opened_by: Option<String>,
    /// When the occurrence began.
    pub opened_at: Option<Stamp>,
    /// When it happened.
    pub at: Stamp,
}

impl Occasion {
    /// The occasion that an event is. `payload` is the event as it is published, `facts` are the variables of templates
    /// beyond it, `opened` is the event that began its occurrence, and its time.
    pub fn new(
        event: &Event,
        gateway: &str,
        payload: Arc<str>,
        facts: Arc<str>,
        opened: Option<(String, Stamp)>,
    ) -> Occasion {
        let event_id = format!("{gateway}-{}", event.seq);
        // An alarm that becomes worse goes on with its occurrence.
        let begins = event.to == State::Activated && !event.from.is_active();
        let opened =
            opened.filter(|_| !begins).or_else(|| (event.to == State::Activated).then(|| (event_id.clone(), event.at)));
        let (opened_by, opened_at) = opened.unzip();
        Occasion { event_id, occurrence: event.occurrence, event: payload, facts, opened_by, opened_at, at: event.at }
    }
}

/// Something that has to reach the other side.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// Its name, the same in every attempt: `gw-01-42-mail-duty-0`.
    pub id: String,
    /// The reaction that it belongs to.
    pub reaction: ReactionIx,
    /// The alarm that it is about.
    pub alarm: AlarmId,
    /// That alarm's severity.
    pub severity: Severity,
    /// Why.
    pub kind: Kind,
    /// What it is about.
    pub occasion: Arc<Occasion>,
    /// When it was due.
    pub due: Moment,
    /// What the wall clock showed then.
    pub due_wall: Stamp,
    /// A delivery without which this one makes no sense.
    pub after: Option<u64>,
    /// Recipients that need no further attempt: they have it, or will never take it.
    pub done: Vec<String>,
    /// The delivery that tells of this one, too.
    pub told_by: Option<u64>,
}

impl Delivery {
    /// The id of what is delivered because of an event.
    pub fn name(event_id: &str, reaction: &str, kind: Kind) -> String {
        format!("{event_id}-{reaction}-{}", kind.number())
    }

    /// Bytes that it takes in memory and on disk. What several deliveries share is counted for each: on disk each has it.
    pub(crate) fn bytes(&self) -> usize {
        /// Its places in the lists of the queue, and of the store.
        const EACH: usize = 1_024;
        EACH + self.id.len() + self.alarm.as_str().len() + self.occasion.event.len() + self.occasion.facts.len()
    }

    /// The id of the first delivery of the same occurrence, to which all others answer.
    pub(crate) fn thread_root(&self, reaction: &str) -> Option<String> {
        self.occasion.opened_by.as_deref().map(|event_id| Delivery::name(event_id, reaction, Kind::First))
    }
}

/// Who asked for an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ticket {
    /// The queue, for the delivery with this number.
    Queued(u64),
    /// Somebody who wants to see whether it works.
    Test(u64),
}

/// What became of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The other side has taken it.
    Taken {
        /// What it said.
        answer: String,
        /// What did not work all the same: a recipient that is unknown, a template that failed.
        warnings: Vec<String>,
    },
    /// Some recipients have it or will never take it; the rest has to be tried again.
    Partly {
        /// Those that need no further attempt.
        done: Vec<String>,
        /// Why the others did not take it.
        reason: String,
    },
    /// It may work later.
    Later {
        /// Why it did not now.
        reason: String,
        /// Whether nobody could be reached or talked to, so that others for the same destination would fare alike.
        unreachable: bool,
        /// When the other side wants to be asked again, in seconds.
        retry_after: Option<u64>,
    },
    /// It will never work.
    Refused {
        /// Why.
        reason: String,
    },
}

impl Outcome {
    /// Nobody could be reached or talked to.
    pub fn unreachable(reason: impl Into<String>) -> Outcome {
        Outcome::Later { reason: reason.into(), unreachable: true, retry_after: None }
    }
}
