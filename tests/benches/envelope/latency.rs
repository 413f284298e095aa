//! B8: how long it takes from a value to its event at a subscriber, through the disk.

use crate::Effort;
use crate::costs::{ONE_EACH, Scene};
use crate::load::{Load, Mix};
use crate::node_red::{self, NodeRed};
use crate::stage::{Broker, Ears};
use crate::table::{Aim, Row, Runs};
use anyhow::{Result, ensure};
use std::time::Duration;

/// What settles at the begin of a stretch is not part of it.
const WARM_UP: Duration = Duration::from_secs(1);

/// The delay that this share of all is below, in milliseconds.
fn percentile(sorted: &[Duration], share: f64) -> f64 {
    let place = (sorted.len() as f64 * share).ceil();
    let index = (0..sorted.len()).rev().find(|index| (*index as f64) < place).unwrap_or(0);
    sorted.get(index).map_or(f64::NAN, |delay| delay.as_secs_f64() * 1e3)
}

pub(crate) fn rows(effort: Effort) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    // Both make a thousand events a second.
    for (rate, change_every, what) in [(1_000, 1, "1,000/s, all change"), (10_000, 10, "10,000/s, 10 % change")] {
        let mix = Mix { properties: 1_000, qos: 0, change_every: Some(change_every) };
        let (mut daemon, mut broker) = (Vec::new(), Vec::new());
        for _ in 0..effort.runs {
            broker.push(through_broker(mix, rate, effort.length(6))?);
            daemon.push(through_daemon(mix, rate, effort.length(12))?);
        }
        let mut other = Vec::new();
        for _ in 0..node_red::runs(effort) {
            other.push(through_node_red(mix, rate, effort.length(12))?);
        }
        for (share, name, limit) in [(0.5, "median", None), (0.99, "p99", Some(5.0)), (0.999, "p99.9", Some(20.0))] {
            let each = |runs: &[Vec<Duration>]| runs.iter().map(|sorted| percentile(sorted, share)).collect::<Vec<_>>();
            let at = |runs: &[Vec<Duration>]| Runs::of(each(runs));
            let row = Row {
                number: "B8",
                what: format!("value to event, durable, {what}: {name}"),
                measured: at(&daemon),
                unit: "ms",
                baseline: Some(("broker", at(&broker))),
                aims: vec![limit.map_or(Aim::None, Aim::AtMost)],
            };
            let beside = node_red::beside(&row, each(&other));
            rows.push(row);
            rows.extend(beside);
        }
    }
    Ok(rows)
}

fn through_daemon(mix: Mix, rate: u64, length: Duration) -> Result<Vec<Duration>> {
    let mut scene = Scene::open(mix, "", ONE_EACH, &["annunciator/bench/events/#"])?;
    scene.load.run(rate, WARM_UP)?;
    scene.ears.until_settled(scene.load.sent())?;
    let sent = scene.load.sent();
    let stretch = scene.load.stretch(rate);
    scene.ears.measure(stretch);
    scene.load.go_on(&stretch, length)?;
    scene.ears.until_settled(scene.load.sent())?;
    let mut delays = scene.ears.take_delays();
    let changes = (scene.load.sent() - sent) / mix.change_every.unwrap_or(1);
    ensure!(delays.len() as u64 + 1 >= changes, "{} of {changes} events were heard", delays.len());
    delays.sort_unstable();
    Ok(delays)
}

/// The same way through Node-RED, which has nothing to write.
fn through_node_red(mix: Mix, rate: u64, length: Duration) -> Result<Vec<Duration>> {
    let mut scene = NodeRed::open(mix, &["node-red/events/#"])?;
    scene.load.run(rate, WARM_UP)?;
    scene.until_counted(scene.load.sent())?;
    let sent = scene.load.sent();
    let stretch = scene.load.stretch(rate);
    scene.ears.measure(stretch);
    scene.load.go_on(&stretch, length)?;
    scene.until_counted(scene.load.sent())?;
    let mut delays = scene.ears.take_delays();
    let changes = (scene.load.sent() - sent) / mix.change_every.unwrap_or(1);
    ensure!(delays.len() as u64 + 1 >= changes, "{} of {changes} events were heard", delays.len());
    delays.sort_unstable();
    Ok(delays)
}

/// The same way without a daemon on it.
fn through_broker(mix: Mix, rate: u64, length: Duration) -> Result<Vec<Duration>> {
    let broker = Broker::start()?;
    let ears = Ears::listen(broker.port, &["plant/#"])?;
    let mut load = Load::new(broker.port, mix)?;
    load.run(rate, WARM_UP)?;
    let stretch = load.stretch(rate);
    ears.measure(stretch);
    load.go_on(&stretch, length)?;
    let mut delays = ears.take_delays();
    delays.sort_unstable();
    Ok(delays)
}
