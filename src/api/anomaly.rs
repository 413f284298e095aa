//! `base/anomalies/<model>`: the state of a model; and the answers to commands about models and anomalies.

use super::{PlainNumber, Rfc3339, reply, to_bytes};
use crate::api::topics::{decode, encode};
use crate::domain::anomaly::life::Found;
use crate::domain::anomaly::model::Model;
use crate::domain::anomaly::threshold::Thresholds;
use crate::domain::model::Severity;
use crate::domain::time::{Span, Stamp};
use crate::io::store::samples::Extent;
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use serde_json::Value;

/// Maximum number of things that the state of a model lists one by one.
const LISTED: usize = 100;

/// The state of a model, for its topic and for answers.
#[derive(Debug)]
pub(crate) struct ModelState<'a> {
    pub(crate) model: &'a str,
    pub(crate) state: &'static str,
    pub(crate) progress: Option<f64>,
    pub(crate) error: Option<&'a str>,
    pub(crate) revision: u64,
    pub(crate) built_at: Option<Stamp>,
    /// The built models with the thresholds in effect, by thing; `None` for the model of a whole fleet.
    pub(crate) models: Vec<(Option<&'a str>, &'a Model, Thresholds)>,
    pub(crate) refresh: RefreshState,
    pub(crate) warning: Option<String>,
    pub(crate) history: Extent,
    pub(crate) open: usize,
}

/// Evaluation of new values by a model: its settings, and the times of the last and the next run.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct RefreshState {
    pub(crate) on: bool,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "span")]
    pub(crate) every: Option<Span>,
    pub(crate) alarms: bool,
    pub(crate) save: bool,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "stamp")]
    pub(crate) last: Option<Stamp>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "stamp")]
    pub(crate) next: Option<Stamp>,
}

#[expect(clippy::ref_option, reason = "serde passes fields by reference")]
fn span<S: Serializer>(span: &Option<Span>, serializer: S) -> Result<S::Ok, S::Error> {
    span.map(|span| span.to_string()).serialize(serializer)
}

#[expect(clippy::ref_option, reason = "serde passes fields by reference")]
fn stamp<S: Serializer>(stamp: &Option<Stamp>, serializer: S) -> Result<S::Ok, S::Error> {
    stamp.map(Rfc3339).serialize(serializer)
}

struct Levels<'a>(&'a Thresholds);

impl Serialize for Levels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("unusual", &PlainNumber(rounded(self.0.unusual)))?;
        for (severity, least) in &self.0.least {
            map.serialize_entry(severity.as_str(), &PlainNumber(rounded(*least)))?;
        }
        map.end()
    }
}

/// Rounds to three decimal places; scores are no more exact.
fn rounded(score: f64) -> f64 {
    (score * 1_000.0).round() / 1_000.0
}

#[derive(Serialize)]
struct HistoryPayload {
    samples: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Rfc3339>,
}

#[derive(Serialize)]
struct OfThing<'a> {
    thing: &'a str,
    samples: usize,
    segments: usize,
    clusters: usize,
    thresholds: Levels<'a>,
    anomalies_per_day: f64,
}

#[derive(Serialize)]
struct Learnt<'a> {
    from: Rfc3339,
    to: Rfc3339,
    samples: usize,
    segments: usize,
    clusters: usize,
    thresholds: Levels<'a>,
    anomalies_per_day: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    things: Vec<OfThing<'a>>,
}

#[derive(Serialize)]
struct Payload<'a> {
    model: &'a str,
    state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "is_zero")]
    revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    built_at: Option<Rfc3339>,
    #[serde(flatten)]
    learnt: Option<Learnt<'a>>,
    refresh: RefreshState,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'a str>,
    history: HistoryPayload,
    open: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl ModelState<'_> {
    fn learnt(&self) -> Option<Learnt<'_>> {
        // Of models per thing, the one with the lowest threshold stands for all.
        let lowest = self.models.iter().min_by(|a, b| a.2.unusual.total_cmp(&b.2.unusual));
        let (_, _, thresholds) = lowest?;
        let trained = || self.models.iter().map(|(_, model, _)| &model.trained);
        let things = self.models.iter().filter_map(|(thing, model, thresholds)| {
            Some(OfThing {
                thing: (*thing)?,
                samples: model.trained.samples,
                segments: model.trained.segments,
                clusters: model.normal.clusters,
                thresholds: Levels(thresholds),
                anomalies_per_day: rounded(model.trained.anomalies_per_day),
            })
        });
        Some(Learnt {
            from: Rfc3339(trained().map(|trained| trained.from).min()?),
            to: Rfc3339(trained().map(|trained| trained.to).max()?),
            samples: trained().map(|trained| trained.samples).sum(),
            segments: trained().map(|trained| trained.segments).sum(),
            clusters: self.models.iter().map(|(_, model, _)| model.normal.clusters).max()?,
            thresholds: Levels(thresholds),
            anomalies_per_day: rounded(trained().map(|trained| trained.anomalies_per_day).sum()),
            things: things.take(LISTED).collect(),
        })
    }

    fn payload(&self) -> Payload<'_> {
        let Extent { samples, bytes, covers } = self.history;
        let history = HistoryPayload {
            samples,
            bytes,
            from: covers.map(|(from, _)| Rfc3339(from)),
            to: covers.map(|(_, to)| Rfc3339(to)),
        };
        Payload {
            model: self.model,
            state: self.state,
            progress: self.progress,
            error: self.error,
            revision: self.revision,
            built_at: self.built_at.map(Rfc3339),
            learnt: self.learnt(),
            refresh: self.refresh,
            warning: self.warning.as_deref(),
            history,
            open: self.open,
        }
    }

    /// The payload of the model's retained topic.
    pub(crate) fn render(&self) -> Vec<u8> {
        to_bytes(&self.payload())
    }
}

/// The id of an anomaly, `model/thing/start`, with the names percent-encoded.
pub(crate) fn id(model: &str, thing: &str, from: Stamp) -> String {
    format!("{}/{}/{from}", encode(model), encode(thing))
}

/// The model, the thing and the start time in an anomaly's id; `None` for any other text.
pub(crate) fn named(id: &str) -> Option<(String, String, Stamp)> {
    let mut parts = id.splitn(3, '/');
    let (model, thing) = (decode(parts.next()?).into_owned(), decode(parts.next()?).into_owned());
    Some((model, thing, Stamp::parse(parts.next()?).ok()?))
}

#[derive(Serialize)]
struct AnomalyPayload<'a> {
    id: String,
    model: &'a str,
    thing: &'a str,
    from: Rfc3339,
    to: Rfc3339,
    open: bool,
    score: f64,
    index: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alarm: Option<&'a str>,
}

/// An anomaly with its model and its thing, and the id of its alarm if it has raised one.
pub(crate) type Listed<'a> = (&'a str, &'a str, &'a Found, Option<String>);

/// The answer to `anomaly-list`.
pub(crate) fn list(name: &Value, found: &[Listed<'_>], next: bool) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        anomalies: Vec<AnomalyPayload<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next: Option<String>,
    }
    let anomalies: Vec<AnomalyPayload<'_>> = found
        .iter()
        .map(|(model, thing, found, alarm)| AnomalyPayload {
            id: id(model, thing, found.anomaly.from),
            model,
            thing,
            from: Rfc3339(found.anomaly.from),
            to: Rfc3339(found.anomaly.to),
            open: !found.is_over,
            score: rounded(found.anomaly.score),
            index: rounded(found.anomaly.index),
            severity: found.anomaly.severity.map(Severity::as_str),
            alarm: alarm.as_deref(),
        })
        .collect();
    let next = anomalies.last().filter(|_| next).map(|last| last.id.clone());
    reply::answer(name, None, Body { anomalies, next })
}

/// The answer to `anomaly-model` with the states of models; [`with_series`] adds values.
pub(crate) fn models(name: &Value, models: &[ModelState<'_>]) -> Value {
    let models: Vec<Value> =
        models.iter().map(|model| serde_json::to_value(model.payload()).unwrap_or_default()).collect();
    let mut answer = serde_json::json!({ "ok": true, "models": models });
    if !name.is_null()
        && let Some(members) = answer.as_object_mut()
    {
        members.insert("request".to_owned(), name.clone());
    }
    answer
}

/// Adds the values of a property to an answer, as rows of milliseconds since 1970, value and score.
pub(crate) fn with_series(
    mut answer: Value,
    thing: &str,
    property: &str,
    rows: &[(Stamp, f64, Option<f64>)],
) -> Vec<u8> {
    let row = |(at, value, score): &(Stamp, f64, Option<f64>)| {
        serde_json::json!([at.as_micros().div_euclid(1_000), value, score.map(rounded)])
    };
    let rows: Vec<Value> = rows.iter().map(row).collect();
    if let Some(members) = answer.as_object_mut() {
        members.insert("series".to_owned(), serde_json::json!({ "thing": thing, "property": property, "rows": rows }));
    }
    to_bytes(&answer)
}

/// The payload of a score or an index: a plain number.
pub(crate) fn saved(number: f64) -> Vec<u8> {
    to_bytes(&PlainNumber(rounded(number)))
}
