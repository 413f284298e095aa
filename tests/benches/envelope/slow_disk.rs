//! B19: a disk that takes long for each sync, while values come as fast as ever and wait at the broker.

use crate::Effort;
use crate::costs::{ONE_EACH, Scene};
use crate::load::Mix;
use crate::stage::until;
use crate::table::{Aim, Row, Runs};
use anyhow::{Context as _, Result, ensure};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

const RATE: u64 = 10_000;
/// Each property speaks ten times a second, and one message in a hundred changes an alarm.
const MIX: Mix = Mix { properties: 1_000, qos: 1, change_every: Some(100) };
/// No thing is ever silent for this long. Those that are at the end are counted apart.
const SILENCE: &str = "[[alarm]]\nthing = \"thing-*\"\nproperty = \"value\"\nlevel = \"silent\"\ntype = \"no-value\"\n\
                       observe_time = \"5s\"\n";
const MIB: f64 = 1_048_576.0;
/// What may wait in memory (32 MiB of messages), and what is in flight besides.
const BOUND: f64 = 64.0;

pub(crate) fn rows(effort: Effort) -> Result<Vec<Row>> {
    let home = tempfile::tempdir()?;
    let library = home.path().join("slow_sync.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/observing/slow_sync.c");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    ensure!(built.context("cc is missing")?.success(), "the slow disk was not built");
    let slow = home.path().join("slow");
    let mut rows = Vec::new();
    for millis in [100, 2_000] {
        rows.extend(with_syncs_of(millis, effort, &library, &slow)?);
    }
    Ok(rows)
}

fn with_syncs_of(millis: u64, effort: Effort, library: &Path, slow: &Path) -> Result<Vec<Row>> {
    let alarms = format!("{ONE_EACH}\n{SILENCE}");
    let environment = [("LD_PRELOAD", library), ("SLOW_SYNC", slow)];
    let mut scene = Scene::open_with(MIX, "", &alarms, &["annunciator/bench/events/+/value/silent"], &environment)?;
    let rest = scene.daemon.memory()? as f64 / MIB;
    // Those that were silent before the load has begun have fired, or are about to.
    scene.load.run(RATE, effort.length(3))?;
    scene.ears.until_settled(scene.load.sent())?;
    let (events, gaps) = (scene.ears.events(), scene.ears.gaps().len());
    std::fs::write(slow, millis.to_string())?;
    let (is_over, mut peak) = (AtomicBool::new(false), 0.0_f64);
    let Scene { load, daemon, ears, .. } = &mut scene;
    std::thread::scope(|threads| {
        let loading = threads.spawn(|| {
            let done = load.run(RATE, effort.length(60));
            let healed = std::fs::remove_file(slow);
            is_over.store(true, Ordering::Relaxed);
            done.map(drop).and(healed.map_err(Into::into))
        });
        let watched = until("the end of the load", || {
            peak = peak.max(daemon.memory()? as f64 / MIB);
            Ok(is_over.load(Ordering::Relaxed).then_some(()))
        });
        let loaded = loading.join().map_err(|_| anyhow::anyhow!("the load has panicked"))?;
        watched.and(loaded)
    })?;
    let alarms = ears.events() - events;
    let metrics = ears.until_settled(load.sent())?;
    peak = peak.max(daemon.memory()? as f64 / MIB);
    let lost = load.sent().saturating_sub(metrics["messages"].as_u64().unwrap_or(0));
    let overflow = metrics["overflow"].as_u64().unwrap_or(0);
    let row = |what: &str, measured: f64, unit, aim| Row {
        number: "B19",
        what: format!("syncs of {millis} ms, {RATE}/s, QoS 1: {what}"),
        measured: Runs::once(measured),
        unit,
        baseline: None,
        aims: vec![aim],
    };
    Ok(vec![
        row("messages lost", (lost + overflow) as f64, "messages", Aim::AtMost(0.0)),
        row("false alarms of silence", alarms as f64, "alarms", Aim::AtMost(0.0)),
        row("memory above rest", peak - rest, "MiB", Aim::AtMost(BOUND)),
        row("gaps that were told", (ears.gaps().len() - gaps) as f64, "gaps", Aim::None),
    ])
}
