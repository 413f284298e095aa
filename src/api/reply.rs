//! `base/replies`, or the response topic that a command names: the answers.

use super::commands::MAX_LISTED;
use super::{Rfc3339, to_bytes};
use crate::config::report::Line;
use crate::domain::engine::Outline;
use crate::domain::model::AlarmId;
use crate::domain::time::Stamp;
use serde::Serialize;
use serde_json::Value;

#[derive(Serialize)]
struct Reply<'a, T> {
    #[serde(skip_serializing_if = "Value::is_null")]
    request: &'a Value,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    body: T,
}

/// The result of a command for one alarm.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome<'a> {
    pub(crate) alarm: &'a str,
    pub(crate) state: &'a str,
    pub(crate) changed: bool,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "stamp")]
    pub(crate) shelved_until: Option<Stamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<&'a str>,
}

#[expect(clippy::ref_option, reason = "serde passes fields by reference")]
fn stamp<S: serde::Serializer>(stamp: &Option<Stamp>, serializer: S) -> Result<S::Ok, S::Error> {
    stamp.map(Rfc3339).serialize(serializer)
}

/// The answer to a command. `ok` is false if there is an `error`.
pub(crate) fn answer(request: &Value, error: Option<String>, body: impl Serialize) -> Vec<u8> {
    to_bytes(&Reply { request, ok: error.is_none(), error, body })
}

/// The alarms that a new configuration added, removed, changed and kept.
#[derive(Serialize)]
pub(crate) struct Names<'a> {
    added: Vec<&'a str>,
    removed: Vec<&'a str>,
    changed: Vec<&'a str>,
    kept: usize,
    /// Number of ids that are left out of the three lists; each has at most [`MAX_LISTED`].
    #[serde(skip_serializing_if = "is_zero")]
    not_listed: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl<'a> From<&'a Outline> for Names<'a> {
    fn from(outline: &'a Outline) -> Names<'a> {
        let Outline { added, removed, changed, kept } = outline;
        let listed = |ids: &'a [AlarmId]| ids.iter().take(MAX_LISTED).map(AlarmId::as_str).collect();
        let not_listed = [added, removed, changed].iter().map(|ids| ids.len().saturating_sub(MAX_LISTED)).sum();
        Names { added: listed(added), removed: listed(removed), changed: listed(changed), kept: *kept, not_listed }
    }
}

/// The answer to a command that failed because of mistakes in the configuration.
pub(crate) fn with_problems(request: &Value, error: String, problems: &[Line]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        #[serde(skip_serializing_if = "<[Line]>::is_empty")]
        problems: &'a [Line],
    }
    answer(request, Some(error), Body { problems: problems.get(..MAX_LISTED).unwrap_or(problems) })
}

/// The answer to a command that was refused as a whole.
pub(crate) fn refused(request: Value, error: String) -> Vec<u8> {
    #[derive(Serialize)]
    struct Nothing {}
    answer(&request, Some(error), Nothing {})
}
