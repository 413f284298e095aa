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

/// What the status says of a store that cannot be written.
fn says_that_it_is_not_durable(status: &serde_json::Value) {
    assert_eq!(status["durable"], false, "{status}");
    let problem = status["problems"][0].as_str().unwrap();
    for word in ["Read-only file system", "alarms go on"] {
        assert!(problem.contains(word), "{problem}");
    }
}

#[test]
fn with_a_disk_that_is_read_only_at_the_start_everything_goes_on_from_what_is_on_it() {
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::prepare(&config(broker.port, HI));
    let disk = Tmpfs::mount(&daemon.state_dir(), SIZE);
    let state_dir = daemon.state_dir();
    let remount = |how: &str| {
        let done = disk.command("mount").args(["-o", how]).arg(&state_dir).status().unwrap();
        assert!(done.success());
    };
    daemon.launch_by(disk.command(PROGRAM));
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    assert_eq!(watcher.event("press-1/pressure/hi")["seq"], 1);
    daemon.kill();
    watcher.status("offline");

    remount("remount,ro");
    daemon.launch_by(disk.command(PROGRAM));
    let status = watcher.status("online");
    says_that_it_is_not_durable(&status);
    assert_eq!(status["active"], 1, "what was on the disk is known: {status}");
    watcher.value("press-1", "pressure", "3");
    let idled = watcher.next("the end", |seen| seen.topic.contains("/events/") && seen.json()["to"] == "idled").json();
    assert_eq!((&idled["occurrence"], &idled["seq_gap"]), (&json!(1), &json!(true)), "{idled}");
    let number = idled["seq"].as_u64().unwrap();
    assert!(number > 1_600_000_000_000_000, "the next start may not know of it: {idled}");

    remount("remount,rw");
    watcher.next("durability", |seen| seen.topic.ends_with("/status") && seen.json()["durable"] == true);
    watcher.value("press-1", "pressure", "17");
    watcher.next("one more", |seen| seen.topic.contains("/events/") && seen.json()["seq"] == number + 1);
    daemon.kill();
    watcher.status("offline");
    daemon.launch_by(disk.command(PROGRAM));
    let status = watcher.status("online");
    assert_eq!((&status["durable"], &status["active"]), (&json!(true), &json!(1)), "{status}");
    watcher.value("press-1", "pressure", "2");
    let last = watcher.next("one more", |seen| seen.topic.contains("/events/") && seen.json()["seq"] == number + 2);
    let last = last.json();
    assert_eq!((&last["to"], &last["occurrence"]), (&json!("idled"), &json!(2)), "{last}");
}

#[test]
fn with_a_state_folder_that_cannot_even_be_read_alarms_go_on_under_numbers_that_nobody_has_had() {
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::prepare(&config(broker.port, HI));
    // Not even root can make a folder below a file.
    std::fs::write(daemon.state_dir(), "in the way").unwrap();
    daemon.launch();
    assert_eq!(watcher.status("online")["durable"], false);
    assert!(daemon.log().contains("nothing of this survives a restart"), "{}", daemon.log());
    watcher.value("press-1", "pressure", "16");
    let first = watcher.event("press-1/pressure/hi")["seq"].as_u64().unwrap();
    assert!(first > 1_600_000_000_000_000, "{first} may have been given out before");
    std::fs::remove_file(daemon.state_dir()).unwrap();
    watcher.next("durability", |seen| seen.topic.ends_with("/status") && seen.json()["durable"] == true);
    daemon.kill();
    watcher.status("offline");
    daemon.launch();
    assert_eq!(watcher.status("online")["active"], 1);
    watcher.value("press-1", "pressure", "2");
    watcher.next("the next", |seen| seen.topic.contains("/events/") && seen.json()["seq"] == first + 1);
}

#[test]
fn check_says_how_the_stored_state_is_and_disturbs_nobody() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::prepare(&config(broker.port, HI));
    let check = |daemon: &Daemon, code: i32, word: &str| {
        let mut command = std::process::Command::new(PROGRAM);
        let output = command.args(["check", "--state", "--config"]).arg(daemon.config_file()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(word), "{word:?} is not in: {said}");
    };
    check(&daemon, 0, "there is no store yet");
    daemon.launch();
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    watcher.event("press-1/pressure/hi");
    check(&daemon, 0, "a daemon has the store open");
    assert_eq!(daemon.stop(), 0);
    check(&daemon, 0, "1 alarms, the last event is 1");
    let log = |entry: &std::path::PathBuf| entry.file_name().unwrap().to_string_lossy().starts_with("wal-");
    let entries = std::fs::read_dir(daemon.state_dir().join("store")).unwrap().map(|entry| entry.unwrap().path());
    let newest = entries.filter(log).max().unwrap();
    // A log that belongs far behind: those between are missing.
    std::fs::rename(&newest, newest.with_file_name(format!("wal-{:020}", 9))).unwrap();
    check(&daemon, 1, "damaged beyond use");
    daemon.launch();
    let status =
        watcher.next("trouble", |seen| seen.topic.ends_with("/status") && seen.json()["problems"] != json!(null));
    assert!(status.json()["problems"][0].as_str().unwrap().contains("moved to"), "{:?}", status.json());
    check(&daemon, 1, "was moved aside");
}

/// Started by hand, with the mode for new files that users have.
#[test]
fn nobody_else_may_read_the_state_and_a_pipe_in_it_is_an_error_in_words() {
    use std::os::unix::fs::PermissionsExt as _;
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::prepare(&config(broker.port, HI));
    let mut by_hand = std::process::Command::new("sh");
    by_hand.args(["-c", "umask 022; exec \"$@\"", "sh", PROGRAM]);
    daemon.launch_by(by_hand);
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    watcher.event("press-1/pressure/hi");
    let mut open = vec![daemon.state_dir()];
    let mut seen = 0;
    while let Some(path) = open.pop() {
        let about = std::fs::metadata(&path).unwrap();
        let mode = about.permissions().mode() & 0o777;
        assert_eq!(mode, if about.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
        seen += 1;
        if about.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert!(seen >= 5, "the folder, the store, a log, the lock, and what was confirmed");
    assert_eq!(daemon.stop(), 0);
    let pipe = daemon.state_dir().join("store/wal-00000000000000000002");
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
    let mut command = std::process::Command::new(PROGRAM);
    let output = command.args(["check", "--state", "--config"]).arg(daemon.config_file()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("neither a file nor a folder"), "{said}");
    daemon.launch();
    let status = watcher.status("online");
    assert_eq!(
        (&status["durable"], &status["active"]),
        (&json!(true), &json!(1)),
        "it is none of the store's: {status}"
    );
    assert!(daemon.log().contains("is not the store's"), "{}", daemon.log());
}
