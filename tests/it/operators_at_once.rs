//! Many operators at once: several clients command the same alarms while values come and the configuration is read again.
//!
//! Each answer has to be explained by one order of all that happened. The history is that order as far as commands have
//! changed something; a command that has changed nothing gets a place in it at which its answer is true, after all
//! commands that were answered before it was given, and before all that were given after it was answered. The places are
//! searched for, the earliest first: an earlier place leaves more room to those that follow, so if the search finds none,
//! there is none.

use crate::support::traffic::Random;
use crate::support::{Broker, Daemon, HI, Protocol, Watcher, config, for_both_versions};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

for_both_versions! { one_order_of_the_history_explains_all_answers_to_many_operators }

const OPERATORS: u64 = 5;
/// After all that happened.
const LATER: Duration = Duration::from_secs(1);
/// Commands of each operator; `ANNUNCIATOR_COMMANDS` asks for more.
const COMMANDS: u64 = 60;
const PRESSES: u64 = 4;
/// Entries of the history that are asked for at once: more do not fit into the packets that the clients of others take.
const PAGE: usize = 20;

/// A command, its answer, and the time between.
#[derive(Debug)]
struct Given {
    name: String,
    verb: &'static str,
    at: Instant,
    answered: Instant,
    answer: Value,
}

/// An entry of the history: an event, or the beginning or end of a shelving.
#[derive(Debug)]
struct Entry {
    alarm: String,
    /// The name of the command that has caused it.
    command: Option<String>,
    from: Option<String>,
    to: String,
}

/// An alarm as its operators know it.
#[derive(Debug, Clone, PartialEq)]
struct State {
    state: String,
    /// Whether the present or last occurrence was acknowledged.
    acknowledged: bool,
    shelved: bool,
}

type Alarms = BTreeMap<String, State>;

fn alarms() -> String {
    let all = HI.replace("press-1", "press-*").replace("\"hi\"", "\"LEVEL\"");
    let others = all.replace("LEVEL", "low").replace("\">\"", "\"<\"").replace("limit = 15", "limit = 5");
    format!("{}{others}", all.replace("LEVEL", "hi"))
}

/// An alarm that one operator adds and removes.
const EXTRA: &str = "[[alarm]]\nthing = \"press-9\"\nproperty = \"pressure\"\nlevel = \"extra\"\ntype = \"standard\"\n\
                     operator = \">\"\nlimit = 15\n";

/// Gives a command and waits for its answer.
fn give(watcher: &mut Watcher, name: String, verb: &'static str, mut command: Value) -> Given {
    command["request"] = json!(name);
    let at = Instant::now();
    watcher.publish(&format!("annunciator/gw/commands/{verb}"), command.to_string());
    let is_answer =
        |seen: &crate::support::Seen| seen.topic == "annunciator/gw/replies" && seen.json()["request"] == json!(name);
    let answer = watcher.next(&format!("the answer to {verb} {command}"), is_answer).json();
    Given { name, verb, at, answered: Instant::now(), answer }
}

fn operate(port: u16, operator: u64, commands: u64) -> Vec<Given> {
    let mut watcher = Watcher::on(port, "annunciator/gw/replies");
    let mut random = Random(0x0be7_a705 + operator);
    let mut given = Vec::new();
    for number in 0..commands {
        let verbs = ["acknowledge", "acknowledge", "disable", "enable", "enable", "shelve", "unshelve"];
        let verb = verbs[random.index(verbs.len())];
        let press = random.below(PRESSES) + 1;
        let alarm = match random.below(6) {
            0 => format!("press-{press}/*"),
            1 => "press-*/pressure/hi".to_owned(),
            2 => format!("press-{press}/pressure/low"),
            _ => format!("press-{press}/pressure/hi"),
        };
        let name = format!("{operator}-{number}");
        let mut command = json!({ "alarm": alarm, "by": format!("operator {operator}"), "comment": name });
        if verb == "shelve" {
            command["for"] = json!("1h");
        }
        given.push(give(&mut watcher, name, verb, command));
    }
    given
}

/// Adds and removes an alarm, and at times breaks the file. Nobody else is disturbed.
fn reload(port: u16, daemon: &Daemon, with: &str, without: &str, is_over: impl Fn() -> bool) -> usize {
    let mut watcher = Watcher::on(port, "annunciator/gw/replies");
    let mut count = 0;
    while !is_over() {
        let (text, added, removed) = match count % 3 {
            0 => (with.to_owned(), json!(["press-9/pressure/extra"]), json!([])),
            1 => (without.to_owned(), json!([]), json!(["press-9/pressure/extra"])),
            _ => (format!("{without}\nrubbish"), Value::Null, Value::Null),
        };
        daemon.configure(&text);
        let answer = give(&mut watcher, format!("reload-{count}"), "reload", json!({})).answer;
        assert_eq!(answer["ok"], json!(count % 3 != 2), "{answer}");
        assert_eq!((&answer["added"], &answer["removed"]), (&added, &removed), "{answer}");
        count += 1;
    }
    count
}

/// The whole history, oldest first.
fn history(watcher: &mut Watcher) -> Vec<Entry> {
    let (mut entries, mut before) = (Vec::new(), Value::Null);
    loop {
        let name = format!("history-{}", entries.len());
        let page = give(watcher, name, "history", json!({ "limit": PAGE, "before": before })).answer;
        entries.extend(page["events"].as_array().unwrap().clone());
        before = page["next"].clone();
        if before.is_null() {
            break;
        }
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let to_entry = |entry: &Value| Entry {
        alarm: text(&entry["alarm"]).unwrap(),
        command: text(&entry["comment"]),
        from: text(&entry["from"]),
        to: text(&entry["to"]).or_else(|| text(&entry["kind"])).unwrap(),
    };
    entries.iter().rev().map(to_entry).collect()
}

/// What an entry makes of an alarm. Each has to begin where the one before has ended.
fn apply(entry: &Entry, alarms: &mut Alarms) {
    let fresh = || State { state: "enabled".to_owned(), acknowledged: false, shelved: false };
    let alarm = alarms.entry(entry.alarm.clone()).or_insert_with(fresh);
    match entry.to.as_str() {
        shelving @ ("shelved" | "unshelved") => alarm.shelved = shelving == "shelved",
        to => {
            assert_eq!(entry.from.as_ref(), Some(&alarm.state), "{entry:?}");
            match to {
                "activated" => alarm.acknowledged = false,
                "acknowledged" => alarm.acknowledged = true,
                "idled" if alarm.state == "idled" => {
                    assert!(!alarm.acknowledged, "acknowledged twice: {entry:?}");
                    alarm.acknowledged = true;
                }
                _ => {}
            }
            to.clone_into(&mut alarm.state);
        }
    }
}

/// Whether an answer for one alarm that tells of no change is true of this state.
fn is_true(verb: &str, outcome: &Value, alarm: &State) -> bool {
    let error = outcome["error"].as_str();
    let is_explained = match (verb, alarm.state.as_str()) {
        ("acknowledge", "off" | "enabled") => error.is_some_and(|error| error.contains("no occurrence")),
        ("acknowledge", _) => alarm.acknowledged && error.is_some_and(|error| error.contains("already")),
        ("enable", state) => state != "off" && error.is_none(),
        ("disable", state) => state == "off" && error.is_none(),
        ("unshelve", _) => !alarm.shelved && error.is_none(),
        (verb, state) => panic!("{verb} at {state} changes something: {outcome}"),
    };
    is_explained && outcome["state"] == json!(alarm.state) && outcome["shelved_until"].is_string() == alarm.shelved
}

/// Whether an answer is true before the commands's own entries in `alarms`, and after them in `after`.
fn explains(given: &Given, alarms: &Alarms, after: &Alarms, own: &BTreeSet<&str>) -> bool {
    let outcomes = given.answer["alarms"].as_array();
    let Some(outcomes) = outcomes else { panic!("{given:?}") };
    outcomes.iter().all(|outcome| {
        let id = outcome["alarm"].as_str().unwrap();
        let is_own = own.contains(id);
        assert_eq!(outcome["changed"], json!(is_own), "the history has {own:?}, the answer {given:?}");
        if is_own {
            let alarm = &after[id];
            return outcome["state"] == json!(alarm.state) && outcome["shelved_until"].is_string() == alarm.shelved;
        }
        let fresh = State { state: "enabled".to_owned(), acknowledged: false, shelved: false };
        is_true(given.verb, outcome, alarms.get(id).unwrap_or(&fresh))
    })
}

/// Looks for the place of each command in the history; `before` are the alarms before each entry. How many commands have
/// changed nothing, or what no place explains.
fn explained(given: &[Given], entries: &[Entry], before: &[Alarms]) -> Result<usize, String> {
    let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, entry) in entries.iter().enumerate() {
        if let Some(command) = &entry.command {
            places.entry(command).or_default().push(place);
        }
    }
    let mut given: Vec<&Given> = given.iter().collect();
    given.sort_by_key(|given| given.answered);
    let (mut settled, mut idle): (Vec<(Instant, usize)>, usize) = (Vec::new(), 0);
    for given in given {
        // No earlier than what was answered before it was given.
        let earlier = settled.iter().filter(|(answered, _)| *answered < given.at).map(|(_, place)| *place);
        let earliest = earlier.max().unwrap_or(0);
        let place = match places.remove(given.name.as_str()) {
            Some(own) => {
                let (first, last) = (own[0], own[own.len() - 1]);
                if first < earliest {
                    return Err(format!("{given:?} comes before what was answered before it was given"));
                }
                let is_foreign = |entry: &&Entry| entry.command.as_ref().is_some_and(|name| *name != given.name);
                if let Some(foreign) = entries[first..=last].iter().find(is_foreign) {
                    return Err(format!("{foreign:?} came into the middle of {given:?}"));
                }
                // What an alarm that was enabled makes of its latest value follows at once.
                let follows = entries.get(last + 1).is_some_and(|entry| {
                    given.verb == "enable" && entry.command.is_none() && entry.alarm == entries[last].alarm
                });
                let names: BTreeSet<&str> = own.iter().map(|place| entries[*place].alarm.as_str()).collect();
                let is_explained = (last + 1..=last + 1 + usize::from(follows))
                    .any(|after| explains(given, &before[first], &before[after], &names));
                if !is_explained {
                    return Err(format!("{given:?} is not explained by {:?}", &before[first]));
                }
                last + 1
            }
            None => {
                idle += 1;
                let nothing = BTreeSet::new();
                (earliest..before.len())
                    .find(|place| explains(given, &before[*place], &before[*place], &nothing))
                    .ok_or_else(|| format!("no place in the history explains {given:?}"))?
            }
        };
        settled.push((given.answered, place));
    }
    if places.is_empty() { Ok(idle) } else { Err(format!("nobody has given {places:?}")) }
}

fn one_order_of_the_history_explains_all_answers_to_many_operators(mqtt: Protocol) {
    let commands = std::env::var("ANNUNCIATOR_COMMANDS").ok().and_then(|n| n.parse().ok()).unwrap_or(COMMANDS);
    let broker = Broker::start();
    let port = broker.port;
    let mut watcher = Watcher::connect(port);
    let without = config(mqtt.at(port), &alarms());
    let with = config(mqtt.at(port), &format!("{}{EXTRA}", alarms()));
    let daemon = Daemon::with(&without);
    watcher.status("online");
    for press in 1..=PRESSES {
        watcher.value(&format!("press-{press}"), "pressure", "10");
        watcher.next("the alarm", |seen| seen.topic == format!("annunciator/gw/alarms/press-{press}/pressure/low"));
    }

    let (working, is_over) = (AtomicUsize::new(usize::try_from(OPERATORS).unwrap()), AtomicBool::new(false));
    let mut given: Vec<Given> = Vec::new();
    let (mut values, mut reloads) = (0, 0);
    std::thread::scope(|threads| {
        let operators: Vec<_> = (0..OPERATORS)
            .map(|operator| {
                let (working, is_over) = (&working, &is_over);
                threads.spawn(move || {
                    let given = operate(port, operator, commands);
                    if working.fetch_sub(1, Ordering::Relaxed) == 1 {
                        is_over.store(true, Ordering::Relaxed);
                    }
                    given
                })
            })
            .collect();
        let reloading = threads.spawn(|| reload(port, &daemon, &with, &without, || is_over.load(Ordering::Relaxed)));
        // The plant moves the alarms as fast as the broker takes it.
        let mut random = Random(0x9e1);
        // An operator that fails ends the plant, too.
        while !is_over.load(Ordering::Relaxed) && !operators.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let press = format!("press-{}", random.below(PRESSES) + 1);
            watcher.value(&press, "pressure", ["2", "10", "20", "20"][random.index(4)]);
            watcher.settle();
            values += 1;
        }
        is_over.store(true, Ordering::Relaxed);
        given.extend(operators.into_iter().flat_map(|operator| operator.join().unwrap()));
        reloads = reloading.join().unwrap();
    });

    let entries = history(&mut watcher);
    let mut before = vec![Alarms::new()];
    for entry in &entries {
        let mut alarms = before.last().unwrap().clone();
        apply(entry, &mut alarms);
        before.push(alarms);
    }
    // The history is what was published, in the order of the numbers, and ends where the alarms are.
    let published: Vec<Value> = {
        watcher.settle();
        watcher.events()
    };
    let seqs: Vec<u64> = published.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(seqs.iter().copied().eq(1..=seqs.len() as u64), "{seqs:?}");
    let is_event = |entry: &&Entry| entry.from.is_some();
    assert_eq!(entries.iter().filter(is_event).count(), published.len());
    let listed = give(&mut watcher, "list".to_owned(), "list", json!({})).answer;
    for alarm in listed["alarms"].as_array().unwrap() {
        let known = before.last().unwrap().get(alarm["alarm"].as_str().unwrap());
        let state = known.map_or("enabled", |known| &known.state);
        assert_eq!(alarm["state"], json!(state), "in the end: {alarm}");
        assert_eq!(alarm["shelved"].is_object(), known.is_some_and(|known| known.shelved), "in the end: {alarm}");
    }

    let idle = explained(&given, &entries, &before).unwrap();
    let changed = given.len() - idle;
    assert!(idle > 20 && changed > 100 && reloads > 2, "{idle} and {changed} commands, {reloads} reloads prove little");
    // The search would find a lie: that the first of them was given when all others had been answered.
    let changing = |given: &&mut Given| entries.iter().any(|entry| entry.command.as_ref() == Some(&given.name));
    let last = given.iter().map(|given| given.answered).max().unwrap();
    let first = given.iter_mut().filter(changing).min_by_key(|given| given.answered).unwrap();
    (first.at, first.answered) = (last + LATER, last + LATER + LATER);
    explained(&given, &entries, &before).unwrap_err();
    println!(
        "{} commands of {OPERATORS} operators, {changed} of them changed something, {reloads} reloads and {values} values at \
         once: {} entries of the history explain all answers",
        given.len(),
        entries.len()
    );
}
