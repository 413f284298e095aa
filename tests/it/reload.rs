//! Another configuration while the daemon runs, by command and by signal.

use crate::support::{Broker, Daemon, HI, Watcher, config, until};
use rumqttc::QoS;
use serde_json::{Value, json};

const RANGE: &str = "[[alarm]]\nthing = \"press-2\"\nproperty = \"pressure\"\nlevel = \"range\"\ntype = \"standard\"\n\
                     operator = \"!=\"\nlimit = 15\ndeadband = 10\nobserve_time = \"1s\"\n";
const QUIET: &str = "[[alarm]]\nthing = \"press-3\"\nproperty = \"pressure\"\nlevel = \"quiet\"\ntype = \"no-value\"\nobserve_time = \"300ms\"\n";

fn reload(watcher: &mut Watcher) -> Value {
    watcher.publish("annunciator/gw/commands/reload", r#"{"request":"again"}"#);
    watcher.next_on("replies")
}

#[test]
fn what_changes_begins_anew_and_the_rest_goes_on() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::start(broker.port, &format!("{HI}{RANGE}"));
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    watcher.event("press-1/pressure/hi");
    // Its observe-time runs over the reload.
    watcher.value("press-2", "pressure", "30");
    let other = HI.replace("limit = 15", "limit = 18");
    daemon.configure(&config(broker.port, &format!("{RANGE}{other}{QUIET}")));
    let reply = reload(&mut watcher);
    assert_eq!(
        reply,
        json!({ "request": "again", "ok": true, "added": ["press-3/pressure/quiet"], "removed": [],
                "changed": ["press-1/pressure/hi"], "kept": 1 })
    );
    let event = watcher.event("press-1/pressure/hi");
    assert_eq!(
        (&event["from"], &event["to"], &event["cause"]),
        (&json!("activated"), &json!("enabled"), &json!("config"))
    );
    assert_eq!(watcher.event("press-3/pressure/quiet")["to"], "activated");
    let event = watcher.event("press-2/pressure/range");
    assert_eq!((&event["to"], &event["value"]), (&json!("activated"), &json!(30)));
    // What left ends its occurrence, and its topic goes. A crash right behind it changes nothing of that.
    daemon.configure(&config(broker.port, &other));
    let reply = reload(&mut watcher);
    assert_eq!(reply["removed"], json!(["press-2/pressure/range", "press-3/pressure/quiet"]));
    daemon.kill();
    daemon.launch();
    let event = watcher.event("press-2/pressure/range");
    assert_eq!((&event["to"], &event["cause"]), (&json!("off"), &json!("config")));
    watcher.next("the deletion", |seen| {
        seen.topic == "annunciator/gw/alarms/press-2/pressure/range" && seen.payload.is_empty()
    });
    watcher.value("press-1", "pressure", "19");
    assert_eq!(watcher.event("press-1/pressure/hi")["occurrence"], 2);
}

#[test]
fn a_source_that_leaves_is_unsubscribed_by_a_reload_and_by_a_restart() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let more = |topics: &[&str]| {
        let sources = topics.iter().map(|topic| format!("[[source]]\ntopic = \"{topic}\"\n"));
        config(broker.port, &format!("{}{HI}", sources.collect::<String>()))
    };
    let mut daemon = Daemon::with(&more(&["first/{thing}/{property}", "second/{thing}/{property}"]));
    watcher.status("online");
    let unsubscribed = || broker.log().matches("Received UNSUBSCRIBE from annunciator-gw").count();
    assert_eq!(unsubscribed(), 0);
    daemon.configure(&more(&["second/{thing}/{property}"]));
    assert_eq!(reload(&mut watcher)["ok"], true);
    until("the first UNSUBSCRIBE", || (unsubscribed() == 1).then_some(()));
    daemon.kill();
    daemon.configure(&more(&[]));
    daemon.launch();
    // The kill may have come before the first one's confirmation was on disk: then it is asked for once more.
    until("the second UNSUBSCRIBE", || broker.log().contains("annunciator-gw second/+/+").then_some(()));
    let count = unsubscribed();
    assert!((2..=3).contains(&count), "{count}");
    // What is settled is not asked for again.
    watcher.status("online");
    assert_eq!(daemon.stop(), 0);
    daemon.launch();
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    watcher.event("press-1/pressure/hi");
    assert_eq!(unsubscribed(), count);
}

#[test]
fn a_mistake_changes_nothing_and_is_reported_with_its_place() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::start(broker.port, HI);
    watcher.status("online");
    daemon.configure(&config(broker.port, &HI.replace("limit = 15", "limits = 15")));
    let reply = reload(&mut watcher);
    assert_eq!(reply["ok"], false, "{reply}");
    let places: Vec<_> = reply["problems"].as_array().unwrap().iter().map(|p| (&p["line"], &p["severity"])).collect();
    assert_eq!(places.len(), 2, "{reply}");
    assert_eq!(places[1], (&json!(17), &json!("error")), "{reply}");
    let status = watcher.next("the problem", |seen| {
        seen.topic == "annunciator/gw/status"
            && seen.json()["problems"][0].as_str().is_some_and(|p| p.starts_with("reload"))
    });
    assert_eq!(status.json()["problems"].as_array().unwrap().len(), 1);
    watcher.value("press-1", "pressure", "16");
    assert_eq!(watcher.event("press-1/pressure/hi")["to"], "activated");
    // What cannot change at run time is refused as a whole.
    daemon.configure(&config(broker.port, HI).replace("id = \"gw\"", "id = \"gw-2\""));
    let reply = reload(&mut watcher);
    assert!(reply["error"].as_str().unwrap().contains("the gateway's id cannot change"), "{reply}");
    // By a signal it is the same; the status tells when all is well again.
    daemon.configure(&config(broker.port, HI));
    daemon.signal(rustix::process::Signal::HUP);
    watcher.next("a status without problems", |seen| {
        seen.topic == "annunciator/gw/status" && seen.json()["problems"].is_null()
    });
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn under_traffic_no_message_and_no_timer_is_lost() {
    const MESSAGES: usize = 20_000;
    const RELOADS: usize = 10;
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
    let mut watcher = Watcher::connect(broker.port);
    let long = RANGE.replace("observe_time = \"1s\"", "observe_time = \"4s\"");
    let daemon = Daemon::start(broker.port, &format!("{HI}{long}"));
    watcher.status("online");
    watcher.value("press-2", "pressure", "30");
    for message in 0..MESSAGES {
        watcher.value("press-1", "pressure", if message % 2 == 0 { "16" } else { "14" });
        if message % (MESSAGES / RELOADS) == 0 {
            // A definition comes and goes; the others stay as they are.
            let extra = if message % (2 * MESSAGES / RELOADS) == 0 { QUIET } else { "" };
            daemon.configure(&config(broker.port, &format!("{HI}{long}{extra}")));
            watcher.publish("annunciator/gw/commands/reload", "{}");
        }
        watcher.drain();
    }
    let event = watcher.event("press-2/pressure/range");
    let stamp = |key: &str| annunciator::domain::time::Stamp::parse(event[key].as_str().unwrap()).unwrap();
    let late = stamp("at") - stamp("since");
    assert_eq!(late, annunciator::domain::time::Span::from_secs(4), "{event}");
    watcher.looked_back();
    let mut changes = 0;
    watcher.next("the last change", |seen| {
        changes += usize::from(seen.topic == "annunciator/gw/events/press-1/pressure/hi");
        changes == MESSAGES
    });
    println!("{RELOADS} reloads among {MESSAGES} messages: each was evaluated");
}

#[test]
fn a_reload_that_is_asked_for_during_another_one_reads_what_was_changed_meanwhile() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let daemon = Daemon::start(broker.port, HI);
    watcher.status("online");
    // So many that reading them takes a while.
    let things: Vec<String> = (0..5_000).map(|number| format!("\"press-{number}\"")).collect();
    let many = HI.replace("thing = \"press-1\"", &format!("thing = [{}]", things.join(", ")));
    assert_ne!(many, HI);
    daemon.configure(&config(broker.port, &many));
    watcher.publish("annunciator/gw/commands/reload", r#"{"request":"many"}"#);
    watcher.next("the command", |seen| seen.topic.ends_with("/commands/reload"));
    daemon.configure(&config(broker.port, QUIET));
    watcher.publish("annunciator/gw/commands/reload", r#"{"request":"quiet"}"#);
    watcher.next("the answer", |seen| seen.topic.ends_with("/replies") && seen.json()["request"] == "quiet");
    watcher.publish("annunciator/gw/commands/list", r#"{"request":"which"}"#);
    let listed =
        watcher.next("the list", |seen| seen.topic.ends_with("/replies") && seen.json()["request"] == "which").json();
    let ids: Vec<&Value> = listed["alarms"].as_array().unwrap().iter().map(|alarm| &alarm["alarm"]).collect();
    assert_eq!(ids, ["press-3/pressure/quiet"]);
}

#[test]
fn an_alarm_that_comes_later_knows_that_the_thing_lives() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    watcher.publish_with("state/press-3", "online", QoS::AtLeastOnce, true);
    let alive = |alarms: &str| {
        let source = "property}\"\nalive = \"state/{thing}\"\nonline = \"online\"";
        config(broker.port, alarms).replace("property}\"", source)
    };
    let daemon = Daemon::with(&alive(HI));
    watcher.status("online");
    let quiet = QUIET.replace("300ms", "1h");
    daemon.configure(&alive(&format!("{HI}{quiet}")));
    assert_eq!(reload(&mut watcher)["added"], json!(["press-3/pressure/quiet"]));
    until("the last will to be known", || {
        watcher.publish("annunciator/gw/commands/explain", r#"{"alarm":"press-3/pressure/quiet"}"#);
        let told = watcher.next_on("replies");
        (told["explanation"]["held_back"][0]["by"] == "alive").then_some(())
    });
}

/// Whatever is being read: who stops the daemon does not wait for it, nor for something that nobody writes.
#[test]
fn a_configuration_that_takes_its_time_keeps_nobody_from_stopping_the_daemon() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::start(broker.port, HI);
    watcher.status("online");
    let folder = daemon.config_file().parent().unwrap().join("conf.d");
    std::fs::create_dir(&folder).unwrap();
    let pipe = folder.join("pipe.toml");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let refused = reload(&mut watcher);
    assert!(refused.to_string().contains("it is no regular file"), "{refused}");
    std::fs::remove_file(pipe).unwrap();
    // A list is looked through for each element of another one: minutes.
    let slow = "{{ range(60000)|select('in', range(60000)|list|reverse|list)|list|length }}";
    let reaction = format!("[[reaction]]\nname = \"slow\"\ntype = \"mqtt\"\ntopic = \"t\"\npayload = \"{slow}\"\n");
    let alarm = HI.replace("press-1", "press-9").replace("[[alarm]]\n", "[[alarm]]\nreactions = \"slow\"\n");
    std::fs::write(folder.join("slow.toml"), format!("{reaction}{alarm}")).unwrap();
    watcher.publish("annunciator/gw/commands/reload", r#"{"request":"slow"}"#);
    watcher.value("press-1", "pressure", "16");
    assert_eq!(watcher.event("press-1/pressure/hi")["to"], "activated", "alarms go on");
    assert_eq!(daemon.stop(), 0);
}
