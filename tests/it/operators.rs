//! What operators do with alarms: acknowledge, switch, shelve, list, look back, ask why.

use crate::support::{Broker, Daemon, HI, Watcher, config};
use serde_json::{Value, json};

/// A gateway with an operator in front of it.
struct Context {
    broker: Broker,
    watcher: Watcher,
    daemon: Daemon,
    requests: u64,
}

impl Context {
    fn new(alarms: &str) -> Context {
        Context::with(|port| config(port, alarms))
    }

    fn with(config: impl Fn(u16) -> String) -> Context {
        let broker = Broker::start();
        let mut watcher = Watcher::connect(broker.port);
        let daemon = Daemon::with(&config(broker.port));
        watcher.status("online");
        Context { broker, watcher, daemon, requests: 0 }
    }

    /// Gives a command and waits for its answer.
    fn ask(&mut self, verb: &str, mut command: Value) -> Value {
        self.requests += 1;
        let name = json!(format!("r{}", self.requests));
        command["request"] = name.clone();
        self.watcher.publish(&format!("annunciator/gw/commands/{verb}"), command.to_string());
        self.watcher
            .next(&format!("the answer to {verb} {command}"), |seen| {
                seen.topic == "annunciator/gw/replies" && seen.json()["request"] == name
            })
            .json()
    }

    fn done(&mut self, verb: &str, command: Value) -> Value {
        let reply = self.ask(verb, command);
        assert_eq!(reply["ok"], true, "{reply}");
        reply
    }

    fn value(&mut self, thing: &str, value: &str) {
        self.watcher.value(thing, "pressure", value);
    }

    fn restart_after_kill(&mut self) {
        self.daemon.kill();
        self.daemon.launch();
        self.watcher.status("online");
    }

    fn state(&mut self, alarm: &str, what: &str, mut fits: impl FnMut(&Value) -> bool) -> Value {
        let topic = format!("annunciator/gw/alarms/{alarm}");
        self.watcher.next(what, |seen| seen.topic == topic && fits(&seen.json())).json()
    }
}

/// Of each event in an answer: what it is about, and what happened.
fn told(reply: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let events = reply["events"].as_array().unwrap();
    let what = |event: &Value| if event["kind"].is_null() { text(&event["to"]) } else { text(&event["kind"]) };
    events.iter().map(|event| (text(&event["alarm"]), what(event))).collect()
}

fn pair(alarm: &str, what: &str) -> (String, String) {
    (alarm.to_owned(), what.to_owned())
}

const PRESSES: &str = "[[alarm]]\nthing = \"press-*\"\nproperty = \"pressure\"\nlevel = \"hi\"\ntype = \"standard\"\n\
                       operator = \">\"\nlimit = 15\nseverity = \"error\"\n";

#[test]
fn a_shelving_is_remembered_and_ends_by_itself() {
    let mut desk = Context::new(HI);
    let alarm = "press-1/pressure/hi";
    let reply = desk.done("shelve", json!({ "alarm": alarm, "for": "4s", "by": "kim", "comment": "pump test" }));
    let until = reply["alarms"][0]["shelved_until"].clone();
    assert!(until.is_string(), "{reply}");
    let state = desk.state(alarm, "the shelved state", |state| state["shelved"]["by"] == "kim");
    assert_eq!(state["shelved"]["until"], until);
    assert_eq!(state["shelved"]["comment"], "pump test");
    // It is evaluated all the same, and a crash does not end it.
    desk.value("press-1", "16");
    assert_eq!(desk.watcher.event(alarm)["to"], "activated");
    desk.restart_after_kill();
    let reply = desk.done("list", json!({ "alarm": alarm }));
    assert_eq!(reply["alarms"][0]["shelved"]["until"], until, "{reply}");
    assert_eq!(reply["alarms"][0]["state"], "activated");
    desk.state(alarm, "the end of the shelving", |state| state["shelved"].is_null() && state["state"] == "activated");
    let reply = desk.done("history", json!({ "alarm": alarm }));
    let want = [pair(alarm, "unshelved"), pair(alarm, "activated"), pair(alarm, "shelved")];
    assert_eq!(told(&reply), want, "{reply}");
    assert_eq!(reply["events"][2]["until"], until);
    assert_eq!(reply["events"][1]["seq"], 1, "a shelving uses up no sequence number");
    // It can be ended early, and to end it twice is no mistake.
    desk.done("shelve", json!({ "alarm": alarm, "for": "1h" }));
    assert_eq!(desk.done("unshelve", json!({ "alarm": "press-*" }))["alarms"][0]["changed"], true);
    assert_eq!(desk.done("unshelve", json!({ "alarm": alarm }))["alarms"][0]["changed"], false);
    let refused = desk.ask("shelve", json!({ "alarm": alarm, "for": "9h" }));
    assert!(refused["error"].as_str().unwrap().contains("up to 8h"), "{refused}");
}

#[test]
fn a_shelving_ends_without_a_broker_too() {
    let mut desk = Context::new(HI);
    let alarm = "press-1/pressure/hi";
    desk.done("shelve", json!({ "alarm": alarm, "for": "1s" }));
    desk.broker.stop();
    desk.broker.restart();
    desk.watcher = Watcher::connect(desk.broker.port);
    desk.state(alarm, "the end of the shelving", |state| state["shelved"].is_null());
}

#[test]
fn a_day_of_an_operator_with_crashes_between_all_steps() {
    let mut desk = Context::new(PRESSES);
    let alarm = "press-1/pressure/hi";
    desk.value("press-1", "16");
    desk.watcher.event(alarm);
    desk.restart_after_kill();
    desk.done("acknowledge", json!({ "alarm": alarm, "by": "kim", "comment": "on my way" }));
    assert_eq!(desk.watcher.event(alarm)["to"], "acknowledged");
    desk.restart_after_kill();
    desk.value("press-1", "14");
    assert_eq!(desk.watcher.event(alarm)["to"], "idled");
    desk.restart_after_kill();
    desk.done("disable", json!({ "alarm": "press-*", "by": "kim" }));
    desk.restart_after_kill();
    desk.done("enable", json!({ "alarm": "press-*", "by": "lee" }));
    desk.restart_after_kill();
    desk.value("press-1", "17");
    desk.value("press-1", "13");
    desk.restart_after_kill();
    desk.done("acknowledge", json!({ "alarm": alarm, "by": "lee" }));
    desk.restart_after_kill();
    let again = desk.ask("acknowledge", json!({ "alarm": alarm, "by": "lee" }));
    assert!(again["error"].as_str().unwrap().contains("is acknowledged already"), "{again}");
    let reply = desk.done("history", json!({ "alarm": alarm }));
    let events = reply["events"].as_array().unwrap();
    let story: Vec<String> = events
        .iter()
        .rev()
        .map(|e| format!("{} {}>{} {} {}", e["seq"], e["from"], e["to"], e["occurrence"], e["by"]).replace('"', ""))
        .collect();
    let want = [
        "1 enabled>activated 1 null",
        "2 activated>acknowledged 1 kim",
        "3 acknowledged>idled 1 null",
        "4 idled>off 1 kim",
        "5 off>enabled 1 lee",
        "6 enabled>activated 2 null",
        "7 activated>idled 2 null",
        "8 idled>idled 2 lee",
    ];
    assert_eq!(story, want);
    // What the history tells of an event is what was published of it.
    for event in events {
        desk.watcher.looked_back();
        let seq = event["seq"].clone();
        let published =
            desk.watcher.next("the event", |seen| seen.topic.contains("/events/") && seen.json()["seq"] == seq);
        assert_eq!(published.json(), *event);
    }
}

#[test]
fn the_history_is_searched_by_alarm_thing_state_occurrence_and_page() {
    let mut desk = Context::new(PRESSES);
    for round in 0..3 {
        for press in 1..=4 {
            desk.value(&format!("press-{press}"), "16");
            desk.value(&format!("press-{press}"), &format!("1{round}"));
        }
    }
    desk.watcher.next("the last event", |seen| seen.topic.contains("/events/") && seen.json()["seq"] == 24);
    let (two, three) = ("press-2/pressure/hi", "press-3/pressure/hi");
    let all = told(&desk.done("history", json!({})));
    assert_eq!((all.len(), &all[0]), (24, &pair("press-4/pressure/hi", "idled")));
    let reply = desk.done("history", json!({ "alarm": two, "occurrence": 2 }));
    assert_eq!(told(&reply), [pair(two, "idled"), pair(two, "activated")]);
    assert_eq!(reply["events"][0]["value"], 11);
    let reply = desk.done("history", json!({ "thing": "press-[23]" }));
    assert_eq!(told(&reply), [], "only * and ? are patterns");
    let reply = desk.done("history", json!({ "thing": "*-3", "state": ["activated"] }));
    assert_eq!(told(&reply), [pair(three, "activated"), pair(three, "activated"), pair(three, "activated")]);
    let from = reply["events"][1]["at"].clone();
    let reply = desk.done("history", json!({ "alarm": three, "from": from }));
    assert_eq!(told(&reply).len(), 4, "{reply}");
    // Page by page it is the same as at once.
    let (mut pages, mut before) = (Vec::new(), Value::Null);
    loop {
        let page = desk.done("history", json!({ "limit": 5, "before": before }));
        pages.extend(told(&page));
        before = page["next"].clone();
        if before.is_null() {
            break;
        }
    }
    assert_eq!(pages, all);
    let nobody = desk.done("history", json!({ "alarm": "nobody/*" }));
    assert_eq!(told(&nobody), []);
}

#[test]
fn the_oldest_leave_when_there_are_too_many() {
    let mut desk =
        Context::with(|port| config(port, HI).replace("[mqtt]", "history_max = 10\ncheckpoint = \"100ms\"\n[mqtt]"));
    for round in 0..30 {
        desk.value("press-1", if round % 2 == 0 { "16" } else { "14" });
    }
    desk.watcher.next("the last event", |seen| seen.topic.contains("/events/") && seen.json()["seq"] == 30);
    let seqs = |reply: &Value| -> Vec<u64> {
        reply["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect()
    };
    let want: Vec<u64> = (21..=30).rev().collect();
    crate::support::until("the oldest to leave", || {
        let reply = desk.done("history", json!({}));
        assert_eq!(seqs(&reply)[..10], want);
        (seqs(&reply).len() == 10).then_some(())
    });
    desk.restart_after_kill();
    assert_eq!(seqs(&desk.done("history", json!({ "alarm": "press-1/pressure/hi" }))), want);
}

#[test]
fn lists_are_filtered_and_paged() {
    let mut desk = Context::new(PRESSES);
    for press in 1..=5 {
        desk.value(&format!("press-{press}"), if press % 2 == 0 { "16" } else { "14" });
    }
    desk.watcher.event("press-4/pressure/hi");
    desk.value("press-9", "1");
    let ids = |reply: &Value| -> Vec<String> {
        let alarms = reply["alarms"].as_array().unwrap();
        alarms.iter().map(|alarm| alarm["thing"].as_str().unwrap().to_owned()).collect()
    };
    let reply = desk.done("list", json!({}));
    assert_eq!(ids(&reply), ["press-1", "press-2", "press-3", "press-4", "press-5", "press-9"]);
    assert_eq!(reply["alarms"][1]["severity"], "error");
    assert_eq!(ids(&desk.done("list", json!({ "active": true }))), ["press-2", "press-4"]);
    assert_eq!(ids(&desk.done("list", json!({ "state": "enabled", "alarm": "press-1/*" }))), ["press-1"]);
    let page = desk.done("list", json!({ "limit": 4 }));
    assert_eq!(page["next"], "press-4/pressure/hi");
    assert_eq!(ids(&desk.done("list", json!({ "limit": 4, "after": page["next"] }))), ["press-5", "press-9"]);
    let unknown = desk.ask("list", json!({ "alarm": "press-1/pressure/ho" }));
    assert_eq!(unknown["error"], "no alarm press-1/pressure/ho; did you mean press-1/pressure/hi?");
}

#[test]
fn explain_says_why_it_fired_and_why_it_did_not() {
    let alarms = "[[alarm]]\nthing = \"press-1\"\nproperty = \"pressure\"\nlevel = \"hi\"\ntype = \"standard\"\n\
                  operator = \">\"\nlimit = 15\ndeadband = 2\nobserve_time = \"2m\"\n\
                  [[alarm]]\nthing = \"press-1\"\nproperty = \"pressure\"\nlevel = \"now\"\ntype = \"standard\"\n\
                  operator = \"!=\"\nlimit = 15\ndeadband = \"10 %\"\n";
    let mut desk = Context::new(alarms);
    let (hi, now) = ("press-1/pressure/hi", "press-1/pressure/now");
    let says = |reply: &Value, what: &str| {
        assert!(
            reply["text"].as_str().unwrap().contains(what),
            "{what:?} is not in\n{}",
            reply["text"].as_str().unwrap()
        );
    };
    let reply = desk.done("explain", json!({ "alarm": hi }));
    says(&reply, "It is activated when the value is above 16 for 2m; it ends when it is at or below 14.");
    says(&reply, "there was no event yet");
    says(&reply, "no value that counts has come yet");
    assert_eq!(reply["explanation"]["held_back"][0]["by"], "no value", "{reply}");
    desk.value("press-1", "\"high\"");
    let reply = desk.done("explain", json!({ "alarm": hi }));
    says(&reply, "the latest value is a string, the limit is a number");
    desk.value("press-1", "17");
    desk.watcher.event(now);
    let reply = desk.done("explain", json!({ "alarm": hi }));
    says(&reply, "The condition holds since");
    says(&reply, "Its observe-time is running: it will be activated at");
    let left = reply["explanation"]["running"]["left_ms"].as_i64().unwrap();
    assert!((60_000..=120_000).contains(&left), "{reply}");
    assert_eq!((&reply["explanation"]["low"], &reply["explanation"]["high"]), (&json!(14.0), &json!(16.0)));
    let reply = desk.done("explain", json!({ "alarm": now, "by": "kim" }));
    says(&reply, "It is activated when the value is below 13.5 or above 16.5; it ends when it is from 13.5 to 16.5.");
    says(&reply, "It is activated since");
    says(&reply, "by a value, with value 17 (event 1, occurrence 1)");
    desk.done("shelve", json!({ "alarm": hi, "for": "1h", "by": "kim" }));
    desk.done("disable", json!({ "alarm": hi }));
    let reply = desk.done("explain", json!({ "alarm": hi }));
    says(&reply, "it is off: nothing is evaluated until it is enabled");
    says(&reply, "by kim: it is evaluated, but reactions are held back");
    let pattern = desk.ask("explain", json!({ "alarm": "press-1/*" }));
    let error = pattern["error"].as_str().unwrap();
    assert!(error.contains("one alarm, not a pattern; press-1/* stands for press-1/pressure/"), "{error}");
}
