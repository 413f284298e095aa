//! B6, B7 and B13: memory per alarm, at rest and in a flood.

use crate::costs::{ONE_EACH, Scene};
use crate::load::{Load, Mix};
use crate::node_red::{self, NodeRed};
use crate::stage::{Broker, Daemon, Ears, until};
use crate::table::{Aim, Row, Runs};
use crate::{Effort, load};
use anyhow::{Context as _, Result, ensure};
use std::time::{Duration, Instant};

const MIB: f64 = 1_048_576.0;
/// A checkpoint that comes soon: memory is compared when everything is written.
const GATEWAY: &str = "checkpoint = \"1s\"\nmax_things = 200000\n";
/// With a few values a second, until what was written at the beginning is out of memory again.
const REST: Duration = Duration::from_secs(12);

/// Memory with one alarm on each of so many properties, each of which has spoken.
fn with_alarms(properties: u64, alarms: &str) -> Result<f64> {
    let mut scene = Scene::open(Mix { properties, qos: 0, change_every: None }, GATEWAY, alarms, &[])?;
    scene.load.run(20, REST)?;
    Ok(scene.daemon.memory()? as f64)
}

/// An alarm of its own in the configuration for each thing.
fn one_by_one(count: u64) -> String {
    (0..count)
        .map(|number| ONE_EACH.replace("[\"thing-*\", \"last\"]", &format!("\"{}\"", load::thing(number))))
        .collect()
}

/// Memory is a count: it is not measured again and again.
pub(crate) fn per_alarm(effort: Effort) -> Result<Vec<Row>> {
    let none = with_alarms(1, "")?;
    let idle = with_alarms(1, ONE_EACH)? / MIB;
    let own = (with_alarms(8_000, &one_by_one(8_000))? - none) / 8_000.0;
    let pattern = (with_alarms(8_000, ONE_EACH)? - none) / 8_000.0;
    let many = (with_alarms(100_000, ONE_EACH)? - none) / 100_000.0;
    let mut other = Vec::new();
    for _ in 0..node_red::runs(effort).min(1) {
        let mut scene = NodeRed::open(Mix { properties: 1, qos: 0, change_every: None }, &[])?;
        scene.load.run(20, REST)?;
        other.push(scene.memory()? as f64 / MIB);
    }
    let row = |number, what: &str, measured, unit, limit| Row {
        number,
        what: what.to_owned(),
        measured: Runs::once(measured),
        unit,
        baseline: None,
        aims: vec![Aim::AtMost(limit)],
    };
    let rest = row("B7", "memory at rest, one alarm, connected", idle, "MiB", 8.0);
    let beside = node_red::beside(&rest, other);
    let rows = vec![
        row("B6", "memory per alarm, 8,000 with a definition each", own, "B", 1_024.0),
        row("B6", "memory per alarm, 8,000 by one pattern", pattern, "B", 1_024.0),
        row("B6", "memory per alarm, 100,000 by one pattern", many, "B", 1_024.0),
        rest,
    ];
    Ok(rows.into_iter().chain(beside).collect())
}

pub(crate) fn flood(effort: Effort) -> Result<Vec<Row>> {
    /// Above what it needs at rest: messages that wait for evaluation, packets that may come again, the log in memory.
    const BOUND: f64 = 64.0;
    let messages = effort.share(1_000_000);
    let mix = Mix { properties: 1_000, qos: 1, change_every: Some(100) };
    let broker = Broker::start()?;
    let ears = Ears::listen(broker.port, &["annunciator/bench/metrics", "annunciator/bench/status"])?;
    let mut daemon = Daemon::prepare(broker.port, 1, "", ONE_EACH)?;
    daemon.launch(None)?;
    ears.until_online()?;
    let mut load = Load::new(broker.port, mix)?;
    load.introduce()?;
    let before = ears.until_settled(load.sent())?["seq"].as_u64().unwrap_or(0);
    let rest = daemon.memory()? as f64 / MIB;
    daemon.stop()?;
    load.rush(messages)?;
    load.until_taken()?;
    let begin = Instant::now();
    daemon.launch(None)?;
    let mut peak = 0.0_f64;
    let evaluated = until("the flood to be evaluated", || {
        peak = peak.max(daemon.memory().unwrap_or(0) as f64 / MIB);
        let metrics = ears.metrics();
        Ok((metrics["messages"].as_u64() == Some(messages) && metrics["outbox"] == 0).then_some(metrics))
    });
    let metrics = evaluated.with_context(|| format!("the last metrics: {}", ears.metrics()))?;
    let rate = messages as f64 / begin.elapsed().as_secs_f64();
    let changes = metrics["seq"].as_u64().unwrap_or(0) - before;
    ensure!(changes == messages / 100, "{changes} of {} changes were seen", messages / 100);
    ensure!(metrics["connects"] == 1 && metrics["overflow"] == 0, "the flood has broken something: {metrics}");
    let gaps = ears.gaps();
    let row = |what: String, measured, unit, aim| Row {
        number: "B13",
        what,
        measured: Runs::once(measured),
        unit,
        baseline: None,
        aims: vec![aim],
    };
    let (mut other_peak, mut other_rate) = (Vec::new(), Vec::new());
    for _ in 0..node_red::runs(effort).min(1) {
        let (peak, rate) = node_red_flood(mix, messages)?;
        other_peak.push(peak);
        other_rate.push(rate);
    }
    let rows = vec![
        row(
            format!("flood of {messages} waiting: memory above rest ({rest:.1} MiB), all evaluated"),
            peak - rest,
            "MiB",
            Aim::AtMost(BOUND),
        ),
        row("gaps reported but the restart itself".to_owned(), gaps.len() as f64 - 1.0, "gaps", Aim::AtMost(0.0)),
        row("messages evaluated a second, start included".to_owned(), rate, "/s", Aim::None),
    ];
    let beside = [node_red::beside(&rows[0], other_peak), node_red::beside(&rows[2], other_rate)];
    Ok(rows.into_iter().chain(beside.into_iter().flatten()).collect())
}

/// The same flood: memory above rest, and messages a second.
fn node_red_flood(mix: Mix, messages: u64) -> Result<(f64, f64)> {
    let mut scene = NodeRed::open(mix, &["node-red/events/#"])?;
    let rest = scene.memory()? as f64 / MIB;
    scene.stop()?;
    scene.load.rush(messages)?;
    scene.load.until_taken()?;
    // It stands behind the flood.
    scene.load.send("bare/ask", "")?;
    let begin = Instant::now();
    let before = scene.ears.marks();
    scene.launch()?;
    let mut peak = 0.0_f64;
    until("Node-RED to take the flood", || {
        peak = peak.max(scene.memory()? as f64 / MIB);
        // One when it has subscribed, one behind the flood.
        Ok((scene.ears.marks() >= before + 2).then_some(()))
    })?;
    let rate = messages as f64 / begin.elapsed().as_secs_f64();
    let (judged, events) = (scene.ears.answer(), scene.ears.events());
    ensure!(judged >= messages && events == messages / 100, "Node-RED has judged {judged} and said {events} events");
    Ok((peak - rest, rate))
}
