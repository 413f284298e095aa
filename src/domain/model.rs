//! What is watched: ids, alarm definitions, limits and severities, compiled and immutable.
//!
//! [`crate::config`] builds a [`Model`] out of TOML and finds everything that is wrong with it, so
//! nothing here can be invalid and nobody who reads it doubts a value. The names are those of ISA-18.2
//! and of the W3C Web of Things.

mod canonical;
mod condition;
pub mod encoding;
mod glob;
mod share;
mod trigger;
mod value;

pub use condition::{Condition, Deadband, Operator, Verdict};
pub use glob::{Glob, MAX_PATTERN, Selector};
pub use share::{Share, owner, owner_of_alarm};
pub use trigger::{AlarmType, Trigger};
pub use value::{CutText, MAX_TEXT, Text, Value, ValueRef, ValueType};

use crate::domain::small_list::SmallList;
use canonical::Quote;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The name of a device.
pub type ThingId = Arc<str>;

/// The name of one value of a thing; parts of a nested JSON object are joined by dots (`ENERGY.Power`).
pub type PropertyName = Arc<str>;

/// The free label that tells the alarms of one property apart (`LL`, `HH`, `Fatal`). Nothing orders levels.
pub type Level = Arc<str>;

/// `thing/property/level`: the identity of an alarm, for ever. Parts that contain a character with a meaning in
/// topics are percent-encoded, so that the text is unambiguous.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlarmId(Arc<str>);

impl AlarmId {
    /// The id of the alarm with this level on this property.
    pub fn new(thing: &str, property: &str, level: &str) -> AlarmId {
        use encoding::encode;
        AlarmId(Arc::from(format!("{}/{}/{}", encode(thing), encode(property), encode(level))))
    }

    /// The id as text, as topics, events and commands write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for AlarmId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AlarmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an alarm is called and what people are told of it, wherever it appears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmFacts {
    /// Its identity.
    pub id: AlarmId,
    /// The thing that it watches.
    pub thing: ThingId,
    /// The property that it watches.
    pub property: PropertyName,
    /// Its label among the alarms of that property.
    pub level: Level,
    /// What kind of trigger it has.
    pub alarm_type: AlarmType,
    /// Information for people.
    pub severity: Severity,
    /// One line for people; may be empty.
    pub title: Arc<str>,
}

/// How bad it would be. Information only: no behaviour hangs on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A state change of the thing, nothing more.
    Info,
    /// May need follow-up.
    Warning,
    /// An error state of the thing.
    Error,
    /// Something may get damaged.
    Critical,
}

impl Severity {
    /// All severities, mildest first.
    pub const ALL: [Severity; 4] = [Severity::Info, Severity::Warning, Severity::Error, Severity::Critical];

    /// As configuration and events spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
            Severity::Critical => "critical",
        }
    }
}

impl Severity {
    fn canonical(self) -> &'static str {
        match self {
            Severity::Info => "Info",
            Severity::Warning => "Warning",
            Severity::Error => "Error",
            Severity::Critical => "Critical",
        }
    }
}

/// What a gap in observation does to an observe-time that is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnGap {
    /// As if the time had stood still.
    Pause,
    /// The gap counts: what fell due in it fires at its end.
    Count,
    /// Observe-times start anew at the gap's end; samples are dropped.
    Reset,
}

impl OnGap {
    fn canonical(self) -> &'static str {
        match self {
            OnGap::Pause => "Pause",
            OnGap::Count => "Count",
            OnGap::Reset => "Reset",
        }
    }
}

/// One entry of a definition's `thing`: an id, or a pattern over ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ThingPattern {
    /// Exactly this thing: the alarm exists from the start.
    Exactly(ThingId),
    /// Every thing that fits: its alarm exists from the moment in which it is first heard.
    Matching(Box<Glob>),
}

impl ThingPattern {
    /// The id or the pattern as it was written.
    pub fn as_str(&self) -> &str {
        match self {
            ThingPattern::Exactly(id) => id,
            ThingPattern::Matching(glob) => glob.as_str(),
        }
    }

    /// Whether the pattern covers `thing`.
    pub fn covers(&self, thing: &str) -> bool {
        match self {
            ThingPattern::Exactly(id) => **id == *thing,
            ThingPattern::Matching(glob) => glob.matches(thing),
        }
    }

    /// Whether some thing is covered by both.
    pub fn overlaps(&self, other: &ThingPattern) -> bool {
        match (self, other) {
            (ThingPattern::Exactly(id), pattern) | (pattern, ThingPattern::Exactly(id)) => pattern.covers(id),
            (ThingPattern::Matching(a), ThingPattern::Matching(b)) => a.overlaps(b),
        }
    }
}

/// One `[[alarm]]`: what is watched on which things.
#[derive(Debug, Clone, PartialEq)]
pub struct AlarmDefinition {
    /// The things it is for; one alarm each.
    pub things: SmallList<ThingPattern>,
    /// All else. Where there are very many definitions, most differ in their things alone, and share this.
    pub attributes: Arc<Attributes>,
}

/// What a definition says of its alarms (ISA-18.2: alarm attributes). A definition is read as its attributes are.
#[derive(Debug, Clone, PartialEq)]
pub struct Attributes {
    /// The property that it watches.
    pub property: PropertyName,
    /// Its label among the alarms of that property.
    pub level: Level,
    /// What activates it.
    pub trigger: Trigger,
    /// What a gap does to it.
    pub on_gap: OnGap,
    /// Whether it is enabled unless an operator says otherwise.
    pub enabled: bool,
    /// Information for people. An anomaly alarm has this one until its first anomaly.
    pub severity: Severity,
    /// One line for people; may be empty.
    pub title: Arc<str>,
    /// More for people; may be empty.
    pub description: Arc<str>,
}

impl AlarmDefinition {
    /// What is told of the alarm on one thing.
    pub fn facts(&self, thing: &ThingId) -> AlarmFacts {
        AlarmFacts {
            id: AlarmId::new(thing, &self.property, &self.level),
            thing: thing.clone(),
            property: self.property.clone(),
            level: self.level.clone(),
            alarm_type: self.trigger.alarm_type(),
            severity: self.severity,
            title: self.title.clone(),
        }
    }

    /// Whether the definition covers `thing`.
    pub fn covers(&self, thing: &str) -> bool {
        self.things.iter().any(|pattern| pattern.covers(thing))
    }

    /// A number that changes when the trigger does: an alarm with another trigger starts anew.
    pub fn trigger_fingerprint(&self) -> u64 {
        fnv(&self.trigger.canonical(canonical::quoted))
    }

    /// A number that changes when anything in the definition does: what an operator switched at run time yields then.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint_by(canonical::quoted)
    }

    /// Both numbers as 0.1.0 made them: of the trigger, and of all. They differ where a text has characters that nobody
    /// can see.
    pub fn earlier_fingerprints(&self) -> (u64, u64) {
        (fnv(&self.trigger.canonical(canonical::earlier)), self.fingerprint_by(canonical::earlier))
    }

    fn fingerprint_by(&self, quoted: Quote) -> u64 {
        let things: Vec<&str> = self.things.iter().map(ThingPattern::as_str).collect();
        fnv(&format!("{} {}", canonical::list(&things, |thing| quoted(thing)), self.attributes.canonical_by(quoted)))
    }
}

impl Deref for AlarmDefinition {
    type Target = Attributes;

    fn deref(&self) -> &Attributes {
        &self.attributes
    }
}

impl Attributes {
    /// One text per meaning: see [`canonical`].
    fn canonical_by(&self, quoted: Quote) -> String {
        let Attributes { property, level, trigger, on_gap, enabled, severity, title, description } = self;
        let (trigger, on_gap, severity) = (trigger.canonical(quoted), on_gap.canonical(), severity.canonical());
        let (property, level) = (quoted(property), quoted(level));
        let (title, description) = (quoted(title), quoted(description));
        format!("{property} {level} {trigger} {on_gap} {enabled} {severity} {title} {description}")
    }
}

/// FNV-1a, 64 bit: stable over releases, unlike the standard library's hasher.
pub(crate) fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Everything the engine has to know about the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// In the order of the file; the alarms of one message are decided in this order.
    pub definitions: Vec<AlarmDefinition>,
    /// Things are remembered up to this number; further ones are reported and not watched.
    pub max_things: usize,
    /// Bytes of the longest id of a thing that is heard and that no definition names.
    pub max_id_bytes: usize,
    /// The things that are evaluated here; the others are somebody else's.
    pub share: Share,
}

impl Default for Model {
    fn default() -> Model {
        Model { definitions: Vec::new(), max_things: 0, max_id_bytes: MAX_ID_BYTES, share: Share::default() }
    }
}

/// Bytes of the longest id of a thing that is heard, unless the configuration says otherwise.
pub const MAX_ID_BYTES: usize = 256;
