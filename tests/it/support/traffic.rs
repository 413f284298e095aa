//! Seeded traffic, and the question whether the broker has seen what an uninterrupted run would have published.
//!
//! Values decide at once here (no observe-time), so the events of a run depend on the order of the messages alone and can
//! be compared with `annunciator replay` of the same messages.

use super::{Seen, Watcher, config};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Command;

/// Alarms that nearly every value moves, on three things, and one that nothing moves.
pub const ALARMS: &str = r#"
[[alarm]]
thing = "press-*"
property = "pressure"
level = "hi"
type = "standard"
operator = ">"
limit = 15
deadband = 4

[[alarm]]
thing = "press-*"
property = "pressure"
level = "range"
type = "standard"
operator = "!="
limit = 15
deadband = 16

[[alarm]]
thing = "press-1"
property = "pressure"
level = "never"
type = "standard"
operator = ">"
limit = 1000

[[anomaly]]
name = "odd"
thing = "press-*"
score = "pressure"
severities = { warning = 15, error = 19, critical = 22 }
"#;

/// A small generator with a seed: the same numbers in every run.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    pub fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap()
    }
}

/// Topic and payload of a message.
pub type Message = (String, String);

/// The next value of one of the three things.
pub fn value(random: &mut Random) -> Message {
    let topic = format!("things/press-{}/properties/pressure", random.below(3));
    (topic, format!("{}.{}", random.below(24), 5 * random.below(2)))
}

/// What has to be the same in both runs: all but times.
pub fn essence(event: &Value) -> Value {
    let keys = ["seq", "id", "alarm", "severity", "from", "to", "occurrence", "cause", "value"];
    keys.iter().map(|key| ((*key).to_owned(), event[key].clone())).collect::<serde_json::Map<_, _>>().into()
}

/// The events of a run that nothing interrupts.
pub fn uninterrupted(messages: &[Message]) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let lines: String = (0..)
        .zip(messages)
        .map(|(t, (topic, payload))| format!("{}\n", json!({ "t": t, "topic": topic, "payload": payload })))
        .collect();
    let (trace, configuration) = (folder.path().join("trace.jsonl"), folder.path().join("replay.toml"));
    std::fs::write(&trace, lines).unwrap();
    std::fs::write(&configuration, config(1, ALARMS)).unwrap();
    let replay =
        Command::new(super::PROGRAM).args(["replay", "--config"]).args([configuration, trace]).output().unwrap();
    assert!(replay.status.success(), "{replay:?}");
    String::from_utf8(replay.stdout).unwrap().lines().map(|l| essence(&serde_json::from_str(l).unwrap())).collect()
}

/// Events as they were seen, each once.
#[derive(Debug)]
pub struct Account {
    /// In the order of their sequence numbers.
    pub events: Vec<Value>,
    /// How many were seen again, byte for byte the same.
    pub repeated: usize,
}

/// What the messages tell, if they keep the rules: repeats are byte for byte the same, first appearances are in order,
/// no sequence number is missing.
pub fn account<'a>(seen: impl IntoIterator<Item = &'a Seen>) -> Account {
    let mut payloads: BTreeMap<u64, &[u8]> = BTreeMap::new();
    let mut order = Vec::new();
    let mut repeated = 0;
    for seen in seen.into_iter().filter(|seen| seen.topic.contains("/events/")) {
        let seq = seen.json()["seq"].as_u64().unwrap();
        if let Some(before) = payloads.get(&seq) {
            assert_eq!(*before, seen.payload, "a repeat is byte for byte the same");
            repeated += 1;
        } else {
            payloads.insert(seq, &seen.payload);
            order.push(seq);
        }
    }
    assert!(order.is_sorted(), "first appearances are in order: {order:?}");
    let gap = (1..).zip(&order).find(|(want, got)| want != *got);
    assert_eq!(gap, None, "no sequence number is missing");
    let events = payloads.values().map(|payload| serde_json::from_slice(payload).unwrap()).collect();
    Account { events, repeated }
}

impl Account {
    /// Both runs have decided the same.
    pub fn equals(&self, want: &[Value]) {
        for (place, (got, wanted)) in self.events.iter().zip(want).enumerate() {
            let around = |events: &[Value]| {
                let shown = &events[place.saturating_sub(6)..(place + 12).min(events.len())];
                shown
                    .iter()
                    .map(|e| format!("{} {} {} {}\n", e["seq"], e["alarm"], e["to"], e["value"]))
                    .collect::<String>()
            };
            let (all, wants) = (around(&self.events), around(want));
            assert_eq!(essence(got), *wanted, "the first difference:\n{all}instead of\n{wants}");
        }
        assert_eq!(self.events.len(), want.len());
    }
}

/// The retained topics tell the end of the story.
pub fn retained_states_are_those_of(events: &[Value], port: u16) {
    let last: BTreeMap<&str, &Value> = events.iter().map(|event| (event["alarm"].as_str().unwrap(), event)).collect();
    let mut latecomer = Watcher::connect(port);
    for (alarm, event) in last {
        let topic = format!("annunciator/gw/alarms/{alarm}");
        // The state of the last event may still be on its way.
        let fits = |seen: &Seen| seen.topic == topic && seen.json()["seq"] == event["seq"];
        let state = latecomer.next(&format!("{topic} after {event}"), fits).json();
        assert_eq!((&state["state"], &state["severity"]), (&event["to"], &event["severity"]), "{state}");
        latecomer.looked_back();
    }
}
