//! `base/reactions/<reaction>`: what became of each attempt.

use super::{Rfc3339, to_bytes};
use crate::domain::notify::queue::{DeliveryEnd, Report};
use crate::domain::time::Now;
use serde::Serialize;
use std::fmt::Write as _;

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

/// A report as JSON.
pub fn render(report: &Report, reaction: &str, gateway: &str, now: Now) -> Vec<u8> {
    let delivery = &report.delivery;
    let (outcome, answer, reason, retry_at) = match &report.fate {
        DeliveryEnd::Delivered { answer, flaws } => {
            ("delivered", Some(answer.as_str()), (!flaws.is_empty()).then(|| flaws.join("; ")), None)
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

/// The report of a delivery that is not made, for a reason that the store has found.
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

/// What there is to say of one reaction to one alarm.
#[derive(Serialize)]
pub(crate) struct Explained {
    /// The reaction.
    pub(crate) reaction: String,
    /// Whether the present activation has reached the other side.
    pub(crate) delivered: bool,
    /// When the next delivery is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<Rfc3339>,
    /// Deliveries that wait.
    pub(crate) waiting: Vec<Waiting>,
    /// What is wrong with the reaction.
    #[serde(skip_serializing_if = "Option::is_none", rename = "problem")]
    pub(crate) trouble: Option<String>,
}

/// A delivery that waits.
#[derive(Serialize)]
pub(crate) struct Waiting {
    /// Its id.
    pub(crate) delivery: String,
    /// Attempts so far.
    pub(crate) attempts: u32,
    /// When the next one is due.
    pub(crate) next_at: Rfc3339,
}

impl Explained {
    /// For people, in one line.
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
