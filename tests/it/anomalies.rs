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
    annunciator::time::Stamp::from_micros(millis * 1_000).to_string()
}

/// The usual value of minute `n`: a swing of two hours, and a noise that no model knows.
pub(crate) fn usual(n: i64) -> f64 {
    let noise = ((n + 10_000) * 7_919 % 1_009) as f64 / 1_009.0;
    ((20.0 + 5.0 * (std::f64::consts::TAU * (n.rem_euclid(120)) as f64 / 120.0).sin() + noise) * 100.0).round() / 100.0
}

pub(crate) fn model(more: &str) -> String {
    format!(
        "[[anomaly]]\nname = \"strange\"\nthing = \"press-*\"\nproperty = \"pressure\"\nsegment = \"20m\"\nstep = \"5m\"\n{more}\n"
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
        let queued = self.does("anomaly-build", json!({ "model": "strange" }));
        assert_eq!(queued["state"], "queued");
        self.state("is building", |state| state["state"] == "queued" || state["state"] == "building");
        let state = self.state("has been built", |state| state["state"] == "ready" || state["state"] == "failed");
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
    assert_eq!(event["since"], json!(rfc3339((scene.begin + (LEARNT + 20) * MINUTE) / 1 * 1)), "{event}");
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
