//! What the watcher has seen, held against what the plant has published. Nothing here knows how the engine works.
//!
//! Alarms without an observe-time follow from the order of the messages alone, so their events are compared one by one
//! with a model of a dozen lines. What has to do with time is judged in [`timed`].

use super::broker::{Broker, Delivered};
use super::outages::{Evidence, Outages};
use super::timed;
use serde_json::Value;
use std::collections::BTreeMap;

/// What a value has done to timers is on the disk when it has had this much time to write: a checkpoint falls due after
/// 2 s. A crash before forgets it, if no event came of it.
const FORGETTABLE: i64 = 3_000_000;

impl Evidence {
    /// Whether timers know of a value beyond doubt.
    pub(super) fn is_sure(&self, value: &Delivered) -> bool {
        let forgets = |crash: &i64| *crash >= value.first && self.idle(value.last, *crash) < FORGETTABLE;
        !value.lost && !self.crashes.iter().any(forgets)
    }
}

/// What was counted.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) worlds: usize,
    pub(super) crashes: usize,
    pub(super) losses: usize,
    pub(super) hold_ups: usize,
    pub(super) messages: usize,
    pub(super) repeats: usize,
    pub(super) events: usize,
    pub(super) event_repeats: usize,
    pub(super) timed: usize,
}

/// An alarm without an observe-time: a state, an occurrence, whether somebody has acknowledged.
#[derive(Debug, Default)]
struct Plain {
    active: bool,
    acknowledged: bool,
    occurrence: u64,
}

impl Account {
    /// Checks everything; `last_phase` is when the last fault had ended.
    pub(super) fn new(broker: &Broker, outages: &Outages, last_phase: i64, end: i64) -> Account {
        let (events, event_repeats) = events(broker);
        let mut account = Account {
            worlds: 1,
            crashes: outages.crashes.len(),
            losses: outages.losses(),
            hold_ups: outages.hold_ups(),
            messages: broker.delivered.len(),
            repeats: broker.repeats,
            events: events.len(),
            event_repeats,
            timed: 0,
        };
        chains(&events);
        plain_alarms(broker, &events);
        answers(broker, &events);
        let evidence = outages.evidence();
        account.timed = timed::check(broker, &events, &evidence, last_phase, end);
        retained(broker, &events);
        account
    }

    /// Adds another world's.
    pub(super) fn add(&mut self, other: Account) {
        let Account { worlds, crashes, losses, hold_ups, messages, repeats, events, event_repeats, timed } = other;
        self.worlds += worlds;
        self.crashes += crashes;
        self.losses += losses;
        self.hold_ups += hold_ups;
        self.messages += messages;
        self.repeats += repeats;
        self.events += events;
        self.event_repeats += event_repeats;
        self.timed += timed;
    }
}

/// An event, and when it was first seen.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) at: i64,
    pub(super) json: Value,
}

impl Event {
    pub(super) fn text(&self, member: &str) -> &str {
        self.json[member].as_str().unwrap_or_default()
    }
}

/// Each once, in order; how often one was repeated. No number twice, none missing.
fn events(broker: &Broker) -> (Vec<Event>, usize) {
    let mut first: BTreeMap<u64, &[u8]> = BTreeMap::new();
    let (mut events, mut repeats) = (Vec::new(), 0);
    for seen in broker.published.iter().filter(|seen| seen.topic.contains("/events/")) {
        let json: Value = serde_json::from_slice(&seen.payload).unwrap();
        let seq = json["seq"].as_u64().unwrap();
        match first.get(&seq) {
            Some(before) => {
                assert_eq!(*before, &seen.payload[..], "a sequence number was used twice");
                repeats += 1;
            }
            None => {
                assert_eq!(seq, first.len() as u64 + 1, "an event is missing or out of order: {json}");
                first.insert(seq, &seen.payload);
                events.push(Event { at: seen.at, json });
            }
        }
    }
    (events, repeats)
}

/// Each event begins where the alarm's last one has ended, and occurrences are counted without a gap.
fn chains(events: &[Event]) {
    let mut alarms: BTreeMap<&str, (&str, u64)> = BTreeMap::new();
    for event in events {
        let (state, occurrence) = alarms.entry(event.text("alarm")).or_insert(("enabled", 0));
        assert_eq!(event.text("from"), *state, "{}", event.json);
        *occurrence += u64::from(event.text("to") == "activated");
        assert_eq!(event.json["occurrence"], *occurrence, "one excursion, one activation: {}", event.json);
        *state = event.json["to"].as_str().unwrap();
    }
}

pub(super) fn thing_of(message: &Delivered) -> Option<&str> {
    message.message.topic.strip_prefix("things/")?.strip_suffix("/pressure")
}

pub(super) fn text_of(message: &Delivered) -> &str {
    std::str::from_utf8(&message.message.payload).unwrap()
}

/// Alarms that follow from the order of messages alone.
fn plain_alarms(broker: &Broker, events: &[Event]) {
    let is_plain = |event: &&Event| ["hi", "lo"].contains(&event.text("level"));
    let mut seen = events.iter().filter(is_plain).peekable();
    let mut alarms: BTreeMap<String, Plain> = BTreeMap::new();
    for message in &broker.delivered {
        let mut wanted = Vec::new();
        let mut after = Vec::new();
        if let Some(thing) = thing_of(message) {
            let value = message.number;
            for (level, begins, ends) in [("hi", value > 17.0, value <= 13.0), ("lo", value < 5.0, value >= 5.0)] {
                let id = format!("{thing}/pressure/{level}");
                let alarm = alarms.entry(id.clone()).or_default();
                if (alarm.active && ends) || (!alarm.active && begins) {
                    let occurrence = alarm.occurrence + u64::from(begins);
                    wanted.push((id.clone(), if begins { "activated" } else { "idled" }, occurrence));
                    let acknowledged = !begins && alarm.acknowledged;
                    after.push((id, Plain { active: begins, acknowledged, occurrence }));
                }
            }
        } else {
            let command: Value = serde_json::from_slice(&message.message.payload).unwrap();
            // One that has the configuration read again changes no alarm.
            let Some(id) = command["alarm"].as_str().map(str::to_owned) else { continue };
            if let Some(alarm) = alarms.get(&id).filter(|alarm| alarm.occurrence > 0 && !alarm.acknowledged) {
                wanted.push((id.clone(), if alarm.active { "acknowledged" } else { "idled" }, alarm.occurrence));
                after.push((id, Plain { acknowledged: true, ..*alarm }));
            }
        }
        let caused = |event: &Event| {
            if thing_of(message).is_some() {
                event.json["cause"] == "value" && event.json["value"] == message.number
            } else {
                let command: Value = serde_json::from_slice(&message.message.payload).unwrap();
                event.json["comment"] == command["comment"]
            }
        };
        if message.lost && !seen.peek().is_some_and(|event| caused(event)) {
            // Nobody knows whether it was evaluated; nothing has come of it.
            continue;
        }
        for (alarm, to, occurrence) in wanted {
            let event = seen.next().unwrap_or_else(|| panic!("nothing has come of {}", text_of(message)));
            let got = (event.text("alarm"), event.text("to"), event.json["occurrence"].as_u64());
            assert_eq!(got, (alarm.as_str(), to, Some(occurrence)), "after {}: {}", text_of(message), event.json);
            assert!(caused(event), "{} was to come of {}", event.json, text_of(message));
        }
        alarms.extend(after);
    }
    assert!(seen.next().is_none(), "more events than causes");
}

/// A command that was answered with success has its event, and no command has two.
fn answers(broker: &Broker, events: &[Event]) {
    let mut of_commands: BTreeMap<&str, usize> = BTreeMap::new();
    for event in events.iter().filter(|event| event.json["cause"] == "command") {
        *of_commands.entry(event.text("comment")).or_default() += 1;
    }
    let twice = of_commands.iter().find(|(_, count)| **count > 1);
    assert_eq!(twice, None, "a command was carried out twice");
    for answer in broker.published.iter().filter(|seen| seen.topic.ends_with("/replies")) {
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
        let of_alarm = answer["request"].as_str().filter(|request| !request.starts_with("reload"));
        if let Some(request) = of_alarm.filter(|_| answer["ok"] == true) {
            assert!(of_commands.contains_key(request), "nothing has come of {answer}");
        }
    }
}

/// The retained topics tell the end of the story.
fn retained(broker: &Broker, events: &[Event]) {
    let status: Value = serde_json::from_slice(&broker.retained["annunciator/gw/status"]).unwrap();
    assert_eq!(status["state"], "offline");
    let last: BTreeMap<&str, &Event> = events.iter().map(|event| (event.text("alarm"), event)).collect();
    for (alarm, event) in last {
        let state: Value = serde_json::from_slice(&broker.retained[&format!("annunciator/gw/alarms/{alarm}")]).unwrap();
        assert_eq!((&state["seq"], &state["state"]), (&event.json["seq"], &event.json["to"]), "{state}");
    }
}
