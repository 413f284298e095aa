//! `base/events/<thing>/<property>/<level>`: one state change.

use super::{Named, Plain, PlainNumber, Rfc3339, time_quality, to_bytes};
use crate::domain::engine::{Event, State};
use serde::Serialize;

/// The payload of an event.
#[derive(Serialize)]
pub(crate) struct Payload<'a> {
    id: String,
    seq: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    seq_gap: bool,
    gateway: &'a str,
    #[serde(flatten)]
    named: Named<'a>,
    from: &'a str,
    to: &'a str,
    at: Rfc3339,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Rfc3339>,
    occurrence: u64,
    cause: &'a str,
    value: Option<Plain<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_at: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    average: Option<Option<PlainNumber>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'a str>,
}

/// The event as JSON.
pub fn render(event: &Event, gateway: &str) -> Vec<u8> {
    to_bytes(&payload(event, gateway))
}

/// The event of a replay as JSON. Its times are never marked as unsynchronised: a recording made by hand may begin in
/// 1970.
pub fn render_recorded(event: &Event, gateway: &str) -> Vec<u8> {
    to_bytes(&Payload { time: None, ..payload(event, gateway) })
}

/// The payload of an event, on its own or as a part of another one.
pub(crate) fn payload<'a>(event: &'a Event, gateway: &'a str) -> Payload<'a> {
    let facts = &event.alarm;
    let averages = facts.alarm_type == crate::domain::model::AlarmType::Average;
    Payload {
        id: format!("{gateway}-{}", event.seq),
        seq: event.seq,
        seq_gap: event.seq_gap,
        gateway,
        named: Named::from(facts.as_ref()),
        from: event.from.as_str(),
        to: event.to.as_str(),
        at: Rfc3339(event.at),
        time: time_quality(event.at),
        since: event.since.filter(|_| event.to == State::Activated).map(Rfc3339),
        occurrence: event.occurrence,
        cause: event.cause.as_str(),
        value: event.value.as_ref().map(Plain),
        value_at: event.value_at.map(Rfc3339),
        average: averages.then(|| event.average.map(PlainNumber)),
        by: event.by.as_deref(),
        comment: event.comment.as_deref(),
    }
}
