//! `base/reactions/<reaction>`: the outcome of each delivery attempt.

use super::{Rfc3339, to_bytes, value_as_json};
use crate::domain::engine::Event;
use crate::domain::model::{AlarmDefinition, AlarmFacts, Condition, Operator, Trigger, Value};
use crate::domain::notify::delivery::Occasion;
use crate::domain::notify::queue::{DeliveryEnd, Report};
use crate::domain::time::{Now, Stamp};
use serde::Serialize;
use serde_json::{Map, Value as Json, json};
use std::fmt::Write as _;
use std::sync::Arc;

#[derive(Serialize)]
struct Payload<'a> {
    delivery: &'a str,
    gateway: &'a str,
    reaction: &'a str,
    alarm: &'a str,
    event: &'a str,
    kind: &'a str,
    outcome: &'a str,
    attempt: u32,
    at: Rfc3339,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_at: Option<Rfc3339>,
}

/// The data of an event that its deliveries need. `payload` is the event as published; `opened` is the id and the time
/// of the event that began its occurrence.
pub(crate) fn occasion(
    event: &Event,
    payload: &[u8],
    definition: Option<&AlarmDefinition>,
    gateway: &str,
    opened: Option<(String, Stamp)>,
) -> Occasion {
    let payload = Arc::from(std::str::from_utf8(payload).unwrap_or_default());
    Occasion::new(event, gateway, payload, facts(&event.alarm, definition).into(), opened)
}

/// The `occurrence` of an event's payload; 0 if it is absent.
pub(crate) fn occurrence(event: &str) -> u64 {
    #[derive(serde::Deserialize)]
    struct Event {
        occurrence: u64,
    }
    serde_json::from_str::<Event>(event).map_or(0, |event| event.occurrence)
}

/// The template variables about an alarm beyond its event, as a JSON object.
fn facts(facts: &AlarmFacts, definition: Option<&AlarmDefinition>) -> String {
    let mut alarm = Map::new();
    let title = if facts.title.is_empty() { facts.id.as_str() } else { &facts.title };
    let mut put = |name: &str, value: Json| alarm.insert(name.to_owned(), value);
    put("id", json!(facts.id.as_str()));
    put("thing", json!(&*facts.thing));
    put("property", json!(&*facts.property));
    put("level", json!(&*facts.level));
    put("type", json!(facts.alarm_type.as_str()));
    put("severity", json!(facts.severity.as_str()));
    put("title", json!(title));
    put("description", json!(definition.map_or("", |definition| &*definition.description)));
    let (operator, limit) = definition.and_then(|definition| comparison(&definition.trigger)).unwrap_or_default();
    put("operator", operator);
    put("limit", limit);
    let observe_time = definition.map_or(Json::Null, |definition| json!(definition.trigger.observe_time().to_string()));
    put("observe_time", observe_time);
    json!({ "alarm": alarm }).to_string()
}

/// Operator and limit of a trigger; `None` if it has no condition.
fn comparison(trigger: &Trigger) -> Option<(Json, Json)> {
    let condition = trigger.condition()?;
    let of_equal = |equal: &bool| if *equal { Operator::Equal } else { Operator::NotEqual };
    let (operator, limit) = match condition {
        // The limit is the middle of the deadband.
        Condition::Number { operator, low, high } => (*operator, Value::Number(low + (high - low) / 2.0)),
        Condition::Text { equal, limit } => (of_equal(equal), Value::Text(limit.clone())),
        Condition::Boolean { equal, limit } => (of_equal(equal), Value::Boolean(*limit)),
    };
    Some((json!(operator.symbol()), value_as_json(&limit)))
}

/// The report of an attempt as JSON.
pub fn render(report: &Report, reaction: &str, gateway: &str, now: Now) -> Vec<u8> {
    let delivery = &report.delivery;
    let (outcome, answer, reason, retry_at) = match &report.outcome {
        DeliveryEnd::Delivered { answer, warnings } => {
            ("delivered", Some(answer.as_str()), (!warnings.is_empty()).then(|| warnings.join("; ")), None)
        }
        DeliveryEnd::Failed { reason, retry_at } => {
            ("failed", None, Some(reason.clone()), Some(Rfc3339(now.stamp(*retry_at))))
        }
        DeliveryEnd::Dropped { reason, .. } => ("dropped", None, Some(reason.clone()), None),
    };
    to_bytes(&Payload {
        delivery: &delivery.id,
        gateway,
        reaction,
        alarm: delivery.alarm.as_str(),
        event: &delivery.occasion.event_id,
        kind: delivery.kind.as_str(),
        outcome,
        attempt: report.attempt,
        at: Rfc3339(now.wall),
        answer,
        reason,
        retry_at,
    })
}

/// The report of a stored delivery that is dropped at the start, for the given reason.
pub fn orphan(delivery: &str, reaction: &str, reason: &str, gateway: &str, now: Now) -> Vec<u8> {
    #[derive(Serialize)]
    struct Orphan<'a> {
        delivery: &'a str,
        gateway: &'a str,
        reaction: &'a str,
        outcome: &'a str,
        at: Rfc3339,
        reason: &'a str,
    }
    to_bytes(&Orphan { delivery, gateway, reaction, outcome: "dropped", at: Rfc3339(now.wall), reason })
}

/// The state of one reaction to one alarm, for `explain`.
#[derive(Serialize)]
pub(crate) struct Explained {
    /// The reaction's name.
    pub(crate) reaction: String,
    /// True if the receiver has taken the present activation.
    pub(crate) delivered: bool,
    /// Time of the next scheduled delivery; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<Rfc3339>,
    /// Deliveries that are queued.
    pub(crate) waiting: Vec<Waiting>,
    /// The reaction's present problem, in words; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none", rename = "problem")]
    pub(crate) trouble: Option<String>,
}

/// A queued delivery.
#[derive(Serialize)]
pub(crate) struct Waiting {
    /// The delivery's id.
    pub(crate) delivery: String,
    /// Number of attempts so far.
    pub(crate) attempts: u32,
    /// Time of the next attempt.
    pub(crate) next_at: Rfc3339,
}

impl Explained {
    /// The state as one line of text.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("{}: ", self.reaction);
        text.push_str(match (self.delivered, self.waiting.is_empty()) {
            (true, true) => "the activation was delivered",
            (true, false) => "the activation was delivered, more is waiting",
            (false, false) => "not delivered yet",
            (false, true) => "nothing was delivered",
        });
        // Writing to a text cannot fail.
        for Waiting { delivery, attempts, next_at } in &self.waiting {
            let _ = write!(text, "; {delivery} waits after {attempts} attempts, next at {}", next_at.0);
        }
        if let Some(next) = &self.next {
            let _ = write!(text, "; next delivery due at {}", next.0);
        }
        if let Some(trouble) = &self.trouble {
            let _ = write!(text, "; problem: {trouble}");
        }
        text
    }
}
