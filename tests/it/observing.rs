//! Silence that is none: the broker hangs, the daemon is stopped, the disk is slow, somebody takes the session over. None
//! of it is evidence.

use crate::support::{Broker, Daemon, HI, PROGRAM, Protocol, Seen, Watcher, config, for_both_versions, until};
use rumqttc::{Client, MqttOptions};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

for_both_versions! {
    a_broker_that_hangs_makes_no_alarm_of_silence,
    a_daemon_that_was_stopped_does_not_blame_the_things,
    a_slow_write_makes_no_alarm_of_values_that_wait_at_the_broker,
    a_disk_that_is_always_slow_makes_no_false_alarm_and_misses_none,
    probes_of_others_are_none,
    connections_that_somebody_takes_over_are_told,
}

fn silence(time: &str) -> String {
    format!(
        "[[alarm]]\nthing = \"press-1\"\nproperty = \"pressure\"\nlevel = \"silent\"\ntype = \"no-value\"\n\
         observe_time = \"{time}\"\n"
    )
}

fn a_broker_that_hangs_makes_no_alarm_of_silence(mqtt: Protocol) {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let daemon = Daemon::start(mqtt.at(broker.port), &silence("1s"));
    watcher.status("online");
    watcher.value("press-1", "pressure", "1");
    watcher.settle();
    broker.freeze();
    // The deadline passes, the daemon asks for proof, and gives the connection up when there is none.
    until("the daemon to find it deaf", || daemon.log().contains("delivered nothing").then_some(()));
    broker.thaw();
    let status = watcher.next("the gap", |seen| seen.json()["last_gap"].is_object()).json();
    let gap = &status["last_gap"];
    assert!(gap["seconds"].as_f64().unwrap() > 5.0, "{gap}");
    // Only now, with a broker that can be heard, is silence silence.
    let event = watcher.event("press-1/pressure/silent");
    assert_eq!((&event["seq"], &event["to"]), (&json!(1), &json!("activated")));
    assert!(event["at"].as_str() > gap["to"].as_str(), "{event} after {gap}");
}

fn a_daemon_that_was_stopped_does_not_blame_the_things(mqtt: Protocol) {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let daemon = Daemon::start(mqtt.at(broker.port), &silence("3s"));
    watcher.status("online");
    watcher.value("press-1", "pressure", "1");
    watcher.settle();
    daemon.freeze();
    // The thing goes on sending for longer than its alarm allows for silence, and for the daemon to notice its absence.
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < Duration::from_secs(8) {
        watcher.value("press-1", "pressure", "1");
        watcher.settle();
        sent += 1;
    }
    daemon.thaw();
    let status = watcher.next("the gap", |seen| seen.json()["last_gap"].is_object()).json();
    assert!(status["last_gap"]["cause"].as_str().unwrap().contains("stopped"), "{status}");
    watcher.settle();
    assert_eq!(watcher.events(), [] as [serde_json::Value; 0], "{sent} values were sent meanwhile");
}

/// A disk whose syncs are as slow as a test wants, for daemons that are launched on it.
pub(crate) struct SlowDisk {
    home: TempDir,
}

impl SlowDisk {
    pub(crate) fn new() -> SlowDisk {
        let home = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/observing/slow_sync.c");
        let library = home.path().join("slow_sync.so");
        let built =
            Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl").status().unwrap();
        assert!(built.success());
        SlowDisk { home }
    }

    fn file(&self) -> PathBuf {
        self.home.path().join("slow")
    }

    /// Starts a daemon on this disk.
    pub(crate) fn start(&self, config: &str) -> Daemon {
        let mut daemon = Daemon::prepare(config);
        self.launch(&mut daemon);
        daemon
    }

    /// Starts one that was prepared, or has ended.
    pub(crate) fn launch(&self, daemon: &mut Daemon) {
        let mut command = Command::new(PROGRAM);
        command.env("LD_PRELOAD", self.home.path().join("slow_sync.so")).env("SLOW_SYNC", self.file());
        daemon.launch_by(command);
    }

    /// From now on each sync takes so long, or the next one only.
    pub(crate) fn takes(&self, millis: u64, times: &str) {
        let new = self.home.path().join("new");
        std::fs::write(&new, format!("{millis} {times}")).unwrap();
        std::fs::rename(new, self.file()).unwrap();
    }
}

/// Publishes for so long: ten values a second of `press-1`, which is watched for silence, and as many of each of thirty
/// things that fill the broker's window.
fn traffic(watcher: &mut Watcher, time: Duration, mut each: impl FnMut(&mut Watcher, u32)) {
    let start = Instant::now();
    let mut round = 0;
    while start.elapsed() < time {
        round += 1;
        watcher.value("press-1", "pressure", "1");
        for thing in 0..30 {
            watcher.value(&format!("other-{thing}"), "pressure", &round.to_string());
        }
        each(watcher, round);
        let next = start + Duration::from_millis(100) * round;
        until("the next round", || (Instant::now() >= next).then_some(()));
        watcher.drain();
    }
}

/// An alarm of each kind: silence of `press-1`, a limit of `press-2` whose changes are written.
fn watched(mqtt: Protocol, broker: &Broker, silence_after: &str) -> String {
    config(mqtt.at(broker.port), &format!("{}\n{}", silence(silence_after), HI.replace("press-1", "press-2")))
}

fn gaps(watcher: &Watcher) -> Vec<Value> {
    let statuses = watcher.all.iter().filter(|seen| seen.topic.ends_with("/status")).map(Seen::json);
    let mut gaps: Vec<Value> = statuses.map(|status| status["last_gap"].clone()).filter(Value::is_object).collect();
    gaps.dedup();
    gaps
}

fn silences(watcher: &Watcher) -> Vec<Value> {
    watcher.events().into_iter().filter(|event| event["level"] == "silent").collect()
}

fn a_slow_write_makes_no_alarm_of_values_that_wait_at_the_broker(mqtt: Protocol) {
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
    let mut watcher = Watcher::connect(broker.port);
    let disk = SlowDisk::new();
    let _daemon = disk.start(&watched(mqtt, &broker, "5s"));
    watcher.status("online");
    traffic(&mut watcher, Duration::from_secs(12), |watcher, round| {
        if round == 5 {
            disk.takes(9_000, "once");
            watcher.value("press-2", "pressure", "16");
        }
    });
    watcher.event("press-2/pressure/hi");
    let status = watcher.next("the gap", |seen| {
        seen.topic.ends_with("/status") && seen.json()["last_gap"]["cause"].as_str().unwrap_or("").contains("disk")
    });
    let gap = &status.json()["last_gap"];
    assert!(gap["seconds"].as_f64().unwrap() >= 8.5, "{gap}");
    watcher.settle();
    assert_eq!(silences(&watcher), [] as [Value; 0], "it published ten values a second");
    // Silence is still found.
    let event = watcher.event("press-1/pressure/silent");
    assert!(event["at"].as_str() > gap["to"].as_str(), "{event} after {gap}");
}

fn a_disk_that_is_always_slow_makes_no_false_alarm_and_misses_none(mqtt: Protocol) {
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
    let mut watcher = Watcher::connect(broker.port);
    let disk = SlowDisk::new();
    let _daemon = disk.start(&watched(mqtt, &broker, "1s"));
    watcher.status("online");
    // Every second change of a round is a write of its own. A silence of one second is no longer than a sync.
    disk.takes(1_100, "");
    let mut changes = 0_usize;
    traffic(&mut watcher, Duration::from_secs(10), |watcher, round| {
        if round % 10 == 0 {
            changes += 1;
            watcher.value("press-2", "pressure", if changes % 2 == 1 { "16" } else { "1" });
        }
    });
    std::fs::remove_file(disk.file()).unwrap();
    let event = watcher.event("press-1/pressure/silent");
    assert_eq!(event["to"], "activated", "now it is silent");
    assert_eq!(silences(&watcher), [event]);
    let told = watcher.events().iter().filter(|event| event["level"] == "hi").count();
    assert_eq!(told, changes, "each change is told");
    for gap in gaps(&watcher) {
        let cause = gap["cause"].as_str().unwrap();
        assert!(!cause.contains("disk") || gap["seconds"].as_f64().unwrap() > 3.0, "{gap}");
    }
}

fn probes_of_others_are_none(mqtt: Protocol) {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("acl");
    // The daemon may read its probe topic, where others write, but not write there.
    let may_write = ["status", "alarms/#", "events/#", "replies", "faults", "metrics"];
    let may_write = may_write.map(|topic| format!("topic write annunciator/gw/{topic}\n")).concat();
    let of_daemon = format!("topic read #\n{may_write}");
    std::fs::write(&rules, format!("topic readwrite #\n\nuser gw\n{of_daemon}")).unwrap();
    let broker = Broker::with(&format!("allow_anonymous true\nacl_file {}\n", rules.display()));
    let mut watcher = Watcher::connect(broker.port);
    let probe = "annunciator/gw/probe";
    watcher.publish_with(probe, "listening", rumqttc::QoS::AtLeastOnce, true);
    let text = config(mqtt.at(broker.port), &silence("1s")).replace("[mqtt]", "[mqtt]\nusername = \"gw\"");
    let daemon = Daemon::with(&text);
    watcher.status("online");
    watcher.value("press-1", "pressure", "1");
    let begun = Instant::now();
    // MQTT 5 has a word for it at once, with 3.1.1 it is known when no probe comes back.
    let is_told = |seen: &Seen| seen.topic.ends_with("/status") && seen.json()["problems"].to_string().contains(probe);
    while !watcher.all.iter().any(is_told) {
        watcher.publish_with(probe, "0123456789abcdef", rumqttc::QoS::AtLeastOnce, false);
        watcher.settle();
        assert!(begun.elapsed() < Duration::from_secs(40), "the problem is told");
        std::thread::park_timeout(Duration::from_millis(200));
    }
    // Acknowledgements serve as proof, on the same connection.
    if silences(&watcher).is_empty() {
        watcher.event("press-1/pressure/silent");
    }
    let connections = daemon.log().matches("connected and subscribed").count();
    assert_eq!(connections, 1, "the connection is not given up:\n{}", daemon.log());
}

/// Somebody else's client with the daemon's client id, six times a second, until it is told to end.
fn take_over(port: u16, is_over: &AtomicBool) {
    let mut next = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        let mut options = MqttOptions::new("annunciator-gw", "127.0.0.1", port);
        options.set_clean_session(false);
        let (client, mut connection) = Client::new(options, 10);
        let connected = connection.iter().find(|event| !matches!(event, Ok(rumqttc::Event::Outgoing(_))));
        assert!(matches!(connected, Some(Ok(_))), "{connected:?}");
        drop((client, connection));
        next += Duration::from_millis(166);
        until("the next one", || (Instant::now() >= next).then_some(()));
    }
}

fn connections_that_somebody_takes_over_are_told(mqtt: Protocol) {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let daemon = Daemon::start(mqtt.at(broker.port), &silence("3s"));
    watcher.status("online");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| take_over(broker.port, &is_over));
        let told = watcher.next("the problem", |seen| {
            let text = String::from_utf8_lossy(&seen.payload);
            seen.topic.ends_with("/status") && text.contains("hardly ever connected: ") && text.contains("client_id")
        });
        assert!(told.json()["problems"][0].as_str().unwrap().contains(" connections in 10 min"), "{}", told.json());
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(daemon.log().contains("another client"), "{}", daemon.log());
    // The alarm comes as soon as it can be judged.
    watcher.event("press-1/pressure/silent");
}
