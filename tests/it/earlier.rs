//! A store that release 0.1.0 has written, with everything in it that a gateway may have, goes on as it was.
//!
//! `tests/stores/0.1.0` holds the store (a base, and two logs), its configuration, and what was published of its alarms.
//! The process that wrote it was killed while the broker was away and the web hook refused connections, after an active
//! alarm had left the configuration.

use crate::anomalies::{MINUTE, Scene, now, usual};
use crate::support::servers::Server;
use crate::support::{Broker, Daemon, Seen, Watcher, check_state};
use annunciator::domain::time::Stamp;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The number of the last event in it.
const LAST: u64 = 81;

fn stored(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores/0.1.0").join(name)
}

/// What a state says of an alarm, without what later releases add.
fn state(json: &Value) -> Value {
    let names = ["alarm", "type", "severity", "title", "state", "active", "occurrence", "since", "seq", "at", "cause"];
    let mut state: serde_json::Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), json[*name].clone())).collect();
    state.insert("acknowledged".to_owned(), json["acknowledged"].clone());
    if json["alarm"] != "blob/text/text" {
        state.insert("value".to_owned(), json["value"].clone());
    }
    state.into()
}

#[test]
fn a_store_of_0_1_0_goes_on_as_it_was() {
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
    let mut watcher = Watcher::connect(broker.port);
    let mut hook = Server::http();
    let config = std::fs::read_to_string(stored("annunciator.toml")).unwrap();
    let config = config.replace("PORT", &broker.port.to_string()).replace("HOOK", &hook.port.to_string());
    let mut daemon = Daemon::prepare(&config);
    let folder = daemon.state_dir().parent().unwrap().to_owned();
    let unpacked = Command::new("tar").arg("-xzf").arg(stored("state.tar.gz")).arg("-C").arg(folder).status().unwrap();
    assert!(unpacked.success());
    let said = check_state(&daemon);
    assert!(said.contains(&format!("the store has 10 alarms, the last event is {LAST}")), "{said}");

    daemon.launch();
    assert_eq!(watcher.status("online")["problems"], Value::Null);
    let published: Value = serde_json::from_slice(&std::fs::read(stored("published.json")).unwrap()).unwrap();
    for (alarm, before) in published["states"].as_object().unwrap() {
        let topic = format!("annunciator/gw/alarms/{alarm}");
        watcher.looked_back();
        let now = watcher.next(&topic, |seen| seen.topic == topic).json();
        assert_eq!(state(&now), state(before));
        assert_eq!(now["uncertain"], Value::Null, "{now}");
    }
    // What waited for the broker.
    watcher.looked_back();
    let ended = watcher.event("gone/p/hi");
    assert_eq!((&ended["seq"], &ended["to"], &ended["cause"]), (&json!(LAST), &json!("off"), &json!("config")));
    watcher.next("its topic's end", |seen| seen.topic == "annunciator/gw/alarms/gone/p/hi" && seen.payload.is_empty());
    // What waited for the web hook. A year after it was written it is given up.
    for delivery in ["gw-31-hook-0", "gw-34-hook-0"] {
        watcher.looked_back();
        let is_end = |seen: &Seen| {
            let report = seen.json();
            seen.topic == "annunciator/gw/reactions/hook"
                && report["delivery"] == delivery
                && report["outcome"] != "failed"
        };
        let report = watcher.next("what becomes of the delivery", is_end).json();
        if report["outcome"] == "delivered" {
            hook.received(1, |request| request.to_string().contains(delivery));
        }
    }
    // What changes with values.
    let mut explain = |alarm: &str| -> Value {
        watcher.publish("annunciator/gw/commands/explain", json!({ "alarm": alarm, "request": alarm }).to_string());
        let fits = |seen: &Seen| seen.topic == "annunciator/gw/replies" && seen.json()["request"] == alarm;
        watcher.next("an explanation", fits).json()["explanation"].clone()
    };
    let mean = explain("press-1/pressure/mean");
    let values = [13.0, 11.0, 17.0, 9.0, 17.0, 17.5];
    let difference = mean["average"].as_f64().unwrap() - values.iter().sum::<f64>() / 6.0;
    assert!(mean["samples"] == 6 && difference.abs() < 1e-9, "{mean}");
    let running = explain("press-1/pressure/running");
    let left = running["running"]["left_ms"].as_i64().unwrap_or_default();
    assert!((3_500_000..3_600_000).contains(&left), "{running}");
    assert_eq!(running["value"], 17.5, "{running}");
    // The past.
    let (mut entries, mut before) = (String::new(), Value::Null);
    loop {
        // Page by page: long texts were stored whole.
        let question = json!({ "request": "past", "limit": 100, "before": before });
        watcher.publish("annunciator/gw/commands/history", question.to_string());
        let fits = |seen: &Seen| seen.topic == "annunciator/gw/replies" && seen.json()["request"] == "past";
        let page = watcher.next("the history", fits).json();
        entries.push_str(&page["events"].to_string());
        before = page["next"].clone();
        if before.is_null() {
            break;
        }
    }
    for word in ["\"by\":\"kim\"", "\"comment\":\"seen\"", "press-1/pressure/off", "pump-3/speed/slow"] {
        assert!(entries.contains(word), "{word} is not in the history");
    }
    assert_eq!(watcher.events(), [ended], "nothing else has happened");

    watcher.value("press-1", "pressure", "9");
    let idled = watcher.event("press-1/pressure/acknowledged");
    assert_eq!((&idled["seq"], &idled["occurrence"], &idled["to"]), (&json!(LAST + 1), &json!(2), &json!("idled")));
    assert_eq!(idled["seq_gap"], Value::Null, "{idled}");
    assert_eq!(daemon.stop(), 0);
    let said = check_state(&daemon);
    assert!(said.contains(&format!("the store has 10 alarms, the last event is {}", LAST + 1)), "{said}");
    daemon.launch();
    watcher.status("online");
    watcher.value("press-1", "pressure", "17");
    let activated = watcher.event("press-1/pressure/acknowledged");
    assert_eq!((&activated["seq"], &activated["occurrence"]), (&json!(LAST + 2), &json!(3)), "{activated}");
}

/// `models.tar.gz` holds a model that was built, with an anomaly that was open when the process was killed.
#[test]
fn a_model_of_0_1_0_is_there_as_it_was_built() {
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
    let config = std::fs::read_to_string(stored("models.toml")).unwrap();
    let mut daemon = Daemon::prepare(&config.replace("PORT", &broker.port.to_string()));
    let folder = daemon.state_dir().parent().unwrap().to_owned();
    let unpacked = Command::new("tar").arg("-xzf").arg(stored("models.tar.gz")).arg("-C").arg(folder).status().unwrap();
    assert!(unpacked.success());
    let before: Value = serde_json::from_slice(&std::fs::read(stored("models.json")).unwrap()).unwrap();
    let begin = Stamp::parse(before["model"]["from"].as_str().unwrap()).unwrap().as_micros() / 1_000;
    let mut scene = Scene { watcher: Watcher::connect(broker.port), begin };
    daemon.launch();
    let status = scene.watcher.status("online");
    assert_eq!((&status["problems"], &status["active"]), (&Value::Null, &json!(1)), "{status}");
    let model = scene.does("anomaly-model", json!({ "model": "strange" }))["models"][0].clone();
    for name in
        ["state", "revision", "built_at", "from", "to", "samples", "segments", "clusters", "thresholds", "things"]
    {
        assert_eq!(model[name], before["model"][name], "{name} of {model}");
    }
    // It knows what is usual, whenever that is: what comes now is, and so the alarm of the past ends.
    let present = (now() - begin) / MINUTE;
    scene.import("press-1", present - 100..present, usual);
    let idled = scene.watcher.event("press-1/pressure/strange");
    assert_eq!((&idled["to"], &idled["seq"], &idled["occurrence"]), (&json!("idled"), &json!(2), &json!(1)), "{idled}");
    assert_eq!(daemon.stop(), 0);
}
