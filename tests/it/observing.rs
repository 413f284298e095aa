//! Silence that is none: the broker hangs, the daemon is stopped, the disk is slow, another client takes the session over.
//! None of it is evidence.

use crate::support::{
    Broker, Daemon, HI, PATIENCE, PROGRAM, Protocol, Seen, Watcher, config, for_both_versions, until,
};
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
    silence_is_told_on_a_disk_that_takes_seconds_for_each_sync,
    a_broker_that_hangs_for_moments_makes_no_alarm_of_silence,
    a_daemon_that_is_stopped_for_good_after_a_standstill_does_not_blame_the_things,
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
    until("the daemon to give the connection up", || daemon.log().contains("delivered nothing").then_some(()));
    broker.thaw();
    let status = watcher.next("the gap", |seen| seen.json()["last_gap"].is_object()).json();
    let gap = &status["last_gap"];
    assert!(gap["seconds"].as_f64().unwrap() > 5.0, "{gap}");
    // Only now, with a broker that delivers, is silence evidence.
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

/// Publishes ten values a second of `press-1`, which is watched for silence, and as many of each of thirty things that fill
/// the broker's window, as long as `goes_on` says so of the rounds.
fn traffic(watcher: &mut Watcher, mut goes_on: impl FnMut(&mut Watcher, u32) -> bool) {
    let start = Instant::now();
    let mut round = 0;
    loop {
        round += 1;
        watcher.value("press-1", "pressure", "1");
        for thing in 0..30 {
            watcher.value(&format!("other-{thing}"), "pressure", &round.to_string());
        }
        watcher.drain();
        if !goes_on(watcher, round) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "the traffic does not end");
        let next = start + Duration::from_millis(100) * round;
        until("the next round", || (Instant::now() >= next).then_some(()));
    }
}

/// An alarm of each kind: silence of `press-1`, a limit of `press-2` whose changes are written.
fn watched(mqtt: Protocol, broker: &Broker, silence_after: &str) -> String {
    config(mqtt.at(broker.port), &format!("{}\n{}", silence(silence_after), HI.replace("press-1", "press-2")))
}

/// The gap that the daemon has told last.
fn last_gap(watcher: &Watcher) -> Value {
    let mut statuses = watcher.all.iter().rev().filter(|seen| seen.topic.ends_with("/status")).map(Seen::json);
    statuses.find_map(|status| Some(status["last_gap"].clone()).filter(Value::is_object)).unwrap_or_default()
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
    traffic(&mut watcher, |watcher, round| {
        if round == 5 {
            disk.takes(9_000, "once");
            watcher.value("press-2", "pressure", "16");
        }
        !last_gap(watcher)["cause"].to_string().contains("disk")
    });
    assert_eq!(silences(&watcher), [] as [Value; 0], "it publishes ten values a second");
    let gap = last_gap(&watcher);
    assert!(gap["seconds"].as_f64().unwrap() >= 8.5, "{gap}");
    // Silence is still found.
    let event = watcher.event("press-1/pressure/silent");
    assert!(event["at"].as_str() > gap["to"].as_str(), "{event} after {gap}");
}

fn a_disk_that_is_always_slow_makes_no_false_alarm_and_misses_none(mqtt: Protocol) {
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
    let mut watcher = Watcher::connect(broker.port);
    let disk = SlowDisk::new();
    let _daemon = disk.start(&watched(mqtt, &broker, "4s"));
    watcher.status("online");
    // Every other second a change is a write of its own. Two of them take longer than the silence that is watched for.
    disk.takes(2_500, "");
    let mut changes = 0_usize;
    traffic(&mut watcher, |watcher, round| {
        if round % 20 == 0 {
            changes += 1;
            watcher.value("press-2", "pressure", if changes % 2 == 1 { "16" } else { "1" });
        }
        round < 120
    });
    assert_eq!(silences(&watcher), [] as [Value; 0], "it publishes ten values a second");
    std::fs::remove_file(disk.file()).unwrap();
    let event = watcher.event("press-1/pressure/silent");
    assert_eq!(event["to"], "activated", "now it is silent");
    let told = watcher.events().iter().filter(|event| event["level"] == "hi").count();
    assert_eq!(told, changes, "each change is told");
}

fn silence_is_told_on_a_disk_that_takes_seconds_for_each_sync(mqtt: Protocol) {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let disk = SlowDisk::new();
    let checkpoints = watched(mqtt, &broker, "2s").replace("[mqtt]", "checkpoint = \"4s\"\n\n[mqtt]");
    let _daemon = disk.start(&checkpoints);
    watcher.status("online");
    watcher.value("press-1", "pressure", "1");
    watcher.settle();
    // The checkpoints of a silent plant are all that is written. None of them may keep a gap open by itself.
    disk.takes(3_500, "");
    let event = watcher.event("press-1/pressure/silent");
    assert_eq!(event["to"], "activated");
}

fn a_broker_that_hangs_for_moments_makes_no_alarm_of_silence(mqtt: Protocol) {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let text = watched(mqtt, &broker, "2s").replace("[[source]]", "[[source]]\nqos = 0");
    let daemon = Daemon::with(&text);
    watcher.status("online");
    let mut thawed_at = 0;
    let mut frozen_at = Some(Instant::now());
    traffic(&mut watcher, |_, round| {
        match frozen_at {
            // Two seconds and a half without an answer, while values fill the sockets, and a second with.
            None if round >= thawed_at + 10 => {
                broker.freeze();
                frozen_at = Some(Instant::now());
            }
            Some(since) if since.elapsed() > Duration::from_millis(2_500) => {
                broker.thaw();
                (frozen_at, thawed_at) = (None, round);
            }
            None | Some(_) => {}
        }
        round < 120 || frozen_at.is_some()
    });
    watcher.settle();
    assert_eq!(silences(&watcher), [] as [Value; 0], "it publishes ten values a second:\n{}", daemon.log());
}

fn a_daemon_that_is_stopped_for_good_after_a_standstill_does_not_blame_the_things(mqtt: Protocol) {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::with(&watched(mqtt, &broker, "2s"));
    watcher.status("online");
    watcher.value("press-1", "pressure", "1");
    watcher.settle();
    daemon.freeze();
    traffic(&mut watcher, |_, round| round < 50);
    daemon.signal(rustix::process::Signal::TERM);
    daemon.thaw();
    assert_eq!(daemon.wait(), 0);
    watcher.settle();
    assert_eq!(silences(&watcher), [] as [Value; 0], "it published ten values a second:\n{}", daemon.log());
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
    let status = watcher.all.iter().rfind(|seen| is_told(seen)).unwrap().json();
    let way = if mqtt == Protocol::V5 { "publish to annunciator/gw/probe" } else { "probe annunciator/gw/probe" };
    assert!(status["problems"].to_string().contains(way), "{status}");
    // Acknowledgements serve as proof, on the same connection.
    if silences(&watcher).is_empty() {
        watcher.event("press-1/pressure/silent");
    }
    let connections = daemon.log().matches("connected and subscribed").count();
    assert_eq!(connections, 1, "the connection is not given up:\n{}", daemon.log());
}

/// Says that it is over when it goes, in a panic, too.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Another client with the daemon's client id, six times a second, until it is told to end.
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
        let _ending = Ending(&is_over);
        let told = watcher.next("the problem", |seen| {
            let text = String::from_utf8_lossy(&seen.payload);
            seen.topic.ends_with("/status") && text.contains("hardly ever connected: ") && text.contains("client_id")
        });
        assert!(told.json()["problems"][0].as_str().unwrap().contains(" connections in 10 min"), "{}", told.json());
    });
    assert!(daemon.log().contains("another client"), "{}", daemon.log());
    // The alarm comes as soon as it can be judged.
    watcher.event("press-1/pressure/silent");
}
