//! What MQTT 5 has and 3.1.1 has not: answers where they are waited for, refusals with a reason, what expires.

use crate::support::{Broker, Daemon, HI, Protocol, Watcher, until};
use serde_json::{Value, json};
use std::process::{Command, Output};

/// One of mosquitto's programs, speaking MQTT 5.
fn mosquitto(program: &str, broker: &Broker, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(["-V", "5", "-h", "127.0.0.1", "-p", &broker.port.to_string(), "-W", "20"]).args(arguments);
    let Output { status, stdout, stderr } = command.output().expect("mosquitto-clients is installed");
    assert!(status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// Gives a command, and waits for its answer on a response topic.
fn ask(broker: &Broker, verb: &str, command: &str, response_topic: &str) -> (String, Value) {
    let topic = format!("annunciator/gw/commands/{verb}");
    let mark = ["-D", "publish", "correlation-data", "17"];
    let arguments = ["-q", "1", "-t", &topic, "-e", response_topic, "-m", command, "-F", "%t %D %p"];
    let answer = mosquitto("mosquitto_rr", broker, &[&arguments[..], &mark[..]].concat());
    let mut parts = answer.trim_end().splitn(3, ' ');
    let (topic, mark, payload) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    (format!("{topic} {mark}"), serde_json::from_str(payload).unwrap())
}

#[test]
fn answers_go_where_they_are_waited_for_with_their_mark() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let _daemon = Daemon::start(Protocol::V5.at(broker.port), HI);
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    watcher.event("press-1/pressure/hi");
    for (verb, command, member) in [
        ("list", r#"{"request":"r1"}"#, "alarms"),
        ("history", r#"{"request":"r1"}"#, "events"),
        ("explain", r#"{"request":"r1","alarm":"press-1/pressure/hj"}"#, "error"),
        ("acknowledge", r#"{"request":"r1","alarm":"*"}"#, "error"),
    ] {
        let (place, answer) = ask(&broker, verb, command, "office/kim");
        assert_eq!((place.as_str(), &answer["request"]), ("office/kim 17", &json!("r1")), "{verb}: {answer}");
        assert!(!answer[member].is_null(), "{verb}: {answer}");
    }
    watcher.settle();
    assert!(!watcher.transcript().contains("/replies "), "{}", watcher.transcript());
}

#[test]
fn nobody_makes_the_daemon_forge_its_own_topics() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let _daemon = Daemon::start(Protocol::V5.at(broker.port), HI);
    watcher.status("online");
    for topic in ["annunciator/gw/events/press-1/pressure/hi", "annunciator/gw/commands/list", "$share/x"] {
        let property = ["-D", "publish", "response-topic", topic];
        let command = ["-q", "1", "-t", "annunciator/gw/commands/disable", "-m", r#"{"alarm":"*","request":"r2"}"#];
        let mut client = Command::new("mosquitto_pub");
        client.args(["-V", "5", "-h", "127.0.0.1", "-p", &broker.port.to_string()]).args(command).args(property);
        assert!(client.output().unwrap().status.success());
        let reply = watcher.next_on("replies");
        assert_eq!((&reply["ok"], &reply["request"]), (&json!(false), &json!("r2")), "{reply}");
        assert!(reply["error"].as_str().unwrap().contains("response topic"), "{reply}");
    }
    let (place, answer) = ask(&broker, "list", "{}", "annunciator/gw/replies/kim");
    assert_eq!((place.as_str(), &answer["alarms"][0]["state"]), ("annunciator/gw/replies/kim 17", &json!("enabled")));
}

#[test]
fn what_the_broker_refuses_is_reported_and_holds_up_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("acl");
    let allowed = ["things/#", "mark", "annunciator/gw/status", "annunciator/gw/probe", "annunciator/gw/alarms/#"];
    let lines: String = allowed.iter().map(|topic| format!("topic readwrite {topic}\n")).collect();
    std::fs::write(&rules, lines + "topic readwrite annunciator/gw/metrics\ntopic read annunciator/#\n").unwrap();
    let broker = Broker::with(&format!("allow_anonymous true\nacl_file {}\n", rules.display()));
    let mut watcher = Watcher::connect(broker.port);
    let daemon = Daemon::start(Protocol::V5.at(broker.port), HI);
    watcher.status("online");
    for round in 0..200 {
        watcher.value("press-1", "pressure", if round % 2 == 0 { "16" } else { "3" });
    }
    // So many alarms are a flood, too, which is another note.
    watcher.next("the refusal", |seen| {
        let problems = seen.json()["problems"].as_array().cloned().unwrap_or_default();
        let wanted = "publish to annunciator/gw/events/press-1/pressure/hi: not authorised";
        problems.iter().any(|problem| problem.as_str().unwrap().contains(wanted))
    });
    // Far more than the window holds were refused, and the states came after all of them.
    watcher.looked_back();
    watcher.next("the last state", |seen| seen.json()["seq"] == 200);
    watcher.settle();
    assert_eq!(watcher.events(), [] as [Value; 0]);
    assert_eq!(daemon.log().matches("refuses what is published").count(), 1, "{}", daemon.log());
    assert!(!daemon.log().contains("connection lost"), "{}", daemon.log());
}

/// An alarm whose event and state are far larger than those of others.
fn long_winded() -> String {
    format!("{}title = \"{}\"\n", HI.replace("\"hi\"", "\"long\""), "x".repeat(5_000))
}

#[test]
fn what_is_too_large_for_the_broker_holds_up_nothing() {
    // One says so at the connect, the other one when it is too late: by a code that PUBACK does not have.
    for (limit, breaks) in [("max_packet_size 3000", 0), ("message_size_limit 2500", 1)] {
        let broker = Broker::with(&format!("allow_anonymous true\n{limit}\n"));
        let mut watcher = Watcher::connect(broker.port);
        let daemon = Daemon::start(Protocol::V5.at(broker.port), &format!("{}\n{HI}", long_winded()));
        watcher.status("online");
        watcher
            .next("the problem", |seen| String::from_utf8_lossy(&seen.payload).contains("more than the broker takes"));
        watcher.value("press-1", "pressure", "16");
        assert_eq!(watcher.event("press-1/pressure/hi")["seq"], 2, "{limit}");
        watcher.value("press-1", "pressure", "3");
        assert_eq!(watcher.event("press-1/pressure/hi")["seq"], 4, "{limit}");
        watcher.settle();
        assert!(!watcher.transcript().contains("xxxxx"), "{limit}");
        assert_eq!(daemon.log().matches("connection lost").count(), breaks, "{limit}: {}", daemon.log());
    }
}

#[test]
fn a_status_that_nobody_renews_goes_and_the_last_word_stays() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::start(Protocol::V5.at(broker.port), HI);
    watcher.status("online");
    let expiry = || mosquitto("mosquitto_sub", &broker, &["-t", "annunciator/gw/status", "-C", "1", "-F", "%E"]);
    let seconds: u64 = expiry().trim().parse().unwrap();
    assert!((600..=900).contains(&seconds), "{seconds}");
    assert_eq!(daemon.stop(), 0);
    watcher.status("offline");
    assert_eq!(expiry().trim(), "", "without an end");
}

#[test]
fn the_session_outlives_the_connection() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::start(Protocol::V5.at(broker.port), HI);
    watcher.status("online");
    daemon.kill();
    watcher.status("offline");
    watcher.value("press-1", "pressure", "16");
    watcher.settle();
    daemon.launch();
    assert_eq!(watcher.event("press-1/pressure/hi")["value"], 16, "it waited in the session");
    until("the session in the broker's log", || broker.log().contains("(p5, c0, k20)").then_some(()));
}
