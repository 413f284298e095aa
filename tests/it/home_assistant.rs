//! Alarms as Home Assistant's sensors: announced, taken back, announced again.

use crate::support::{Broker, Daemon, HI, Seen, Watcher, config, until};
use serde_json::json;

const SENSOR: &str = "homeassistant/binary_sensor/gw/press-1__pressure__hi/config";

fn announcing(port: u16, prefix: &str, alarms: &str) -> String {
    config(port, &format!("[home_assistant]\nprefix = \"{prefix}\"\n\n{alarms}"))
}

/// What a client that connects now is told of retained announcements.
fn retained(port: u16) -> Vec<String> {
    let mut latecomer = Watcher::connect(port);
    latecomer.settle();
    latecomer.all.into_iter().map(|seen| seen.topic).filter(|topic| topic.ends_with("/config")).collect()
}

fn removal(watcher: &mut Watcher, topic: &str) {
    watcher.next("the removal", |seen| seen.topic == topic && seen.payload.is_empty());
}

fn announcement(watcher: &mut Watcher, topic: &str) -> Seen {
    watcher.next("the announcement", |seen| seen.topic == topic && !seen.payload.is_empty())
}

#[test]
fn an_alarm_is_a_sensor_of_its_thing() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let titled = HI.replace("press-1", "press 2") + "title = \"Pressure high\"\n";
    let _daemon = Daemon::with(&announcing(broker.port, "homeassistant", &format!("{HI}{titled}")));
    let sensor = announcement(&mut watcher, SENSOR).json();
    assert_eq!(
        sensor,
        json!({
            "name": "pressure hi",
            "unique_id": "annunciator_gw_press-1__pressure__hi",
            "device_class": "problem",
            "state_topic": "annunciator/gw/alarms/press-1/pressure/hi",
            "value_template": "{{ 'None' if value_json.state == 'off' else 'ON' if value_json.active else 'OFF' }}",
            "json_attributes_topic": "annunciator/gw/alarms/press-1/pressure/hi",
            "availability_topic": "annunciator/gw/status",
            "availability_template": "{{ value_json.state }}",
            "qos": 1,
            "dev": { "identifiers": ["annunciator_gw_press-1"], "name": "press-1" },
            "o": { "name": "Annunciator", "sw": env!("CARGO_PKG_VERSION") },
        })
    );
    let sensor = announcement(&mut watcher, "homeassistant/binary_sensor/gw/press_202__pressure__hi/config").json();
    assert_eq!((&sensor["name"], &sensor["dev"]["name"]), (&json!("Pressure high"), &json!("press 2")));
    assert_eq!(retained(broker.port).len(), 2);
    // What the templates look at is there.
    watcher.looked_back();
    let state = watcher.next_on("alarms/press-1/pressure/hi");
    assert_eq!((&state["state"], &state["active"]), (&json!("enabled"), &json!(false)));
    assert_eq!(watcher.status("online")["state"], "online");
}

#[test]
fn it_is_announced_again_when_home_assistant_or_the_broker_starts() {
    let mut broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let _daemon = Daemon::with(&announcing(broker.port, "ha/here", HI));
    let sensor = SENSOR.replace("homeassistant", "ha/here");
    let first = announcement(&mut watcher, &sensor);
    watcher.publish("ha/here/status", "offline");
    watcher.publish("ha/here/status", "online");
    assert_eq!(announcement(&mut watcher, &sensor), first);
    broker.restart();
    let mut watcher = Watcher::connect(broker.port);
    assert_eq!(announcement(&mut watcher, &sensor).payload, first.payload);
}

#[test]
fn a_new_thing_is_announced_and_an_alarm_that_goes_is_taken_back() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let pattern = HI.replace("press-1", "press-*");
    let mut daemon = Daemon::with(&announcing(broker.port, "homeassistant", &pattern));
    watcher.status("online");
    watcher.value("press-1", "pressure", "3");
    announcement(&mut watcher, SENSOR);
    // By a reload.
    let other = HI.replace("\"hi\"", "\"other\"");
    daemon.configure(&announcing(broker.port, "homeassistant", &other));
    watcher.publish("annunciator/gw/commands/reload", "{}");
    removal(&mut watcher, SENSOR);
    let new = SENSOR.replace("__hi", "__other");
    announcement(&mut watcher, &new);
    // And back, in a daemon that starts.
    daemon.kill();
    daemon.configure(&announcing(broker.port, "homeassistant", HI));
    daemon.launch();
    removal(&mut watcher, &new);
    announcement(&mut watcher, SENSOR);
    assert_eq!(retained(broker.port), [SENSOR]);
}

#[test]
fn switched_off_or_moved_it_leaves_nothing_behind_even_after_a_crash() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let other = HI.replace("press-1", "press-2");
    let both = format!("{HI}{other}");
    let mut daemon = Daemon::with(&announcing(broker.port, "homeassistant", &both));
    announcement(&mut watcher, &SENSOR.replace("press-1", "press-2"));
    daemon.kill();
    // Another prefix, and one alarm less.
    daemon.configure(&announcing(broker.port, "ha", HI));
    daemon.launch();
    announcement(&mut watcher, &SENSOR.replace("homeassistant", "ha"));
    assert_eq!(retained(broker.port), [SENSOR.replace("homeassistant", "ha")]);
    daemon.kill();
    // A crash in the middle of it does not matter: it is done again.
    daemon.configure(&config(broker.port, HI));
    daemon.launch();
    daemon.kill();
    daemon.launch();
    removal(&mut watcher, &SENSOR.replace("homeassistant", "ha"));
    assert_eq!(retained(broker.port), [""; 0]);
    // It is done once.
    until("that it is forgotten", || daemon.log().contains("not announced").then_some(()));
    assert_eq!(daemon.stop(), 0);
    let seen = watcher.all.len();
    daemon.launch();
    watcher.status("online");
    watcher.settle();
    let again = watcher.all[seen..].iter().filter(|seen| seen.topic.ends_with("/config")).count();
    assert_eq!(again, 0, "{}", watcher.transcript());
}

#[test]
fn a_reload_moves_it_and_switches_it_off() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let daemon = Daemon::with(&announcing(broker.port, "homeassistant", HI));
    announcement(&mut watcher, SENSOR);
    let moved = SENSOR.replace("homeassistant", "ha");
    daemon.configure(&announcing(broker.port, "ha", HI));
    watcher.publish("annunciator/gw/commands/reload", "{}");
    removal(&mut watcher, SENSOR);
    let first = announcement(&mut watcher, &moved);
    // It listens to the new prefix, when the broker has agreed.
    until("the announcement", || {
        watcher.publish("ha/status", "online");
        watcher.settle();
        watcher.settle();
        let again = watcher.all.iter().filter(|seen| **seen == first).count();
        (again > 1).then_some(())
    });
    daemon.configure(&config(broker.port, HI));
    watcher.publish("annunciator/gw/commands/reload", "{}");
    removal(&mut watcher, &moved);
    assert_eq!(retained(broker.port), [""; 0]);
}

#[test]
fn its_announcements_are_no_values() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let everything = announcing(broker.port, "homeassistant", "")
        .replace("things/{thing}/properties/{property}", "{thing}/#")
        + "[[alarm]]\nthing = \"*\"\nproperty = \"qos\"\nlevel = \"any\"\ntype = \"standard\"\noperator = \">=\"\nlimit = 0\n";
    let _daemon = Daemon::with(&everything);
    watcher.status("online");
    watcher.publish("press-1/data", r#"{"qos":5}"#);
    let sensor = SENSOR.replace("pressure__hi", "qos__any");
    announcement(&mut watcher, &sensor);
    watcher.settle();
    watcher.settle();
    assert!(watcher.events().iter().all(|event| event["thing"] == "press-1"), "{}", watcher.transcript());
}
