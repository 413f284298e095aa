//! Models on a real broker and a real store, in compressed time: the past is imported, what happens now comes in as
//! values of the last minutes.

mod kills;

use crate::support::{Broker, Daemon, Watcher, config};
use serde_json::{Value, json};

/// Milliseconds of a minute.
pub(crate) const MINUTE: i64 = 60_000;
/// Minutes that are learnt from.
pub(crate) const LEARNT: i64 = 2 * 1_440;

pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

pub(crate) fn rfc3339(millis: i64) -> String {
    annunciator::domain::time::Stamp::from_micros(millis * 1_000).to_string()
}

/// The usual value of minute `n`: a swing of two hours, and a noise that no model knows.
pub(crate) fn usual(n: i64) -> f64 {
    let noise = ((n + 10_000) * 7_919 % 1_009) as f64 / 1_009.0;
    ((20.0 + 5.0 * (std::f64::consts::TAU * (n.rem_euclid(120)) as f64 / 120.0).sin() + noise) * 100.0).round() / 100.0
}

pub(crate) fn model(more: &str) -> String {
    format!(
        "[[anomaly]]\nname = \"strange\"\nthing = \"press-*\"\nproperty = \"pressure\"\nsegment = \"20m\"\nstep = \"5m\"\nclusters = 2\n{more}\n"
    )
}

pub(crate) const REFRESHED: &str = "refresh = { every = \"1s\", alarms = true, save = true }";

/// Somebody who knows when the past began.
pub(crate) struct Scene {
    pub(crate) watcher: Watcher,
    /// The time of minute 0, in milliseconds.
    pub(crate) begin: i64,
}

impl Scene {
    /// A past that ends `minutes` ago.
    pub(crate) fn new(broker: &Broker, minutes: i64) -> Scene {
        Scene { watcher: Watcher::connect(broker.port), begin: now() - (LEARNT + minutes) * MINUTE }
    }

    pub(crate) fn command(&self, verb: &str, command: &Value) {
        self.watcher.publish(&format!("annunciator/gw/commands/{verb}"), command.to_string());
    }

    /// The answer to a command.
    pub(crate) fn ask(&mut self, verb: &str, command: Value) -> Value {
        let mut command = command;
        let name = format!("r{}", now());
        command["request"] = json!(name);
        self.command(verb, &command);
        let is_answer = |seen: &crate::support::Seen| {
            seen.topic == "annunciator/gw/replies" && seen.json()["request"] == json!(name)
        };
        self.watcher.next(&format!("the answer to {verb}"), is_answer).json()
    }

    pub(crate) fn does(&mut self, verb: &str, command: Value) -> Value {
        let reply = self.ask(verb, command);
        assert_eq!(reply["ok"], true, "{verb}: {reply}");
        reply
    }

    /// Brings minutes in, with values as `value` has them.
    pub(crate) fn import(&mut self, thing: &str, minutes: std::ops::Range<i64>, value: impl Fn(i64) -> f64) -> u64 {
        let rows: Vec<Value> = minutes.map(|n| json!([self.begin + n * MINUTE, value(n)])).collect();
        let mut taken = 0;
        for rows in rows.chunks(1_000) {
            let import = json!({ "model": "strange", "thing": thing, "property": "pressure", "samples": rows });
            taken += self.does("anomaly-import", import)["taken"].as_u64().unwrap();
        }
        taken
    }

    /// The next state of the model that fits.
    pub(crate) fn state(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let mut found = |seen: &crate::support::Seen| {
            seen.topic == "annunciator/gw/anomalies/strange" && !seen.payload.is_empty() && fits(&seen.json())
        };
        self.watcher.next(&format!("the model {what}"), &mut found).json()
    }

    pub(crate) fn builds(&mut self) -> Value {
        let known = self.does("anomaly-model", json!({ "model": "strange" }));
        let before = known["models"][0]["revision"].as_u64().unwrap_or(0);
        let queued = self.does("anomaly-build", json!({ "model": "strange" }));
        assert_eq!(queued["state"], "queued");
        // A quick build has no time to be told of on its way.
        let state = self.state("has been built", |state| {
            state["state"] == "failed" || (state["state"] == "ready" && state["revision"].as_u64() > Some(before))
        });
        assert_eq!(state["state"], "ready", "{state}");
        state
    }

    pub(crate) fn list(&mut self) -> Vec<Value> {
        let reply = self.does("anomaly-list", json!({}));
        reply["anomalies"].as_array().unwrap().clone()
    }
}

/// A daemon with a model that was built for one thing, refreshed or not, and a past that ended `minutes` ago.
pub(crate) fn built(broker: &Broker, more: &str, minutes: i64) -> (Daemon, Scene, Value) {
    let often = "checkpoint = \"1s\"\n[mqtt]";
    let daemon = Daemon::with(&config(broker.port, &model(more)).replace("[mqtt]", often));
    let mut scene = Scene::new(broker, minutes);
    scene.watcher.status("online");
    assert_eq!(scene.import("press-1", 0..LEARNT, usual), u64::try_from(LEARNT).unwrap());
    let state = scene.builds();
    (daemon, scene, state)
}

#[test]
fn an_anomaly_appears_grows_and_ends_and_its_alarm_follows() {
    let broker = Broker::start();
    let (_daemon, mut scene, state) = built(&broker, REFRESHED, 200);
    assert_eq!(state["revision"], 1, "{state}");
    assert_eq!(state["samples"], LEARNT);
    assert_eq!(state["refresh"]["on"], true, "the first build begins what is configured");
    assert!(state["thresholds"]["warning"].as_f64().unwrap() >= 3.5, "{state}");
    assert_eq!(state["history"]["samples"], LEARNT);

    scene.import("press-1", LEARNT..LEARNT + 20, usual);
    // First a little too high, then far too high.
    scene.import("press-1", LEARNT + 20..LEARNT + 24, |n| usual(n) + 6.0);
    let event = scene.watcher.event("press-1/pressure/strange");
    assert_eq!(
        (&event["to"], &event["cause"], &event["type"]),
        (&json!("activated"), &json!("anomaly"), &json!("anomaly"))
    );
    assert_eq!(event["since"], json!(rfc3339(scene.begin + (LEARNT + 20) * MINUTE)), "{event}");
    let first = event["severity"].clone();
    scene.import("press-1", LEARNT + 24..LEARNT + 30, |n| usual(n) + 200.0);
    let mut severity = first.clone();
    if severity != "critical" {
        let event = scene.watcher.event("press-1/pressure/strange");
        severity = event["severity"].clone();
        assert_eq!((&event["from"], &event["to"]), (&json!("activated"), &json!("activated")));
    }
    assert_eq!(severity, "critical");
    let open = scene.state("has an open anomaly", |state| state["open"] == 1);
    assert!(open["history"]["samples"].as_i64().unwrap() > LEARNT);
    let listed = scene.list();
    assert_eq!(
        (listed.len(), &listed[0]["open"], &listed[0]["alarm"]),
        (1, &json!(true), &json!("press-1/pressure/strange")),
        "{listed:?}"
    );
    scene.import("press-1", LEARNT + 30..LEARNT + 120, usual);
    let event = scene.watcher.event("press-1/pressure/strange");
    assert_eq!(
        (&event["to"], &event["occurrence"], &event["severity"]),
        (&json!("idled"), &json!(1), &json!("critical")),
        "{event}"
    );
    let listed = scene.list();
    assert_eq!((listed.len(), &listed[0]["open"]), (1, &json!(false)), "{listed:?}");
    assert!(listed[0]["index"].as_f64().unwrap() > 0.0);
    let saved = scene.watcher.all.iter().filter(|seen| seen.topic == "annunciator/gw/anomalies/strange/press-1/score");
    assert!(saved.count() > 2);
}

/// What is published is kept for the model, value by value, and looked at as it comes.
#[test]
fn values_that_are_published_now_are_looked_at() {
    let broker = Broker::start();
    let (_daemon, mut scene, _) = built(&broker, REFRESHED, 1);
    // A retained value is of any age: no sample.
    scene.watcher.publish_with("things/press-1/properties/pressure", "999", rumqttc::QoS::AtLeastOnce, true);
    for n in 0..40 {
        scene.watcher.value("press-1", "pressure", &usual(LEARNT + 1 + n / 40).to_string());
    }
    for _ in 0..20 {
        scene.watcher.value("press-1", "pressure", "400");
    }
    let event = scene.watcher.event("press-1/pressure/strange");
    assert_eq!((&event["to"], &event["severity"]), (&json!("activated"), &json!("critical")));
    assert!(event["value"].as_f64().unwrap() > 4.0, "the score: {event}");
    let show = json!({ "model": "strange", "thing": "press-1", "points": 300 });
    let reply = scene.does("anomaly-model", show);
    let rows = reply["series"]["rows"].as_array().unwrap();
    assert!((100..=300).contains(&rows.len()), "{}", rows.len());
    let values = || rows.iter().map(|row| (row[1].as_f64().unwrap(), row[2].as_f64().unwrap_or_default()));
    assert!(values().any(|(value, score)| value > 300.0 && score > 4.0), "extremes are kept");
}

/// An anomaly below the lowest threshold has no alarm; when it reaches it late, the alarm tells of its beginning.
#[test]
fn an_alarm_that_comes_late_tells_when_the_anomaly_began() {
    let broker = Broker::start();
    let more = format!("{REFRESHED}\nseverities = {{ error = 15 }}\nsensitivity = 90\nmin_duration = \"2m\"");
    let (_daemon, mut scene, state) = built(&broker, &more, 200);
    assert_eq!(state["thresholds"]["error"], 15, "{state}");
    scene.import("press-1", LEARNT..LEARNT + 20, usual);
    scene.import("press-1", LEARNT + 20..LEARNT + 26, |n| usual(n) + 3.0);
    let open = scene.state("has an anomaly without an alarm", |state| state["open"] == 1);
    assert_eq!(open["thresholds"]["unusual"], 3.5, "{open}");
    assert_eq!(scene.list()[0]["alarm"], Value::Null);
    assert_eq!(scene.watcher.events().len(), 0);
    scene.import("press-1", LEARNT + 26..LEARNT + 30, |n| usual(n) + 300.0);
    let event = scene.watcher.event("press-1/pressure/strange");
    let since = event["since"].as_str().unwrap().to_owned();
    assert!(since <= rfc3339(scene.begin + (LEARNT + 22) * MINUTE), "{event}");
    assert_eq!(scene.list()[0]["from"], json!(since));
}

#[test]
fn a_look_at_the_past_replaces_what_was_known_and_starts_no_reaction() {
    let broker = Broker::start();
    let notifier = "reactions = [\"tell\"]\n\
                    [[reaction]]\nname = \"tell\"\ntype = \"mqtt\"\ntopic = \"told\"\npayload = \"{{ alarm.id }}\"\n";
    let (_daemon, mut scene, _) = built(&broker, notifier, 600);
    let value = |n: i64| if (LEARNT + 100..LEARNT + 110).contains(&n) { usual(n) + 100.0 } else { usual(n) };
    scene.import("press-1", LEARNT..LEARNT + 300, value);
    let at = |scene: &Scene, minute: i64| rfc3339(scene.begin + (LEARNT + minute) * MINUTE);
    let (from, to) = (at(&scene, 0), at(&scene, 300));
    let quiet = scene.does("anomaly-reprocess", json!({ "model": "strange", "from": from, "to": to }));
    assert_eq!((&quiet["things"], &quiet["anomalies"], &quiet["alarms"]), (&json!(1), &json!(1), &json!(0)), "{quiet}");
    assert_eq!(scene.watcher.events().len(), 0);
    let loud = json!({ "model": "strange", "from": from, "to": to, "alarms": true, "things": ["press-*"] });
    let loud = scene.does("anomaly-reprocess", loud);
    assert_eq!((&loud["anomalies"], &loud["alarms"]), (&json!(1), &json!(1)), "{loud}");
    scene.watcher.settle();
    let told: Vec<Value> = scene.watcher.events().iter().map(|event| event["to"].clone()).collect();
    assert_eq!(told, [json!("activated"), json!("idled")]);
    assert!(scene.watcher.all.iter().all(|seen| seen.topic != "told"), "no reaction for the past");
    let again = scene.does("anomaly-reprocess", json!({ "model": "strange", "from": from, "to": to, "alarms": true }));
    assert_eq!((&again["anomalies"], &again["alarms"]), (&json!(1), &json!(0)), "it is the same anomaly: {again}");
    let before = at(&scene, 50);
    let none = scene.does("anomaly-reprocess", json!({ "model": "strange", "from": from, "to": before }));
    assert_eq!(none["anomalies"], 0, "{none}");
    assert_eq!(scene.list().len(), 1, "what lies elsewhere stays");
}

#[test]
fn what_is_deleted_takes_its_alarm_along_as_configured() {
    let broker = Broker::start();
    for (on_deletion, state) in [("clear", Some("idled")), ("delete", None)] {
        let more = format!("{REFRESHED}\non_deletion = \"{on_deletion}\"");
        let (daemon, mut scene, _) = built(&broker, &more, 400);
        scene.import("press-1", LEARNT..LEARNT + 20, usual);
        scene.import("press-1", LEARNT + 20..LEARNT + 25, |n| usual(n) + 200.0);
        scene.watcher.event("press-1/pressure/strange");
        let id = scene.list()[0]["id"].as_str().unwrap().to_owned();
        scene.does("anomaly-refresh", json!({ "model": "strange", "set": "off" }));
        assert_eq!(scene.does("anomaly-delete", json!({ "id": id }))["deleted"], 1);
        scene.watcher.next("idled", |seen| seen.topic.contains("/events/press-1") && seen.json()["to"] == "idled");
        let alarm = "annunciator/gw/alarms/press-1/pressure/strange";
        scene.watcher.next("the alarm's state", |seen| {
            seen.topic == alarm && state.map_or(seen.payload.is_empty(), |state| seen.json()["state"] == state)
        });
        assert!(!scene.ask("anomaly-delete", json!({ "id": id }))["ok"].as_bool().unwrap());
        // A rebuild does the same, and turns refreshing off.
        scene.does("anomaly-refresh", json!({ "model": "strange", "set": "on" }));
        scene.import("press-1", LEARNT + 25..LEARNT + 200, usual);
        scene.import("press-1", LEARNT + 200..LEARNT + 205, |n| usual(n) + 5_000.0);
        scene
            .watcher
            .next("activated", |seen| seen.topic.contains("/events/press-1") && seen.json()["to"] == "activated");
        let state = scene.builds();
        assert_eq!(
            (&state["revision"], &state["refresh"]["on"], &state["open"]),
            (&json!(2), &json!(false), &json!(0)),
            "{state}"
        );
        assert_eq!(scene.list().len(), 0);
        assert_eq!(scene.watcher.events().last().unwrap()["to"], "idled");
        drop(daemon);
        // The next daemon of this test has another store: nothing of this one may be left on the broker.
        for topic in [alarm, "annunciator/gw/anomalies/strange", "annunciator/gw/status"] {
            scene.watcher.publish_with(topic, "", rumqttc::QoS::AtLeastOnce, true);
        }
        scene.watcher.settle();
    }
}

#[test]
fn what_cannot_be_built_says_why_and_what_would_help() {
    let broker = Broker::start();
    let _daemon = Daemon::start(broker.port, &model(""));
    let mut scene = Scene::new(&broker, 10);
    scene.watcher.status("online");
    let failed = |scene: &mut Scene, said: &str| {
        scene.does("anomaly-build", json!({ "model": "strange" }));
        let state = scene
            .state("has failed", |state| state["state"] == "failed" && state["error"].as_str().unwrap().contains(said));
        assert!(state["error"].as_str().unwrap().contains(said), "{state}");
    };
    failed(&mut scene, "there is no history of pressure of press-*");
    scene.import("press-1", 0..60, usual);
    failed(&mut scene, "too little history: 59m with");
    scene.import("press-2", 0..LEARNT, |_| 7.0);
    scene.does("anomaly-build", json!({ "model": "strange" }));
    let said = "press-2: pressure never changes in this time: there is nothing to learn from it";
    scene.state("names the thing", |state| state["error"].as_str().is_some_and(|error| error.contains(said)));
    for (verb, command, said) in [
        ("anomaly-build", json!({ "model": "odd" }), "no model odd; there are strange"),
        (
            "anomaly-reprocess",
            json!({ "model": "strange", "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z" }),
            "anomaly-build comes first",
        ),
        (
            "anomaly-reprocess",
            json!({ "model": "strange", "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z", "things": ["x"] }),
            "no history of \"x\"; it has some of press-1, press-2",
        ),
        ("anomaly-refresh", json!({ "model": "strange", "set": "on" }), "anomaly-build comes first"),
        ("anomaly-build", json!({ "model": "strange", "cancel": true }), "is not being built"),
        ("anomaly-delete", json!({ "id": "strange/press-1/x" }), "no anomaly has the id"),
        (
            "anomaly-import",
            json!({ "model": "strange", "thing": "oven", "property": "pressure", "samples": [] }),
            "is not for \"oven\"",
        ),
        (
            "anomaly-import",
            json!({ "model": "strange", "thing": "press-1", "property": "heat", "samples": [] }),
            "it looks at pressure",
        ),
    ] {
        let reply = scene.ask(verb, command);
        assert!(reply["error"].as_str().unwrap_or_default().contains(said), "{verb}: {reply}");
    }
    let taken = scene.import("press-1", 0..60, usual);
    assert_eq!(taken, 0, "what is there is not taken twice");
}

#[test]
fn a_build_can_be_cancelled() {
    let broker = Broker::start();
    let _daemon = Daemon::start(broker.port, &model(""));
    let mut scene = Scene::new(&broker, 10);
    scene.watcher.status("online");
    scene.import("press-1", 0..LEARNT, usual);
    scene.command("anomaly-build", &json!({ "model": "strange" }));
    let cancelled = scene.does("anomaly-build", json!({ "model": "strange", "cancel": true }));
    assert_eq!(cancelled["state"], "cancelled");
    scene.state("was cancelled", |state| state["state"] == "cancelled");
    scene.builds();
}

/// One model of several things, looked at with several properties; and one that builds itself when there is enough.
#[test]
fn a_fleet_shares_a_model_that_builds_itself() {
    let broker = Broker::start();
    let fleet = model("per = \"fleet\"\nbuild = \"1d\"\nstorm = 0")
        .replace("property = \"pressure\"", "property = [\"pressure\", \"heat\"]");
    let fleet = format!("{fleet}\n{REFRESHED}\n");
    let _daemon = Daemon::start(broker.port, &fleet);
    let mut scene = Scene::new(&broker, 300);
    scene.watcher.status("online");
    for thing in ["press-1", "press-2"] {
        for property in ["heat", "pressure"] {
            for first in (0..LEARNT).step_by(720) {
                let rows: Vec<Value> = (first..first + 720)
                    .map(|n| json!([scene.begin + n * MINUTE, usual(n + 3 * i64::try_from(property.len()).unwrap())]))
                    .collect();
                scene.does(
                    "anomaly-import",
                    json!({ "model": "strange", "thing": thing, "property": property, "samples": rows }),
                );
            }
        }
    }
    let state = scene.state("has built itself", |state| state["state"] == "ready");
    assert!(state["samples"].as_i64().unwrap() >= LEARNT, "{state}");
    assert_eq!(state["refresh"]["on"], true);
    let state = if state["samples"] == 4 * LEARNT { state } else { scene.builds() };
    assert_eq!(state["samples"], 4 * LEARNT);
    // Heat alone goes wrong, and only at one thing.
    let reply = scene.does("anomaly-refresh", json!({ "model": "strange", "set": "on", "things": ["press-2"] }));
    assert_eq!(reply["refresh"]["on"], true, "{reply}");
    let heat = |n: i64| if n >= LEARNT + 30 { 300.0 } else { usual(n + 12) };
    for (property, of) in [("heat", &heat as &dyn Fn(i64) -> f64), ("pressure", &|n| usual(n + 24))] {
        for thing in ["press-1", "press-2"] {
            let rows: Vec<Value> = (LEARNT..LEARNT + 40).map(|n| json!([scene.begin + n * MINUTE, of(n)])).collect();
            scene.does(
                "anomaly-import",
                json!({ "model": "strange", "thing": thing, "property": property, "samples": rows }),
            );
        }
    }
    let event = scene.watcher.event("press-2/pressure/strange");
    assert_eq!(event["to"], "activated");
    assert_eq!(scene.list().len(), 1, "the other one was not looked at");
}

#[test]
fn a_model_that_leaves_the_configuration_leaves_the_broker_and_one_that_changes_has_to_be_built_again() {
    let broker = Broker::start();
    let (daemon, mut scene, _) = built(&broker, REFRESHED, 200);
    let other = model(REFRESHED).replace("20m", "30m");
    daemon.configure(&config(broker.port, &other));
    scene.does("reload", json!({}));
    let state = scene.state("does not fit", |state| state["state"] == "failed");
    assert!(state["error"].as_str().unwrap().contains("build it again"), "{state}");
    daemon.configure(&config(broker.port, &model(REFRESHED)));
    scene.does("reload", json!({}));
    scene.state("fits again", |state| state["state"] == "ready");
    daemon.configure(&config(broker.port, crate::support::HI));
    scene.does("reload", json!({}));
    scene.watcher.next("no state", |seen| seen.topic == "annunciator/gw/anomalies/strange" && seen.payload.is_empty());
    daemon.configure(&config(broker.port, &model(REFRESHED)));
    scene.does("reload", json!({}));
    let state = scene.state("begins anew", |state| state["state"] == "unbuilt");
    assert_eq!(state["history"]["samples"], LEARNT, "its values are there: {state}");
}
