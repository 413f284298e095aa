//! B1 to B4 and B14: what a message costs the processor, and how many can be taken.

use crate::load::{Load, Mix};
use crate::node_red::{self, NodeRed};
use crate::stage::{Broker, Daemon, Ears, Process};
use crate::table::{Aim, Row, Runs};
use crate::{Effort, bare, meters};
use anyhow::{Result, ensure};
use std::path::Path;
use std::time::{Duration, Instant};

/// One alarm on each property, without an observe-time: a value decides at once.
pub(crate) const ONE_EACH: &str = "[[alarm]]\nthing = [\"thing-*\", \"last\"]\nproperty = \"value\"\nlevel = \"HH\"\n\
                            type = \"standard\"\noperator = \">\"\nlimit = 50\n";
const RATE: u64 = 10_000;
const METRICS: &str = "annunciator/bench/metrics";
const STATUS: &str = "annunciator/bench/status";
const MARK: &str = "annunciator/bench/events/last/#";
/// Until caches are warm and everything that happens once has happened.
const WARM_UP: Duration = Duration::from_secs(1);
const MICROS: f64 = 1e6;

/// One message in a hundred changes an alarm.
const TYPICAL: Mix = Mix { properties: 1_000, qos: 0, change_every: Some(100) };

/// A daemon that knows all properties, and what loads it.
pub(crate) struct Scene {
    pub(crate) ears: Ears,
    pub(crate) daemon: Daemon,
    pub(crate) load: Load,
    _broker: Broker,
}

impl Scene {
    pub(crate) fn open(mix: Mix, gateway: &str, alarms: &str, filters: &[&str]) -> Result<Scene> {
        Scene::open_with(mix, gateway, alarms, filters, &[])
    }

    /// The same with variables of the daemon's environment.
    pub(crate) fn open_with(
        mix: Mix,
        gateway: &str,
        alarms: &str,
        filters: &[&str],
        environment: &[(&'static str, &Path)],
    ) -> Result<Scene> {
        let broker = Broker::start()?;
        let ears = Ears::listen(broker.port, &[&[METRICS, STATUS], filters].concat())?;
        let mut daemon = Daemon::prepare(broker.port, mix.qos, gateway, alarms)?;
        environment.iter().for_each(|(name, value)| daemon.set(name, value));
        daemon.launch(None)?;
        ears.until_online()?;
        let mut load = Load::new(broker.port, mix)?;
        load.introduce()?;
        ears.until_settled(load.sent())?;
        daemon.until_at_rest()?;
        Ok(Scene { ears, daemon, load, _broker: broker })
    }

    /// Processor time per message, in microseconds. All of them have to be evaluated.
    fn cost(&mut self, rate: u64, length: Duration) -> Result<f64> {
        self.load.run(rate, WARM_UP)?;
        self.ears.until_settled(self.load.sent())?;
        let (sent, before) = (self.load.sent(), self.daemon.processor_time()?);
        self.load.run(rate, length)?;
        let metrics = self.ears.until_settled(self.load.sent())?;
        let spent = self.daemon.processor_time()? - before;
        ensure!(metrics["overflow"] == 0 && metrics["faults"] == 0, "messages were lost: {metrics}");
        Ok(spent.as_secs_f64() * MICROS / (self.load.sent() - sent) as f64)
    }
}

/// The same of a bare subscriber.
fn bare_cost(mix: Mix, length: Duration) -> Result<f64> {
    let broker = Broker::start()?;
    let ears = Ears::listen(broker.port, &["bare/answer"])?;
    let bare = bare::start(broker.port, mix.qos)?;
    ears.until_mark(1)?;
    let mut load = Load::new(broker.port, mix)?;
    load.run(RATE, WARM_UP)?;
    load.send("bare/ask", "")?;
    ears.until_mark(2)?;
    let (sent, before) = (load.sent(), meters::processor_time(bare.id())?);
    load.run(RATE, length)?;
    load.send("bare/ask", "")?;
    ears.until_mark(3)?;
    ensure!(ears.answer() == load.sent(), "bare has counted {} of {}", ears.answer(), load.sent());
    let spent = meters::processor_time(bare.id())? - before;
    Ok(spent.as_secs_f64() * MICROS / (load.sent() - sent) as f64)
}

/// The same of `mosquitto_sub`.
fn broker_cost(mix: Mix, length: Duration) -> Result<f64> {
    let broker = Broker::start()?;
    let subscriber = mosquitto_sub(&broker, mix.qos, &[])?;
    let mut load = Load::new(broker.port, mix)?;
    load.run(RATE, WARM_UP)?;
    let (sent, before) = (load.sent(), meters::processor_time(subscriber.id())?);
    load.run(RATE, length)?;
    let spent = meters::processor_time(subscriber.id())? - before;
    Ok(spent.as_secs_f64() * MICROS / (load.sent() - sent) as f64)
}

/// It has subscribed when this returns.
fn mosquitto_sub(broker: &Broker, qos: u8, more: &[&str]) -> Result<Process> {
    const ALL: &str = "plant/#";
    let (port, qos) = (broker.port.to_string(), qos.to_string());
    let process = Process::subject("mosquitto_sub", &[&["-p", &port, "-t", ALL, "-q", &qos], more].concat())?;
    broker.until_subscribed(ALL)?;
    Ok(process)
}

pub(crate) fn typical(effort: Effort) -> Result<Vec<Row>> {
    let length = effort.length(10);
    let (mut daemon, mut bare, mut broker) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.runs {
        bare.push(bare_cost(TYPICAL, length)?);
        daemon.push(Scene::open(TYPICAL, "", ONE_EACH, &[])?.cost(RATE, length)?);
        broker.push(broker_cost(TYPICAL, length)?);
    }
    let mut other = Vec::new();
    for _ in 0..node_red::runs(effort) {
        other.push(NodeRed::open(TYPICAL, &[])?.cost(RATE, WARM_UP, length)?);
    }
    let what = "CPU per message, QoS 0, 10,000/s, 1,000 alarms, 1 % change".to_owned();
    let measured = Runs::of(daemon);
    let row = |what, baseline, aims| Row { number: "B1", what, measured, unit: "µs", baseline: Some(baseline), aims };
    let mut rows = vec![
        row(what, ("bare", Runs::of(bare)), vec![Aim::AtMostTimes(1.5), Aim::AtMost(8.0)]),
        row("the same beside mosquitto_sub".to_owned(), ("mosquitto_sub", Runs::of(broker)), vec![Aim::None]),
    ];
    rows.extend(node_red::beside(&rows[0], other));
    Ok(rows)
}

pub(crate) fn worst(effort: Effort) -> Result<Vec<Row>> {
    let mix = Mix { change_every: Some(1), ..TYPICAL };
    let length = effort.length(12);
    let (mut costs, mut growth) = (Vec::new(), Vec::new());
    for _ in 0..effort.runs {
        let mut scene = Scene::open(mix, "", ONE_EACH, &[])?;
        scene.cost(RATE, length / 3)?;
        let before = scene.daemon.memory()?;
        costs.push(scene.cost(RATE, length)?);
        growth.push(scene.daemon.memory()? as f64 / before as f64);
        let metrics = scene.ears.until_settled(scene.load.sent())?;
        let changes = metrics["seq"].as_u64();
        ensure!(
            changes == Some(scene.load.sent() - mix.properties),
            "not every message has changed an alarm: {metrics}"
        );
    }
    let row = |what: &str, measured, unit, limit| Row {
        number: "B2",
        what: what.to_owned(),
        measured: Runs::of(measured),
        unit,
        baseline: None,
        aims: vec![Aim::AtMost(limit)],
    };
    Ok(vec![
        row("CPU per message, 10,000/s, every one changes an alarm, none lost", costs, "µs", 20.0),
        row("memory after it, compared with a third of it", growth, "×", 1.25),
    ])
}

pub(crate) fn highest_rate(effort: Effort) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (qos, limit) in [(0, 0.9), (1, 0.8)] {
        let mix = Mix { qos, ..TYPICAL };
        let messages = effort.share(if qos == 0 { 600_000 } else { 300_000 });
        let (mut daemon, mut bare, mut broker) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..effort.runs {
            bare.push(bare_rate(mix, messages)?);
            daemon.push(rate(mix, messages)?);
            broker.push(broker_rate(mix, messages)?);
        }
        let mut other = Vec::new();
        for _ in 0..node_red::runs(effort) {
            other.push(node_red_rate(mix, messages)?);
        }
        let what = format!("messages a second, as fast as the broker gives them, QoS {qos}");
        let row = |what, baseline, aims| Row {
            number: "B3",
            what,
            measured: Runs::of(daemon.clone()),
            unit: "/s",
            baseline: Some(baseline),
            aims,
        };
        rows.push(row(what, ("bare", Runs::of(bare)), vec![Aim::AtLeastTimes(limit)]));
        let beside = format!("the same beside mosquitto_sub, QoS {qos}");
        rows.push(row(beside, ("mosquitto_sub", Runs::of(broker)), vec![Aim::None]));
        rows.extend(node_red::beside(&rows[rows.len() - 2], other));
    }
    Ok(rows)
}

fn per_second(messages: u64, begin: Instant, end: Instant) -> f64 {
    messages as f64 / end.saturating_duration_since(begin).as_secs_f64()
}

/// Behind the load comes a value that activates an alarm: with its event everything before it is done.
fn rate(mix: Mix, messages: u64) -> Result<f64> {
    let mut scene = Scene::open(mix, "", ONE_EACH, &[MARK])?;
    let begin = Instant::now();
    scene.load.rush(messages)?;
    scene.load.send("plant/json/last/value", "{\"value\": 100}")?;
    let end = scene.ears.until_mark(1)?;
    let metrics = scene.ears.until_settled(scene.load.sent() + 1)?;
    ensure!(metrics["overflow"] == 0, "messages were lost: {metrics}");
    Ok(per_second(messages, begin, end))
}

fn bare_rate(mix: Mix, messages: u64) -> Result<f64> {
    let broker = Broker::start()?;
    let ears = Ears::listen(broker.port, &["bare/answer"])?;
    let _bare = bare::start(broker.port, mix.qos)?;
    ears.until_mark(1)?;
    let mut load = Load::new(broker.port, mix)?;
    let begin = Instant::now();
    load.rush(messages)?;
    load.send("bare/ask", "")?;
    let end = ears.until_mark(2)?;
    ensure!(ears.answer() == messages, "bare has counted {} of {messages}", ears.answer());
    Ok(per_second(messages, begin, end))
}

fn broker_rate(mix: Mix, messages: u64) -> Result<f64> {
    let broker = Broker::start()?;
    let mut subscriber = mosquitto_sub(&broker, mix.qos, &["-C", &messages.to_string()])?;
    let mut load = Load::new(broker.port, mix)?;
    let begin = Instant::now();
    load.rush(messages)?;
    subscriber.wait()?;
    Ok(per_second(messages, begin, Instant::now()))
}

fn node_red_rate(mix: Mix, messages: u64) -> Result<f64> {
    let mut scene = NodeRed::open(mix, &[])?;
    let begin = Instant::now();
    scene.load.rush(messages)?;
    scene.until_counted(scene.load.sent())?;
    Ok(per_second(messages, begin, Instant::now()))
}

pub(crate) fn many_alarms_on_one_property(effort: Effort) -> Result<Vec<Row>> {
    const ALARMS: u64 = 300;
    let alarms: String = (0..ALARMS).map(|level| ONE_EACH.replace("HH", &format!("L{level}"))).collect();
    let mix = Mix { properties: 1, qos: 0, change_every: None };
    let mut costs = Vec::new();
    for _ in 0..effort.runs {
        costs.push(Scene::open(mix, "", &alarms, &[])?.cost(500, effort.length(10))? / ALARMS as f64);
    }
    Ok(vec![Row {
        number: "B4",
        what: "CPU per evaluation, 300 alarms on one property, 500/s".to_owned(),
        measured: Runs::of(costs),
        unit: "µs",
        baseline: None,
        aims: vec![Aim::AtMost(0.5)],
    }])
}

pub(crate) fn growth(effort: Effort) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    for (properties, runs) in [(10, effort.runs), (1_000, effort.runs), (100_000, effort.runs)] {
        let mix = Mix { properties, ..TYPICAL };
        let gateway = "max_things = 200000\n";
        let mut costs = Vec::new();
        for _ in 0..runs {
            costs.push(Scene::open(mix, gateway, ONE_EACH, &[])?.cost(RATE, effort.length(10))?);
        }
        let baseline = rows.first().map(|first| ("10 alarms", first.measured));
        rows.push(Row {
            number: "B14",
            what: format!("CPU per message as in B1, {properties} alarms on as many properties"),
            measured: Runs::of(costs),
            unit: "µs",
            aims: vec![if baseline.is_some() { Aim::AtMostTimes(1.5) } else { Aim::None }],
            baseline,
        });
    }
    Ok(rows)
}
