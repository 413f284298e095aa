//! SIGKILL at any instant: the broker has seen exactly what an uninterrupted run would have published.

use crate::support::traffic::{self, ALARMS, Random};
use crate::support::{Broker, Daemon, Protocol, Watcher, check_state, config, for_both_versions, until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

for_both_versions! {
    kills_lose_nothing_and_repeat_nothing_that_matters,
}

/// Kills in the ordinary suite; `ANNUNCIATOR_KILLS` asks for more.
const KILLS: usize = 10;
/// Messages between two kills.
const MESSAGES: usize = 400;

fn kills_lose_nothing_and_repeat_nothing_that_matters(mqtt: Protocol) {
    let kills = std::env::var("ANNUNCIATOR_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS);
    let mut random = Random(20_260_501);
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
    let mut watcher = Watcher::connect(broker.port);
    // On a busy machine a life may be too short for more than a window of events: hundreds of lives leave many waiting.
    let patient = "outbox_max = 10000000\n[mqtt]";
    let mut daemon = Daemon::with(&config(mqtt.at(broker.port), ALARMS).replace("[mqtt]", patient));
    watcher.status("online");
    let mut messages = Vec::new();
    for _ in 0..kills {
        let dies_at = random.below(MESSAGES as u64);
        for number in 0..MESSAGES as u64 {
            let (topic, payload) = traffic::value(&mut random);
            watcher.publish(&topic, &payload);
            messages.push((topic, payload));
            if number == dies_at {
                // Somewhere between receiving, writing, publishing and acknowledging.
                let seen = watcher.event_count() + usize::try_from(random.below(40)).unwrap();
                until("some events", || {
                    watcher.drain();
                    (watcher.event_count() >= seen || number < 100).then_some(())
                });
                daemon.kill();
                daemon.launch();
            }
        }
    }
    let want = traffic::uninterrupted(&messages);
    let last = want.last().unwrap()["seq"].as_u64().unwrap();
    watcher.looked_back();
    watcher.next("the last event", |seen| seen.topic.contains("/events/") && seen.json()["seq"] == last);
    watcher.settle();
    let account = traffic::account(&watcher.all);
    account.equals(&want);
    traffic::retained_states_are_those_of(&account.events, broker.port);
    println!(
        "{kills} kills, {} messages, {} events: 0 lost, {} repeated byte for byte",
        messages.len(),
        want.len(),
        account.repeated
    );
}

/// Kills during start-up in the ordinary suite; `ANNUNCIATOR_START_KILLS` asks for more.
const START_KILLS: usize = 50;
/// A start is over after this time; a kill strikes at any moment of it.
const START: Duration = Duration::from_millis(120);

/// What a start does is done by the next one, however far it came: the store is read, changes of the configuration are
/// decided, everything is published.
#[test]
fn kills_during_start_up_lose_nothing() {
    let kills = std::env::var("ANNUNCIATOR_START_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(START_KILLS);
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
    let mut watcher = Watcher::connect(broker.port);
    let alarm = |limit: usize| {
        format!(
            "[[alarm]]\nthing = \"press-*\"\nlevel = \"stays\"\n{PRESSURE}\
             [[alarm]]\nthing = \"press-*\"\nlevel = \"changes\"\n{}",
            PRESSURE.replace("15", &limit.to_string())
        )
    };
    let mut daemon = Daemon::with(&config(broker.port, &alarm(15)));
    watcher.status("online");
    for thing in 0..20 {
        watcher.value(&format!("press-{thing}"), "pressure", "1000");
    }
    watcher.next("the last activation", |seen| seen.topic.ends_with("/events/press-19/pressure/changes"));
    daemon.kill();
    let mut random = Random(7);
    for kill in 0..kills {
        // A changed trigger ends an occurrence and begins the next one: events that a start decides.
        daemon.configure(&config(broker.port, &alarm(15 + kill % 2)));
        daemon.launch();
        let dies_at = Instant::now() + START * u32::try_from(random.below(100)).unwrap() / 100;
        until("the moment of the kill", || (Instant::now() >= dies_at).then_some(()));
        daemon.kill();
    }
    daemon.launch();
    watcher.status("online");
    watcher.value("press-last", "pressure", "1000");
    watcher.next("the last event", |seen| seen.topic.ends_with("/events/press-last/pressure/changes"));
    watcher.settle();
    let mut known: BTreeMap<u64, Value> = BTreeMap::new();
    for event in watcher.events() {
        let seq = event["seq"].as_u64().unwrap();
        let first = known.entry(seq).or_insert_with(|| event.clone());
        assert_eq!(*first, event, "number {seq} was given out twice");
        assert_eq!(event["seq_gap"], Value::Null, "nothing was lost: {event}");
    }
    let last = *known.last_key_value().unwrap().0;
    assert_eq!(known.len() as u64, last, "no number is missing");
    let stays = known.values().filter(|event| event["level"] == "stays" && event["thing"] != "press-last");
    assert_eq!(stays.count(), 20, "what did not change was activated once");
    traffic::retained_states_are_those_of(&known.into_values().collect::<Vec<_>>(), broker.port);
    assert!(check_state_of(&mut daemon).contains("the last event is"));
    println!("{kills} kills during start-up, {last} events: 0 lost, none twice");
}

fn check_state_of(daemon: &mut Daemon) -> String {
    assert_eq!(daemon.stop(), 0);
    check_state(daemon)
}

const PRESSURE: &str = "property = \"pressure\"\ntype = \"standard\"\noperator = \">\"\nlimit = 15\n";

/// What a value has ended stays ended, although the last checkpoint says that it was running.
#[test]
fn an_observe_time_that_a_value_has_ended_does_not_fire_after_a_crash() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let alarms = format!(
        "[[alarm]]\nthing = \"press-1\"\nlevel = \"ended\"\nobserve_time = \"6s\"\n{PRESSURE}\
         [[alarm]]\nthing = \"press-2\"\nlevel = \"runs\"\nobserve_time = \"8s\"\n{PRESSURE}"
    );
    let often = "checkpoint = \"2s\"\nmetrics_interval = \"1s\"\n[mqtt]";
    let mut daemon = Daemon::with(&config(broker.port, &alarms).replace("[mqtt]", often));
    watcher.status("online");
    let before = watcher.next_on("metrics")["commits"].as_u64().unwrap();
    watcher.value("press-1", "pressure", "20");
    watcher.value("press-2", "pressure", "20");
    watcher.next("a checkpoint", |seen| {
        seen.topic == "annunciator/gw/metrics" && seen.json()["commits"].as_u64().unwrap() > before
    });
    watcher.value("press-1", "pressure", "10");
    watcher.publish("annunciator/gw/commands/explain", r#"{"alarm":"press-1/pressure/ended"}"#);
    assert_eq!(watcher.next_on("replies")["explanation"]["condition"], "does not hold");
    daemon.kill();
    daemon.launch();
    assert_eq!(watcher.event("press-2/pressure/runs")["to"], "activated");
    assert_eq!(watcher.events().len(), 1, "{:?}", watcher.events());
}

/// Other alarms' events are written at any time; what they write must not make silence of values that came since the
/// last checkpoint.
#[test]
fn values_since_the_last_checkpoint_are_not_silence_after_a_crash() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let alarms = format!(
        "[[alarm]]\nthing = \"press-1\"\nproperty = \"pressure\"\nlevel = \"quiet\"\ntype = \"no-value\"\n\
         observe_time = \"3s\"\n\
         [[alarm]]\nthing = \"press-2\"\nlevel = \"first\"\nobserve_time = \"2500ms\"\n{PRESSURE}\
         [[alarm]]\nthing = \"press-2\"\nlevel = \"soon\"\nobserve_time = \"1s\"\n{PRESSURE}"
    );
    let rarely = "checkpoint = \"1h\"\n[mqtt]";
    let mut daemon = Daemon::with(&config(broker.port, &alarms).replace("[mqtt]", rarely));
    watcher.status("online");
    watcher.value("press-2", "pressure", "20");
    // One sensor sends for a second. Then it may be silent for two more, and has been for one and a half.
    until("an event after a second", || {
        watcher.value("press-1", "pressure", "14");
        watcher.drain();
        (watcher.events().len() == 1).then_some(())
    });
    assert_eq!(watcher.event("press-2/pressure/first")["to"], "activated");
    daemon.kill();
    daemon.launch();
    watcher.status("online");
    watcher.value("press-2", "pressure", "14");
    watcher.value("press-2", "pressure", "20");
    watcher.next("the later event", |seen| {
        seen.topic == "annunciator/gw/events/press-2/pressure/soon"
            && seen.json()["occurrence"] == 2
            && seen.json()["to"] == "activated"
    });
    let quiet = watcher.events().into_iter().find(|event| event["alarm"] == "press-1/pressure/quiet");
    assert_eq!(quiet, None);
}
