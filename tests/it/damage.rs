//! A store that was damaged, seen from outside: what was lost is said, and no number is ever given out again.

use crate::faults;
use crate::support::servers::Server;
use crate::support::tmpfs::Tmpfs;
use crate::support::{Broker, Daemon, PROGRAM, Seen, Watcher, config, until};
use rumqttc::QoS;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

/// An alarm for each press.
const PRESSES: &str = "[[alarm]]\nthing = \"press-*\"\nproperty = \"pressure\"\nlevel = \"hi\"\ntype = \"standard\"\n\
                       operator = \">\"\nlimit = 15\n";
/// Alarms that are activated before the damage.
const ACTIVE: usize = 40;

/// The daemon with that many active alarms, each of which was written by a commit of its own.
fn with_active_alarms(watcher: &mut Watcher, daemon: &mut Daemon) {
    daemon.launch();
    watcher.status("online");
    for number in 0..ACTIVE {
        let thing = format!("press-{number}");
        watcher.value(&thing, "pressure", "16");
        watcher.event(&format!("{thing}/pressure/hi"));
        watcher.next("the state", |seen| seen.topic == format!("annunciator/gw/alarms/{thing}/pressure/hi"));
    }
}

fn log_of(daemon: &Daemon) -> PathBuf {
    let entries = std::fs::read_dir(daemon.state_dir().join("store")).unwrap().map(|entry| entry.unwrap().path());
    let is_log = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("wal-");
    entries.filter(is_log).max().unwrap()
}

/// What `check --state` says, and its exit status.
fn check(daemon: &Daemon) -> (i32, String) {
    let mut command = Command::new(PROGRAM);
    let output = command.args(["check", "--state", "--config"]).arg(daemon.config_file()).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// Every number stands for one event, whatever happened to the store in between.
fn no_number_has_two_contents(watcher: &Watcher) {
    let mut known: BTreeMap<u64, Value> = BTreeMap::new();
    for event in watcher.events() {
        let seq = event["seq"].as_u64().unwrap();
        let first = known.entry(seq).or_insert_with(|| event.clone());
        assert_eq!(*first, event, "number {seq} was given out twice");
    }
}

/// The alarms' states as somebody finds them who comes now.
fn states(port: u16) -> BTreeMap<String, Value> {
    let mut latecomer = Watcher::connect(port);
    latecomer.settle();
    let states = latecomer.all.iter().filter(|seen| seen.topic.contains("/alarms/"));
    states.map(|seen| (seen.json()["alarm"].as_str().unwrap().to_owned(), seen.json())).collect()
}

/// Starts it on the damaged store, and looks at what is published from then on.
fn goes_on(watcher: &mut Watcher, daemon: &mut Daemon, port: u16, says: &str) {
    watcher.settle();
    let last = watcher.events().iter().map(|event| event["seq"].as_u64().unwrap()).max().unwrap();
    let (code, said) = check(daemon);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(says), "{says:?} is not in: {said}");
    daemon.launch();
    let told = watcher.next("trouble", |seen| {
        seen.topic == "annunciator/gw/status"
            && seen.json()["problems"][0].as_str().is_some_and(|text| text.contains(says))
    });
    assert_eq!(told.json()["active"], ACTIVE, "all that was published as active is active: {}", told.json());
    // Each value is the same as before: whoever was active stays so without a second activation.
    for number in 0..ACTIVE {
        watcher.value(&format!("press-{number}"), "pressure", "17");
    }
    watcher.value("press-new", "pressure", "17");
    let first = watcher.event("press-new/pressure/hi");
    assert!(first["seq"].as_u64().unwrap() > last, "{first} after {last}");
    assert_eq!(first["seq_gap"], true, "{first}");
    watcher.value("press-newer", "pressure", "17");
    let second = watcher.event("press-newer/pressure/hi");
    assert_eq!((&second["seq"], &second["seq_gap"]), (&json!(first["seq"].as_u64().unwrap() + 1), &Value::Null));
    until("states that are certain", || {
        let states = states(port);
        let all = states.values().all(|state| state["active"] == true && state["uncertain"] == Value::Null);
        (states.len() == ACTIVE + 2 && all).then_some(())
    });
    watcher.settle();
    no_number_has_two_contents(watcher);
    let activations = |alarm: &str| -> BTreeSet<u64> {
        let events = watcher.events().into_iter().filter(|event| event["alarm"] == alarm);
        events.map(|event| event["seq"].as_u64().unwrap()).collect()
    };
    assert!((0..ACTIVE).all(|number| activations(&format!("press-{number}/pressure/hi")).len() == 1));
    let (code, said) = check_stopped(daemon);
    assert_eq!(code, 1, "it is said until somebody has looked: {said}");
    for entry in std::fs::read_dir(daemon.state_dir()).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.file_name().unwrap().to_string_lossy().starts_with("store.damaged-") {
            std::fs::remove_dir_all(entry).unwrap();
        }
    }
    daemon.launch();
    watcher.status("online");
    let (code, said) = check_stopped(daemon);
    assert_eq!(code, 0, "{said}");
}

fn check_stopped(daemon: &mut Daemon) -> (i32, String) {
    assert_eq!(daemon.stop(), 0);
    check(daemon)
}

#[test]
fn one_bit_in_the_middle_of_the_log_costs_what_was_there_and_no_number() {
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::prepare(&config(broker.port, PRESSES));
    with_active_alarms(&mut watcher, &mut daemon);
    daemon.kill();
    let log = log_of(&daemon);
    let mut bytes = std::fs::read(&log).unwrap();
    let place = bytes.len() / 2;
    bytes[place] ^= 4;
    std::fs::write(&log, bytes).unwrap();
    goes_on(&mut watcher, &mut daemon, broker.port, "cannot be read");
}

#[test]
fn a_log_that_has_lost_its_end_is_told_from_one_that_was_torn() {
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::prepare(&config(broker.port, PRESSES));
    with_active_alarms(&mut watcher, &mut daemon);
    daemon.kill();
    let log = log_of(&daemon);
    let length = std::fs::metadata(&log).unwrap().len();
    std::fs::File::options().write(true).open(&log).unwrap().set_len(length / 2).unwrap();
    goes_on(&mut watcher, &mut daemon, broker.port, "cannot be read");
}

#[test]
fn a_store_that_is_gone_is_not_a_new_one() {
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::prepare(&config(broker.port, PRESSES));
    with_active_alarms(&mut watcher, &mut daemon);
    assert_eq!(daemon.stop(), 0);
    std::fs::remove_file(log_of(&daemon)).unwrap();
    goes_on(&mut watcher, &mut daemon, broker.port, "logs are missing");
}

/// An alarm that nobody knows any more after the damage does not stay active at the broker for ever.
#[test]
fn what_was_published_while_the_disk_was_full_is_taken_over_after_a_crash_or_deleted() {
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
    let mut watcher = Watcher::connect(broker.port);
    let pump = PRESSES.replace("press-*", "pump-*");
    let mut daemon = Daemon::prepare(&config(broker.port, &format!("{PRESSES}{pump}")));
    let disk = Tmpfs::mount(&daemon.state_dir(), "24m");
    daemon.launch_by(disk.command(PROGRAM));
    watcher.status("online");
    watcher.value("press-0", "pressure", "16");
    assert_eq!(watcher.event("press-0/pressure/hi")["seq"], 1);
    disk.fill();
    let is_lost = |seen: &Seen| seen.topic.ends_with("/status") && seen.json()["durable"] == false;
    // The log may have room of its own for some events.
    let mut excursions = 0;
    while !watcher.all.iter().any(is_lost) {
        excursions += 1;
        assert!(excursions < 20_000, "the disk is full and nobody has noticed");
        watcher.value("press-0", "pressure", if excursions % 2 == 0 { "16" } else { "3" });
        watcher.event("press-0/pressure/hi");
    }
    for thing in ["press-1", "press-2", "pump-1"] {
        watcher.value(thing, "pressure", "16");
        watcher.event(&format!("{thing}/pressure/hi"));
        watcher.next("the state", |seen| seen.topic == format!("annunciator/gw/alarms/{thing}/pressure/hi"));
    }
    let last = watcher.events().last().unwrap()["seq"].as_u64().unwrap();
    daemon.kill();
    watcher.status("offline");
    disk.clear();
    daemon.configure(&config(broker.port, PRESSES));
    daemon.launch_by(disk.command(PROGRAM));
    let status = watcher.next("trouble", |seen| {
        seen.topic.ends_with("/status")
            && seen.json()["problems"][0].as_str().is_some_and(|text| text.contains("refused"))
    });
    assert_eq!(status.json()["durable"], true, "{}", status.json());
    watcher.looked_back();
    let ended = watcher.next("the end of what is not configured", |seen| {
        seen.topic == "annunciator/gw/events/pump-1/pressure/hi" && seen.json()["to"] == "off"
    });
    let ended = ended.json();
    assert_eq!(ended["seq_gap"], true, "{ended}");
    assert!(ended["seq"].as_u64().unwrap() > last, "{ended} after {last}");
    watcher.next("its topic to be deleted", |seen| {
        seen.topic == "annunciator/gw/alarms/pump-1/pressure/hi" && seen.payload.is_empty()
    });
    watcher.value("press-1", "pressure", "3");
    let idled = watcher.event("press-1/pressure/hi");
    assert_eq!((&idled["to"], &idled["occurrence"]), (&json!("idled"), &json!(1)), "{idled}");
    let state = states(broker.port)["press-2/pressure/hi"].clone();
    assert_eq!((&state["active"], &state["uncertain"]), (&json!(true), &json!(true)), "{state}");
    watcher.settle();
    no_number_has_two_contents(&watcher);
}

/// A delivery lies in a later commit than its event. Where the event is lost, its receiver would hear of something that
/// nobody else knows.
#[test]
fn no_delivery_is_made_of_an_event_that_is_lost() {
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
    let mut watcher = Watcher::connect(broker.port);
    let mut server = Server::http();
    server.stop();
    let alarm = PRESSES.replace("[[alarm]]\n", "[[alarm]]\nreactions = \"hook\"\n");
    let hook = format!(
        "[[reaction]]\nname = \"hook\"\ntype = \"webhook\"\nurl = \"http://127.0.0.1:{}/\"\ninitial = \"200ms\"\n",
        server.port
    );
    let mut daemon = Daemon::prepare(&config(broker.port, &format!("{alarm}{hook}")));
    daemon.launch();
    watcher.status("online");
    let is_of = |seen: &Seen, event: &str, outcome: &str| {
        seen.topic == "annunciator/gw/reactions/hook"
            && seen.json()["delivery"].as_str().is_some_and(|id| id.starts_with(&format!("{event}-")))
            && seen.json()["outcome"] == outcome
    };
    for (thing, event) in [("press-1", "gw-1"), ("press-2", "gw-2")] {
        watcher.value(thing, "pressure", "16");
        assert_eq!(watcher.event(&format!("{thing}/pressure/hi"))["id"], event);
        watcher.next("a first attempt", |seen| is_of(seen, event, "failed"));
    }
    daemon.kill();
    watcher.status("offline");
    // Neither the store nor the broker knows of the second event any more.
    let log = log_of(&daemon);
    let mut bytes = std::fs::read(&log).unwrap();
    let place = bytes.windows(6).position(|six| six == b"\"gw-2\"").expect("the event is in the log");
    bytes[place] ^= 4;
    std::fs::write(&log, bytes).unwrap();
    watcher.publish_with("annunciator/gw/alarms/press-2/pressure/hi", "", QoS::AtLeastOnce, true);
    watcher.settle();
    server.restart();
    daemon.launch();
    let dropped = watcher.next("the drop", |seen| is_of(seen, "gw-2", "dropped")).json();
    assert!(dropped.to_string().contains("the event that it belongs to is lost"), "{dropped}");
    watcher.looked_back();
    watcher.next("the delivery", |seen| is_of(seen, "gw-1", "delivered"));
    let received: Vec<String> = server.received(1, |_| true).iter().map(|call| call["body"].to_string()).collect();
    assert!(received.len() == 1 && received[0].contains("gw-1"), "{received:?}");
}

/// The number of an event.
fn seq(event: &Value) -> u64 {
    event["seq"].as_u64().unwrap()
}

/// What a run has published whose disk took nothing, and what the next one makes of it on a disk that is whole.
fn goes_on_without_the_run_before(watcher: &mut Watcher, port: u16, last: u64) {
    watcher.looked_back();
    watcher.next("trouble", |seen| {
        seen.topic.ends_with("/status")
            && seen.json()["problems"][0].as_str().is_some_and(|text| text.contains("the disk took nothing"))
    });
    // What it had idled and activated is as it was published, and uncertain until a value says so.
    watcher.value("press-1", "pressure", "3");
    let idled = watcher.next("an event of the next run", |seen| {
        seen.topic == "annunciator/gw/events/press-1/pressure/hi" && seen.json()["to"] == "idled"
    });
    let idled = idled.json();
    assert_eq!((&idled["occurrence"], &idled["seq_gap"]), (&json!(1), &json!(true)), "{idled}");
    assert!(seq(&idled) > last, "{idled} after {last}");
    watcher.value("press-3", "pressure", "16");
    assert_eq!(seq(&watcher.event("press-3/pressure/hi")), seq(&idled) + 1);
    let states = states(port);
    let of = |alarm: &str| (states[alarm]["active"].clone(), states[alarm]["uncertain"].clone());
    assert_eq!(of("press-0/pressure/hi"), (json!(false), json!(true)), "{states:?}");
    assert_eq!(of("press-2/pressure/hi"), (json!(true), json!(true)), "{states:?}");
    let mut latecomer = Watcher::connect(port);
    latecomer.settle();
    let marks = latecomer.all.iter().filter(|seen| seen.topic == "annunciator/gw/probe" && seen.retained);
    assert_eq!(marks.count(), 0, "what was marked is known");
    watcher.settle();
    no_number_has_two_contents(watcher);
}

/// Nothing on the disk says that anything happened: it did not take even that.
#[test]
fn a_disk_that_becomes_read_only_under_the_daemon_costs_no_number_after_a_crash() {
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::prepare(&config(broker.port, PRESSES));
    let home = daemon.state_dir().parent().unwrap().to_owned();
    let switch = home.join("is-read-only");
    let mut command = Command::new(PROGRAM);
    command.env("LD_PRELOAD", faults::library(&home)).env("FAULT", "readonly").env("FAULT_SWITCH", &switch);
    daemon.launch_by(command);
    watcher.status("online");
    watcher.value("press-0", "pressure", "16");
    assert_eq!(seq(&watcher.event("press-0/pressure/hi")), 1);
    std::fs::write(&switch, "").unwrap();
    watcher.value("press-0", "pressure", "3");
    // The numbers of the turn whose write failed are as they were: a crash before it would have left the same disk. Where
    // a checkpoint was refused before, the event is numbered by the clock.
    let refused = watcher.event("press-0/pressure/hi");
    assert_eq!(refused["to"], "idled", "{refused}");
    let is_marked = |seen: &Seen| seen.topic == "annunciator/gw/probe" && seen.json()["unstored_below"].is_u64();
    let marked = watcher.all.iter().position(is_marked).expect("the mark goes out first");
    let told = watcher.all.iter().position(|seen| seen.topic.contains("/events/") && seen.json() == refused);
    assert!(marked < told.unwrap(), "{}", watcher.transcript());
    watcher.value("press-1", "pressure", "16");
    let by_clock = watcher.event("press-1/pressure/hi");
    assert!(seq(&by_clock) > 1_600_000_000_000_000, "{by_clock}");
    let below = watcher.all[marked].json()["unstored_below"].clone();
    if seq(&refused) == 2 {
        assert_eq!((&below, &by_clock["seq_gap"]), (&json!(3), &json!(true)), "{by_clock}");
    } else {
        assert!(seq(&refused) > 1_600_000_000_000_000 && refused["seq_gap"] == true, "{refused}");
        assert_eq!(below, 2);
    }
    watcher.value("press-2", "pressure", "16");
    let last = seq(&watcher.event("press-2/pressure/hi"));
    watcher.next("the state", |seen| seen.topic == "annunciator/gw/alarms/press-2/pressure/hi");
    daemon.kill();
    std::fs::remove_file(switch).unwrap();
    assert_eq!(check(&daemon).0, 0, "the store itself is whole");
    // More than the broker sends ahead: the mark is seen before anything of it is acknowledged.
    (0..200).for_each(|number| watcher.value("press-8", "pressure", &(number % 10).to_string()));
    watcher.settle();
    daemon.launch();
    goes_on_without_the_run_before(&mut watcher, broker.port, last);
    assert_eq!(check_stopped(&mut daemon).0, 0);
}

/// The run before the last has ended properly, and the last one has left nothing on the disk.
#[test]
fn a_run_on_a_read_only_disk_costs_no_number_after_a_crash() {
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::prepare(&config(broker.port, PRESSES));
    let disk = Tmpfs::mount(&daemon.state_dir(), "24m");
    let state_dir = daemon.state_dir();
    let remount = |how: &str| {
        let done = disk.command("mount").args(["-o", how]).arg(&state_dir).status().unwrap();
        assert!(done.success());
    };
    daemon.launch_by(disk.command(PROGRAM));
    watcher.status("online");
    watcher.value("press-0", "pressure", "16");
    assert_eq!(seq(&watcher.event("press-0/pressure/hi")), 1);
    assert_eq!(daemon.stop(), 0);
    remount("remount,ro");
    let mut last = 1;
    // The second run knows what the first one has published, although its disk does not.
    for things in [["press-0", "press-1"], ["press-2", "press-4"]] {
        daemon.launch_by(disk.command(PROGRAM));
        watcher.status("online");
        for thing in things {
            watcher.value(thing, "pressure", if thing == "press-0" { "3" } else { "16" });
            let event = watcher.event(&format!("{thing}/pressure/hi"));
            assert!(seq(&event) > last.max(1_600_000_000_000_000), "{event} after {last}");
            last = seq(&event);
            watcher.next("the state", |seen| seen.topic == format!("annunciator/gw/alarms/{thing}/pressure/hi"));
        }
        daemon.kill();
        watcher.status("offline");
    }
    remount("remount,rw");
    daemon.launch_by(disk.command(PROGRAM));
    goes_on_without_the_run_before(&mut watcher, broker.port, last);
    assert_eq!(daemon.stop(), 0);
    daemon.launch_by(disk.command(PROGRAM));
    assert_eq!(watcher.status("online")["problems"], Value::Null, "it is over");
}
