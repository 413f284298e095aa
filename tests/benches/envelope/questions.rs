//! B18: memory while thousands of questions wait for their answers.

use crate::Effort;
use crate::costs::{ONE_EACH, Scene};
use crate::load::Mix;
use crate::meters;
use crate::table::{Aim, Row, Runs};
use anyhow::Result;

const MIB: f64 = 1_048_576.0;
const LISTS: u64 = 3_000;
const HISTORIES: u64 = 300;
const ALARMS: u64 = 1_000;

pub(crate) fn rows(_: Effort) -> Result<Vec<Row>> {
    // Each value is an event, so that there is a history.
    let mix = Mix { properties: ALARMS, qos: 0, change_every: Some(1) };
    let mut scene = Scene::open(mix, "", ONE_EACH, &["annunciator/bench/replies"])?;
    scene.load.rush(5 * ALARMS)?;
    scene.ears.until_settled(scene.load.sent())?;
    scene.daemon.until_at_rest()?;
    let (pid, marks) = (scene.daemon.pid()?, scene.ears.marks());
    meters::forget_peak(pid)?;
    let before = meters::peak(pid)?;
    for number in 0..LISTS {
        scene.load.send("annunciator/bench/commands/list", "{}")?;
        if number % (LISTS / HISTORIES) == 0 {
            scene.load.send("annunciator/bench/commands/history", "{\"limit\":1000}")?;
        }
    }
    scene.ears.until_mark(marks + LISTS + HISTORIES)?;
    let grown = meters::peak(pid)?.saturating_sub(before);
    Ok(vec![Row {
        number: "B18",
        what: format!("memory while {LISTS} lists and {HISTORIES} histories wait, {ALARMS} alarms, all answered"),
        measured: Runs::once(grown as f64 / MIB),
        unit: "MiB",
        baseline: None,
        aims: vec![Aim::AtMost(32.0)],
    }])
}
