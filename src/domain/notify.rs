//! Who is told of an alarm, when, and again after a failure. How it is told, over which channel, is in [`crate::io::send`].
//!
//! Three parts. The [`schedule`] decides which deliveries begin when: first, repeated, on clearing. The [`queue`] decides
//! which of them is attempted now, and what a failure means for it. Both are functions of events and time: they send
//! nothing, read no clock and no disk. What they decide is sent by [`crate::io::send`], on a thread of its own, so that neither a
//! slow TLS handshake nor a dead server touches the evaluation of alarms.
//!
//! A delivery is on disk in the same write as the event that caused it, and leaves when the other side has taken it:
//! each at least once, with the same id.

pub mod delivery;
mod hours;
pub mod queue;
pub mod schedule;

pub use delivery::{Delivery, Kind};
pub use hours::{Hours, Weekday};

use crate::domain::model::{Glob, Severity};
use crate::domain::time::Span;
use std::sync::Arc;

/// The number of a reaction in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReactionIx(u32);

impl ReactionIx {
    pub(crate) fn new(index: usize) -> ReactionIx {
        ReactionIx(u32::try_from(index).unwrap_or(u32::MAX))
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// All reactions of a gateway, and what they share.
#[derive(Debug, Clone, Default)]
pub struct Reactions {
    /// In the order of the file.
    pub list: Vec<Arc<Reaction>>,
    /// For each alarm definition, by its place in the model, the reactions that it names.
    pub of_definitions: Vec<Box<[ReactionIx]>>,
    /// The zone in which people read times.
    pub time_zone: Zone,
}

impl Reactions {
    /// The reaction with this name.
    pub fn find(&self, name: &str) -> Option<ReactionIx> {
        self.list.iter().position(|reaction| reaction.name == name).map(ReactionIx::new)
    }

    /// One reaction.
    pub fn get(&self, ix: ReactionIx) -> Option<&Arc<Reaction>> {
        self.list.get(ix.index())
    }
}

/// A time zone by its name; UTC unless configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone(pub jiff::tz::TimeZone);

impl Default for Zone {
    fn default() -> Zone {
        Zone(jiff::tz::TimeZone::UTC)
    }
}

/// One `[[reaction]]`, with what its template adds.
#[derive(Debug, Clone)]
pub struct Reaction {
    /// Its name.
    pub name: String,
    /// When.
    pub plan: Plan,
    /// How it is delivered when that does not work at once.
    pub terms: Terms,
    /// The receiver that it shares with others: reactions with one destination are down together. None: the daemon's own
    /// connection to the broker.
    pub destination: Option<String>,
    /// Whether one delivery can tell of several events.
    pub tells_of_others: bool,
}

/// When deliveries begin.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Delay of the first after the activation.
    pub initial: Span,
    /// Intervals between repeats; the last one stays. Empty: once.
    pub repeat: Vec<Span>,
    /// Whether to tell that the alarm has idled, if the activation was delivered.
    pub on_clear: bool,
    /// Which changes of state cause deliveries.
    pub on: Vec<Transition>,
    /// Severities for which; all in most cases.
    pub severities: Vec<Severity>,
    /// Things for which; empty: all.
    pub things: Vec<ThingFilter>,
    /// Times of the week in which; none: always.
    pub hours: Option<Hours>,
}

/// A name, or a pattern over names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ThingFilter {
    /// This thing.
    Exactly(String),
    /// Things that fit.
    Matching(Glob),
}

impl ThingFilter {
    fn covers(&self, thing: &str) -> bool {
        match self {
            ThingFilter::Exactly(id) => id == thing,
            ThingFilter::Matching(glob) => glob.matches(thing),
        }
    }
}

/// A change of state, as reactions distinguish them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transition {
    /// The trigger was reached.
    Activated,
    /// An operator has taken note.
    Acknowledged,
    /// The condition has ended.
    Idled,
    /// The alarm was disabled.
    Off,
    /// The alarm was enabled, or began anew.
    Enabled,
}

impl Transition {
    /// All of them.
    pub const ALL: [Transition; 5] =
        [Transition::Activated, Transition::Acknowledged, Transition::Idled, Transition::Off, Transition::Enabled];

    /// As the configuration spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Transition::Activated => "activated",
            Transition::Acknowledged => "acknowledged",
            Transition::Idled => "idled",
            Transition::Off => "off",
            Transition::Enabled => "enabled",
        }
    }
}

/// How long and how often a delivery is tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// A delivery that is later than this is dropped, not sent; none: never too late.
    pub valid_for: Option<Span>,
    /// After this time it is given up.
    pub give_up: Span,
    /// Attempts that may be on their way at one time.
    pub concurrency: usize,
    /// Deliveries that may wait.
    pub queue_max: usize,
    /// Deliveries that may begin within a time; further ones are gathered into a digest. None: no limit.
    pub rate: Option<(usize, Span)>,
    /// Whether it publishes what this daemon reads as a value: then what comes faster than the rate is dropped, so that
    /// an alarm that activates itself by it does so no more.
    pub feeds_sources: bool,
}
