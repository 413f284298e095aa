//! B9 and B10: what the disk is given, and how long a start takes.

use crate::Effort;
use crate::costs::{ONE_EACH, Scene};
use crate::load::Mix;
use crate::table::{Aim, Row, Runs};
use anyhow::{Context as _, Result};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

const ALARMS: u64 = 1_000;

pub(crate) fn bytes(effort: Effort) -> Result<Vec<Row>> {
    let (per_checkpoint, per_change) = (checkpoints(effort)?, changes(effort)?);
    let row = |what: &str, measured, unit, aim| Row {
        number: "B9",
        what: what.to_owned(),
        measured: Runs::once(measured),
        unit,
        baseline: None,
        aims: vec![aim],
    };
    let limit = 64.0 + 64.0 * ALARMS as f64 / 1_024.0;
    Ok(vec![
        row(
            "written per checkpoint, 10,000/s, 1,000 values changed, no alarm",
            per_checkpoint / 1_024.0,
            "KiB",
            Aim::AtMost(limit),
        ),
        row("the same per hour, at a checkpoint every 10 s", per_checkpoint * 360.0 / 1_048_576.0, "MiB", Aim::None),
        row(
            "written per 1,000 alarm changes spread over a minute",
            per_change * 1_000.0 / 1_048_576.0,
            "MiB",
            Aim::AtMost(2.0),
        ),
    ])
}

/// Bytes per checkpoint. They come faster than usual, so that the databases behind the log get their share.
fn checkpoints(effort: Effort) -> Result<f64> {
    let mix = Mix { properties: ALARMS, qos: 0, change_every: None };
    let mut scene = Scene::open(mix, "checkpoint = \"250ms\"\n", ONE_EACH, &[])?;
    let before = scene.ears.until_settled(scene.load.sent())?;
    let written = scene.daemon.written()?;
    scene.load.run(10_000, effort.length(30))?;
    let after = scene.ears.until_settled(scene.load.sent())?;
    let commits = after["commits"].as_u64().unwrap_or(0) - before["commits"].as_u64().unwrap_or(0);
    Ok((scene.daemon.written()? - written) as f64 / commits as f64)
}

/// Bytes per change of an alarm, each of which is on disk before it is seen.
fn changes(effort: Effort) -> Result<f64> {
    let mix = Mix { properties: ALARMS, qos: 0, change_every: Some(1) };
    let mut scene = Scene::open(mix, "", ONE_EACH, &[])?;
    let before = scene.ears.until_settled(scene.load.sent())?;
    let written = scene.daemon.written()?;
    scene.load.run(17, effort.length(60))?;
    let after = scene.ears.until_settled(scene.load.sent())?;
    let changes = after["seq"].as_u64().unwrap_or(0) - before["seq"].as_u64().unwrap_or(0);
    Ok((scene.daemon.written()? - written) as f64 / changes as f64)
}

pub(crate) fn start(effort: Effort) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (alarms, limit) in [(8_000, 0.5), (100_000, 3.0)] {
        let (mut after_stop, mut after_kill) = (Vec::new(), Vec::new());
        let mix = Mix { properties: alarms, qos: 0, change_every: None };
        let mut scene = Scene::open(mix, "checkpoint = \"1s\"\nmax_things = 200000\n", ONE_EACH, &[])?;
        // The last values are written, too.
        let written = scene.ears.metrics()["commits"].as_u64();
        scene.load.rush(1)?;
        scene.ears.until_metrics("a checkpoint", |metrics| metrics["commits"].as_u64() > written)?;
        scene.daemon.until_at_rest()?;
        for _ in 0..effort.runs {
            scene.daemon.kill();
            after_kill.push(time_to_ready(&mut scene)?);
            scene.daemon.stop()?;
            after_stop.push(time_to_ready(&mut scene)?);
        }
        for (how, times) in [("a clean stop", after_stop), ("kill -9", after_kill)] {
            rows.push(Row {
                number: "B10",
                what: format!("from the start to ready after {how}, {alarms} alarms"),
                measured: Runs::of(times),
                unit: "s",
                baseline: None,
                aims: vec![Aim::AtMost(limit)],
            });
        }
    }
    Ok(rows)
}

/// Until it tells systemd so.
fn time_to_ready(scene: &mut Scene) -> Result<f64> {
    let path = scene.daemon.file("notify");
    let _ = std::fs::remove_file(&path);
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(Duration::from_secs(60)))?;
    let begin = Instant::now();
    scene.daemon.launch(Some(&path))?;
    let mut told = [0; 512];
    loop {
        let length = socket.recv(&mut told).context("it does not become ready")?;
        if String::from_utf8_lossy(&told[..length]).contains("READY=1") {
            break;
        }
    }
    let took = begin.elapsed().as_secs_f64();
    // What it has to say at the start must not be part of the next one.
    scene.ears.until_online()?;
    scene.daemon.until_at_rest()?;
    Ok(took)
}
