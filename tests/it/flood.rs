//! Rubbish at full speed: each malformed command is answered with an error, each value among malformed payloads counts.

use crate::support::traffic::Random;
use crate::support::{Broker, Daemon, HI, Watcher};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Commands, and as many payloads.
const COUNT: usize = 10_000;
/// One message in so many is as it should be.
const GOOD: usize = 100;

/// A command that cannot be carried out, with a name of its own where it has one.
fn malformed(random: &mut Random, name: &str) -> (&'static str, Vec<u8>, bool) {
    let (verb, text, is_named) = match random.below(14) {
        0 => ("acknowledge", "{".to_owned(), false),
        1 => ("acknowledge", " ".to_owned(), false),
        2 => ("acknowledge", json!({ "request": name, "alarm": "press-1/pressure/hi" }).to_string(), true),
        3 => ("explode", json!({ "request": name }).to_string(), true),
        4 => ("disable/all", json!({ "request": name, "alarm": "*" }).to_string(), true),
        5 => ("disable", json!({ "request": name, "alarm": "press-1/pressure/hx" }).to_string(), true),
        6 => ("disable", json!({ "request": name, "alarm": ["*"] }).to_string(), true),
        7 => ("disable", json!({ "request": name, "alarm": "*", "force": true }).to_string(), true),
        8 => ("shelve", json!({ "request": name, "alarm": "*", "for": "-1h" }).to_string(), true),
        9 => ("shelve", json!({ "request": name, "alarm": "*", "for": "9 lives" }).to_string(), true),
        10 => ("history", json!({ "request": name, "limit": -1 }).to_string(), true),
        11 => ("list", format!("{}1{}", "{\"request\":".repeat(200), "}".repeat(200)), false),
        12 => ("explain", json!({ "request": name, "alarm": format!("{}z", "*?".repeat(500)) }).to_string(), true),
        _ => ("enable", format!("[\"{}\"]", "\\u001b".repeat(100)), false),
    };
    let mut payload = text.into_bytes();
    if !is_named && random.below(2) == 0 {
        payload.push(0xff);
    }
    (verb, payload, is_named)
}

/// A payload that is no value.
fn rubbish(random: &mut Random) -> Vec<u8> {
    match random.below(7) {
        0 => b"NaN".to_vec(),
        1 => b"\xff\xfe".to_vec(),
        2 => b"null".to_vec(),
        3 => b"[1,2,3]".to_vec(),
        4 => b"1e999".to_vec(),
        5 => vec![b'['; 3_000],
        _ => vec![b'9'; 300 * 1024],
    }
}

#[test]
fn ten_thousand_malformed_commands_and_payloads_are_refused_and_nothing_is_lost_among_them() {
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\nlog_type error\n");
    let mut watcher = Watcher::connect(broker.port);
    let daemon = Daemon::start(broker.port, HI);
    watcher.status("online");
    let mut random = Random(7);
    let mut large = 0;
    let (mut named, mut unnamed, mut carried_out, mut values) = (BTreeSet::new(), 0, BTreeSet::new(), 0);
    for number in 0..COUNT {
        let name = format!("r{number}");
        if number % GOOD == 0 {
            // Up and down in turn: each of them is an event.
            watcher.value("press-1", "pressure", if values % 2 == 0 { "16" } else { "3" });
            values += 1;
            let question = json!({ "request": name, "alarm": "press-*" }).to_string();
            watcher.publish("annunciator/gw/commands/list", question);
            carried_out.insert(name);
            continue;
        }
        let (verb, payload, is_named) = malformed(&mut random, &name);
        watcher.publish(&format!("annunciator/gw/commands/{verb}"), payload);
        if is_named {
            named.insert(name);
        } else {
            unnamed += 1;
        }
        let payload = rubbish(&mut random);
        // A hundred of the largest are thirty megabytes; more say no more.
        large += usize::from(payload.len() > 100_000);
        if payload.len() < 100_000 || large < 100 {
            watcher.publish("things/press-1/properties/pressure", payload);
        }
    }
    let (mut events, mut answers) = (Vec::new(), 0);
    while answers < COUNT || events.len() < values {
        let what = format!("{} of {COUNT} answers, {} of {values} events", answers, events.len());
        let seen = watcher.next(&what, |seen| {
            seen.topic == "annunciator/gw/replies" || seen.topic.starts_with("annunciator/gw/events/")
        });
        let payload = seen.json();
        if seen.topic != "annunciator/gw/replies" {
            events.push((payload["seq"].clone(), payload["to"].clone()));
            continue;
        }
        answers += 1;
        match payload["request"].as_str() {
            Some(name) if carried_out.remove(name) => assert_eq!(payload["ok"], true, "{payload}"),
            Some(name) => {
                assert!(named.remove(name), "answered twice, or never asked: {payload}");
                assert!(is_refusal(&payload), "{payload}");
            }
            None => {
                unnamed -= 1;
                assert!(is_refusal(&payload), "{payload}");
            }
        }
    }
    assert_eq!((named.len(), carried_out.len(), unnamed), (0, 0, 0));
    let want: Vec<_> =
        (1..=values).map(|seq| (json!(seq), json!(if seq % 2 == 1 { "activated" } else { "idled" }))).collect();
    assert_eq!(events, want, "each value counted, in its order, and no command did anything");
    // Answers take their time, so the last state may have come before the last of them.
    watcher.looked_back();
    let state = watcher.next("the last state", |seen| {
        seen.topic == "annunciator/gw/alarms/press-1/pressure/hi" && seen.json()["seq"] == values
    });
    assert_eq!(state.json()["state"], "idled");
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}

fn is_refusal(reply: &Value) -> bool {
    reply["ok"] == false && reply["error"].as_str().is_some_and(|error| !error.is_empty())
}
