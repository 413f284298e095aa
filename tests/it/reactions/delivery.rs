//! Deliveries over crashes and outages: counted at the receiver.

use super::{alarm, event, id, report, with_hook};
use crate::support::servers::Server;
use crate::support::{Broker, Daemon, Watcher, config, until};
use std::collections::{BTreeMap, BTreeSet};

/// Alarms in the test of a night without network.
const ALARMS: usize = 200;
/// SIGKILLs in it.
const KILLS: usize = 10;

#[test]
fn a_receiver_that_is_down_while_the_daemon_is_killed_gets_everything_once_it_is_back() {
    let (broker, mut server) = (Broker::start(), Server::http());
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = with_hook(broker.port, &server, "");
    watcher.status("online");
    server.stop();
    for kill in 0..KILLS {
        for number in 0..ALARMS / KILLS {
            watcher.value(&format!("press-{}", kill * ALARMS / KILLS + number), "pressure", "16");
        }
        let wanted = (kill + 1) * ALARMS / KILLS;
        until("the events", || {
            watcher.drain();
            (watcher.events().iter().map(|event| event["seq"].as_u64()).collect::<BTreeSet<_>>().len() >= wanted)
                .then_some(())
        });
        daemon.kill();
        daemon.launch();
    }
    server.restart();
    let distinct = |server: &mut Server| server.drain().iter().map(id).collect::<BTreeSet<_>>();
    until("every delivery", || (distinct(&mut server).len() >= ALARMS).then_some(()));
    // In the middle of the flood, too: what was on its way may come twice, with the same id.
    for number in 0..ALARMS {
        watcher.value(&format!("press-{number}"), "pressure", "14");
        watcher.value(&format!("press-{number}"), "pressure", "17");
        if number % (ALARMS / 4) == 7 {
            daemon.kill();
            daemon.launch();
        }
    }
    until("every second delivery", || (distinct(&mut server).len() >= 2 * ALARMS).then_some(()));
    until("an empty queue", || {
        watcher.drain();
        let reports = watcher.all.iter().filter(|seen| seen.topic.ends_with("/reactions/hook"));
        let delivered: BTreeSet<String> = reports
            .filter(|seen| seen.json()["outcome"] == "delivered")
            .map(|seen| seen.json()["delivery"].to_string())
            .collect();
        (delivered.len() >= 2 * ALARMS).then_some(())
    });
    let mut times: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for request in server.drain() {
        let (count, body) = times.entry(id(request)).or_insert_with(|| (0, request["body"].to_string()));
        *count += 1;
        assert_eq!(*body, request["body"].to_string(), "a repeat says the same");
    }
    assert_eq!(times.len(), 2 * ALARMS, "one for each activation, none besides");
    let repeated: usize = times.values().map(|(count, _)| count - 1).sum();
    assert!(repeated <= 4 * 4, "only what was on its way at one of the kills: {repeated}");
    println!("{ALARMS} alarms twice, {} kills: {} deliveries, {repeated} repeated", KILLS + 4, times.len());
}

#[test]
fn a_reaction_that_is_down_delays_no_other() {
    let (broker, mut server, mut dead) = (Broker::start(), Server::http(), Server::http());
    dead.behave("slow 3600");
    let mut watcher = Watcher::connect(broker.port);
    let hook = |name: &str, port: u16| {
        format!(
            "[[reaction]]\nname = \"{name}\"\ntype = \"webhook\"\nurl = \"http://127.0.0.1:{port}/\"\ntimeout = \"1s\"\n\n"
        )
    };
    let both = hook("dead", dead.port) + &hook("alive", server.port);
    let _daemon = Daemon::with(&config(broker.port, &(alarm("\"dead\", \"alive\"") + &both)));
    watcher.status("online");
    for number in 0..50 {
        watcher.value(&format!("press-{number}"), "pressure", "16");
    }
    assert_eq!(server.received(50, |_| true).len(), 50);
    report(&mut watcher, "dead", "failed");
    let metrics = until("the metrics", || {
        watcher.drain();
        watcher.all.iter().rev().find(|seen| seen.topic.ends_with("/metrics")).map(|seen| seen.json())
    });
    assert!(metrics["reactions_waiting"].is_u64(), "{metrics}");
}

#[test]
fn an_mqtt_message_reaches_an_actuator_and_waits_for_the_broker() {
    let mut broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let horn = "[[reaction]]\nname = \"horn\"\ntype = \"mqtt\"\ntopic = \"plant/{{ thing.id }}/horn\"\n\
                payload = \"{% if event.to == 'activated' %}ON{% else %}OFF{% endif %}\"\nretain = true\non_clear = true\n\n";
    let _daemon = Daemon::with(&config(broker.port, &(alarm("\"horn\"") + horn)));
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    let on = watcher.next("the horn", |seen| seen.topic == "plant/press-1/horn");
    assert_eq!(on.payload, b"ON");
    assert!(report(&mut watcher, "horn", "delivered")["answer"].as_str().unwrap().contains("PUBACK"));
    watcher.value("press-1", "pressure", "14");
    let off = watcher.next("its end", |seen| seen.topic == "plant/press-1/horn");
    assert_eq!(off.payload, b"OFF");
    broker.restart();
    let mut watcher = Watcher::connect(broker.port);
    watcher.status("online");
    watcher.value("press-2", "pressure", "16");
    watcher.next("the horn after the broker's restart", |seen| {
        seen.topic == "plant/press-2/horn" && seen.payload == b"ON"
    });
}

#[test]
fn what_would_come_too_late_is_dropped_and_reported_and_never_sent() {
    let (broker, mut server) = (Broker::start(), Server::http());
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = with_hook(broker.port, &server, "valid_for = \"2s\"");
    watcher.status("online");
    server.stop();
    watcher.value("press-1", "pressure", "16");
    let dropped = report(&mut watcher, "hook", "dropped");
    assert!(dropped["reason"].as_str().unwrap().contains("valid for 2s"), "{dropped}");
    // While the daemon is down as well.
    watcher.value("press-2", "pressure", "16");
    report(&mut watcher, "hook", "failed");
    daemon.kill();
    let killed = std::time::Instant::now();
    until("three seconds of darkness", || (killed.elapsed().as_secs() >= 3).then_some(()));
    server.restart();
    daemon.launch();
    let late = report(&mut watcher, "hook", "dropped");
    assert_eq!(late["alarm"], "press-2/pressure/hi");
    watcher.value("press-3", "pressure", "16");
    let requests = server.received(1, |_| true);
    assert_eq!(event(&requests[0])["thing"], "press-3");
}

#[test]
fn a_reaction_that_has_left_the_configuration_is_not_forgotten_in_silence() {
    let (broker, mut server) = (Broker::start(), Server::http());
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = with_hook(broker.port, &server, "");
    watcher.status("online");
    server.stop();
    watcher.value("press-1", "pressure", "16");
    report(&mut watcher, "hook", "failed");
    daemon.kill();
    daemon.configure(&config(broker.port, &alarm("")));
    let text = std::fs::read_to_string(daemon.config_file()).unwrap();
    daemon.configure(&text.replace("reactions = []\n", ""));
    daemon.launch();
    let dropped = report(&mut watcher, "hook", "dropped");
    assert_eq!(dropped["delivery"], "gw-1-hook-0");
    assert!(dropped["reason"].as_str().unwrap().contains("not configured"), "{dropped}");
}

#[test]
fn a_test_really_sends_and_says_what_the_other_side_said() {
    let (broker, mut server) = (Broker::start(), Server::http());
    let mut watcher = Watcher::connect(broker.port);
    let daemon = with_hook(broker.port, &server, "");
    watcher.status("online");
    let mut ask = |request: &str, reaction: &str| {
        let command = format!("{{\"reaction\":\"{reaction}\",\"request\":\"{request}\"}}");
        watcher.publish("annunciator/gw/commands/test-reaction", command);
        watcher
            .next("the answer", |seen| seen.topic == "annunciator/gw/replies" && seen.json()["request"] == request)
            .json()
    };
    let reply = ask("r1", "hook");
    assert_eq!((&reply["ok"], &reply["answer"]), (&true.into(), &"204 No Content".into()), "{reply}");
    assert!(id(&server.received(1, |_| true)[0]).starts_with("gw-test-"));
    server.behave("status 401");
    let reply = ask("r2", "hook");
    assert_eq!(reply["ok"], false);
    assert!(reply["error"].as_str().unwrap().contains("401"), "{reply}");
    let reply = ask("r3", "hok");
    assert!(reply["error"].as_str().unwrap().contains("known are hook"), "{reply}");
    let by_hand = || {
        let mut command = std::process::Command::new(crate::support::PROGRAM);
        let output = command.args(["test-reaction", "hook", "--config"]).arg(daemon.config_file()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, _, said) = by_hand();
    assert!(code == Some(1) && said.contains("401"), "{said}");
    server.behave("fine");
    let (code, said, _) = by_hand();
    assert!(code == Some(0) && said.contains("204 No Content"), "{said}");
}

#[test]
fn explain_says_what_waits_and_why() {
    let (broker, mut server) = (Broker::start(), Server::http());
    let mut watcher = Watcher::connect(broker.port);
    let _daemon = with_hook(broker.port, &server, "repeat = \"1h\"");
    watcher.status("online");
    server.behave("status 503");
    watcher.value("press-1", "pressure", "16");
    report(&mut watcher, "hook", "failed");
    watcher.publish("annunciator/gw/commands/explain", r#"{"alarm":"press-1/pressure/hi"}"#);
    let reply = watcher.next_on("replies");
    let told = &reply["explanation"]["reactions"][0];
    assert_eq!((&told["reaction"], &told["delivered"]), (&"hook".into(), &false.into()), "{reply}");
    assert_eq!(told["waiting"][0]["delivery"], "gw-1-hook-0");
    assert!(told["next"].is_string() && told["problem"].to_string().contains("503"), "{reply}");
    let text = reply["text"].as_str().unwrap();
    assert!(text.contains("Reaction hook: not delivered yet; gw-1-hook-0 waits after"), "{text}");
}
