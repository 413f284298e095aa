//! Brokers of other kinds than mosquitto: what the daemon relies on is there, or it is known not to be.

use crate::support::brokers::{self, Kind, OtherBroker};
use crate::support::{Daemon, HI, Watcher, config};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Nothing is heard of this one.
const SILENT: &str = "[[alarm]]\nthing = \"press-2\"\nproperty = \"pressure\"\nlevel = \"silent\"\ntype = \"no-value\"\n\
                      observe_time = \"1s\"\n";

#[test]
fn the_whole_path_works_with_other_kinds() {
    brokers::kinds().into_iter().for_each(works_with);
}

fn works_with(kind: Kind) {
    // NATS 2.9.10 sends what was not acknowledged at a death again after 30 s, behind what is newer, and was seen to lose
    // what came just before its own end ("Restored 0 messages"). With it nothing is on its way at such an instant, and it
    // is not killed itself.
    let keeps_order = kind != Kind::Nats;
    let mut broker = OtherBroker::start(kind);
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::with(&config(broker.port, &format!("{HI}\n{SILENT}")));
    watcher.status("online");
    // From a message to an event and a state that is kept.
    watcher.value("press-1", "pressure", "16.5");
    let event = watcher.event("press-1/pressure/hi");
    assert_eq!((&event["id"], &event["to"], &event["value"]), (&json!("gw-1"), &json!("activated"), &json!(16.5)));
    let topic = "annunciator/gw/alarms/press-1/pressure/hi";
    watcher.next("its state", |seen| seen.topic == topic && seen.json()["state"] == "activated");
    let retained = Watcher::on(broker.port, topic).next("the retained state", |seen| seen.retained);
    assert_eq!(retained.json()["state"], "activated");
    // Silence is proven by what the daemon sends to itself.
    watcher.looked_back();
    assert_eq!(watcher.event("press-2/pressure/silent")["to"], "activated");
    // A command and its answer.
    watcher.publish("annunciator/gw/commands/acknowledge", r#"{"alarm":"press-1/*","by":"kim","request":"r1"}"#);
    let answer = watcher.next_on("replies");
    assert_eq!((&answer["ok"], &answer["request"]), (&json!(true), &json!("r1")), "{answer}");
    // Whoever dies leaves a last will, and what comes meanwhile waits in the session.
    daemon.kill();
    watcher.status("offline");
    watcher.value("press-1", "pressure", "10");
    watcher.value("press-1", "pressure", "17");
    watcher.settle();
    daemon.launch();
    watcher.status("online");
    watcher.looked_back();
    let told = excursions(&mut watcher, "idled", 1);
    assert_eq!(told["gateway"], "gw");
    excursions(&mut watcher, "activated", 2);
    // A broker that stops keeps the session and what is retained: the daemon has nothing to do with it.
    for (round, is_clean) in [(2, true), (3, !keeps_order)] {
        daemon.kill();
        watcher.status("offline");
        if keeps_order {
            publish(broker.port, "things/press-1/properties/pressure", "10");
        }
        broker.restart(is_clean);
        if !keeps_order {
            publish(broker.port, "things/press-1/properties/pressure", "10");
        }
        watcher = Watcher::connect(broker.port);
        daemon.launch();
        excursions(&mut watcher, "idled", round);
        watcher.value("press-1", "pressure", "18");
        excursions(&mut watcher, "activated", round + 1);
    }
    watcher.value("press-1", "pressure", "10");
    excursions(&mut watcher, "idled", 4);
    // Killed in the midst of work: each excursion once, each number once.
    let mut watcher = Watcher::connect(broker.port);
    const EXCURSIONS: u64 = 40;
    for round in 0..EXCURSIONS {
        watcher.value("press-1", "pressure", "20");
        watcher.value("press-1", "pressure", "10");
        if keeps_order && round % 10 == 5 {
            daemon.kill();
            daemon.launch();
        }
    }
    excursions(&mut watcher, "idled", 4 + EXCURSIONS);
    watcher.settle();
    let alarm = json!("press-1/pressure/hi");
    let events: Vec<Value> = watcher.events().into_iter().filter(|event| event["alarm"] == alarm).collect();
    let told: BTreeSet<(u64, String)> = events
        .iter()
        .map(|event| (event["occurrence"].as_u64().unwrap(), event["to"].as_str().unwrap().to_owned()))
        .filter(|(occurrence, _)| *occurrence > 4)
        .collect();
    let ids: BTreeSet<&str> = events
        .iter()
        .filter(|event| event["occurrence"].as_u64().unwrap() > 4)
        .map(|event| event["id"].as_str().unwrap())
        .collect();
    assert_eq!((told.len(), ids.len()), (80, 80), "{}", watcher.transcript());
    // With the daemon there, too.
    broker.restart(true);
    watcher = Watcher::connect(broker.port);
    if keeps_order {
        watcher.value("press-1", "pressure", "20");
        excursions(&mut watcher, "activated", 5 + EXCURSIONS);
    } else {
        Watcher::on(broker.port, "annunciator/gw/status").next("the daemon is back", |seen| {
            let (status, cause) = (seen.json(), "not connected to the broker");
            status["state"] == "online"
                && status["last_gap"]["cause"].as_str().is_some_and(|told| told.starts_with(cause))
        });
    }
    assert_eq!(daemon.stop(), 0);
    watcher.status("offline");
}

/// Publishes, and waits for the broker's promise that it will not forget it.
fn publish(port: u16, topic: &str, payload: &str) {
    let mut command = std::process::Command::new("mosquitto_pub");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-q", "1", "-t", topic, "-m", payload]);
    assert!(command.status().unwrap().success());
}

/// Waits for this change of the occurrence.
fn excursions(watcher: &mut Watcher, to: &str, occurrence: u64) -> Value {
    watcher
        .next(&format!("occurrence {occurrence} {to}"), |seen| {
            let event = seen.json();
            seen.topic == "annunciator/gw/events/press-1/pressure/hi"
                && event["to"] == to
                && event["occurrence"] == occurrence
        })
        .json()
}
