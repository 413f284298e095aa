//! The contract with users over MQTT, in both directions.
//!
//! Topics are built in [`topics`] and classified in [`channel`]. Published are [`event`], [`state`], [`reaction`],
//! [`status`], models (`anomaly`) and figures ([`alarm_metrics`], [`openmetrics`] for HTTP); [`commands`] are read and
//! answered, [`execute`] applies them and [`explain`] gives the reasons for an alarm's state. [`home_assistant`]
//! announces alarms as entities, `retained` reads states back.
//!
//! Pure functions between the engine's types and bytes: nothing is kept and nothing is sent. One value always gives the
//! same bytes, so a message that is sent twice is equal.

pub mod alarm_metrics;
pub(crate) mod anomaly;
pub mod channel;
pub mod commands;
pub mod event;
pub mod execute;
pub mod explain;
pub(crate) mod history;
pub mod home_assistant;
pub mod openmetrics;
pub mod problem;
pub mod reaction;
pub(crate) mod reply;
pub(crate) mod retained;
pub mod state;
pub mod status;
pub mod topics;
pub(crate) mod unstored;

use crate::domain::engine::AlarmView;
use crate::domain::model::Value;
use crate::domain::time::Stamp;
use serde::{Serialize, Serializer};

/// A value in a payload: numbers without a fraction are written as integers.
pub(crate) struct Plain<'a>(pub(crate) &'a Value);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Number(number) => PlainNumber(*number).serialize(serializer),
            Value::Boolean(boolean) => serializer.serialize_bool(*boolean),
            Value::Text(text) => serializer.serialize_str(text),
        }
    }
}

/// A value as JSON, as payloads write it.
pub(crate) fn value_as_json(value: &Value) -> serde_json::Value {
    serde_json::to_value(Plain(value)).unwrap_or_default()
}

/// A number in a payload: an integer if it has no fraction and is at most 2^53 in magnitude, else a float.
pub(crate) struct PlainNumber(pub(crate) f64);

impl Serialize for PlainNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// The largest magnitude up to which every integer has an exact `f64`: 2^53.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if self.0.fract() == 0.0 && self.0.abs() <= EXACT {
            #[expect(clippy::cast_possible_truncation, reason = "an integer of at most 2^53")]
            return serializer.serialize_i64(self.0 as i64);
        }
        serializer.serialize_f64(self.0)
    }
}

/// A time stamp as RFC 3339 text in UTC, with microseconds at most.
pub(crate) struct Rfc3339(pub(crate) Stamp);

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// `"unsynchronised"` for a stamp taken before the clock was set; absent for a plausible one.
fn time_quality(stamp: Stamp) -> Option<&'static str> {
    (!stamp.is_plausible()).then_some("unsynchronised")
}

/// Initial capacity of a payload in bytes; most payloads are smaller.
const USUAL: usize = 512;

/// A payload as JSON. Structs of numbers and texts cannot fail; an error would become the payload's `error` member.
fn to_bytes(payload: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL);
    match serde_json::to_writer(&mut bytes, payload) {
        Ok(()) => bytes,
        Err(error) => format!("{{\"error\":\"{error}\"}}").into_bytes(),
    }
}

/// The identity of an alarm, flattened into every payload about one.
#[derive(Serialize)]
struct Named<'a> {
    alarm: &'a str,
    thing: &'a str,
    property: &'a str,
    level: &'a str,
    #[serde(rename = "type")]
    alarm_type: &'a str,
    severity: &'a str,
    title: &'a str,
}

impl<'a> From<&'a crate::domain::model::AlarmFacts> for Named<'a> {
    fn from(facts: &'a crate::domain::model::AlarmFacts) -> Named<'a> {
        Named {
            alarm: facts.id.as_str(),
            thing: &facts.thing,
            property: &facts.property,
            level: &facts.level,
            alarm_type: facts.alarm_type.as_str(),
            severity: facts.severity.as_str(),
            title: title(facts),
        }
    }
}

impl<'a> From<AlarmView<'a>> for Named<'a> {
    fn from(view: AlarmView<'a>) -> Named<'a> {
        let definition = view.definition();
        Named {
            alarm: view.id().as_str(),
            thing: view.thing(),
            property: &definition.property,
            level: &definition.level,
            alarm_type: definition.trigger.alarm_type().as_str(),
            severity: view.severity().as_str(),
            title: if definition.title.is_empty() { view.id().as_str() } else { &definition.title },
        }
    }
}

/// The title, or the id where none was configured.
fn title(facts: &crate::domain::model::AlarmFacts) -> &str {
    if facts.title.is_empty() { facts.id.as_str() } else { &facts.title }
}
