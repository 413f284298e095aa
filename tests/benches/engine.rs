//! What one evaluation costs in the engine alone: nanoseconds, and allocations, of which there should be none.
//!
//! `cargo bench --bench engine`. Times are per evaluation, not per message: a message is evaluated once for each alarm
//! on its property. 10,000 alarms on 1,000 properties, visited in an order that no cache likes; then 300 on one.

#![expect(clippy::print_stdout, reason = "figures are for people to read")]

use annunciator::engine::{Engine, Input, PropertyIx, Sample, Step};
use annunciator::model::{
    AlarmDefinition, Condition, Deadband, Model, OnGap, Operator, Severity, ThingPattern, Trigger, ValueRef,
};
use annunciator::time::{Moment, Now, Span, Stamp};
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Bencher, Criterion};
use rustix::time::{ClockId, clock_gettime};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::sync::Arc;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Time between two messages: each of 1,000 properties speaks once a second.
const PERIOD: Span = Span::from_millis(1);
/// The window of an average, in which a property speaks 1,000 times.
const WINDOW: Span = Span::from_secs(1_000);
/// Shares no divisor with 1,000: going on by it visits every property, and never its neighbour.
const STRIDE: usize = 617;
/// Evaluations whose allocations are counted.
const COUNTED: u64 = 1_000_000;

/// An engine that hears one value after the other, and none that activates an alarm.
struct Load {
    engine: Engine,
    properties: Vec<PropertyIx>,
    /// Evaluations of one message.
    alarms: u64,
    step: Step,
    messages: usize,
    now: Moment,
}

impl Load {
    fn new(properties: usize, alarms: u64, trigger: &Trigger) -> Load {
        let things: Vec<Arc<str>> = (0..properties).map(|number| Arc::from(format!("thing-{number}"))).collect();
        let definition = |level: u64| AlarmDefinition {
            things: things.iter().cloned().map(ThingPattern::Exactly).collect(),
            property: Arc::from("temperature"),
            level: Arc::from(level.to_string()),
            trigger: trigger.clone(),
            on_gap: OnGap::Pause,
            enabled: true,
            severity: Severity::Warning,
            title: Arc::default(),
            description: Arc::default(),
        };
        let definitions = (0..alarms).map(definition).collect();
        let mut engine = Engine::new(Arc::new(Model { definitions, max_things: properties, ..Model::default() }));
        let property = |id| engine.property(engine.thing(id)?, "temperature");
        let properties = things.iter().filter_map(|id| property(id)).collect();
        let mut step = Step::default();
        engine.handle(Input::LinkUp, reading(Moment::default()), &mut step);
        Load { engine, properties, alarms, step, messages: 0, now: Moment::default() }
    }

    /// One message. One in sixteen values begins an observe-time that the next one ends.
    fn message(&mut self) {
        const VALUES: [f64; 16] =
            [21.5, 23.0, 19.75, 22.1, 55.0, 20.3, 24.2, 18.9, 21.0, 22.7, 23.3, 20.8, 19.2, 25.1, 22.4, 21.9];
        let round = self.messages / self.properties.len();
        let samples = [Sample {
            property: self.properties[self.messages * STRIDE % self.properties.len()],
            value: ValueRef::Number(VALUES[(self.messages + round) % VALUES.len()]),
        }];
        let input = Input::Message { samples: &samples, stamp: None, retained: false, sign_of_life: true };
        self.messages += 1;
        self.now = self.now + PERIOD;
        self.engine.handle(input, reading(self.now), &mut self.step);
        assert!(self.step.events.is_empty(), "an alarm changed: that is not what is measured here");
    }

    /// Until every property has spoken as often as a window holds samples.
    fn warm_up(&mut self, rounds: usize) {
        (0..rounds * self.properties.len()).for_each(|_| self.message());
    }

    fn measure(&mut self, bencher: &mut Bencher<'_, CpuTime>) {
        bencher.iter_custom(|evaluations| {
            let messages = evaluations.div_ceil(self.alarms);
            let start = CpuTime.start();
            (0..messages).for_each(|_| self.message());
            let whole = CpuTime.end(start);
            // The last message may have been evaluated more often than was asked for.
            let share = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
            let done = messages * self.alarms;
            whole - whole / share(done) * share(done - evaluations)
        });
    }

    fn count_allocations(&mut self, name: &str) {
        let region = Region::new(ALLOCATOR);
        (0..COUNTED / self.alarms).for_each(|_| self.message());
        let counted = region.change();
        let all = counted.allocations + counted.reallocations;
        println!("{name}: {all} allocations in {COUNTED} evaluations\n");
    }
}

/// Time that this thread was on a processor: on a machine that others use as well, the clock on the wall measures them.
struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
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

fn reading(at: Moment) -> Now {
    Now { at, wall: Stamp::from_micros(at.as_micros()) }
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
            load.measure(bencher);
        });
        if let Some(load) = &mut load {
            load.count_allocations(name);
        }
    }
    criterion.final_summary();
}
