//! What a score costs: time, memory, and the time to learn from a month.

use annunciator::domain::anomaly::cluster::Clustering;
use annunciator::domain::anomaly::detector::Detector;
use annunciator::domain::anomaly::model::{Model, Settings};
use annunciator::domain::anomaly::series::Sample;
use annunciator::domain::time::{Span, Stamp};
use rustix::time::{ClockId, clock_gettime};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A month of one value a second.
const MONTH: i64 = 30 * 86_400;
/// Values whose cost is measured.
const SCORED: i64 = 200_000;

/// A daily swing with a noise that no model knows.
fn sample(second: i64) -> Sample {
    let day = f64::from(u32::try_from(second % 86_400).unwrap_or_default()) / 86_400.0;
    let noise = f64::from(u32::try_from(second * 7_919 % 10_007).unwrap_or_default()) / 10_007.0;
    Sample {
        at: Stamp::from_micros(second * 1_000_000),
        value: 20.0 + 5.0 * (std::f64::consts::TAU * day).sin() + noise,
    }
}

fn seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    f64::from(u32::try_from(time.tv_sec).unwrap_or(u32::MAX))
        + f64::from(u32::try_from(time.tv_nsec).unwrap_or_default()) / 1e9
}

pub(crate) fn print() {
    println!();
    let past: Vec<Sample> = (0..750).map(|index| sample(index * 300)).collect();
    let region = Region::new(ALLOCATOR);
    let Ok(mut detector) = Detector::learn(&past) else { return println!("nothing can be learnt") };
    let change = region.change();
    println!("a detector keeps {} KiB", (change.bytes_allocated - change.bytes_deallocated) / 1_024);
    let before = seconds();
    let most = (750..750 + SCORED).map(|index| detector.observe(sample(index * 300)).score).fold(0.0, f64::max);
    let each = (seconds() - before) / 1e-6 / f64::from(u32::try_from(SCORED).unwrap_or(1));
    println!("a score takes {each:.2} µs of CPU (the highest was {most:.1})");

    for clustering in Clustering::ALL {
        let settings = Settings {
            segment: Span::from_secs(3_600),
            step: Span::from_secs(300),
            clustering,
            sensitivity: 99.5,
            min_duration: Span::ZERO,
        };
        let before = seconds();
        let built = Model::build(1, settings, || (0..MONTH).map(|second| (0, sample(second))));
        let Ok(model) = built else { return println!("nothing can be learnt") };
        println!(
            "30 days of 1 Hz, {}: {:.2} s, {} segments, {} clusters",
            clustering.as_str(),
            seconds() - before,
            model.trained.segments,
            model.normal.clusters
        );
    }
}
