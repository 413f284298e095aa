//! The broker goes and comes: nothing that was decided is lost, and the gap is no evidence.

use crate::support::{Broker, Daemon, HI, Protocol, Watcher, for_both_versions, until};
use serde_json::json;

for_both_versions! {
    the_daemon_starts_and_waits_without_a_broker,
    a_lost_session_loses_no_event_and_a_gap_is_no_evidence,
    a_kept_session_brings_what_was_published_meanwhile,
    events_of_an_outage_arrive_in_order_afterwards,
    a_backlog_of_any_size_is_worked_off,
}

/// A broker that remembers over its own restarts.
const PERSISTENCE: &str = "allow_anonymous true\npersistence true\npersistence_location FOLDER/\n";

fn refusals(daemon: &Daemon) -> usize {
    daemon.log().matches("cannot connect").count()
}

fn the_daemon_starts_and_waits_without_a_broker(mqtt: Protocol) {
    let mut broker = Broker::start();
    broker.stop();
    let mut daemon = Daemon::start(mqtt.at(broker.port), HI);
    until("the daemon to notice", || (refusals(&daemon) >= 2).then_some(()));
    broker.restart();
    let mut watcher = Watcher::connect(broker.port);
    watcher.next("the state", |seen| seen.topic.ends_with("alarms/press-1/pressure/hi"));
    watcher.value("press-1", "pressure", "16");
    assert_eq!(watcher.event("press-1/pressure/hi")["to"], "activated");
    assert_eq!(daemon.stop(), 0);
}

fn a_lost_session_loses_no_event_and_a_gap_is_no_evidence(mqtt: Protocol) {
    let mut broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let silence = |level: &str, time: &str, on_gap: &str| {
        format!(
            "[[alarm]]\nthing = \"press-1\"\nproperty = \"pressure\"\nlevel = \"{level}\"\ntype = \"no-value\"\n\
             observe_time = \"{time}\"\non_gap = \"{on_gap}\"\n"
        )
    };
    let alarms = format!("{HI}\n{}\n{}", silence("paused", "2s", "pause"), silence("counted", "2s", "count"));
    let daemon = Daemon::start(mqtt.at(broker.port), &alarms);
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    assert_eq!(watcher.event("press-1/pressure/hi")["seq"], 1);
    broker.stop();
    // 250 ms, 500 ms, 1 s, 2 s and a bit: with the fifth refusal more than two seconds have passed.
    until("the gap", || (refusals(&daemon) >= 5).then_some(()));
    broker.restart();
    let mut watcher = Watcher::connect(broker.port);
    let counted = watcher.event("press-1/pressure/counted");
    assert_eq!((&counted["to"], &counted["seq"]), (&json!("activated"), &json!(2)));
    let status = watcher.next("the status with the gap", |seen| seen.json()["last_gap"].is_object()).json();
    let gap = &status["last_gap"];
    assert!(gap["seconds"].as_f64().unwrap() > 1.5, "{gap}");
    assert!(gap["cause"].as_str().unwrap().contains("not connected to the broker"), "{gap}");
    // The other one has its two seconds of observation still before it, less what had passed before the gap.
    let paused = watcher.event("press-1/pressure/paused");
    assert_eq!(paused["seq"], 3);
    assert!(paused["at"].as_str() > counted["at"].as_str(), "{paused} after {counted}");
    // The broker has forgotten everything; the retained topics are true again.
    let mut latecomer = Watcher::connect(broker.port);
    let state = latecomer.next("the state", |seen| seen.retained && seen.topic.ends_with("alarms/press-1/pressure/hi"));
    assert_eq!(state.json()["state"], "activated");
    drop(daemon);
}

fn a_kept_session_brings_what_was_published_meanwhile(mqtt: Protocol) {
    let broker = Broker::with(PERSISTENCE);
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::start(mqtt.at(broker.port), HI);
    watcher.status("online");
    assert_eq!(daemon.stop(), 0);
    watcher.status("offline");
    // The session remembers for the daemon.
    for value in ["16", "3", "17"] {
        watcher.value("press-1", "pressure", value);
    }
    watcher.settle();
    daemon.launch();
    let states: Vec<String> =
        (0..3).map(|_| watcher.event("press-1/pressure/hi")["to"].as_str().unwrap().to_owned()).collect();
    assert_eq!(states, ["activated", "idled", "activated"]);
}

fn events_of_an_outage_arrive_in_order_afterwards(mqtt: Protocol) {
    let mut broker = Broker::with(&format!("{PERSISTENCE}max_queued_messages 0\n"));
    let mut watcher = Watcher::resume(broker.port, "patient");
    let mut daemon = Daemon::start(mqtt.at(broker.port), HI);
    watcher.status("online");
    for round in 0..200 {
        watcher.value("press-1", "pressure", if round % 2 == 0 { "16" } else { "3" });
    }
    watcher.next("some events", |seen| seen.topic.contains("/events/") && seen.json()["seq"] == 20);
    // In the middle of it the broker goes, and then the daemon.
    broker.terminate();
    until("the daemon to notice", || (refusals(&daemon) >= 1).then_some(()));
    assert_eq!(daemon.stop(), 0);
    broker.restart();
    let mut second = Watcher::resume(broker.port, "patient");
    daemon.launch();
    second.value("press-1", "pressure", "99");
    second.value("press-1", "pressure", "1");
    second.next("the end", |seen| seen.topic.contains("/events/") && seen.json()["value"] == 1);
    watcher.drain();
    let mut seqs: Vec<u64> =
        watcher.events().iter().chain(&second.events()).map(|event| event["seq"].as_u64().unwrap()).collect();
    seqs.sort_unstable();
    seqs.dedup();
    let last = *seqs.last().unwrap();
    let missing: Vec<u64> = (1..=last).filter(|seq| !seqs.contains(seq)).collect();
    assert!(missing.is_empty(), "of {last} events these are missing: {missing:?}");
}

fn a_backlog_of_any_size_is_worked_off(mqtt: Protocol) {
    // A broker without a limit for what is in flight sends all of it before it answers the subscription.
    const BACKLOG: usize = 40_000;
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\n");
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::start(mqtt.at(broker.port), HI);
    watcher.status("online");
    assert_eq!(daemon.stop(), 0);
    watcher.status("offline");
    for number in 0..BACKLOG {
        watcher.value("press-1", "pressure", if number % 1_000 == 0 { "16" } else { "3" });
        if number % 1_000 == 0 {
            watcher.settle();
        }
    }
    watcher.settle();
    daemon.launch();
    let last = 2 * BACKLOG / 1_000;
    watcher.next("the last event", |seen| seen.topic.contains("/events/") && seen.json()["seq"] == last);
    println!("{BACKLOG} messages waited, {} connections were lost", daemon.log().matches("connection lost").count());
    assert!(!daemon.log().contains("connect anew") && refusals(&daemon) == 0, "{}", daemon.log());
}
