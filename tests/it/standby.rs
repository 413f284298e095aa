//! One instance works, another one waits: who takes over, when, and with which states.

use crate::support::brokers::{self, OtherBroker};
use crate::support::{Broker, Daemon, HI, Protocol, Watcher, for_both_versions, until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Instant;

for_both_versions! {
    a_killed_one_is_replaced_and_nothing_is_activated_twice,
    one_that_was_stopped_and_goes_on_yields,
    a_restart_is_no_reason_to_take_over,
    a_broker_that_restarts_is_no_reason_either,
}

fn config(mqtt: Protocol, port: u16, name: &str) -> String {
    // The keep-alive is short, or the broker would believe in a stopped client for half a minute.
    let text = crate::support::config(mqtt.at(port), &format!("[standby]\nname = \"{name}\"\nafter = \"3s\"\n\n{HI}"));
    text.replace("\n[[source]]", "keep_alive = \"5s\"\n\n[[source]]")
}

fn online(watcher: &mut Watcher, name: &str) {
    watcher.next(&format!("{name} to work"), |seen| {
        let status = seen.json();
        seen.topic == "annunciator/gw/status"
            && status["state"] == "online"
            && status["gateway"] == format!("gw/{name}")
    });
}

fn standing_by(watcher: &mut Watcher, name: &str) {
    let topic = format!("annunciator/gw/standby/{name}");
    watcher.next(&topic, |seen| seen.topic == topic && seen.json()["state"] == "standing-by");
}

/// Two of them, of which `a` works.
fn pair(mqtt: Protocol, port: u16) -> (Daemon, Daemon, Watcher) {
    let mut watcher = Watcher::connect(port);
    let a = Daemon::with(&config(mqtt, port, "a"));
    online(&mut watcher, "a");
    let b = Daemon::with(&config(mqtt, port, "b"));
    standing_by(&mut watcher, "b");
    (a, b, watcher)
}

fn told(event: &Value) -> (&str, &str, u64) {
    (event["gateway"].as_str().unwrap(), event["to"].as_str().unwrap(), event["occurrence"].as_u64().unwrap())
}

fn a_killed_one_is_replaced_and_nothing_is_activated_twice(mqtt: Protocol) {
    let broker = Broker::start();
    they_replace_each_other(mqtt, broker.port);
}

#[test]
fn they_replace_each_other_at_other_kinds_of_broker() {
    for kind in brokers::kinds() {
        let broker = OtherBroker::start(kind);
        they_replace_each_other(Protocol::V3, broker.port);
    }
}

fn they_replace_each_other(mqtt: Protocol, port: u16) {
    let (mut a, mut b, mut watcher) = pair(mqtt, port);
    watcher.value("press-1", "pressure", "16");
    assert_eq!(told(&watcher.event("press-1/pressure/hi")), ("gw/a", "activated", 1));
    a.kill();
    // What comes while nobody works waits in the session. Before the broker has noticed, NATS would still send the first
    // of it to the dead one, and send it again half a minute later, after the second.
    watcher.status("offline");
    watcher.value("press-1", "pressure", "10");
    watcher.value("press-1", "pressure", "17");
    online(&mut watcher, "b");
    watcher.looked_back();
    for expected in [("gw/a", "activated", 1), ("gw/b", "idled", 1), ("gw/b", "activated", 2)] {
        assert_eq!(told(&watcher.event("press-1/pressure/hi")), expected);
    }
    // The first one comes back, with an old state on its disk, and waits.
    a.launch();
    standing_by(&mut watcher, "a");
    watcher.value("press-1", "pressure", "10");
    assert_eq!(told(&watcher.event("press-1/pressure/hi")), ("gw/b", "idled", 2));
    // And takes over with what the other one has left.
    b.kill();
    online(&mut watcher, "a");
    watcher.value("press-1", "pressure", "18");
    assert_eq!(told(&watcher.event("press-1/pressure/hi")), ("gw/a", "activated", 3));
    watcher.settle();
    // What a killed one has sent may come again when it works again.
    let ids: BTreeSet<String> = watcher.events().iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.iter().collect::<Vec<_>>(), ["gw/a-1", "gw/a-2", "gw/b-1", "gw/b-2", "gw/b-3"]);
}

fn one_that_was_stopped_and_goes_on_yields(mqtt: Protocol) {
    let broker = Broker::start();
    let (a, _b, mut watcher) = pair(mqtt, broker.port);
    watcher.value("press-1", "pressure", "16");
    assert_eq!(told(&watcher.event("press-1/pressure/hi")), ("gw/a", "activated", 1));
    a.freeze();
    // The broker still believes in it, and sends it this.
    watcher.value("press-1", "pressure", "10");
    let stopped = Instant::now();
    online(&mut watcher, "b");
    let took = stopped.elapsed();
    watcher.value("press-1", "pressure", "19");
    watcher.looked_back();
    for expected in [("gw/a", "activated", 1), ("gw/b", "idled", 1), ("gw/b", "activated", 2)] {
        assert_eq!(told(&watcher.event("press-1/pressure/hi")), expected);
    }
    a.thaw();
    standing_by(&mut watcher, "a");
    watcher.value("press-1", "pressure", "9");
    assert_eq!(told(&watcher.event("press-1/pressure/hi")), ("gw/b", "idled", 2));
    watcher.settle();
    // Nothing of what it saw late has left it: no event, no state, no status.
    let since =
        watcher.all.iter().position(|seen| seen.json()["gateway"] == "gw/b" && seen.topic.ends_with("gw/status"));
    let late: Vec<_> = watcher.all[since.unwrap()..]
        .iter()
        .filter(|seen| seen.json()["gateway"] == "gw/a" && !seen.topic.contains("/standby/"))
        .filter(|seen| seen.json()["state"] != "offline")
        .collect();
    assert!(late.is_empty(), "{late:?}");
    assert_eq!(watcher.events().len(), 4);
    println!("taken over {took:?} after the stop");
}

fn a_restart_is_no_reason_to_take_over(mqtt: Protocol) {
    let broker = Broker::start();
    let (mut a, _b, mut watcher) = pair(mqtt, broker.port);
    for clean in [true, false] {
        if clean {
            assert_eq!(a.stop(), 0);
        } else {
            a.kill();
        }
        a.launch();
        watcher.status("offline");
        let back = watcher.status("online");
        assert_eq!(back["gateway"], "gw/a");
    }
    watcher.value("press-1", "pressure", "16");
    assert_eq!(told(&watcher.event("press-1/pressure/hi")), ("gw/a", "activated", 1));
}

fn a_broker_that_restarts_is_no_reason_either(mqtt: Protocol) {
    let mut broker = Broker::with("allow_anonymous true\npersistence true\npersistence_location FOLDER/\n");
    let (_a, _b, mut watcher) = pair(mqtt, broker.port);
    watcher.value("press-1", "pressure", "16");
    assert_eq!(told(&watcher.event("press-1/pressure/hi")), ("gw/a", "activated", 1));
    for clean in [true, false] {
        if clean {
            broker.terminate();
        }
        broker.restart();
        let mut watcher = Watcher::connect(broker.port);
        // What is retained from before comes marked; this is said anew.
        watcher.next("one that works", |seen| {
            let status = seen.json();
            let is_ours = status["gateway"] == "gw/a";
            assert!(status["state"] != "online" || seen.topic != "annunciator/gw/status" || is_ours, "{status}");
            !seen.retained && seen.topic == "annunciator/gw/status" && is_ours && status["state"] == "online"
        });
        watcher.looked_back();
        standing_by(&mut watcher, "b");
    }
    watcher.drain();
}

#[test]
fn repeats_of_reactions_go_on() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let reaction = "[[template]]\nname = \"lamp\"\ntype = \"mqtt\"\ntopic = \"lamp\"\npayload = \"{{ gateway.id }} {{ event.id }} {{ reaction.kind }}\"\n\n\
                    [[reaction]]\nname = \"lamp\"\ntype = \"mqtt\"\ntemplate = \"lamp\"\nrepeat = \"4s\"\non_clear = true\n\n";
    let config = |name: &str| {
        let text = config(Protocol::V3, broker.port, name).replace("[[alarm]]", &format!("{reaction}[[alarm]]"));
        format!("{text}reactions = [\"lamp\"]\n")
    };
    let mut a = Daemon::with(&config("a"));
    online(&mut watcher, "a");
    let _b = Daemon::with(&config("b"));
    standing_by(&mut watcher, "b");
    watcher.value("press-1", "pressure", "16");
    let mut lamp = |what: &str| {
        let seen = watcher.next(what, |seen| seen.topic == "lamp");
        String::from_utf8(seen.payload).unwrap()
    };
    assert_eq!(lamp("the first"), "gw/a gw/a-1 first");
    a.kill();
    let by_the_other =
        until("a repeat by the other one", || Some(lamp("a repeat")).filter(|text| text.starts_with("gw/b")));
    // The other one cannot know whether anybody was told. Whoever was knows the delivery by its id.
    assert_eq!(by_the_other, "gw/b gw/a-1 first");
    assert_eq!(lamp("a repeat"), "gw/b gw/a-1 repeat");
    watcher.value("press-1", "pressure", "10");
    watcher.next("its end", |seen| seen.topic == "lamp" && seen.payload.ends_with(b"clear"));
}

#[test]
fn a_shard_has_somebody_who_stands_by_for_it() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let shard = |name: &str| {
        let shard = "[shard]\nindex = 0\ncount = 1\n\n[standby]";
        Daemon::with(&config(Protocol::V3, broker.port, name).replace("[standby]", shard))
    };
    let mut a = shard("a");
    watcher.next("a to work", |seen| {
        let status = seen.json();
        seen.topic == "annunciator/gw/shards/0/status" && status["gateway"] == "gw/0.a" && status["state"] == "online"
    });
    let _b = shard("b");
    watcher.next("b to stand by", |seen| seen.topic == "annunciator/gw/shards/0/standby/b");
    watcher.value("press-1", "pressure", "16");
    assert_eq!(told(&watcher.event("press-1/pressure/hi")), ("gw/0.a", "activated", 1));
    a.kill();
    watcher.value("press-1", "pressure", "10");
    assert_eq!(told(&watcher.event("press-1/pressure/hi")), ("gw/0.b", "idled", 1));
}
