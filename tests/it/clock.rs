//! The wall clock is stepped while timers run: nothing fires early, nothing is held back, stamps follow the wall clock.
//!
//! libfaketime stands between the daemon and the wall clock; the monotonic clock stays as it is.

use crate::support::{Broker, Daemon, PROGRAM, Watcher, config};
use jiff::Timestamp;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const OBSERVE: Duration = Duration::from_millis(1_500);
const HOUR: i64 = 3_600;
const YEAR: i64 = 365 * 24 * HOUR;

/// What a wall clock does that is set by hand, by NTP, by GPS with a wrong week, by an empty battery.
fn steps() -> [(&'static str, i64); 5] {
    let rollover = Timestamp::from_second(i64::from(i32::MAX) - 1).unwrap();
    [
        ("back by an hour", -HOUR),
        ("on by an hour", HOUR),
        ("on by ten years", 10 * YEAR),
        ("to before 1970", -70 * YEAR),
        ("to the second before the 32-bit rollover of 2038", rollover.as_second() - Timestamp::now().as_second()),
    ]
}

/// The wall clock of one daemon.
struct Wall {
    file: PathBuf,
    ahead: i64,
}

impl Wall {
    fn new(folder: &Path) -> Wall {
        let mut wall = Wall { file: folder.join("wall"), ahead: 0 };
        wall.step(0);
        wall
    }

    /// Sets it to this many seconds from the true time.
    fn step(&mut self, ahead: i64) {
        self.ahead = ahead;
        // At once: half a file would be read as no offset.
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("{ahead:+}\n")).unwrap();
        std::fs::rename(&next, &self.file).unwrap();
    }

    /// The daemon under this clock.
    fn command(&self) -> Command {
        let folders = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
        let library = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|file| file.exists());
        let mut command = Command::new(PROGRAM);
        command.env("LD_PRELOAD", library.expect("libfaketime is installed"));
        command.env("FAKETIME_TIMESTAMP_FILE", &self.file).env("FAKETIME_NO_CACHE", "1");
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
        command
    }

    /// How far a stamp is from what this clock shows now, in seconds.
    fn off(&self, stamp: &Value) -> f64 {
        let shown = Timestamp::now().as_microsecond() + self.ahead * 1_000_000;
        (shown - micros(stamp)) as f64 / 1e6
    }
}

fn micros(stamp: &Value) -> i64 {
    stamp.as_str().unwrap().parse::<Timestamp>().unwrap().as_microsecond()
}

fn alarms() -> String {
    let observe = OBSERVE.as_millis();
    format!(
        "[[alarm]]\nthing = \"press-1\"\nproperty = \"pressure\"\nlevel = \"held\"\ntype = \"standard\"\n\
         operator = \">\"\nlimit = 15\nobserve_time = {observe}\n\
         [[alarm]]\nthing = \"press-1\"\nproperty = \"pressure\"\nlevel = \"silent\"\ntype = \"no-value\"\n\
         observe_time = {observe}\n"
    )
}

/// Both alarms have fired `OBSERVE` after their value, by the true time, and their stamps are those of the wall clock.
fn fired(watcher: &mut Watcher, wall: &Wall, since: Instant, what: &str) -> Duration {
    let mut late = Duration::ZERO;
    for _ in 0..2 {
        let event = watcher.next(what, |seen| seen.topic.contains("/events/") && seen.json()["to"] == "activated");
        let event = event.json();
        let after = since.elapsed();
        assert!(after >= OBSERVE, "{what}: after {after:?}: {event}");
        late = late.max(after - OBSERVE);
        let off = wall.off(&event["at"]);
        assert!((-1.0..20.0).contains(&off), "{what}: {off} s off the wall clock: {event}");
        // The time line behind it does not step.
        let held = Duration::from_micros(u64::try_from(micros(&event["at"]) - micros(&event["since"])).unwrap());
        let tolerance = Duration::from_millis(1);
        assert!(held + tolerance >= OBSERVE && held < OBSERVE + tolerance, "{what}: {held:?}: {event}");
    }
    late
}

#[test]
fn steps_of_the_wall_clock_neither_fire_nor_delay_anything() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::prepare(&config(broker.port, &alarms()));
    let mut wall = Wall::new(daemon.config_file().parent().unwrap());
    daemon.launch_by(wall.command());
    watcher.status("online");
    let mut latest = Duration::ZERO;
    for (what, ahead) in steps() {
        watcher.value("press-1", "pressure", "3");
        watcher.settle();
        let since = Instant::now();
        watcher.value("press-1", "pressure", "16");
        watcher.settle();
        wall.step(ahead);
        latest = latest.max(fired(&mut watcher, &wall, since, what));
        println!("{what}: fired in time");
    }
    println!("the latest of {} fired {latest:?} after its time", 2 * steps().len());
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_wall_clock_that_steps_while_the_daemon_is_down_ends_no_observe_time() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::prepare(&config(broker.port, &alarms()));
    let mut wall = Wall::new(daemon.config_file().parent().unwrap());
    daemon.launch_by(wall.command());
    watcher.status("online");
    for (what, ahead) in [("on by ten years", 10 * YEAR), ("back by twenty", -10 * YEAR)] {
        watcher.value("press-1", "pressure", "3");
        watcher.settle();
        let since = Instant::now();
        watcher.value("press-1", "pressure", "16");
        watcher.settle();
        assert_eq!(daemon.stop(), 0);
        wall.step(ahead);
        daemon.launch_by(wall.command());
        for _ in 0..2 {
            let event = watcher.next(what, |seen| seen.topic.contains("/events/") && seen.json()["to"] == "activated");
            let event = event.json();
            assert!(since.elapsed() >= OBSERVE, "{what}: {event}");
            let off = wall.off(&event["at"]);
            assert!((-1.0..20.0).contains(&off), "{what}: {off} s off the wall clock: {event}");
        }
    }
}

#[test]
fn what_is_decided_before_the_clock_is_set_says_so() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::prepare(&config(broker.port, crate::support::HI));
    let mut wall = Wall::new(daemon.config_file().parent().unwrap());
    // A board without a battery begins its days in 1970.
    wall.step(HOUR - Timestamp::now().as_second());
    daemon.launch_by(wall.command());
    let status = watcher.status("online");
    assert!(status["problems"][0].as_str().unwrap().starts_with("clock: "), "{status}");
    watcher.value("press-1", "pressure", "16");
    let event = watcher.event("press-1/pressure/hi");
    assert!(event["at"].as_str().unwrap().starts_with("1970-01-01T01:"), "{event}");
    assert_eq!(event["time"], "unsynchronised", "{event}");
    let is_state = |seen: &crate::support::Seen| seen.topic.contains("/alarms/") && seen.json()["seq"] == event["seq"];
    assert_eq!(watcher.next("the state", is_state).json()["time"], "unsynchronised");
    wall.step(0);
    watcher.next("a clock that is set", |seen| {
        seen.topic.ends_with("/status") && seen.json()["state"] == "online" && seen.json()["problems"] == Value::Null
    });
    watcher.value("press-1", "pressure", "3");
    let event = watcher.event("press-1/pressure/hi");
    assert_eq!((&event["to"], &event["time"]), (&Value::from("idled"), &Value::Null), "{event}");
    assert_eq!(daemon.stop(), 0);
}

/// The daemon under this clock, where `/proc` shows processes only, as under the unit of systemd.
fn with_processes_only(wall: &Wall) -> Command {
    let inner = wall.command();
    let script = "mount -t proc -o subset=pid proc /proc && test ! -e /proc/sys && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh", "env"]);
    for (name, value) in inner.get_envs() {
        let mut setting = name.to_owned();
        setting.push("=");
        setting.push(value.unwrap());
        command.arg(setting);
    }
    command.arg(PROGRAM);
    command
}

#[test]
fn a_restart_under_the_unit_is_as_long_as_it_was_whatever_the_wall_clock_shows() {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    for told in [Some(id.trim().replace('-', "")), None] {
        let broker = Broker::start();
        let mut watcher = Watcher::connect(broker.port);
        let mut daemon = Daemon::prepare(&config(broker.port, &alarms()));
        let mut wall = Wall::new(daemon.config_file().parent().unwrap());
        for ahead in [0, HOUR, -HOUR] {
            wall.step(ahead);
            let mut command = with_processes_only(&wall);
            command.env_remove("ANNUNCIATOR_BOOT_ID");
            if let Some(id) = &told {
                command.env("ANNUNCIATOR_BOOT_ID", id);
            }
            let down = Instant::now();
            daemon.launch_by(command);
            let status = watcher.status("online");
            let gap = status["last_gap"]["seconds"].as_f64().unwrap_or_default();
            assert!(gap <= down.elapsed().as_secs_f64() + 5.0, "told {told:?}, {ahead} s ahead: {status}");
            watcher.value("press-1", "pressure", "3");
            watcher.settle();
            assert_eq!(daemon.stop(), 0);
            watcher.status("offline");
        }
    }
}
