//! Flash memory wears by being written: a quiet daemon writes nothing, a busy one that decides nothing writes checkpoints.

use crate::support::{Broker, Daemon, HI, Watcher, config, until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Long enough for a dozen checkpoints at [`CHECKPOINT`].
const OBSERVATION: Duration = Duration::from_millis(2_500);
const CHECKPOINT: Duration = Duration::from_millis(200);

/// What a process has written, and how its files look.
#[derive(Debug, PartialEq)]
struct Traces {
    /// Bytes handed to write calls, those for the broker among them.
    handed_over: u64,
    /// Bytes that go to a disk.
    to_disk: u64,
    /// Size and time of the last change of every file in the state folder.
    files: BTreeMap<PathBuf, (u64, SystemTime)>,
}

fn traces(daemon: &Daemon) -> Traces {
    let io = std::fs::read_to_string(format!("/proc/{}/io", daemon.pid())).unwrap();
    let field = |name: &str| -> u64 {
        io.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim_start_matches(':').trim().parse().unwrap()
    };
    let mut files = BTreeMap::new();
    collect(&daemon.state_dir(), &mut files);
    Traces { handed_over: field("wchar"), to_disk: field("write_bytes"), files }
}

fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, (u64, SystemTime)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // A file may be replaced while we look.
        let Ok(about) = path.metadata() else { continue };
        if about.is_dir() {
            collect(&path, files);
        } else {
            files.insert(path, (about.len(), about.modified().unwrap()));
        }
    }
}

fn fast_checkpoints(port: u16, alarms: &str, metrics_interval: &str) -> String {
    let checkpoint = CHECKPOINT.as_millis();
    let gateway = format!("[gateway]\ncheckpoint = {checkpoint}\nmetrics_interval = \"{metrics_interval}\"\n");
    config(port, alarms).replace("[gateway]\n", &gateway)
}

#[test]
fn while_nothing_arrives_nothing_is_written() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let mean = HI.replace("\"hi\"", "\"mean\"").replace("standard", "average") + "observe_time = \"1h\"\n";
    let silent = "[[alarm]]\nthing = \"press-1\"\nproperty = \"pressure\"\nlevel = \"silent\"\ntype = \"no-value\"\n\
                  observe_time = \"1h\"\n";
    // Metrics go to the broker only, but they are written, too.
    let daemon = Daemon::with(&fast_checkpoints(broker.port, &format!("{HI}{mean}{silent}"), "1d"));
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    watcher.event("press-1/pressure/hi");
    // The last of what that made is written when a second goes by without a trace.
    let mut last = (traces(&daemon), Instant::now());
    until("the daemon to have written everything", || {
        let now = traces(&daemon);
        if now != last.0 {
            last = (now, Instant::now());
        }
        (last.1.elapsed() > 5 * CHECKPOINT).then_some(())
    });
    let before = traces(&daemon);
    let start = Instant::now();
    until("the observation's end", || (start.elapsed() > OBSERVATION).then_some(()));
    let after = traces(&daemon);
    assert_eq!((&after.files, after.to_disk), (&before.files, before.to_disk));
    // The run time wakes itself by writing eight bytes to a counter in the kernel.
    let handed_over = after.handed_over - before.handed_over;
    assert!(handed_over < 100 && handed_over.is_multiple_of(8), "{handed_over} bytes were handed over");
    watcher.value("press-1", "pressure", "3");
    assert_eq!(watcher.event("press-1/pressure/hi")["to"], "idled", "it was there all the time");
    println!(
        "{:?} with nothing arriving, {} checkpoints due: {} bytes handed over, {} to disk",
        start.elapsed(),
        OBSERVATION.as_millis() / CHECKPOINT.as_millis(),
        after.handed_over - before.handed_over,
        after.to_disk - before.to_disk
    );
}

#[test]
fn values_that_change_no_alarm_cost_checkpoints_only() {
    /// Values between two looks at the clock.
    const PIECE: usize = 500;
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
    let mut watcher = Watcher::connect(broker.port);
    let daemon = Daemon::with(&fast_checkpoints(broker.port, HI, "1s"));
    watcher.status("online");
    watcher.value("press-1", "pressure", "1");
    let next_metrics = |watcher: &mut Watcher, at_least: usize| -> Value {
        let fits = |seen: &crate::support::Seen| {
            seen.topic.ends_with("/metrics") && seen.json()["messages"].as_u64().is_some_and(|n| n >= at_least as u64)
        };
        watcher.next("metrics", fits).json()
    };
    let first = next_metrics(&mut watcher, 1);
    let (start, before) = (Instant::now(), traces(&daemon));
    let mut sent = 1;
    while start.elapsed() < OBSERVATION {
        for value in 0..PIECE {
            watcher.value("press-1", "pressure", &format!("{}.{}", value % 14, sent));
        }
        sent += PIECE;
        watcher.settle();
    }
    let last = next_metrics(&mut watcher, sent);
    let (elapsed, after) = (start.elapsed(), traces(&daemon));
    let count = |metrics: &Value, name: &str| metrics[name].as_u64().unwrap();
    let difference = |name: &str| count(&last, name) - count(&first, name);
    assert_eq!(difference("events"), 0);
    // One more at either end, and one a second for what the broker has taken.
    let due = u64::try_from(elapsed.as_millis() / CHECKPOINT.as_millis()).unwrap() + elapsed.as_secs() + 3;
    let (commits, stored) = (difference("commits"), difference("stored_bytes"));
    assert!((5..=due).contains(&commits), "{commits} writes, {due} were due");
    // One alarm, its latest value, the time line, and the packet ids of what is not yet settled with the broker.
    assert!(stored / commits < 16_384, "{stored} bytes in {commits} writes");
    let written = after.handed_over - before.handed_over;
    assert!((stored / 10..=stored * 10 + 4_096 * commits).contains(&written), "{written} written, {stored} said");
    println!(
        "{sent} values in {elapsed:?}: {commits} writes, {stored} bytes as the metrics say, {written} handed over, {} to disk",
        after.to_disk - before.to_disk
    );
}
