//! What the daemon costs: every figure that is promised, measured in one run beside what it is compared with.
//!
//! `cargo bench --bench envelope` measures all, `cargo bench --bench envelope -- B1 B8` these rows, `--quick` in a tenth of
//! the time. It starts and stops what it needs: a mosquitto on a random port, the daemon of the same build, subscribers to
//! compare with. Broker and load share core 0, what is measured has core 1. The table is also written as JSON.
//!
//! Figures are ratios to a baseline of the same run, or counts, because a machine that others use as well has no other
//! truth. Each is the median of three runs, with the lowest and the highest beside it.

#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a benchmark measures time and prints it"
)]

mod bare;
mod costs;
#[path = "../engine/load.rs"]
mod engine_load;
mod evaluation;
mod latency;
mod line;
mod load;
mod memory;
mod meters;
mod named;
mod node_red;
mod questions;
mod size;
mod slow_disk;
mod stage;
mod storage;
mod table;

use anyhow::{Context as _, Result};
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;
use std::time::{Duration, Instant};
use table::Row;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Where the rows go as JSON.
const JSON: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/envelope.json");

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// How often each measurement is made.
    pub(crate) runs: usize,
    is_quick: bool,
}

impl Effort {
    /// How long something lasts that takes so many seconds at full length.
    pub(crate) fn length(self, seconds: u64) -> Duration {
        Duration::from_millis(seconds * if self.is_quick { 300 } else { 1_000 })
    }

    /// How many of so many.
    pub(crate) fn share(self, number: u64) -> u64 {
        if self.is_quick { number / 10 } else { number }
    }
}

type Measurement = fn(Effort) -> Result<Vec<Row>>;

/// What is measured, and the rows that come of it.
const MEASUREMENTS: [(&[&str], Measurement); 16] = [
    (&["B1"], costs::typical),
    (&["B2"], costs::worst),
    (&["B3"], costs::highest_rate),
    (&["B4"], costs::many_alarms_on_one_property),
    (&["B5"], evaluation::rows),
    (&["B6", "B7"], memory::per_alarm),
    (&["B8"], latency::rows),
    (&["B9"], storage::bytes),
    (&["B10"], storage::start),
    (&["B11"], evaluation::large_window),
    (&["B12"], size::rows),
    (&["B13"], memory::flood),
    (&["B14"], costs::growth),
    (&["B17"], named::rows),
    (&["B18"], questions::rows),
    (&["B19"], slow_disk::rows),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((mode, rest)) = arguments.split_first()
        && mode == bare::MODE
    {
        return bare::run(rest);
    }
    let is_quick = arguments.iter().any(|argument| argument == "--quick");
    let effort = Effort { runs: if is_quick { 1 } else { 3 }, is_quick };
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let is_wanted =
        |names: &[&str]| wanted.is_empty() || names.iter().any(|name| wanted.iter().any(|want| want == name));
    stage::keep_to_core()?;
    let mut rows = Vec::new();
    for (names, measure) in MEASUREMENTS.iter().filter(|(names, _)| is_wanted(names)) {
        let begin = Instant::now();
        match measure(effort) {
            Ok(measured) => {
                table::print(&measured);
                rows.extend(measured);
            }
            // The others may say something nevertheless.
            Err(error) => println!("{}: {error:#}", names.join(", ")),
        }
        println!("{} took {:.0} s\n", names.join(", "), begin.elapsed().as_secs_f64());
    }
    let record = json!({ "program": stage::program(), "rows": rows.iter().map(Row::json).collect::<Vec<_>>() });
    std::fs::write(JSON, serde_json::to_string_pretty(&record)?).context(JSON)?;
    table::print(&rows);
    println!("\n{JSON}");
    Ok(())
}
