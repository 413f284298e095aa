//! The answer to `history`: past events, shelvings and deliveries.
//!
//! An event has the members with which it was published. Shelvings and the ends of deliveries have no sequence number,
//! because they are not state changes; their `kind` tells them apart.

use super::event::Payload;
use super::{Named, Rfc3339, reply};
use crate::domain::engine::ShelvingChange;
use crate::domain::history::{DeliveryReport, Entry};
use serde::Serialize;

#[derive(Serialize)]
#[serde(untagged)]
enum Shown<'a> {
    Event(Payload<'a>),
    Shelving(Shelving<'a>),
    Delivery(Delivery<'a>),
}

#[derive(Serialize)]
struct Delivery<'a> {
    kind: &'a str,
    gateway: &'a str,
    #[serde(flatten)]
    named: Named<'a>,
    at: Rfc3339,
    occurrence: u64,
    reaction: &'a str,
    delivery: &'a str,
    attempt: u32,
    comment: &'a str,
}

#[derive(Serialize)]
struct Shelving<'a> {
    kind: &'a str,
    gateway: &'a str,
    #[serde(flatten)]
    named: Named<'a>,
    state: &'a str,
    at: Rfc3339,
    occurrence: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'a str>,
}

#[derive(Serialize)]
struct Body<'a> {
    events: Vec<Shown<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

/// The answer: entries, newest first, and the number before which the next page begins, if there are more.
pub(crate) fn render(request: &serde_json::Value, gateway: &str, entries: &[Entry], next: Option<u64>) -> Vec<u8> {
    let events = entries.iter().map(|entry| match entry {
        Entry::Event(event) => Shown::Event(super::event::payload(event, gateway)),
        Entry::Shelving(shelving) => Shown::Shelving(shown(shelving, gateway)),
        Entry::Delivery(report) => Shown::Delivery(delivery(report, gateway)),
    });
    reply::answer(request, None, Body { events: events.collect(), next })
}

fn delivery<'a>(report: &'a DeliveryReport, gateway: &'a str) -> Delivery<'a> {
    let facts = &report.alarm;
    Delivery {
        kind: report.outcome.as_str(),
        gateway,
        named: Named::from(facts.as_ref()),
        at: Rfc3339(report.at),
        occurrence: report.occurrence,
        reaction: &report.reaction,
        delivery: &report.delivery,
        attempt: report.attempt,
        comment: &report.said,
    }
}

fn shown<'a>(change: &'a ShelvingChange, gateway: &'a str) -> Shelving<'a> {
    let facts = &change.alarm;
    Shelving {
        kind: if change.until.is_some() { "shelved" } else { "unshelved" },
        gateway,
        named: Named::from(facts.as_ref()),
        state: change.state.as_str(),
        at: Rfc3339(change.at),
        occurrence: change.occurrence,
        until: change.until.map(Rfc3339),
        by: change.by.as_deref(),
        comment: change.comment.as_deref(),
    }
}
