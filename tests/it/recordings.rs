//! Every recording of `tests/traces` yields its events: `NAME.jsonl` under `NAME.toml` gives `NAME.events.jsonl`.

use crate::support::{Broker, Daemon, PROGRAM, Watcher, until};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

fn traces() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces")
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Whether the members of `want` are in `got` with the same values. Numbers are compared as numbers.
fn agrees(want: &Value, got: &Value) -> bool {
    want.as_object().unwrap().iter().all(|(key, want)| {
        let got = got.get(key).unwrap_or(&Value::Null);
        match (want.as_f64(), got.as_f64()) {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs(),
            _ => want == got,
        }
    })
}

#[test]
fn every_recording_yields_its_events() {
    let mut played = 0;
    let mut configs: Vec<PathBuf> = std::fs::read_dir(traces()).unwrap().map(|entry| entry.unwrap().path()).collect();
    configs.retain(|path| path.extension().is_some_and(|e| e == "toml"));
    configs.sort();
    for config in configs {
        let output = Command::new(PROGRAM)
            .args(["replay", "--config"])
            .args([&config, &config.with_extension("jsonl")])
            .output()
            .unwrap();
        let name = config.display();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let got = json_lines(&String::from_utf8(output.stdout).unwrap());
        let want = json_lines(&std::fs::read_to_string(config.with_extension("events.jsonl")).unwrap());
        for (index, want) in want.iter().enumerate() {
            let got = got.get(index).unwrap_or(&Value::Null);
            assert!(agrees(want, got), "{name}, event {}:\nwant {want}\n got {got}", index + 1);
        }
        assert_eq!(got.len(), want.len(), "{name}: {got:#?}");
        played += 1;
    }
    assert!(played >= 45, "only {played} recordings were found");
}

/// What a recording of topics has caused is what the daemon makes of the same messages from a broker.
#[test]
fn the_daemon_classifies_messages_as_a_replay_does() {
    let trace = traces().join("channels.toml");
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let config = std::fs::read_to_string(&trace).unwrap().replace(":1883", &format!(":{}", broker.port));
    let _daemon = Daemon::with(&config.replace("id = \"gw\"", "id = \"gw\"\nstate_dir = \"STATE\""));
    watcher.status("online");
    for line in json_lines(&std::fs::read_to_string(trace.with_extension("jsonl")).unwrap()) {
        let [topic, payload] = ["topic", "payload"].map(|member| line[member].as_str().unwrap());
        // The daemon says these itself, or hears of others that do; it has to take none of them for a value.
        watcher.publish(topic, payload);
    }
    let want = json_lines(&std::fs::read_to_string(trace.with_extension("events.jsonl")).unwrap());
    until("all events", || {
        watcher.drain();
        (watcher.event_count() >= want.len()).then_some(())
    });
    // Nothing else has come of it.
    watcher.settle();
    let essence = |event: &Value| ["seq", "alarm", "from", "to", "occurrence", "value"].map(|key| event[key].clone());
    let got: Vec<_> = watcher.events().iter().map(essence).collect();
    assert_eq!(got, want.iter().map(essence).collect::<Vec<_>>());
}
