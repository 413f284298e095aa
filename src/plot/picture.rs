//! What is to be drawn, as plain data: all that [`super::draw()`] is told.
//!
//! It knows no engine and no pixels. Everything in it is bounded by whoever fills it.

use super::thin::{Merge, Thin};
use crate::domain::time::Stamp;

/// A whole picture.
#[derive(Debug, Clone, Default)]
pub struct Picture {
    /// One line at its top.
    pub heading: String,
    /// What colours mean is explained for this.
    pub legend: Legend,
    /// What a reader has to know, one line each: what was left out, for instance.
    pub notes: Vec<String>,
    /// Where the time axis begins.
    pub start: Stamp,
    /// Where it ends.
    pub end: Stamp,
    /// Times in which nothing could be heard.
    pub gaps: Thin<Gap>,
    /// One for each property.
    pub panels: Vec<Panel>,
}

/// What a picture is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Legend {
    /// Values with limits, and alarms with their observe-times.
    #[default]
    Alarms,
    /// Series, scores with thresholds, and anomalies.
    Anomalies,
}

/// One property: its values and its alarms.
#[derive(Debug, Clone, Default)]
pub struct Panel {
    /// What it shows.
    pub title: String,
    /// What a reader has to know about it; may be empty.
    pub note: String,
    /// Names of the values 0, 1, 2 … of a text or a boolean; empty: they are numbers.
    pub categories: Vec<String>,
    /// Its values.
    pub values: Thin<Reading>,
    /// What they are compared with.
    pub levels: Vec<Level>,
    /// Its alarms.
    pub lanes: Vec<Lane>,
}

/// A limit with its deadband, shared by all alarms that have the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Level {
    /// The lower edge of the deadband.
    pub low: f64,
    /// The upper edge; the same without a deadband.
    pub high: f64,
    /// The alarms whose limit it is.
    pub alarms: Vec<String>,
}

/// One alarm.
#[derive(Debug, Clone)]
pub struct Lane {
    /// Its label among the alarms of the property.
    pub name: String,
    /// When it comes and when it goes, in words.
    pub words: String,
    /// When it began to exist.
    pub begins: Stamp,
    /// Its state then.
    pub light: Light,
    /// How its state changed.
    pub turns: Thin<Turn>,
    /// Its observe-times and clear-delays.
    pub waits: Thin<Wait>,
    /// Its mean; average alarms only.
    pub means: Thin<Reading>,
    /// How often it was activated.
    pub activations: u64,
}

/// A state of an alarm, the one that must not be overlooked last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Light {
    /// Disabled.
    Off,
    /// Enabled, not activated since.
    Enabled,
    /// Was activated before.
    Idled,
    /// Somebody knows.
    Acknowledged,
    /// The trigger was reached.
    Activated,
}

/// Values of one instant, or of several.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// The first.
    pub first: f64,
    /// The smallest.
    pub low: f64,
    /// The largest.
    pub high: f64,
    /// The last.
    pub last: f64,
}

impl Reading {
    /// A single value.
    pub fn of(value: f64) -> Reading {
        Reading { first: value, low: value, high: value, last: value }
    }
}

impl Merge for Reading {
    fn absorb(&mut self, later: Reading) {
        self.low = self.low.min(later.low);
        self.high = self.high.max(later.high);
        self.last = later.last;
    }
}

/// A change of state, or several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The state after it.
    pub to: Light,
    /// The state among those passed through that must not be overlooked.
    pub worst: Light,
    /// When it last became [`Light::Activated`], if it did.
    pub activated: Option<Stamp>,
    /// Whether an occurrence that was over was acknowledged.
    pub late_acknowledgement: bool,
}

impl Merge for Turn {
    fn absorb(&mut self, later: Turn) {
        self.to = later.to;
        self.worst = self.worst.max(later.worst);
        self.activated = later.activated.or(self.activated);
        self.late_acknowledgement |= later.late_acknowledgement;
    }
}

/// An observe-time or a clear-delay that was running, or the last of several in a row: the others were short. How far it had come is a share of its
/// whole length: at 1 it changes the state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wait {
    /// When it stopped running.
    pub end: Stamp,
    /// How far it was at its beginning: more than 0 after a gap.
    pub from: f64,
    /// How far it was at its end.
    pub to: f64,
    /// How far the farthest of those before it came, of several in a row.
    pub before: f64,
}

impl Merge for Wait {
    fn absorb(&mut self, later: Wait) {
        *self = Wait { before: self.before.max(self.to).max(later.before), ..later };
    }
}

/// A time in which nothing could be heard, or several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// When it was over.
    pub end: Stamp,
}

impl Merge for Gap {
    fn absorb(&mut self, later: Gap) {
        self.end = later.end;
    }
}
