//! Whatever a sensor, a publisher or an operator sends: the daemon stays far below its unit's 512 MiB, goes on evaluating,
//! and says what it refuses.
//!
//! Each attack was one that ended an earlier build, or stopped it for seconds. Here it has a size that every machine bears;
//! with `ANNUNCIATOR_ATTACKS=full` (`tests/run --slow`) it has the size that it had then.

use crate::observing::SlowDisk;
use crate::support::{Broker, Daemon, HI, Watcher, config, free_port, until};
use rumqttc::QoS;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

const MIB: u64 = 1_024;

/// The size of an attack.
fn size(usual: usize, full: usize) -> usize {
    if std::env::var_os("ANNUNCIATOR_ATTACKS").is_some() { full } else { usual }
}

/// A daemon that is attacked, with an alarm that has to work meanwhile.
struct Scene {
    watcher: Watcher,
    daemon: Daemon,
    _broker: Broker,
}

impl Scene {
    /// A daemon with these alarms besides. `gateway` is added to its section.
    fn with(gateway: &str, more: &str) -> Scene {
        let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\nlog_type error\n");
        let mut watcher = Watcher::connect(broker.port);
        let text = config(broker.port, &format!("{more}{HI}")).replace("[mqtt]", &format!("{gateway}\n[mqtt]"));
        let daemon = Daemon::with(&text);
        watcher.status("online");
        Scene { watcher, daemon, _broker: broker }
    }

    /// KiB of memory that the daemon has had at most since it was started.
    fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.daemon.pid())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches("kB").trim().parse().unwrap()
    }

    /// The other alarm goes on and off: all that was published before was received, and the daemon evaluates.
    fn goes_on(&mut self) {
        for (value, state) in [("16", "activated"), ("3", "idled")] {
            self.watcher.value("press-1", "pressure", value);
            assert_eq!(self.watcher.event("press-1/pressure/hi")["to"], state);
        }
    }

    /// Does something, and gives by how many KiB the peak of the memory has grown.
    fn growth(&mut self, attack: impl FnOnce(&mut Scene)) -> u64 {
        self.goes_on();
        let before = self.peak();
        attack(self);
        self.goes_on();
        self.peak() - before
    }

    /// Gives a command, and waits for its answer.
    fn ask(&mut self, verb: &str, command: &Value) -> Value {
        let mut command = command.clone();
        command["request"] = json!("asked");
        self.watcher.publish(&format!("annunciator/gw/commands/{verb}"), command.to_string());
        let is_answer =
            |seen: &crate::support::Seen| seen.topic == "annunciator/gw/replies" && seen.json()["request"] == "asked";
        self.watcher.next("an answer", is_answer).json()
    }

    /// Waits for a status with a problem that fits.
    fn problem(&mut self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let of = |status: &Value| {
            let problems = status["problems"].as_array().cloned().unwrap_or_default();
            problems.iter().filter_map(Value::as_str).find(|problem| fits(problem)).map(str::to_owned)
        };
        self.watcher.looked_back();
        let found = self.watcher.next(what, |seen| seen.topic.ends_with("/status") && of(&seen.json()).is_some());
        of(&found.json()).unwrap()
    }
}

/// An alarm on a pattern.
fn pattern(things: &str, rest: &str) -> String {
    format!("[[alarm]]\nthing = \"{things}\"\nproperty = \"p\"\nlevel = \"l\"\ntype = \"standard\"\n{rest}\n")
}

const ABOVE: &str = "operator = \">\"\nlimit = 1";

#[test]
fn a_message_with_thousands_of_faults_is_told_in_a_page() {
    let source = "[[source]]\ntopic = \"objects/{thing}\"\n\n";
    let mut scene = Scene::with("", &format!("{source}{}", pattern("*", ABOVE)));
    let mut payload = format!("{{\"{}\":{{", "n".repeat(60_000));
    (0..14_212).for_each(|place| write!(payload, "\"{place}\":1e999,").unwrap());
    payload.push_str("\"p\":2},\"p\":2}");
    assert!(payload.len() < 256 << 10 && payload.len() > 220 << 10, "{}", payload.len());
    let grown = scene.growth(|scene| scene.watcher.publish("objects/x", &payload));
    assert!(grown < 24 * MIB, "{grown} KiB more");
    scene.watcher.looked_back();
    let report = scene.watcher.next("a report", |seen| seen.topic == "annunciator/gw/faults");
    assert!(report.payload.len() <= 64 << 10, "{} bytes", report.payload.len());
    let report = report.json();
    assert!(report["faults"].to_string().contains("14112 more of its members are no values"), "{report}");
    let log = scene.daemon.log();
    assert!(log.lines().all(|line| line.len() <= 1_024), "a line of the log is too long");
}

#[test]
fn long_texts_are_compared_whole_and_kept_in_part() {
    let long = "x".repeat(250_000);
    let limit = format!("{}y", &long[1..]);
    let alarms = pattern("thing-*", &format!("operator = \"!=\"\nlimit = \"{limit}\""));
    let mut scene = Scene::with("", &alarms);
    let things = size(150, 1_048);
    let grown = scene.growth(|scene| {
        for thing in 0..things {
            let text = if thing % 2 == 0 { &long } else { &limit };
            scene.watcher.value(&format!("thing-{thing}"), "p", text);
        }
    });
    // What waits to be evaluated is a bound of its own.
    assert!(grown < 100 * MIB, "{grown} KiB more");
    let events: Vec<Value> = scene.watcher.events().into_iter().filter(|event| event["level"] == "l").collect();
    assert_eq!(events.len(), things.div_ceil(2), "every second text is another one");
    assert!(events.iter().all(|event| event["value"].as_str().unwrap().len() <= 1_024));
    scene.daemon.kill();
    scene.daemon.launch();
    scene.watcher.status("online");
    let explained = scene.ask("explain", &json!({ "alarm": "thing-0/p/l" }));
    let told = &explained["explanation"];
    assert_eq!((&told["state"], &told["condition"]), (&json!("activated"), &json!("holds")), "{explained}");
    assert!(scene.peak() < 120 * MIB, "{} KiB after a restart", scene.peak());
}

/// A receiver that is down for long, while alarms with long texts come and go.
#[test]
fn what_waits_for_a_receiver_that_is_down_has_a_bound() {
    let hook = format!(
        "[[reaction]]\nname = \"hook\"\ntype = \"webhook\"\nurl = \"http://127.0.0.1:{}/\"\nqueue_max = 1000000\n\n",
        free_port()
    );
    let alarm =
        pattern("thing-*", &format!("{ABOVE}\nreactions = [\"hook\"]\ndescription = \"{}\"", "d".repeat(30_000)));
    let mut scene = Scene::with("", &format!("{hook}{alarm}"));
    let (rounds, things) = (size(30, 400), 100);
    let grown = scene.growth(|scene| {
        for round in 0..rounds {
            for thing in 0..things {
                scene.watcher.value(&format!("thing-{thing}"), "p", "5");
                scene.watcher.value(&format!("thing-{thing}"), "p", if round + 1 < rounds { "0" } else { "5" });
            }
        }
    });
    assert!(grown < 300 * MIB, "{grown} KiB more");
    let watcher = &mut scene.watcher;
    until("a drop", || {
        watcher.drain();
        let mut reports = watcher.all.iter().filter(|seen| seen.topic == "annunciator/gw/reactions/hook");
        let says_why = |text: String| text.contains("more than 64 MiB were waiting");
        reports.any(|seen| seen.json()["outcome"] == "dropped" && says_why(seen.json().to_string())).then_some(())
    });
    // At the next start it is no more.
    assert_eq!(scene.daemon.stop(), 0);
    scene.daemon.launch();
    scene.watcher.status("online");
    scene.goes_on();
    assert!(scene.peak() < 350 * MIB, "{} KiB after a restart", scene.peak());
}

#[test]
fn long_topics_and_long_ids_are_not_remembered() {
    let mut scene = Scene::with("", &pattern("*", ABOVE));
    let (topics, things) = (size(400, 9_400), size(500, 10_000));
    let grown = scene.growth(|scene| {
        for topic in 0..topics {
            scene.watcher.publish(&format!("things/{topic}{}/properties/p", "t".repeat(60_000)), "5");
        }
        for thing in 0..things {
            scene.watcher.value(&format!("{thing}{}", "i".repeat(1_000)), "p", "5");
        }
    });
    assert!(grown < 64 * MIB, "{grown} KiB more");
    let all = format!("; {} times, the last one was \"{}i", topics + things, things - 1);
    let problem = scene.problem(&all, |problem| problem.contains(&all));
    assert!(problem.starts_with("things: the thing's id is longer than 256 bytes (max_id_bytes)"), "{problem}");
    assert!(problem.len() < 400, "{problem}");
    assert!(scene.watcher.events().iter().all(|event| event["level"] == "hi"));
}

#[test]
fn every_thing_that_is_too_many_is_counted_and_the_last_is_named() {
    let mut scene = Scene::with("max_things = 3\nmax_id_bytes = 8", &pattern("*", ABOVE));
    for thing in ["a", "b", "too-long-an-id", "c", "d", "d", "e"] {
        scene.watcher.value(thing, "p", "5");
    }
    scene.goes_on();
    let all = "things: 3 things are watched already (max_things), no alarm was created for this one; \
               5 times, the last one was \"e\"";
    scene.problem(all, |problem| problem == all);
}

#[test]
fn questions_wait_until_their_answers_have_room() {
    let alarms = size(300, 1_000);
    let names: Vec<String> = (0..alarms).map(|n| format!("\"thing-{n}\"")).collect();
    let list = pattern("LIST", ABOVE).replace("\"LIST\"", &format!("[{}]", names.join(",")));
    let mut scene = Scene::with("", &list);
    let (lists, histories) = (size(400, 3_000), size(60, 300));
    let grown = scene.growth(|scene| {
        for number in 0..lists {
            let command = json!({ "request": format!("l{number}") }).to_string();
            scene.watcher.publish("annunciator/gw/commands/list", command);
        }
        for number in 0..histories {
            let command = json!({ "request": format!("h{number}"), "limit": 1_000 }).to_string();
            scene.watcher.publish("annunciator/gw/commands/history", command);
        }
    });
    assert!(grown < 32 * MIB, "{grown} KiB more");
    let (mut answered, mut largest) = (BTreeSet::new(), 0);
    scene.watcher.looked_back();
    while answered.len() < lists + histories {
        let reply = scene.watcher.next("all answers", |seen| seen.topic == "annunciator/gw/replies");
        largest = largest.max(reply.payload.len());
        let reply = reply.json();
        assert!(reply["ok"] == true || reply["error"].as_str().unwrap().contains("ask again"), "{reply}");
        assert!(answered.insert(reply["request"].to_string()), "{} was answered twice", reply["request"]);
    }
    assert!(largest <= (256 << 10) + 1_024, "{largest} bytes in one answer");
    // Page by page all are there, each once.
    let (mut all, mut after) = (Vec::new(), Value::Null);
    loop {
        let page = scene.ask("list", &json!({ "after": after, "limit": 1_000 }));
        all.extend(page["alarms"].as_array().unwrap().iter().map(|alarm| alarm["alarm"].to_string()));
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!((all.len(), all.iter().collect::<BTreeSet<_>>().len()), (alarms + 1, alarms + 1));
}

#[test]
fn a_command_for_all_alarms_is_carried_out_in_slices_and_its_words_are_short() {
    let alarms = size(3_000, 8_000);
    let names: Vec<String> = (0..alarms).map(|n| format!("\"thing-{n}\"")).collect();
    let list = pattern("LIST", ABOVE).replace("\"LIST\"", &format!("[{}]", names.join(",")));
    let mut scene = Scene::with("", &list);
    let grown = scene.growth(|scene| {
        let refused = scene.ask("shelve", &json!({ "alarm": "*", "for": "1h", "comment": "c".repeat(60_000) }));
        assert_eq!(refused["error"], "\"comment\" has 60000 bytes; it can have 1024 at most");
        let done = scene.ask("shelve", &json!({ "alarm": "thing-*", "for": "1h", "comment": "c".repeat(1_024) }));
        assert_eq!((&done["ok"], &done["changed"]), (&json!(true), &json!(alarms)));
        assert_eq!(done["alarms"].as_array().unwrap().len(), 1_000);
        assert_eq!(done["not_listed"], alarms - 1_000);
    });
    assert!(grown < 96 * MIB, "{grown} KiB more");
    let kept = scene.ask("list", &json!({ "alarm": "thing-7/p/l" }));
    assert_eq!(kept["alarms"][0]["shelved"]["comment"].as_str().unwrap().len(), 1_024, "{kept}");
}

#[test]
fn a_pattern_is_linear_and_what_is_called_like_one_is_itself() {
    let mut scene = Scene::with("", &pattern("*", ABOVE));
    let long = "a".repeat(250);
    let things = size(1_000, 10_000);
    for thing in 0..things {
        scene.watcher.value(&format!("{long}{thing}"), "p", "0");
    }
    scene.watcher.value("*", "p", "0");
    scene.goes_on();
    let refused = scene.ask("disable", &json!({ "alarm": format!("*{}b", "a".repeat(990)) }));
    assert_eq!(refused["error"], "a pattern has at most 256 bytes, this one has 992");
    let nothing = scene.ask("list", &json!({ "alarm": format!("*{}b", "a".repeat(200)) }));
    assert_eq!((&nothing["ok"], &nothing["alarms"]), (&json!(true), &json!([])));
    let unknown = scene.ask("explain", &json!({ "alarm": format!("{}/q/l", "a".repeat(100)) }));
    assert_eq!(unknown["ok"], false);
    for itself in ["*/p/l", "\\*/p/l"] {
        let done = scene.ask("disable", &json!({ "alarm": itself }));
        assert_eq!(done["alarms"].as_array().map(|alarms| alarms.len()), Some(1), "{itself}: {done}");
    }
    let off = scene.ask("list", &json!({ "state": "off" }));
    assert_eq!((off["alarms"].as_array().unwrap().len(), &off["alarms"][0]["alarm"]), (1, &json!("*/p/l")));
}

#[test]
fn a_reload_tells_of_what_is_different_and_nothing_else() {
    let alarms = size(2_000, 30_000);
    let definitions = |limit: u32| -> String {
        let limit_of = |number| if number == 7 { limit } else { 10 };
        let one = |n| pattern(&format!("thing-{n}"), &format!("operator = \">\"\nlimit = {}", limit_of(n)));
        (0..alarms).map(one).collect()
    };
    let mut scene = Scene::with("", &definitions(10));
    scene.watcher.looked_back();
    for _ in 0..=alarms {
        scene.watcher.next("every state", |seen| seen.topic.starts_with("annunciator/gw/alarms/"));
    }
    let config = std::fs::read_to_string(scene.daemon.config_file()).unwrap();
    let changed = config.replacen(&definitions(10), &definitions(5), 1);
    scene.daemon.configure(&changed);
    let published = scene.watcher.all.len();
    let done = scene.ask("reload", &json!({}));
    assert_eq!((&done["changed"], &done["kept"]), (&json!(["thing-7/p/l"]), &json!(alarms)), "{done}");
    scene.watcher.value("thing-7", "p", "6");
    assert_eq!(scene.watcher.event("thing-7/p/l")["to"], "activated");
    scene.goes_on();
    let states: BTreeSet<String> = scene.watcher.all[published..]
        .iter()
        .filter_map(|seen| seen.topic.strip_prefix("annunciator/gw/alarms/").map(str::to_owned))
        .collect();
    assert_eq!(states, BTreeSet::from(["press-1/pressure/hi".to_owned(), "thing-7/p/l".to_owned()]));
}

#[test]
fn home_assistant_is_told_all_once_however_often_it_starts() {
    let alarms = size(200, 1_700);
    let names: Vec<String> = (0..alarms).map(|n| format!("\"thing-{n}\"")).collect();
    let list = pattern("LIST", ABOVE).replace("\"LIST\"", &format!("[{}]", names.join(",")));
    let mut scene = Scene::with("", &format!("[home_assistant]\nprefix = \"homeassistant\"\n\n{list}"));
    let announcements = |scene: &Scene| scene.watcher.all.iter().filter(|seen| seen.topic.ends_with("/config")).count();
    until("the first round", || {
        scene.watcher.settle();
        (announcements(&scene) > alarms).then_some(())
    });
    for _ in 0..100 {
        scene.watcher.publish("homeassistant/status", "online");
    }
    scene.goes_on();
    scene.watcher.settle();
    assert!(announcements(&scene) <= 3 * (alarms + 1), "{} announcements", announcements(&scene));
}

#[test]
fn slow_clients_do_not_keep_others_from_asking_how_it_is() {
    let port = free_port();
    let mut scene = Scene::with("", &format!("[http]\nlisten = \"127.0.0.1:{port}\"\n\n"));
    scene.goes_on();
    let ask = |host: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        write!(stream, "GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.split(' ').nth(1).map(str::to_owned)
    };
    until("health", || (ask("localhost").as_deref() == Some("200")).then_some(()));
    let slow: Vec<TcpStream> = (0..size(16, 64))
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.write_all(b"GET /he").unwrap();
            stream
        })
        .collect();
    assert_eq!(ask("localhost").as_deref(), Some("200"), "beside {} slow clients", slow.len());
    assert_eq!(ask("page.example").as_deref(), Some("421"), "a page from elsewhere");
}

#[test]
fn a_message_that_was_handled_at_two_ends_is_skipped_at_the_third_start() {
    let disk = SlowDisk::new();
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let alarms = pattern("*", "operator = \"!=\"\nlimit = \"fine\"");
    // Each turn that decides something takes so long that the test can end it.
    let mut daemon = disk.start(&config(broker.port, &format!("{alarms}{HI}")));
    watcher.status("online");
    watcher.publish_with("things/bad/properties/p", &"b".repeat(5_000), QoS::AtLeastOnce, true);
    assert_eq!(watcher.event("bad/p/l")["to"], "activated");
    daemon.kill();
    let handling = |daemon: &Daemon| std::fs::read_to_string(daemon.state_dir().join("suspects")).unwrap_or_default();
    for ends in 0..2 {
        disk.takes(300, "");
        disk.launch(&mut daemon);
        until("the retained message", || handling(&daemon).contains(&format!(" {ends}\n")).then_some(()));
        daemon.kill();
    }
    disk.takes(0, "");
    disk.launch(&mut daemon);
    let skipped = watcher.next("what is skipped", |seen| {
        seen.topic.ends_with("/status") && seen.json()["problems"].to_string().contains("is skipped")
    });
    assert!(skipped.json()["problems"].to_string().contains("things/bad/properties/p"), "{}", skipped.json());
    watcher.value("press-1", "pressure", "16");
    assert_eq!(watcher.event("press-1/pressure/hi")["to"], "activated", "everything else is evaluated");
    assert_eq!(daemon.stop(), 0);
    daemon.launch();
    watcher.next("the same after a clean start", |seen| {
        seen.topic.ends_with("/status") && seen.json()["problems"].to_string().contains("is skipped")
    });
}
