//! From a real broker's messages to published events, and back after a restart.

use crate::support::{Broker, Daemon, HI, Protocol, Watcher, config, for_both_versions, until};
use rumqttc::QoS;
use serde_json::json;
use std::path::PathBuf;

for_both_versions! {
    an_event_arrives_with_its_fields_and_the_state_is_retained,
    a_restart_activates_nothing_twice_and_sequence_numbers_go_on,
    a_restart_keeps_windows_and_running_observe_times,
    what_cannot_be_used_is_reported_and_changes_nothing,
    commands_are_answered_and_retained_ones_refused,
    a_retained_command_is_not_carried_out_again_at_each_start,
    things_are_found_by_pattern_and_an_object_has_many_properties,
    the_daemon_does_not_take_its_own_messages_for_values,
    a_command_that_has_waited_for_too_long_is_refused,
    commands_can_be_switched_off,
    a_reload_changes_subscriptions,
    two_sources_evaluate_a_message_once_each,
    an_alarm_that_leaves_the_configuration_leaves_the_broker,
    a_second_daemon_on_the_same_state_is_refused,
    a_refused_subscription_is_seen_by_people,
    a_daemon_that_died_before_it_could_hear_reports_no_gap_since_the_beginning_of_time,
}

fn an_event_arrives_with_its_fields_and_the_state_is_retained(mqtt: Protocol) {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let broker = Broker::start();
        let mut watcher = Watcher::connect(broker.port);
        let alarms = format!("{HI}title = \"Pressure high\"\nseverity = \"critical\"\n");
        let _daemon = Daemon::start(mqtt.at(broker.port), &alarms);
        watcher.status("online");
        watcher.publish_with("things/press-1/properties/pressure", "16.5", qos, false);
        let event = watcher.event("press-1/pressure/hi");
        for (key, want) in [
            ("id", json!("gw-1")),
            ("seq", json!(1)),
            ("gateway", json!("gw")),
            ("alarm", json!("press-1/pressure/hi")),
            ("thing", json!("press-1")),
            ("property", json!("pressure")),
            ("level", json!("hi")),
            ("type", json!("standard")),
            ("severity", json!("critical")),
            ("title", json!("Pressure high")),
            ("from", json!("enabled")),
            ("to", json!("activated")),
            ("occurrence", json!(1)),
            ("cause", json!("value")),
            ("value", json!(16.5)),
        ] {
            assert_eq!(event[key], want, "{key} of {event}");
        }
        assert_eq!(event["at"], event["since"], "{event}");
        // Whoever comes later finds the state, which is published after the event.
        let state = until("the retained state", || {
            let mut latecomer = Watcher::connect(broker.port);
            let topic = "annunciator/gw/alarms/press-1/pressure/hi";
            let state = latecomer.next("a retained state", |seen| seen.retained && seen.topic == topic).json();
            (state["seq"] == 1).then_some(state)
        });
        assert_eq!(state["state"], "activated");
        assert_eq!(state["since"], event["since"]);
    }
}

fn a_restart_activates_nothing_twice_and_sequence_numbers_go_on(mqtt: Protocol) {
    for clean in [true, false] {
        let broker = Broker::start();
        let mut watcher = Watcher::connect(broker.port);
        let mut daemon = Daemon::start(mqtt.at(broker.port), HI);
        watcher.status("online");
        watcher.value("press-1", "pressure", "16");
        assert_eq!(watcher.event("press-1/pressure/hi")["seq"], 1);
        if clean {
            assert_eq!(daemon.stop(), 0);
        } else {
            daemon.kill();
        }
        // After a clean stop the daemon says so itself, after a crash the broker does.
        watcher.status("offline");
        daemon.launch();
        assert_eq!(watcher.status("online")["active"], 1);
        let state = watcher.next_on_state_after_restart();
        assert_eq!(state["state"], "activated", "the retained state is there again");
        watcher.value("press-1", "pressure", "17");
        watcher.value("press-1", "pressure", "3");
        let next =
            watcher.next("the next new event", |seen| seen.topic.contains("/events/") && seen.json()["seq"] != 1);
        let next = next.json();
        assert_eq!((&next["seq"], &next["to"], &next["occurrence"]), (&json!(2), &json!("idled"), &json!(1)));
        watcher.settle();
        let seqs: Vec<_> = watcher.events().iter().map(|event| event["seq"].as_u64().unwrap()).collect();
        assert!(seqs == [1, 2] || seqs == [1, 1, 2], "after a crash the last may come again, nothing else: {seqs:?}");
        let first: Vec<_> =
            watcher.all.iter().filter(|s| s.topic.contains("/events/") && s.json()["seq"] == 1).collect();
        assert!(first.windows(2).all(|pair| pair[0].payload == pair[1].payload), "a repeat is byte for byte the same");
    }
}

impl Watcher {
    fn next_on_state_after_restart(&mut self) -> serde_json::Value {
        let topic = "annunciator/gw/alarms/press-1/pressure/hi";
        // The status may come before or after the states.
        if self.all.iter().rev().take_while(|s| s.json()["state"] != "offline").any(|s| s.topic == topic) {
            return self.all.iter().rev().find(|s| s.topic == topic).unwrap().json();
        }
        self.next_on("alarms/press-1/pressure/hi")
    }
}

fn a_restart_keeps_windows_and_running_observe_times(mqtt: Protocol) {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let alarms = "[[alarm]]\nthing = \"press-1\"\nproperty = \"pressure\"\nlevel = \"mean\"\ntype = \"average\"\n\
                  operator = \">\"\nlimit = 19\nobserve_time = \"1s\"\nwindow = \"1h\"\n";
    let mut daemon = Daemon::start(mqtt.at(broker.port), alarms);
    watcher.status("online");
    for value in 0..600 {
        watcher.value("press-1", "pressure", &format!("{}", f64::from(value % 2) * 20.0 + 10.0));
    }
    watcher.event("press-1/pressure/mean");
    assert_eq!(daemon.stop(), 0);
    daemon.launch();
    watcher.status("online");
    // 600 samples with mean 20 and one of 620 have the mean 20.998…, without the old ones it would be 620.
    watcher.value("press-1", "pressure", "620");
    watcher.publish("annunciator/gw/commands/acknowledge", r#"{"alarm":"press-1/pressure/mean","by":"kim"}"#);
    let event = watcher.next("the acknowledgement", |seen| seen.json()["to"] == "acknowledged").json();
    let mean = event["average"].as_f64().unwrap();
    assert!((mean - (600.0 * 20.0 + 620.0) / 601.0).abs() < 1e-9, "{event}");
}

fn what_cannot_be_used_is_reported_and_changes_nothing(mqtt: Protocol) {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let _daemon = Daemon::start(mqtt.at(broker.port), HI);
    watcher.status("online");
    let big = "9".repeat(300_000);
    for (payload, reason) in [
        ("NaN", "not a finite number"),
        ("1e999", "too large for a 64-bit float"),
        ("null", "value is null"),
        ("[1]", "an array"),
        ("\"16\"", "compares with a number"),
        (big.as_str(), "larger than max_payload"),
    ] {
        watcher.value("press-1", "pressure", payload);
        let fault = watcher.next(reason, |seen| {
            seen.topic == "annunciator/gw/faults" && String::from_utf8_lossy(&seen.payload).contains(reason)
        });
        let fault = fault.json();
        assert_eq!(fault["faults"][0]["topic"], "things/press-1/properties/pressure", "{fault}");
        assert_eq!(fault["count"], 1, "{fault}");
    }
    watcher.publish("things/press-1/properties/pressure", [0xff, 0xfe]);
    watcher.next("the fault", |seen| String::from_utf8_lossy(&seen.payload).contains("not UTF-8"));
    watcher.value("press-1", "pressure", "");
    watcher.value("press-1", "pressure", "16");
    assert_eq!(watcher.event("press-1/pressure/hi")["seq"], 1, "the first thing that counted");
}

fn commands_are_answered_and_retained_ones_refused(mqtt: Protocol) {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let _daemon = Daemon::start(mqtt.at(broker.port), HI);
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    watcher.event("press-1/pressure/hi");
    let command = |verb: &str| format!("annunciator/gw/commands/{verb}");
    for (verb, payload, want) in [
        ("acknowledge", r#"{"alarm":"press-1/pressure/hi","request":1}"#, "by"),
        (
            "acknowledge",
            r#"{"alarm":"press-1/pressure/hj","by":"kim","request":2}"#,
            "did you mean press-1/pressure/hi?",
        ),
        ("acknowledge", r#"{"alarm":"x*","by":"kim","request":3}"#, "no alarm matches"),
        ("acknowlege", r#"{"alarm":"press-1/pressure/hi","request":4}"#, "unknown command"),
        ("acknowledge", r#"{"alarm":"press-1/pressure/hi","by":"kim","colour":"red","request":5}"#, "colour"),
        ("acknowledge", "not json", "not a command"),
    ] {
        watcher.publish(&command(verb), payload);
        let reply = watcher.next_on("replies");
        assert_eq!(reply["ok"], false, "{reply}");
        assert!(reply["error"].as_str().unwrap().contains(want), "{reply}");
    }
    watcher.publish_with(&command("disable"), r#"{"alarm":"*"}"#, QoS::AtLeastOnce, true);
    // A subscriber that was there before sees it without the flag; a daemon that comes later with it.
    assert_eq!(watcher.next_on("replies")["ok"], true);
    assert_eq!(watcher.event("press-1/pressure/hi")["to"], "off");
}

fn a_retained_command_is_not_carried_out_again_at_each_start(mqtt: Protocol) {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    watcher.publish_with("annunciator/gw/commands/disable", r#"{"alarm":"*","request":"old"}"#, QoS::AtLeastOnce, true);
    let _daemon = Daemon::start(mqtt.at(broker.port), HI);
    let reply = watcher.next_on("replies");
    assert_eq!((&reply["ok"], &reply["request"]), (&json!(false), &json!("old")), "{reply}");
    watcher.value("press-1", "pressure", "16");
    assert_eq!(watcher.event("press-1/pressure/hi")["to"], "activated");
}

fn things_are_found_by_pattern_and_an_object_has_many_properties(mqtt: Protocol) {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let daemon = Daemon::with(
        &(config(mqtt.at(broker.port), "").replace("things/{thing}/properties/{property}", "z2m/{thing}")
            + "[[alarm]]\nthing = \"boiler-*\"\nproperty = \"state.power\"\nlevel = \"H/H\"\ntype = \"standard\"\n\
               operator = \">=\"\nlimit = 7\n"),
    );
    watcher.status("online");
    watcher.publish("z2m/boiler-7", r#"{"temperature":31,"state":{"power":7},"tags":[1]}"#);
    let event = watcher.event("boiler-7/state.power/H%2FH");
    assert_eq!((&event["level"], &event["alarm"]), (&json!("H/H"), &json!("boiler-7/state.power/H%2FH")));
    // People may write the level as they see it.
    watcher.publish("annunciator/gw/commands/acknowledge", r#"{"alarm":"boiler-7/state.power/H/H","by":"kim"}"#);
    assert_eq!(watcher.event("boiler-7/state.power/H%2FH")["to"], "acknowledged");
    drop(daemon);
}

fn the_daemon_does_not_take_its_own_messages_for_values(mqtt: Protocol) {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let everything = config(mqtt.at(broker.port), "").replace("things/{thing}/properties/{property}", "{thing}/#")
        + "[[alarm]]\nthing = \"*\"\nproperty = \"seq\"\nlevel = \"any\"\ntype = \"standard\"\noperator = \">=\"\nlimit = 0\n";
    let _daemon = Daemon::with(&everything);
    watcher.status("online");
    watcher.publish("press-1/data", r#"{"seq":5}"#);
    watcher.event("press-1/seq/any");
    watcher.settle();
    assert!(watcher.events().iter().all(|event| event["thing"] == "press-1"), "{}", watcher.transcript());
}

fn a_command_that_has_waited_for_too_long_is_refused(mqtt: Protocol) {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::start(mqtt.at(broker.port), HI);
    watcher.status("online");
    daemon.kill();
    watcher.status("offline");
    // What is said while the daemon is away waits in its session.
    let command = |time: &str| format!(r#"{{"alarm":"*","by":"kim","request":"{time}","time":"{time}"}}"#);
    let now = annunciator::domain::time::Stamp::from_micros(
        i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap(),
    );
    watcher.publish("annunciator/gw/commands/disable", command("2026-05-01T12:00:00Z"));
    watcher.publish("annunciator/gw/commands/disable", command(&now.to_string()));
    watcher.settle();
    daemon.launch();
    let late = watcher.next_on("replies");
    assert_eq!((&late["ok"], &late["request"]), (&json!(false), &json!("2026-05-01T12:00:00Z")), "{late}");
    assert!(late["error"].as_str().unwrap().contains("more than 1m"), "{late}");
    assert_eq!(watcher.next_on("replies")["ok"], true);
}

fn commands_can_be_switched_off(mqtt: Protocol) {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let off = config(mqtt.at(broker.port), HI).replace("[gateway]\n", "[gateway]\ncommands = false\n");
    // The filter of this source covers commands, too.
    let _daemon = Daemon::with(&off.replace("things/{thing}/properties/{property}", "+/{thing}/+/{property}"));
    watcher.status("online");
    watcher.publish("annunciator/gw/commands/disable", r#"{"alarm":"*"}"#);
    watcher.value("press-1", "pressure", "16");
    assert_eq!(watcher.event("press-1/pressure/hi")["to"], "activated");
    watcher.settle();
    assert!(!watcher.transcript().contains("/replies "), "{}", watcher.transcript());
}

fn a_reload_changes_subscriptions(mqtt: Protocol) {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let daemon = Daemon::start(mqtt.at(broker.port), HI);
    watcher.status("online");
    daemon.configure(&config(mqtt.at(broker.port), HI).replace("things/{thing}/properties", "plant/{thing}"));
    watcher.publish("annunciator/gw/commands/reload", "{}");
    assert_eq!(watcher.next_on("replies")["ok"], true);
    until("the broker's answer", || broker.log().contains("UNSUBACK").then_some(()));
    watcher.value("press-1", "pressure", "17");
    watcher.publish("plant/press-1/pressure", "16");
    assert_eq!(watcher.event("press-1/pressure/hi")["value"], 16);
    let topics = ["plant/+/+ (QoS 1)", "\tthings/+/properties/+\n"];
    assert!(topics.iter().all(|topic| broker.log().contains(topic)), "{}", broker.log());
}

fn two_sources_evaluate_a_message_once_each(mqtt: Protocol) {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let two = config(mqtt.at(broker.port), "")
        + "[[source]]\ntopic = \"things/{thing}/#\"\nproperty = \"any\"\n\n\
        [[alarm]]\nthing = \"press-1\"\nproperty = \"pressure\"\nlevel = \"n\"\ntype = \"average\"\noperator = \">\"\nlimit = 0\nobserve_time = \"100ms\"\nwindow = \"1h\"\n\
        [[alarm]]\nthing = \"press-1\"\nproperty = \"any\"\nlevel = \"n\"\ntype = \"average\"\noperator = \">\"\nlimit = 0\nobserve_time = \"100ms\"\nwindow = \"1h\"\n";
    let _daemon = Daemon::with(&two);
    watcher.status("online");
    for value in ["10", "40", "40"] {
        watcher.value("press-1", "pressure", value);
    }
    for property in ["pressure", "any"] {
        watcher.looked_back();
        let event = watcher.event(&format!("press-1/{property}/n"));
        assert_eq!(event["average"], 30, "each sample counted once: {event}");
    }
}

fn an_alarm_that_leaves_the_configuration_leaves_the_broker(mqtt: Protocol) {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let other = HI.replace("\"hi\"", "\"other\"");
    let mut daemon = Daemon::start(mqtt.at(broker.port), &format!("{HI}\n{other}"));
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    watcher.event("press-1/pressure/other");
    assert_eq!(daemon.stop(), 0);
    daemon.configure(&config(mqtt.at(broker.port), HI));
    daemon.launch();
    let event = watcher.event("press-1/pressure/other");
    assert_eq!((&event["to"], &event["cause"], &event["seq"]), (&json!("off"), &json!("config"), &json!(3)));
    watcher
        .next("the deletion", |seen| seen.topic.ends_with("alarms/press-1/pressure/other") && seen.payload.is_empty());
    let mut latecomer = Watcher::connect(broker.port);
    latecomer.settle();
    assert!(!latecomer.transcript().contains("alarms/press-1/pressure/other"), "{}", latecomer.transcript());
}

fn a_second_daemon_on_the_same_state_is_refused(mqtt: Protocol) {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let daemon = Daemon::start(mqtt.at(broker.port), HI);
    watcher.status("online");
    let text = std::fs::read_to_string(daemon.config_file()).unwrap();
    let mut second = Daemon::with(&text);
    assert_eq!(second.wait(), 1);
    assert!(second.log().contains("in use by another annunciator"), "{}", second.log());
}

/// Where Debian keeps mosquitto's plug-in for access rules; only with it are subscriptions refused.
fn dynamic_security() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    folders.map(|folder| folder.join("mosquitto_dynamic_security.so")).find(|file| file.exists()).unwrap()
}

fn a_refused_subscription_is_seen_by_people(mqtt: Protocol) {
    let folder = tempfile::tempdir().unwrap();
    let rules = json!({
        "defaultACLAccess": {
            "publishClientSend": true, "publishClientReceive": true, "subscribe": false, "unsubscribe": true
        },
        "clients": [], "groups": [], "roles": [],
    });
    let file = folder.path().join("rules.json");
    std::fs::write(&file, rules.to_string()).unwrap();
    let broker = Broker::with(&format!(
        "allow_anonymous true\nplugin {}\nplugin_opt_config_file {}\n",
        dynamic_security().display(),
        file.display()
    ));
    let daemon = Daemon::start(mqtt.at(broker.port), HI);
    until("the refusal in the log", || daemon.log().contains("subscription refused").then_some(()));
    assert!(daemon.log().contains("things/+/properties/+"), "{}", daemon.log());
}

fn a_daemon_that_died_before_it_could_hear_reports_no_gap_since_the_beginning_of_time(mqtt: Protocol) {
    let mut broker = Broker::start();
    broker.stop();
    let mut daemon = Daemon::start(mqtt.at(broker.port), HI);
    until("the first attempt to connect", || daemon.log().contains("cannot connect").then_some(()));
    daemon.kill();
    broker.restart();
    let mut watcher = Watcher::connect(broker.port);
    daemon.launch();
    let gap = watcher.status("online")["last_gap"]["seconds"].as_f64().unwrap();
    assert!(gap < 600.0, "{gap} seconds");
}
