//! `base/replies`, or the response topic that a command names: the answers.

use super::{Rfc3339, to_bytes};
use crate::time::Stamp;
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

/// What became of a command for one alarm.
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

/// The answer to a command that was carried out, or, with an `error`, to one that came to nothing.
pub(crate) fn answer(request: &Value, error: Option<String>, body: impl Serialize) -> Vec<u8> {
    to_bytes(&Reply { request, ok: error.is_none(), error, body })
}

/// The answer to a command that was refused as a whole.
pub(crate) fn refused(request: Value, error: String) -> Vec<u8> {
    #[derive(Serialize)]
    struct Nothing {}
    answer(&request, Some(error), Nothing {})
}
