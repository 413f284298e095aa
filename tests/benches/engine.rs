//! What one evaluation costs in the engine alone: nanoseconds, and allocations, of which there should be none.
//!
//! `cargo bench --bench engine`. Times are per evaluation, not per message: a message is evaluated once for each alarm
//! on its property. 10,000 alarms on 1,000 properties, visited in an order that no cache likes; then 300 on one.

#![expect(clippy::print_stdout, reason = "figures are for people to read")]

#[path = "engine/load.rs"]
mod load;

use annunciator::domain::model::{Condition, Deadband, Operator, Trigger};
use annunciator::domain::time::Span;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Bencher, Criterion};
use load::{Load, processor_time};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The window of an average, in which a property speaks 1,000 times.
const WINDOW: Span = Span::from_secs(1_000);
/// Evaluations whose allocations are counted.
const COUNTED: u64 = 1_000_000;

fn measure(load: &mut Load, bencher: &mut Bencher<'_, CpuTime>) {
    bencher.iter_custom(|evaluations| {
        let messages = evaluations.div_ceil(load.alarms);
        let start = CpuTime.start();
        (0..messages).for_each(|_| load.message());
        let whole = CpuTime.end(start);
        // The last message may have been evaluated more often than was asked for.
        let share = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let done = messages * load.alarms;
        whole - whole / share(done) * share(done - evaluations)
    });
}

fn count_allocations(load: &mut Load, name: &str) {
    let region = Region::new(ALLOCATOR);
    (0..COUNTED / load.alarms).for_each(|_| load.message());
    let counted = region.change();
    let all = counted.allocations + counted.reallocations;
    println!("{name}: {all} allocations in {COUNTED} evaluations\n");
}

/// Time that this thread was on a processor: on a machine that others use as well, the clock on the wall measures them.
struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        processor_time()
    }

    fn end(&self, start: Duration) -> Duration {
        self.start().saturating_sub(start)
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, time: &Duration) -> f64 {
        WallTime.to_f64(time)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

fn main() {
    let mut criterion = Criterion::default().with_measurement(CpuTime).configure_from_args();
    let observe_time = Span::from_secs(5);
    let above = |deadband| Condition::number(Operator::Greater, 50.0, deadband);
    let condition = above(Some(Deadband::Absolute(2.0)));
    let standard = Trigger::Standard { condition, observe_time, clear_delay: Span::ZERO };
    let average = Trigger::Average { condition: above(None), window: WINDOW, observe_time, clear_delay: Span::ZERO };
    let silence = Trigger::NoValue { observe_time };
    for (name, properties, alarms, trigger, rounds) in [
        ("standard", 1_000, 10, &standard, 20),
        ("no-value", 1_000, 10, &silence, 20),
        ("average of 1,000", 1_000, 10, &average, 1_100),
        ("300 standard on one property", 1, 300, &standard, 1_000),
        ("300 averages of 1,000 on one property", 1, 300, &average, 1_100),
    ] {
        let mut load = None;
        criterion.bench_function(name, |bencher| {
            // What a filter leaves out is not set up.
            let load = load.get_or_insert_with(|| {
                let mut load = Load::new(properties, alarms, trigger);
                load.warm_up(rounds);
                load
            });
            measure(load, bencher);
        });
        if let Some(load) = &mut load {
            count_allocations(load, name);
        }
    }
    criterion.final_summary();
}
