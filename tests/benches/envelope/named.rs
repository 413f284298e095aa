//! B17: very many alarms that are named one by one: their first messages, and a reload in which one of them is different.

use crate::costs::ONE_EACH;
use crate::load::{self, Load, Mix};
use crate::stage::{Broker, Daemon, Ears};
use crate::table::{Aim, Row, Runs};
use crate::{Effort, meters};
use anyhow::{Context as _, Result, ensure};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const REPLIES: &str = "annunciator/bench/replies";
/// Values that come while the configuration is read again: enough to see whether they are read.
const RATE: u64 = 500;
/// Between two looks at what the socket holds.
const LOOK: Duration = Duration::from_millis(1);

/// What so many alarms cost: microseconds a first message, seconds of a reload, and the longest time in seconds for which
/// the socket was not read meanwhile.
fn costs(count: u64, effort: Effort) -> Result<[f64; 3]> {
    let mix = Mix { properties: count, qos: 0, change_every: None };
    let broker = Broker::start()?;
    let filters = ["annunciator/bench/metrics", "annunciator/bench/status", REPLIES];
    let ears = Ears::listen(broker.port, &filters)?;
    let alarms: String = (0..count).map(|number| of_thing(&load::thing(number))).chain([of_thing("last")]).collect();
    let mut daemon = Daemon::prepare(broker.port, 0, "checkpoint = \"10m\"\n", &alarms)?;
    daemon.launch(None)?;
    ears.until_online()?;
    ears.until_settled(0)?;
    daemon.until_at_rest()?;
    let mut load = Load::new(broker.port, mix)?;
    let before = daemon.processor_time()?;
    load.introduce()?;
    ears.until_settled(load.sent())?;
    daemon.until_at_rest()?;
    let first = (daemon.processor_time()? - before).as_secs_f64() * 1e6 / count as f64;
    // The next write works the records of the start into the second snapshot: that is none of the reload's business.
    load.send("plant/json/last/value", "{\"value\": 100}")?;
    daemon.until_at_rest()?;

    let file = daemon.file("annunciator.toml");
    let text = std::fs::read_to_string(&file)?;
    let changed = of_thing(&load::thing(count / 2));
    ensure!(text.contains(&changed), "the configuration is another one");
    std::fs::write(&file, text.replacen(&changed, &changed.replace("limit = 50", "limit = 51"), 1))?;
    let (pid, has_ended) = (daemon.pid()?, Arc::new(AtomicBool::new(false)));
    let ended = has_ended.clone();
    let looking = std::thread::spawn(move || longest_unread(pid, &ended));
    let before = daemon.processor_time()?;
    load.send("annunciator/bench/commands/reload", "{}")?;
    let mut values = 0;
    while ears.marks() == 0 {
        load.run(RATE, effort.length(1))?;
        values += 1;
        ensure!(values < 120, "no answer to the reload");
    }
    // What the values cost is measured by the same again without a reload.
    daemon.until_at_rest()?;
    let spent = daemon.processor_time()? - before;
    has_ended.store(true, Ordering::Relaxed);
    let unread = looking.join().ok().context("the look at the socket has failed")??;
    let before = daemon.processor_time()?;
    for _ in 0..values {
        load.run(RATE, effort.length(1))?;
    }
    daemon.until_at_rest()?;
    let of_values = daemon.processor_time()? - before;
    Ok([first, spent.saturating_sub(of_values).as_secs_f64(), unread.as_secs_f64() * 1e3])
}

fn of_thing(thing: &str) -> String {
    ONE_EACH.replace("[\"thing-*\", \"last\"]", &format!("\"{thing}\""))
}

/// The longest time for which the process left something unread in a socket.
fn longest_unread(pid: u32, has_ended: &AtomicBool) -> Result<Duration> {
    let (mut longest, mut since) = (Duration::ZERO, None);
    while !has_ended.load(Ordering::Relaxed) {
        if meters::has_unread(pid)? {
            let began = *since.get_or_insert_with(Instant::now);
            longest = longest.max(began.elapsed());
        } else {
            since = None;
        }
        std::thread::sleep(LOOK);
    }
    Ok(longest)
}

pub(crate) fn rows(effort: Effort) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (count, limit) in [(30_000, 0.5), (100_000, 1.5)] {
        let count = effort.share(count);
        let (mut first, mut reload, mut unread) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..effort.runs {
            let [of_first, of_reload, of_unread] = costs(count, effort)?;
            first.push(of_first);
            reload.push(of_reload);
            unread.push(of_unread);
        }
        let row = |what: &str, measured, unit, limit| Row {
            number: "B17",
            what: format!("{count} named alarms: {what}"),
            measured: Runs::of(measured),
            unit,
            baseline: None,
            aims: vec![Aim::AtMost(limit)],
        };
        rows.push(row("CPU of the first message of each", first, "µs", 10.0));
        rows.push(row("CPU of a reload in which one is different", reload, "s", limit));
        rows.push(row("longest time without listening meanwhile", unread, "ms", 50.0));
    }
    Ok(rows)
}
