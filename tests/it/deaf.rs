//! Silence that is none: the broker hangs, the daemon is stopped. Neither is evidence.

use crate::support::{Broker, Daemon, Protocol, Watcher, for_both_versions, until};
use serde_json::json;
use std::time::{Duration, Instant};

for_both_versions! {
    a_broker_that_hangs_makes_no_alarm_of_silence,
    a_daemon_that_was_stopped_does_not_blame_the_things,
}

fn silence(time: &str) -> String {
    format!(
        "[[alarm]]\nthing = \"press-1\"\nproperty = \"pressure\"\nlevel = \"silent\"\ntype = \"no-value\"\n\
         observe_time = \"{time}\"\n"
    )
}

fn a_broker_that_hangs_makes_no_alarm_of_silence(mqtt: Protocol) {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let daemon = Daemon::start(mqtt.at(broker.port), &silence("1s"));
    watcher.status("online");
    watcher.value("press-1", "pressure", "1");
    watcher.settle();
    broker.freeze();
    // The deadline passes, the daemon asks for proof, and gives the connection up when there is none.
    until("the daemon to find it deaf", || daemon.log().contains("delivered nothing").then_some(()));
    broker.thaw();
    let status = watcher.next("the gap", |seen| seen.json()["last_gap"].is_object()).json();
    let gap = &status["last_gap"];
    assert!(gap["seconds"].as_f64().unwrap() > 5.0, "{gap}");
    // Only now, with a broker that can be heard, is silence silence.
    let event = watcher.event("press-1/pressure/silent");
    assert_eq!((&event["seq"], &event["to"]), (&json!(1), &json!("activated")));
    assert!(event["at"].as_str() > gap["to"].as_str(), "{event} after {gap}");
}

fn a_daemon_that_was_stopped_does_not_blame_the_things(mqtt: Protocol) {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let daemon = Daemon::start(mqtt.at(broker.port), &silence("3s"));
    watcher.status("online");
    watcher.value("press-1", "pressure", "1");
    watcher.settle();
    daemon.freeze();
    // The thing goes on sending for longer than its alarm allows for silence, and for the daemon to notice its absence.
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < Duration::from_secs(8) {
        watcher.value("press-1", "pressure", "1");
        watcher.settle();
        sent += 1;
    }
    daemon.thaw();
    let status = watcher.next("the gap", |seen| seen.json()["last_gap"].is_object()).json();
    assert!(status["last_gap"]["cause"].as_str().unwrap().contains("stopped"), "{status}");
    watcher.settle();
    assert_eq!(watcher.events(), [] as [serde_json::Value; 0], "{sent} values were sent meanwhile");
}
