//! Several instances share the things of one gateway: each alarm is evaluated by one of them, whatever becomes of them.

use crate::support::operator::Operator;
use crate::support::{Broker, Daemon, Watcher, until};
use annunciator::domain::model::owner;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Things by a pattern, and one by its name.
const ALARMS: &str = "[[alarm]]\nthing = \"pump-*\"\nproperty = \"pressure\"\nlevel = \"hi\"\ntype = \"standard\"\n\
                      operator = \">\"\nlimit = 15\n\n\
                      [[alarm]]\nthing = [\"press-1\", \"press-2\", \"press-3\"]\nproperty = \"pressure\"\nlevel = \"silent\"\n\
                      type = \"no-value\"\nobserve_time = \"1h\"\n";

fn config(port: u16, index: u32, count: u32) -> String {
    crate::support::config(port, &format!("[shard]\nindex = {index}\ncount = {count}\n\n{ALARMS}"))
}

/// Waits until all of them work.
fn online(watcher: &mut Watcher, indices: impl IntoIterator<Item = u32>) {
    let mut missing: BTreeSet<String> =
        indices.into_iter().map(|i| format!("annunciator/gw/shards/{i}/status")).collect();
    watcher.looked_back();
    while !missing.is_empty() {
        let seen = watcher.next("all shards", |seen| missing.contains(&seen.topic) && seen.json()["state"] == "online");
        missing.remove(&seen.topic);
    }
}

/// A gateway of so many instances, and somebody who watches.
fn gateway(broker: &Broker, count: u32) -> (Vec<Daemon>, Watcher) {
    let mut watcher = Watcher::connect(broker.port);
    let daemons = (0..count).map(|index| Daemon::with(&config(broker.port, index, count))).collect();
    online(&mut watcher, 0..count);
    (daemons, watcher)
}

/// Events by what they are about, each with the names of those who published it.
fn tellers(events: &[Value]) -> BTreeMap<(String, String, u64), BTreeSet<String>> {
    let mut tellers: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for event in events {
        let text = |member: &str| event[member].as_str().unwrap().to_owned();
        let about = (text("thing"), text("to"), event["occurrence"].as_u64().unwrap());
        tellers.entry(about).or_default().insert(text("gateway"));
    }
    tellers
}

#[test]
fn each_of_300_things_has_one_instance_and_a_killed_one_loses_nothing() {
    const THINGS: usize = 300;
    const ROUNDS: u64 = 5;
    // By default mosquitto keeps a thousand messages for somebody who is away.
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
    let (mut daemons, mut watcher) = gateway(&broker, 3);
    for round in 1..=ROUNDS {
        for value in ["20", "10"] {
            for thing in 0..THINGS {
                watcher.value(&format!("pump-{thing}"), "pressure", value);
            }
            if round == 3 {
                // In the midst of it.
                daemons[1].kill();
                daemons[1].launch();
            }
        }
    }
    let mut seen = BTreeSet::new();
    while seen.len() < THINGS {
        let event = watcher.next("the last event of each thing", |seen| {
            let event = seen.json();
            seen.topic.contains("/events/") && event["to"] == "idled" && event["occurrence"] == ROUNDS
        });
        seen.insert(event.json()["thing"].as_str().unwrap().to_owned());
    }
    watcher.settle();
    let events = watcher.events();
    let tellers = tellers(&events);
    assert_eq!(tellers.len(), THINGS * 2 * usize::try_from(ROUNDS).unwrap());
    for ((thing, ..), names) in &tellers {
        let expected = format!("gw/{}", owner(thing, 3));
        assert_eq!(names.iter().collect::<Vec<_>>(), [&expected], "{thing}");
    }
    // Every number of every instance, and what comes twice is the same.
    let mut by_id: BTreeMap<String, Value> = BTreeMap::new();
    for event in events {
        let id = event["id"].as_str().unwrap().to_owned();
        assert_eq!(id, format!("{}-{}", event["gateway"].as_str().unwrap(), event["seq"]));
        assert_eq!(by_id.entry(id).or_insert_with(|| event.clone()), &event);
    }
    let mut numbers: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for event in by_id.values() {
        numbers
            .entry(event["gateway"].as_str().unwrap().to_owned())
            .or_default()
            .insert(event["seq"].as_u64().unwrap());
    }
    for (name, numbers) in numbers {
        let complete: BTreeSet<u64> = (1..=u64::try_from(numbers.len()).unwrap()).collect();
        assert_eq!(numbers, complete, "{name}");
    }
}

#[test]
fn what_is_asked_is_answered_by_those_who_know() {
    let broker = Broker::start();
    let (_daemons, mut watcher) = gateway(&broker, 3);
    let things: Vec<String> = (0..12).map(|number| format!("pump-{number}")).collect();
    for thing in &things {
        watcher.value(thing, "pressure", "20");
    }
    for thing in &things {
        watcher.looked_back();
        watcher.event(&format!("{thing}/pressure/hi"));
    }
    let mut answers = |verb: &str, command: Value, count: usize| -> Vec<Value> {
        watcher.publish(&format!("annunciator/gw/commands/{verb}"), command.to_string());
        let answers =
            (0..count).map(|_| watcher.next("an answer", |seen| seen.topic == "annunciator/gw/replies").json());
        let answers: Vec<Value> = answers.collect();
        watcher.settle();
        watcher.settle();
        let more = watcher.all.iter().filter(|seen| seen.topic == "annunciator/gw/replies").count();
        watcher.all.retain(|seen| seen.topic != "annunciator/gw/replies");
        watcher.looked_back();
        assert_eq!(more, count, "{verb} {command}: {answers:?}");
        answers
    };
    // One alarm, or those of one thing: who has it. No such alarm: who would have it.
    for alarm in ["pump-3/pressure/hi", "pump-4/*"] {
        let answer = answers("acknowledge", json!({ "alarm": alarm, "by": "kim" }), 1).remove(0);
        assert_eq!((&answer["ok"], &answer["alarms"][0]["state"]), (&json!(true), &json!("acknowledged")), "{answer}");
    }
    let answer = answers("explain", json!({ "alarm": "pump-99/pressure/hi" }), 1).remove(0);
    assert_eq!(answer["ok"], false, "{answer}");
    // Everything: all of them, each with its part.
    let listed = answers("list", json!({ "alarm": "pump-*" }), 3);
    let ids: BTreeSet<&str> = listed
        .iter()
        .flat_map(|answer| answer["alarms"].as_array().unwrap())
        .map(|alarm| alarm["thing"].as_str().unwrap())
        .collect();
    assert_eq!(ids, things.iter().map(String::as_str).collect());
    assert_eq!(listed.iter().map(|answer| answer["alarms"].as_array().unwrap().len()).sum::<usize>(), 12);
    answers("history", json!({}), 3);
    answers("test-reaction", json!({ "reaction": "none" }), 1);
}

#[test]
fn the_command_line_sees_one_gateway() {
    let broker = Broker::start();
    let (mut daemons, mut watcher) = gateway(&broker, 3);
    for thing in 0..12 {
        watcher.value(&format!("pump-{thing}"), "pressure", "20");
        watcher.event(&format!("pump-{thing}/pressure/hi"));
    }
    let text = format!(
        "[gateway]\nid = \"gw\"\n\n[mqtt]\nurl = \"mqtt://127.0.0.1:{}\"\n\n[shard]\nindex = \"hostname\"\ncount = 3\n",
        broker.port
    );
    let operator = Operator::with(&text);
    let rows = |text: &str| text.lines().filter(|line| line.contains("pump-")).count();
    assert_eq!(rows(&operator.succeeds("list", &[])), 12);
    assert_eq!(operator.succeeds("list", &["--json", "pump-7/*"]).lines().count(), 1);
    assert_eq!(rows(&operator.succeeds("acknowledge", &["pump-1*", "pump-2/pressure/hi"])), 4);
    assert!(operator.succeeds("explain", &["pump-5/pressure/hi"]).contains("activated"));
    let unknown = operator.does("disable", &["pup-1*"]);
    assert_eq!((unknown.code, unknown.err.matches("no alarm matches").count()), (1, 1), "{unknown:?}");
    // The newest of all, in the order of time.
    let history = operator.succeeds("history", &["--json", "--limit", "10"]);
    let times: Vec<String> = history
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["at"].as_str().unwrap().to_owned())
        .collect();
    let mut sorted = times.clone();
    sorted.sort_by(|one, other| other.cmp(one));
    assert_eq!((times.len(), &times), (10, &sorted));
    let watching = operator.begins("watch", &["--json"]);
    watching.line_with("pump-11");
    // What one does not say is said.
    let one = owner("pump-5", 3);
    daemons[usize::try_from(one).unwrap()].stop();
    let partial = operator.does("list", &["--json"]);
    assert_eq!(partial.code, 1, "{partial:?}");
    assert!(partial.err.contains(&format!("the daemon gw/{one} is offline")), "{partial:?}");
    assert!(partial.err.contains("1 of 3 instances have not answered"), "{partial:?}");
    let rest = partial.out.lines().filter(|line| line.contains("pump-")).count();
    assert_eq!(rest, (0..12).filter(|thing| owner(&format!("pump-{thing}"), 3) != one).count());
    watching.line_with("2 of 3 online");
}

#[test]
fn things_change_their_instance_and_keep_their_states() {
    let broker = Broker::start();
    let (mut daemons, mut watcher) = gateway(&broker, 2);
    let things: Vec<String> = (0..40).map(|number| format!("pump-{number}")).collect();
    for thing in &things {
        watcher.value(thing, "pressure", "20");
        watcher.event(&format!("{thing}/pressure/hi"));
    }
    watcher.publish("annunciator/gw/commands/acknowledge", r#"{"alarm":"pump-1*","by":"kim"}"#);
    let of = |events: &[Value], to: &str| events.iter().filter(|event| event["to"] == to).count();
    until("all acknowledged", || {
        watcher.settle();
        (of(&watcher.events(), "acknowledged") == 11).then_some(())
    });
    for daemon in &mut daemons {
        assert_eq!(daemon.stop(), 0);
    }
    // Three from now on; the first two with what they have on disk.
    let mut watcher = Watcher::connect(broker.port);
    watcher.settle();
    watcher.all.clear();
    watcher.looked_back();
    for (index, daemon) in (0..).zip(&mut daemons) {
        daemon.configure(&config(broker.port, index, 3));
        daemon.launch();
    }
    daemons.push(Daemon::with(&config(broker.port, 2, 3)));
    online(&mut watcher, 0..3);
    let moved: BTreeSet<&String> = things.iter().filter(|thing| owner(thing, 3) == 2).collect();
    assert!((5..25).contains(&moved.len()), "{moved:?}");
    // Everybody still sees what is active, under the names of those who have it now.
    watcher.looked_back();
    let mut published: BTreeMap<String, Value> = BTreeMap::new();
    while published.len() < things.len() {
        let seen = watcher.next("all states from their new owners", |seen| {
            let state = seen.json();
            seen.topic.starts_with("annunciator/gw/alarms/pump-")
                && state["gateway"] == format!("gw/{}", owner(state["thing"].as_str().unwrap(), 3))
        });
        published.insert(seen.json()["thing"].as_str().unwrap().to_owned(), seen.json());
    }
    for (thing, state) in &published {
        let expected = if thing.starts_with("pump-1") { "acknowledged" } else { "activated" };
        assert_eq!((&state["state"], &state["occurrence"]), (&json!(expected), &json!(1)), "{state}");
    }
    // The same excursion goes on, and ends once.
    for value in ["21", "10"] {
        for thing in &things {
            watcher.value(thing, "pressure", value);
        }
    }
    for thing in &things {
        watcher.looked_back();
        let idled = watcher.event(&format!("{thing}/pressure/hi"));
        assert_eq!((&idled["to"], &idled["occurrence"]), (&json!("idled"), &json!(1)), "{idled}");
    }
    watcher.settle();
    assert_eq!(watcher.events().len(), things.len());
    let deleted = watcher.all.iter().filter(|seen| seen.topic.contains("/alarms/") && seen.payload.is_empty()).count();
    assert_eq!(deleted, 0);
    // And what they had is gone from the disks of those who have it no more.
    for (index, daemon) in (0..).zip(&mut daemons) {
        daemon.stop();
        daemon.configure(&config(broker.port, index, 3));
        daemon.launch();
    }
    watcher.settle();
    assert_eq!(watcher.events().len(), things.len());
}

#[test]
fn an_instance_that_lost_its_disk_goes_on_with_what_is_retained() {
    let broker = Broker::start();
    let (mut daemons, mut watcher) = gateway(&broker, 2);
    let thing = (0..).map(|number| format!("pump-{number}")).find(|thing| owner(thing, 2) == 1).unwrap();
    watcher.value(&thing, "pressure", "20");
    watcher.event(&format!("{thing}/pressure/hi"));
    daemons[1].stop();
    daemons[1] = Daemon::with(&config(broker.port, 1, 2));
    let topic = "annunciator/gw/shards/1/status";
    watcher.next("offline", |seen| seen.topic == topic && seen.json()["state"] == "offline");
    watcher.next("online", |seen| seen.topic == topic && seen.json()["state"] == "online");
    watcher.value(&thing, "pressure", "30");
    watcher.value(&thing, "pressure", "10");
    let event = watcher.event(&format!("{thing}/pressure/hi"));
    assert_eq!((&event["to"], &event["occurrence"]), (&json!("idled"), &json!(1)), "{event}");
}

#[test]
fn the_manifest_for_kubernetes_has_a_configuration_that_works() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/kubernetes.yaml")).unwrap();
    let (_, rest) = manifest.split_once("annunciator.toml: |\n").unwrap();
    let lines: Vec<&str> = rest.lines().take_while(|line| line.is_empty() || line.starts_with("    ")).collect();
    let text: String = lines.iter().map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect();
    let operator = Operator::with(&text);
    operator.succeeds("check", &[]);
    // As many pods as there are shares.
    assert!(text.contains("count = 4\n") && manifest.contains("\n  replicas: 4\n"));
    // Where there is no such pod, the daemon says what it lacks.
    let lacking = operator.does("run", &[]);
    assert_eq!(lacking.code, 2, "{lacking:?}");
    assert!(lacking.err.contains("index of [shard]"), "{lacking:?}");
}
