//! What the watcher has seen, held against what the plant has sent. Nothing here knows how the engine works.
//!
//! Alarms without an observe-time follow from the order of the messages alone, so their events are compared one by one
//! with a model of a dozen lines. Of those with timers it is shown that they had the time that they claim to have had, as
//! their `on_gap` counts it, that each excursion has one activation, and that those that had time enough have one. Of
//! averages it is shown that they are means of values that have come in a row, and judged as the limit says.

use super::broker::{Broker, Delivered};
use serde_json::Value;
use std::collections::BTreeMap;

const SECOND: i64 = 1_000_000;
/// Observe-times of the alarms in [`super::ALARMS`].
const HELD: i64 = 2 * SECOND;
const SILENT: i64 = 5 * SECOND;
/// The limit of the average there.
const MEAN_LIMIT: f64 = 12.0;
/// In this time after a deadline the daemon has asked for proof, got it, and has published, if nothing disturbs it.
const SLACK: i64 = 16 * SECOND;
/// A stop that is shorter than this need not be noticed.
const NOTICED: i64 = 3 * SECOND;
/// What a value has done to timers is on the disk after this time: a checkpoint, and the two slow writes around it. A
/// crash before forgets it, if no event came of it.
const FORGETTABLE: i64 = 6 * SECOND;

/// Times in which the daemon could not hear, as the world knows them.
#[derive(Debug, Default)]
pub(super) struct Outages {
    deaf: Vec<(i64, i64)>,
    /// Those in which nothing ran at all.
    stalls: Vec<(i64, i64)>,
    crashes: Vec<i64>,
    /// Those in which the broker did nothing for so long that it may have held up what it had.
    idle: Vec<(i64, i64)>,
}

/// How much of a time lies in these intervals.
fn overlap(intervals: &[(i64, i64)], from: i64, to: i64) -> i64 {
    intervals.iter().map(|(start, end)| (to.min(*end) - from.max(*start)).max(0)).sum()
}

impl Outages {
    pub(super) fn begin(&mut self, at: i64) {
        if self.deaf.last().is_none_or(|(_, end)| *end != i64::MAX) {
            self.deaf.push((at, i64::MAX));
        }
    }

    pub(super) fn crash(&mut self, at: i64) {
        self.crashes.push(at);
        self.begin(at);
    }

    /// Whether timers know of a value beyond doubt.
    fn is_sure(&self, value: &Delivered) -> bool {
        let forgets = |crash: &i64| {
            let ran = crash - value.last - overlap(&self.stalls, value.last, *crash);
            *crash >= value.first && ran < FORGETTABLE
        };
        !value.lost && !self.crashes.iter().any(forgets)
    }

    /// The broker did nothing.
    pub(super) fn was_idle(&mut self, from: i64, to: i64) {
        self.idle.push((from, to));
    }

    pub(super) fn end(&mut self, at: i64) {
        if let Some((_, end)) = self.deaf.last_mut() {
            *end = (*end).min(at);
        }
    }

    /// The machine stood still.
    pub(super) fn was(&mut self, from: i64, to: i64) {
        self.stalls.push((from, to));
        if to - from > NOTICED && self.deaf.last().is_none_or(|(_, end)| *end != i64::MAX) {
            self.deaf.push((from, to));
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (i64, i64)> {
        self.deaf.iter().copied()
    }

    /// How much of a time the daemon could hear, at most.
    fn heard(&self, from: i64, to: i64) -> i64 {
        let lost = overlap(&self.deaf, from, to);
        (to - from).max(0) - lost
    }

    /// The longest part of a time in which it could hear without a break.
    fn heard_at_a_stretch(&self, from: i64, to: i64) -> i64 {
        let (mut longest, mut begun) = (0, from);
        for (start, end) in self.deaf.iter().filter(|(start, end)| *end > from && *start < to) {
            longest = longest.max(start - begun);
            begun = begun.max(*end);
        }
        longest.max(to - begun)
    }
}

/// What gaps do to the observe-times of an alarm, and how much time it had.
#[derive(Debug, Clone, Copy)]
enum OnGap {
    Pause,
    Count,
    Reset,
}

impl OnGap {
    fn time(self, outages: &Outages, from: i64, to: i64) -> i64 {
        match self {
            OnGap::Pause => outages.heard(from, to),
            OnGap::Count => to - from,
            OnGap::Reset => outages.heard_at_a_stretch(from, to),
        }
    }
}

/// What was counted.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) worlds: usize,
    pub(super) crashes: usize,
    pub(super) losses: usize,
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
    /// Checks everything.
    pub(super) fn new(broker: &Broker, outages: &Outages, end: i64) -> Account {
        let (events, event_repeats) = events(broker);
        let mut account = Account {
            worlds: 1,
            crashes: outages.crashes.len(),
            losses: outages.deaf.len().saturating_sub(outages.crashes.len()),
            messages: broker.delivered.len(),
            repeats: broker.repeats,
            events: events.len(),
            event_repeats,
            timed: 0,
        };
        chains(&events);
        plain_alarms(broker, &events);
        for thing in ["press-0", "press-1", "press-2"] {
            for (level, on_gap) in [("held", OnGap::Pause), ("counted", OnGap::Count), ("anew", OnGap::Reset)] {
                let id = format!("{thing}/pressure/{level}");
                account.timed += held(&id, on_gap, &values(thing, broker), &events, outages, end);
            }
            account.timed += means(thing, broker, &events, outages);
            account.timed += silent(thing, broker, &events, outages, end);
        }
        retained(broker, &events);
        account
    }

    /// Adds another world's.
    pub(super) fn add(&mut self, other: Account) {
        let Account { worlds, crashes, losses, messages, repeats, events, event_repeats, timed } = other;
        self.worlds += worlds;
        self.crashes += crashes;
        self.losses += losses;
        self.messages += messages;
        self.repeats += repeats;
        self.events += events;
        self.event_repeats += event_repeats;
        self.timed += timed;
    }
}

/// An event, and when it was first seen.
struct Event {
    at: i64,
    json: Value,
}

impl Event {
    fn text(&self, member: &str) -> &str {
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

fn thing_of(message: &Delivered) -> Option<&str> {
    message.message.topic.strip_prefix("things/")?.strip_suffix("/pressure")
}

fn text_of(message: &Delivered) -> &str {
    std::str::from_utf8(&message.message.payload).unwrap()
}

fn number_of(message: &Delivered) -> f64 {
    message.number
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
            let value = number_of(message);
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
            let id = command["alarm"].as_str().unwrap().to_owned();
            if let Some(alarm) = alarms.get(&id).filter(|alarm| alarm.occurrence > 0 && !alarm.acknowledged) {
                wanted.push((id.clone(), if alarm.active { "acknowledged" } else { "idled" }, alarm.occurrence));
                after.push((id, Plain { acknowledged: true, ..*alarm }));
            }
        }
        let caused = |event: &Event| {
            if thing_of(message).is_some() {
                event.json["cause"] == "value" && event.json["value"] == number_of(message)
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

/// The values of a thing in the order of their evaluation.
fn values<'a>(thing: &'a str, broker: &'a Broker) -> Vec<&'a Delivered> {
    broker.delivered.iter().filter(|message| thing_of(message) == Some(thing)).collect()
}

fn of<'a>(events: &'a [Event], alarm: &'a str) -> impl Iterator<Item = &'a Event> {
    events.iter().filter(move |event| event.text("alarm") == alarm)
}

fn micros(event: &Event, member: &str) -> i64 {
    event.text(member).parse::<jiff::Timestamp>().unwrap().as_microsecond()
}

/// A condition that has to hold for a while: it did, in time that could be observed, and no excursion counts twice.
fn held(id: &str, on_gap: OnGap, values: &[&Delivered], events: &[Event], outages: &Outages, end: i64) -> usize {
    let holds = |index: usize| number_of(values[index]) > 15.0;
    let sure = |index: usize| outages.is_sure(values[index]);
    let (mut excursions, mut activated_at) = (BTreeMap::new(), Vec::new());
    for event in of(events, id).filter(|event| event.text("to") == "activated") {
        let last = values.iter().position(|value| event.json["value"] == number_of(value)).unwrap();
        assert!(holds(last), "{}", event.json);
        activated_at.push(last);
        // Values that may not have been evaluated prove nothing either way.
        let first = (0..=last).rev().take_while(|index| holds(*index) || !sure(*index)).last().unwrap();
        let next = values[last + 1..].iter().find(|value| outages.is_sure(value));
        let until = next.map_or(end, |next| next.last).min(event.at);
        let time = on_gap.time(outages, values[first].first, until);
        assert!(time >= HELD, "activated after {time} µs: {}", event.json);
        assert!(micros(event, "at") - micros(event, "since") >= HELD, "{}", event.json);
        let before = excursions.insert(first, event.at);
        let unsure = (first..=last).any(|index| !sure(index));
        assert!(before.is_none() || unsure, "one excursion, two activations: {}", event.json);
    }
    overdue(on_gap, values, &activated_at, outages, end, &|index| holds(index) && sure(index), id);
    // In the end the last value decides.
    let active = of(events, id).last().is_some_and(|event| event.text("to") == "activated");
    if let Some(last) = values.last().filter(|last| outages.is_sure(last)) {
        assert_eq!(active, number_of(last) > 15.0, "{id} in the end");
    }
    excursions.len()
}

/// Excursions that had their time without any disturbance have an activation. A gap that counts disturbs nothing, unless the
/// daemon was down: after a reboot a wall clock that was set decides how long that was.
fn overdue(
    on_gap: OnGap,
    values: &[&Delivered],
    activated_at: &[usize],
    outages: &Outages,
    end: i64,
    holds: &dyn Fn(usize) -> bool,
    id: &str,
) {
    let mut index = 0;
    while index < values.len() {
        let run = (index..values.len()).take_while(|index| holds(*index)).count();
        if run > 0 {
            let until = values.get(index + run).map_or(end, |next| next.first);
            let from = values[index].last;
            // Whatever came before may have kept it active.
            let begins = index == 0 || outages.is_sure(values[index - 1]);
            let undisturbed = match on_gap {
                OnGap::Count => !outages.crashes.iter().any(|crash| (from..=until).contains(crash)),
                OnGap::Pause | OnGap::Reset => outages.heard(from, until) == until - from,
            };
            let is_served = overlap(&outages.idle, from, until) == 0;
            if begins && undisturbed && is_served && until - from > HELD + SLACK {
                let activated = activated_at.iter().any(|place| (index..index + run).contains(place));
                assert!(activated, "{id} has missed {} of {from} to {until}", text_of(values[index]));
            }
        }
        index += run.max(1);
    }
}

/// Silence: it was there, in time that could be observed, after the value that the event names.
fn silent(thing: &str, broker: &Broker, events: &[Event], outages: &Outages, end: i64) -> usize {
    let (id, values) = (format!("{thing}/pressure/silent"), values(thing, broker));
    let mut count = 0;
    for event in of(events, &id).filter(|event| event.text("to") == "activated") {
        count += 1;
        let last = values.iter().position(|value| event.json["value"] == number_of(value)).unwrap();
        // Of those that may not have been evaluated none ends silence for sure.
        let next = values[last + 1..].iter().find(|value| outages.is_sure(value));
        let until = next.map_or(end, |next| next.last).min(event.at);
        let time = outages.heard(values[last].first, until);
        assert!(time >= SILENT, "silence for {time} µs: {}", event.json);
    }
    let last = of(events, &id).last();
    if values.iter().any(|value| outages.is_sure(value)) {
        assert!(
            last.is_some_and(|event| event.text("to") == "activated"),
            "{id}: nobody noticed the silence in the end"
        );
    }
    count
}

/// Averages: the mean that an event carries is that of values in a row up to the latest, and what the event says follows
/// from it.
fn means(thing: &str, broker: &Broker, events: &[Event], outages: &Outages) -> usize {
    let (id, values) = (format!("{thing}/pressure/mean"), values(thing, broker));
    let mut count = 0;
    for event in of(events, &id) {
        let mean = event.json["average"].as_f64().unwrap();
        let activated = event.text("to") == "activated";
        assert_eq!(mean > MEAN_LIMIT, activated, "{}", event.json);
        count += usize::from(activated);
        let last = values.iter().position(|value| event.json["value"] == number_of(value)).unwrap();
        let (mut sum, mut number) = (0.0, 0.0);
        let fits = values[..=last].iter().rev().any(|value| {
            sum += number_of(value);
            number += 1.0;
            (sum / number - mean).abs() < 1e-9 * mean.abs()
        });
        // A crash may have taken some of them.
        assert!(
            fits || values[..=last].iter().any(|value| !outages.is_sure(value)),
            "no mean of values: {}",
            event.json
        );
    }
    count
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
