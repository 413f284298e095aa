//! Two detectors that need no thought.

use super::series::Series;
use std::collections::BTreeMap;
use std::collections::VecDeque;

/// The windowed Gaussian of NAB: so many values back, moved by so many at a time.
const WINDOW: usize = 6_400;
const STEP: usize = 100;

fn moments(values: &VecDeque<f64>) -> (f64, f64) {
    let count = f64::from(u32::try_from(values.len()).unwrap_or(u32::MAX)).max(1.0);
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt().max(1e-6))
}

/// How many standard deviations a value is from the mean of those before.
pub(crate) fn windowed_gaussian(series: &Series) -> Vec<f64> {
    let (mut window, mut step): (VecDeque<f64>, Vec<f64>) = Default::default();
    let (mut mean, mut deviation) = (0.0, 1.0);
    let mut scores = Vec::new();
    for value in series.values() {
        scores.push(if window.is_empty() { 0.0 } else { f64::abs(value - mean) / deviation });
        if window.len() < WINDOW {
            window.push_back(value);
            (mean, deviation) = moments(&window);
        } else {
            step.push(value);
            if step.len() == STEP {
                window.drain(..STEP);
                window.extend(step.drain(..));
                (mean, deviation) = moments(&window);
            }
        }
    }
    scores
}

/// How far a value is from the mean of its hour of the day in the training part, in standard deviations of those.
pub(crate) fn seasonal_mean(series: &Series) -> Vec<f64> {
    let hour = |at: annunciator::domain::time::Stamp| at.as_micros().rem_euclid(86_400_000_000) / 3_600_000_000;
    let past = &series.samples[..series.probation()];
    let mut hours: BTreeMap<i64, VecDeque<f64>> = BTreeMap::new();
    past.iter().for_each(|sample| hours.entry(hour(sample.at)).or_default().push_back(sample.value));
    let all = past.iter().map(|sample| sample.value).collect();
    let (mean, deviation) = moments(&all);
    let usual = |at| hours.get(&hour(at)).map_or(mean, |values| moments(values).0);
    series.samples.iter().map(|sample| (sample.value - usual(sample.at)).abs() / deviation).collect()
}
