//! `base/alarms/<thing>/<property>/<level>`: an alarm's present state, retained for later subscribers.
//!
//! It changes with events only, not with values: `value` is the one of the latest event. For an idled alarm that is
//! the value that ended the activation.

use super::{Named, Plain, PlainNumber, Rfc3339, time_quality, to_bytes};
use crate::domain::engine::AlarmView;
use crate::domain::model::AlarmType;
use serde::Serialize;

/// The payload of a state.
#[derive(Serialize)]
pub(crate) struct Payload<'a> {
    #[serde(flatten)]
    named: Named<'a>,
    gateway: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    state: &'a str,
    active: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    uncertain: bool,
    occurrence: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
    value: Option<Plain<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    average: Option<Option<PlainNumber>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged: Option<Acknowledged<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shelved: Option<Shelved<'a>>,
}

#[derive(Serialize)]
struct Shelved<'a> {
    until: Rfc3339,
    at: Rfc3339,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'a str>,
}

#[derive(Serialize)]
struct Acknowledged<'a> {
    at: Rfc3339,
    by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'a str>,
}

/// The state as JSON.
pub fn render(view: AlarmView<'_>, gateway: &str) -> Vec<u8> {
    to_bytes(&payload(view, gateway))
}

/// The payload of a state, on its own or as a part of another one.
pub(crate) fn payload<'a>(view: AlarmView<'a>, gateway: &'a str) -> Payload<'a> {
    let last = view.last_change();
    let averages = view.definition().trigger.alarm_type() == AlarmType::Average;
    Payload {
        named: Named::from(view),
        gateway,
        description: &view.definition().description,
        state: view.state().as_str(),
        active: view.state().is_active(),
        uncertain: view.is_uncertain(),
        occurrence: view.occurrence(),
        since: view.since().map(Rfc3339),
        // A state that was taken over from another instance has no number of this gateway.
        seq: last.map(|l| l.seq).filter(|seq| *seq > 0),
        at: last.map(|l| Rfc3339(l.at)),
        time: last.and_then(|l| time_quality(l.at)),
        cause: last.map(|l| l.cause.as_str()),
        value: last.and_then(|l| l.value.as_ref()).map(Plain),
        average: averages.then(|| last.and_then(|l| l.average).map(PlainNumber)),
        acknowledged: view.acknowledgement().map(|a| Acknowledged {
            at: Rfc3339(a.at),
            by: &a.by,
            comment: a.comment.as_deref(),
        }),
        shelved: view.shelving().map(|s| Shelved {
            until: Rfc3339(s.until),
            at: Rfc3339(s.at),
            by: s.by.as_deref(),
            comment: s.comment.as_deref(),
        }),
    }
}
