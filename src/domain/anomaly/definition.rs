//! What a configuration says about a model: which things and properties it is about, how it is built, refreshed and kept.
//!
//! Compiled by [`crate::config`] and never doubted again. Its alarms are definitions like all others
//! ([`AnomalyDefinition::alarm`]); who feeds them is in [`crate::daemon`].

use super::life::OnDeletion;
use super::model::Settings;
use crate::domain::model::{PropertyName, Severity, ThingPattern};
use crate::domain::time::Span;
use std::sync::Arc;

/// One `[[anomaly]]` with a model.
#[derive(Debug, Clone, PartialEq)]
pub struct AnomalyDefinition {
    /// Its name, unique.
    pub name: Arc<str>,
    /// The place of its alarm's definition in [`crate::domain::model::Model::definitions`].
    pub alarm: usize,
    /// The things whose history it learns from and which it watches.
    pub things: Vec<ThingPattern>,
    /// The properties that it looks at together; the first sets the pace, and its alarm is on that.
    pub properties: Vec<PropertyName>,
    /// How it is built. Another build is needed when this changes.
    pub settings: Settings,
    /// How many clusters; none: as many as the past suggests.
    pub clusters: Option<usize>,
    /// One model for each thing, or one for all.
    pub per: Per,
    /// Anomalies less than this apart are one.
    pub join: Span,
    /// The least score of each severity that is used, mildest first; none: as derived when it was built.
    pub severities: Option<Vec<(Severity, f64)>>,
    /// For how long values are kept.
    pub history: Span,
    /// How many bytes of them are kept at most, the newest.
    pub history_bytes: u64,
    /// It is built without being asked when there is so much history; none: never.
    pub build: Option<Span>,
    /// Whether and how it looks at what is new; none: only when somebody asks.
    pub refresh: Option<Refresh>,
    /// What becomes of the alarm of an anomaly that is deleted.
    pub on_deletion: OnDeletion,
    /// More alarms a day than this are a storm.
    pub storm: f64,
}

impl AnomalyDefinition {
    /// Whether it is for this thing.
    pub fn covers(&self, thing: &str) -> bool {
        self.things.iter().any(|pattern| pattern.covers(thing))
    }

    /// Whether what was built by `other` can be used by this one as it is: thresholds and refreshing do not matter.
    pub fn builds_like(&self, other: &AnomalyDefinition) -> bool {
        self.properties == other.properties
            && self.settings == other.settings
            && self.clusters == other.clusters
            && self.per == other.per
    }
}

/// For whom a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Per {
    /// Each thing has its own past.
    #[default]
    Thing,
    /// Like things share one.
    Fleet,
}

impl Per {
    /// Both.
    pub const ALL: [Per; 2] = [Per::Thing, Per::Fleet];

    /// As configuration and output spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Per::Thing => "thing",
            Per::Fleet => "fleet",
        }
    }
}

/// The recurring look at what is new.
#[derive(Debug, Clone, PartialEq)]
pub struct Refresh {
    /// How often.
    pub every: Span,
    /// Whether it falls on whole multiples of that since midnight, UTC.
    pub aligned: bool,
    /// On which things; empty: all of the model's.
    pub things: Vec<ThingPattern>,
    /// Whether it makes alarms.
    pub alarms: bool,
    /// Whether it publishes score and index.
    pub save: bool,
}
