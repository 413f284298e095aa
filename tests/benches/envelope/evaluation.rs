//! B5 and B11: what one evaluation costs in the engine alone.

use crate::engine_load::{Load, PERIOD, processor_time};
use crate::table::{Aim, Row, Runs};
use crate::{ALLOCATOR, Effort};
use annunciator::domain::model::{Condition, Deadband, Operator, Trigger};
use annunciator::domain::time::Span;
use anyhow::Result;
use stats_alloc::Region;

/// Evaluations of one run.
const EVALUATIONS: u64 = 2_000_000;
const PROPERTIES: usize = 1_000;
/// On each property.
const ALARMS: u64 = 10;
const OBSERVE_TIME: Span = Span::from_secs(5);

fn above(deadband: Option<Deadband>) -> Condition {
    Condition::number(Operator::Greater, 50.0, deadband)
}

fn average(window: Span) -> Trigger {
    Trigger::Average { condition: above(None), window, observe_time: OBSERVE_TIME, clear_delay: Span::ZERO }
}

/// So long that it holds this many samples of a property.
fn window_of(samples: i64, properties: i64) -> Span {
    Span::from_micros(PERIOD.as_micros() * samples * properties)
}

/// Nanoseconds per evaluation.
fn time(load: &mut Load) -> f64 {
    let messages = EVALUATIONS / load.alarms;
    let before = processor_time();
    (0..messages).for_each(|_| load.message());
    (processor_time() - before).as_secs_f64() * 1e9 / EVALUATIONS as f64
}

fn row(number: &'static str, what: String, measured: Runs, unit: &'static str, aim: Aim) -> Row {
    Row { number, what, measured, unit, baseline: None, aims: vec![aim] }
}

#[expect(clippy::unnecessary_wraps, reason = "as all others")]
pub(crate) fn rows(effort: Effort) -> Result<Vec<Row>> {
    let condition = above(Some(Deadband::Absolute(2.0)));
    let standard = Trigger::Standard { condition, observe_time: OBSERVE_TIME, clear_delay: Span::ZERO };
    let silence = Trigger::NoValue { observe_time: OBSERVE_TIME };
    let mut rows = Vec::new();
    for (name, trigger, rounds, limit) in [
        ("standard", &standard, 20, 150.0),
        ("average of 1,000", &average(window_of(1_000, 1_000)), 1_100, 250.0),
        ("no-value", &silence, 20, 150.0),
    ] {
        let mut load = Load::new(PROPERTIES, ALARMS, trigger);
        load.warm_up(rounds);
        let times = (0..effort.runs.max(3)).map(|_| time(&mut load)).collect();
        rows.push(row("B5", format!("evaluation, {name}, 10,000 alarms"), Runs::of(times), "ns", Aim::AtMost(limit)));
        let region = Region::new(ALLOCATOR);
        time(&mut load);
        let counted = region.change();
        let all = (counted.allocations + counted.reallocations) as f64 / EVALUATIONS as f64;
        rows.push(row("B5", format!("allocations per evaluation, {name}"), Runs::once(all), "", Aim::AtMost(0.0)));
    }
    Ok(rows)
}

#[expect(clippy::unnecessary_wraps, reason = "as all others")]
pub(crate) fn large_window(effort: Effort) -> Result<Vec<Row>> {
    const SAMPLES: usize = 1_000_000;
    let mut small = Load::new(1, 1, &average(window_of(1_000, 1)));
    small.warm_up(2_000);
    let (mut small_times, mut large_times) = (Vec::new(), Vec::new());
    let mut large = Load::new(1, 1, &average(window_of(1_000_000, 1)));
    large.warm_up(1);
    let region = Region::new(ALLOCATOR);
    large.warm_up(SAMPLES);
    let counted = region.change();
    let held = counted.bytes_allocated as f64 - counted.bytes_deallocated as f64;
    for _ in 0..effort.runs.max(3) {
        small_times.push(time(&mut small));
        large_times.push(time(&mut large));
    }
    Ok(vec![
        row(
            "B11",
            "average of 1,000,000: memory per sample".to_owned(),
            Runs::once(held / SAMPLES as f64),
            "B",
            Aim::AtMost(16.0),
        ),
        Row {
            baseline: Some(("of 1,000", Runs::of(small_times))),
            ..row(
                "B11",
                "average of 1,000,000: one sample more".to_owned(),
                Runs::of(large_times),
                "ns",
                Aim::AtMostTimes(2.0),
            )
        },
    ])
}
