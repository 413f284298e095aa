//! How well the alarms serve people: floods, and the figures of ISA-18.2 on request.

use crate::support::operator::{Operator, Responder};
use crate::support::{Broker, Daemon, HI, PROGRAM, Seen, Watcher, config, until};
use serde_json::json;
use std::path::PathBuf;
use std::process::Command;

#[test]
fn stats_are_a_table_for_people() {
    let broker = Broker::start();
    let operator = Operator::at(broker.port);
    let _responder = Responder::start(broker.port, |_, _| {
        let counted = json!({ "alarm": "a/b/\u{1b}c", "activations": 9, "fleeting": 4, "share": 0.75 });
        Some(json!({
            "ok": true, "from": "2026-05-01T12:00:00Z", "to": "2026-05-02T12:00:00Z", "observed_seconds": 86400,
            "last_10_minutes": 12, "peak_10_minutes": 14, "mean_10_minutes": 0.083, "last_day": 12, "floods": 1,
            "flood_share": 0.02, "standing": 2, "shelved": 1, "stale": 1, "chattering": 1, "fleeting": 1,
            "flood": { "since": "2026-05-02T11:59:00Z", "activations": 12, "peak": 14 },
            "worst": {
                "frequent": [counted, { "alarm": "d/e/f", "activations": 3, "share": 0.25 }], "chattering": [counted],
                "fleeting": [counted], "stale": [{ "alarm": "d/e/f", "since": "2026-04-01T12:00:00Z" }],
            },
        }))
    });
    let want = "\
From 2026-05-01 12:00:00 to 2026-05-02 12:00:00

FIGURE                         VALUE  TARGET
alarms in the last 10 minutes  12     up to 10    flood since 2026-05-02 11:59:00
most in 10 minutes             14     up to 10
mean in 10 minutes             0.083  1 to 2
alarms in a day                12     150 to 300
time in floods                 2.0 %  under 1 %
chattering alarms              1      none
fleeting alarms                1      none
stale alarms                   1      under 5
standing alarms                2
shelved alarms                 1

WHAT        HOW OFTEN                  SHARE   ALARM
frequent    9                          75.0 %  a/b/\\u{1b}c
frequent    3                          25.0 %  d/e/f
chattering  9                          75.0 %  a/b/\\u{1b}c
fleeting    4                          75.0 %  a/b/\\u{1b}c
stale       since 2026-04-01 12:00:00          d/e/f
";
    assert_eq!(operator.succeeds("stats", &[]), want);
}

#[test]
fn a_flood_is_told_and_stats_name_the_culprits() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let calm = HI.replace("press-1", "press-2");
    let daemon = Daemon::start(broker.port, &format!("{HI}{calm}"));
    watcher.status("online");
    for _ in 0..11 {
        watcher.value("press-1", "pressure", "16");
        watcher.value("press-1", "pressure", "14");
    }
    watcher.value("press-2", "pressure", "16");
    // It comes in order behind the values, whatever of them is in the same turn.
    watcher.publish("annunciator/gw/commands/stats", r#"{"request":"how"}"#);
    let stats = watcher.next_on("replies");
    watcher.looked_back();
    watcher.next("the flood on the status", |seen| {
        let note = seen.json()["problems"][0].as_str().unwrap_or_default().to_owned();
        note.starts_with("flood of alarms since ")
    });
    until("the flood in the log", || daemon.log().contains("flood of alarms begins").then_some(()));
    assert_eq!((&stats["request"], &stats["ok"]), (&json!("how"), &json!(true)), "{stats}");
    for (name, want) in [
        ("last_10_minutes", json!(12)),
        ("peak_10_minutes", json!(12)),
        ("last_day", json!(12)),
        ("mean_10_minutes", json!(12)),
        ("floods", json!(1)),
        ("standing", json!(1)),
        ("stale", json!(0)),
        ("chattering", json!(1)),
        ("fleeting", json!(1)),
    ] {
        assert_eq!(stats[name], want, "{name} of {stats}");
    }
    assert_eq!(stats["flood"]["activations"], 12, "{stats}");
    let worst = &stats["worst"];
    assert_eq!(
        worst["frequent"],
        json!([{ "alarm": "press-1/pressure/hi", "activations": 11, "fleeting": 11, "share": 0.917 },
               { "alarm": "press-2/pressure/hi", "activations": 1, "share": 0.083 }])
    );
    assert_eq!(worst["chattering"][0]["alarm"], "press-1/pressure/hi");
    // Shelved alarms are announced to nobody, so they are no load.
    watcher.looked_back();
    watcher.next_on("replies");
    watcher.publish("annunciator/gw/commands/shelve", r#"{"alarm":"*","for":"1h"}"#);
    watcher.next_on("replies");
    watcher.value("press-1", "pressure", "16");
    watcher.publish("annunciator/gw/commands/stats", "{}");
    let stats = watcher.next_on("replies");
    assert_eq!((&stats["last_day"], &stats["standing"], &stats["shelved"]), (&json!(12), &json!(0), &json!(2)));
    let table = Operator::at(broker.port).succeeds("stats", &[]);
    assert!(table.contains("frequent    11         91.7 %  press-1/pressure/hi"), "{table}");
}

/// Where Debian keeps the library that stands between a process and its clocks.
fn faketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|file| file.exists()).unwrap()
}

#[test]
fn a_flood_ends_when_it_is_calm_again() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::prepare(&config(broker.port, HI));
    // Ten minutes in ten seconds.
    let mut command = Command::new(PROGRAM);
    command.env("LD_PRELOAD", faketime()).env("FAKETIME", "+0 x60");
    daemon.launch_by(command);
    watcher.status("online");
    for _ in 0..11 {
        watcher.value("press-1", "pressure", "16");
        watcher.value("press-1", "pressure", "14");
    }
    let is_flooded = |seen: &Seen| {
        let problems = seen.json()["problems"].as_array().cloned().unwrap_or_default();
        problems.iter().any(|problem| problem.as_str().unwrap().starts_with("flood of alarms since "))
    };
    let is_status = |seen: &Seen| seen.topic == "annunciator/gw/status" && seen.json()["state"] == "online";
    watcher.next("the flood on the status", is_flooded);
    watcher.next("a status without it", |seen| is_status(seen) && !is_flooded(seen));
    until("its end in the log", || daemon.log().contains("flood of alarms has ended activations=11").then_some(()));
}
