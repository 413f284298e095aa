//! How many instructions one message costs on its way from the connection to the engine, counted by callgrind.
//!
//! `tests/instructions` runs it: the counts are compared with those in `instructions.txt`, so that a regression is seen on
//! a machine that others use as well. A count is the difference of two runs of which one takes twice as many messages, so
//! what happens once is not in it. With `BLESS=1` the file is written anew.
//!
//! Another compiler makes other instructions: where the file is from another one, counts are shown and not compared.

#![expect(clippy::print_stdout, reason = "figures are for people to read")]

use annunciator::config::Config;
use annunciator::domain::engine::{Effects, Engine, Input};
use annunciator::domain::time::{Moment, Now, Span, Stamp};
use annunciator::ingest::router::{Intake, Message};
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/benches/instructions.txt");
/// Messages of the shorter run; each of a hundred properties has spoken often by then.
const MESSAGES: u64 = 20_000;
const PROPERTIES: u64 = 100;
/// How far a count may be from the recorded one, in percent: the tables of names are arranged anew in each run.
const TOLERANCE: u64 = 3;

/// What is counted: the alarms of a property, what it says, and where.
struct Scenario {
    name: &'static str,
    alarms: fn() -> String,
    payload: fn(u64) -> String,
    topic: &'static str,
}

const ALARM: &str = "[[alarm]]\nthing = \"*\"\nproperty = \"value\"\n";

fn standard() -> String {
    format!("{ALARM}level = \"HH\"\ntype = \"standard\"\noperator = \">\"\nlimit = 50\nobserve_time = \"5s\"\n")
}

fn average() -> String {
    format!("{ALARM}level = \"mean\"\ntype = \"average\"\noperator = \">\"\nlimit = 50\nobserve_time = \"5s\"\n")
}

fn silence() -> String {
    format!("{ALARM}level = \"silent\"\ntype = \"no-value\"\nobserve_time = \"5s\"\n")
}

fn fifty() -> String {
    (0..50).map(|level| standard().replace("HH", &format!("L{level}"))).collect()
}

fn number(message: u64) -> String {
    format!("{}.{}", 20 + message % 7, message % 10)
}

fn json(message: u64) -> String {
    format!("{{\"value\": {}}}", number(message))
}

fn object(message: u64) -> String {
    format!("{{\"value\": {}, \"unit\": \"bar\", \"quality\": 192, \"ok\": true}}", number(message))
}

const SCENARIOS: [Scenario; 7] = [
    Scenario { name: "a number, a standard alarm", alarms: standard, payload: number, topic: "plain" },
    Scenario { name: "a number in JSON, a standard alarm", alarms: standard, payload: json, topic: "json" },
    Scenario { name: "a number, an average alarm", alarms: average, payload: number, topic: "plain" },
    Scenario { name: "a number, a no-value alarm", alarms: silence, payload: number, topic: "plain" },
    Scenario { name: "a number, fifty standard alarms", alarms: fifty, payload: number, topic: "plain" },
    Scenario { name: "an object of four, a standard alarm", alarms: standard, payload: object, topic: "object" },
    Scenario { name: "a number that no alarm watches", alarms: String::new, payload: number, topic: "plain" },
];

const SOURCES: &str = "[gateway]\nid = \"counts\"\n[mqtt]\nurl = \"mqtt://localhost\"\n\
    [[source]]\ntopic = \"plain/{thing}/{property}\"\n\
    [[source]]\ntopic = \"json/{thing}/{property}\"\nvalue = \"/value\"\n\
    [[source]]\ntopic = \"object/{thing}/+\"\n";

/// Takes messages, none of which changes an alarm.
fn play(scenario: &Scenario, messages: u64) -> Result<()> {
    let text = format!("{SOURCES}{}", (scenario.alarms)());
    let Ok((config, _)) = Config::parse(Path::new("counts.toml"), &text) else { bail!("the configuration is wrong") };
    let mut engine = Engine::new(config.model.clone());
    let mut intake = Intake::new(config.sources.clone(), config.gateway.max_payload);
    let (mut effects, mut faults) = (Effects::default(), Vec::new());
    let topics: Vec<String> = (0..PROPERTIES).map(|thing| format!("{}/thing-{thing}/value", scenario.topic)).collect();
    // They are made before, so that making them is the same share of both runs: nothing.
    let payloads: Vec<String> = (0..PROPERTIES).map(scenario.payload).collect();
    let mut now = Now { at: Moment::default(), wall: Stamp::default() };
    engine.handle(Input::LinkUp, now, &mut effects);
    for (topic, payload) in topics.iter().zip(&payloads).cycle().take(usize::try_from(messages)?) {
        now = now.moved_to(now.at + Span::from_millis(1));
        let message = Message { topic, payload: payload.as_bytes(), retained: false };
        intake.take(message, &mut engine, now, &mut effects, &mut faults);
    }
    ensure!(faults.is_empty() && effects.events.is_empty(), "that is not what is counted here: {faults:?}");
    Ok(())
}

/// Instructions of a run of this program by itself.
fn counted(scenario: usize, messages: u64) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["play", &scenario.to_string(), &messages.to_string()])
        .output()
        .context("valgrind is missing")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let count =
        said.lines().find_map(|line| line.split_once("Collected :")).and_then(|(_, count)| count.trim().parse().ok());
    count.filter(|_| output.status.success()).with_context(|| format!("callgrind has not counted: {said}"))
}

fn compiler() -> Result<String> {
    let output = Command::new("rustc").arg("-V").output().context("rustc")?;
    Ok(format!("{}, {}", String::from_utf8_lossy(&output.stdout).trim(), std::env::consts::ARCH))
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, scenario, messages] = &arguments[..]
        && mode == "play"
    {
        let scenario = SCENARIOS.get(scenario.parse::<usize>()?).context("no such scenario")?;
        return play(scenario, messages.parse()?);
    }
    let recorded = std::fs::read_to_string(RECORD).unwrap_or_default();
    let compiler = compiler()?;
    let is_comparable = recorded.lines().any(|line| line == format!("# {compiler}"));
    let before: BTreeMap<&str, u64> = recorded
        .lines()
        .filter_map(|line| line.trim_start().split_once(' '))
        .filter_map(|(count, name)| Some((name.trim(), count.parse().ok()?)))
        .collect();
    let mut text = format!("# Instructions per message; tests/instructions compares them.\n# {compiler}\n");
    let mut regressions = Vec::new();
    println!("{:>8} {:>8}  instructions per message", "now", "before");
    for (place, Scenario { name, .. }) in SCENARIOS.iter().enumerate() {
        let count = (counted(place, 2 * MESSAGES)? - counted(place, MESSAGES)?) / MESSAGES;
        let known = before.get(name).copied();
        println!("{count:>8} {:>8}  {name}", known.map_or(String::new(), |known| known.to_string()));
        text += &format!("{count:>8} {name}\n");
        let limit = known.map(|known| known + known * TOLERANCE / 100);
        if is_comparable && limit.is_none_or(|limit| count > limit) {
            regressions.push(*name);
        }
    }
    if std::env::var_os("BLESS").is_some() {
        return std::fs::write(RECORD, text).context(RECORD);
    }
    if !is_comparable {
        println!("the record is from another compiler than {compiler}: nothing was compared; BLESS=1 makes a new one");
    }
    ensure!(regressions.is_empty(), "more instructions than before: {}", regressions.join(", "));
    Ok(())
}
