//! A disk that is full, or that may not be written: alarms go on, people are told, and it heals without help.

use crate::support::tmpfs::Tmpfs;
use crate::support::{Broker, Daemon, HI, PROGRAM, Watcher, config};
use serde_json::json;

/// Enough for the store and for nothing else.
const SIZE: &str = "24m";

#[test]
fn with_a_full_disk_alarms_go_on_and_with_room_it_heals() {
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::prepare(&config(broker.port, HI));
    let disk = Tmpfs::mount(&daemon.state_dir(), SIZE);
    daemon.launch_by(disk.command(PROGRAM));
    assert_eq!(watcher.status("online")["durable"], true);
    watcher.value("press-1", "pressure", "16");
    assert_eq!(watcher.event("press-1/pressure/hi")["seq"], 1);

    let filler = disk.fill();
    // The store may have room of its own for some events.
    let mut excursions = 0;
    let lost = loop {
        excursions += 1;
        for value in ["3", "16"] {
            watcher.value("press-1", "pressure", value);
            watcher.event("press-1/pressure/hi");
        }
        let statuses = watcher.all.iter().filter(|seen| seen.topic.ends_with("/status"));
        if let Some(status) = statuses.map(crate::support::Seen::json).find(|status| status["durable"] == false) {
            break status;
        }
        assert!(excursions < 20_000, "the disk is full and nobody has noticed");
    };
    assert!(lost["problems"][0].as_str().unwrap().contains("alarms go on"), "{lost}");
    for (seq, to) in [(2, "idled"), (3, "activated"), (4, "idled")] {
        watcher.value("press-1", "pressure", if to == "idled" { "4" } else { "17" });
        let event = watcher.event("press-1/pressure/hi");
        assert_eq!((&event["to"], &event["seq"]), (&json!(to), &json!(2 * excursions + seq)), "published all the same");
    }
    watcher.value("press-1", "pressure", "18");
    let last = watcher.event("press-1/pressure/hi");

    disk.clear();
    let healed = watcher.next("durability", |seen| seen.topic.ends_with("/status") && seen.json()["durable"] == true);
    assert_eq!(healed.json()["problems"], serde_json::Value::Null, "nothing is left to complain about");
    daemon.kill();
    watcher.status("offline");
    daemon.launch_by(disk.command(PROGRAM));
    let status = watcher.status("online");
    assert_eq!((&status["durable"], &status["active"]), (&json!(true), &json!(1)), "{status}");
    watcher.value("press-1", "pressure", "2");
    let next = watcher.next("a new event", |seen| {
        seen.topic.contains("/events/") && seen.json()["seq"].as_u64() > last["seq"].as_u64()
    });
    let next = next.json();
    assert_eq!(next["seq"].as_u64().unwrap(), last["seq"].as_u64().unwrap() + 1, "{next}");
    assert_eq!((&next["to"], &next["occurrence"]), (&json!("idled"), &last["occurrence"]), "{next} after {last}");
    println!("{filler} bytes filled {SIZE}; noticed after {excursions} excursions, all of them published, then healed");
}

#[test]
fn a_state_folder_that_cannot_be_written_is_said_at_the_start() {
    let mut daemon = Daemon::prepare(&config(1, HI));
    // Root may write wherever permissions forbid it, but not to a file system that is mounted for reading.
    let disk = Tmpfs::mount(&daemon.state_dir(), SIZE);
    let remount = disk.command("mount").args(["-o", "remount,ro"]).arg(daemon.state_dir()).status().unwrap();
    assert!(remount.success());
    daemon.launch_by(disk.command(PROGRAM));
    assert_eq!(daemon.wait(), 1);
    let log = daemon.log();
    for word in [daemon.state_dir().to_str().unwrap(), "Read-only file system"] {
        assert!(log.contains(word), "{log}");
    }
    assert!(log.trim().lines().count() <= 2, "a message, not a flood: {log}");
}
