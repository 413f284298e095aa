//! Describes a segment by a few numbers that a person would look for, too.
//!
//! Its behaviour: level, spread, trend, change from sample to sample, and how much of it swings in one or two periods.
//! Its shape, for fixed segments, which begin at the same phase each time. And when it was, where the past is long
//! enough to know days or weeks. All are in units of the property's scale.

use super::real;
use super::series::{Sample, Scale, moments};
use crate::domain::time::{Span, Stamp};
use std::collections::VecDeque;
use std::f64::consts::TAU;

/// Points that the shape of a segment is reduced to: enough to tell a missing hump, few enough to keep noise out.
const SHAPE: usize = 8;
/// How far noon is from midnight, in units of the scale: less than values, so that time alone is no anomaly.
const CLOCK_WEIGHT: f64 = 0.1;
const DAY: Span = Span::from_secs(86_400);
const WEEK: Span = Span::from_secs(7 * 86_400);

/// What a description of a segment contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// The shape of the segment beside its behaviour.
    pub shape: bool,
    /// The time of day.
    pub day: bool,
    /// The day of the week.
    pub week: bool,
}

impl Features {
    /// What can be learnt from a past of this length: a day is known when it was seen twice, and so is a week.
    pub fn of_past(length: Span, shape: bool) -> Features {
        let twice = |period: Span| length.as_micros() >= 2 * period.as_micros();
        Features { shape, day: twice(DAY), week: twice(WEEK) }
    }

    /// The segment in numbers, as many for each segment.
    pub fn describe(&self, segment: &VecDeque<Sample>, scale: Scale) -> Vec<f64> {
        let values = || segment.iter().map(|sample| scale.apply(sample.value));
        let (level, spread) = moments(values());
        let mut features = vec![level, spread, trend(values(), level), change(values())];
        features.extend([1.0, 2.0].map(|periods| swing(values(), level, periods)));
        if self.shape {
            features.extend((0..SHAPE).map(|part| {
                let range = segment.len() * part / SHAPE..(segment.len() * (part + 1) / SHAPE).max(1);
                let count = real(range.len()).max(1.0);
                segment.range(range).map(|sample| scale.apply(sample.value) - level).sum::<f64>() / count
            }));
        }
        if let Some(last) = segment.back() {
            if self.day {
                features.extend(on_the_clock(last.at, DAY));
            }
            if self.week {
                features.extend(on_the_clock(last.at, WEEK));
            }
        }
        features
    }
}

/// How far the line of least squares rises over the segment.
fn trend(values: impl ExactSizeIterator<Item = f64>, level: f64) -> f64 {
    let count = real(values.len());
    let middle = (count - 1.0) / 2.0;
    let (mut product, mut square) = (0.0, 0.0);
    for (index, value) in values.enumerate() {
        let x = real(index) - middle;
        product += x * (value - level);
        square += x * x;
    }
    if square > 0.0 { product / square * count } else { 0.0 }
}

/// The mean step from one sample to the next, up or down.
fn change(values: impl ExactSizeIterator<Item = f64> + Clone) -> f64 {
    let steps = values.len().saturating_sub(1).max(1);
    values.clone().zip(values.skip(1)).map(|(before, after)| (after - before).abs()).sum::<f64>() / real(steps)
}

/// The amplitude of a sine with so many periods in the segment.
fn swing(values: impl ExactSizeIterator<Item = f64>, level: f64, periods: f64) -> f64 {
    let count = real(values.len()).max(1.0);
    let (turn_sin, turn_cos) = (TAU * periods / count).sin_cos();
    let (mut sin, mut cos) = (0.0_f64, 1.0_f64);
    let (mut imaginary, mut real) = (0.0, 0.0);
    for value in values {
        imaginary += sin * (value - level);
        real += cos * (value - level);
        (sin, cos) = (sin * turn_cos + cos * turn_sin, cos * turn_cos - sin * turn_sin);
    }
    2.0 * imaginary.hypot(real) / count
}

fn on_the_clock(at: Stamp, period: Span) -> [f64; 2] {
    let since = Span::from_micros(at.as_micros().rem_euclid(period.as_micros()));
    let (sin, cos) = (TAU * since.as_secs_f64() / period.as_secs_f64()).sin_cos();
    [CLOCK_WEIGHT * sin, CLOCK_WEIGHT * cos]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UNIT: Scale = Scale { low: 0.0, high: 1.0 };

    fn segment(values: impl Iterator<Item = f64>) -> VecDeque<Sample> {
        let at = |index: usize| Stamp::from_micros(i64::try_from(index).unwrap() * 1_000_000);
        values.enumerate().map(|(index, value)| Sample { at: at(index), value }).collect()
    }

    fn near(found: &[f64], wanted: &[f64]) {
        assert_eq!(found.len(), wanted.len());
        for (a, b) in found.iter().zip(wanted) {
            assert!((a - b).abs() < 1e-9, "{found:?} instead of {wanted:?}");
        }
    }

    #[test]
    fn a_constant_has_a_level_and_nothing_else() {
        near(&Features::default().describe(&segment((0..50).map(|_| 0.7)), UNIT), &[0.7, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn a_ramp_rises_by_its_length() {
        let found = Features::default().describe(&segment((0..100).map(|n| f64::from(n) / 100.0)), UNIT);
        near(&found[..4], &[0.495, (f64::from(100 * 100 - 1) / 12.0).sqrt() / 100.0, 1.0, 0.01]);
    }

    #[test]
    fn a_sine_swings_in_its_own_period_only() {
        let sine =
            |periods: f64| segment((0..64).map(move |n| 0.5 + 0.3 * (TAU * periods * f64::from(n) / 64.0).sin()));
        near(&Features::default().describe(&sine(1.0), UNIT)[4..], &[0.3, 0.0]);
        near(&Features::default().describe(&sine(2.0), UNIT)[4..], &[0.0, 0.3]);
    }

    #[test]
    fn the_shape_is_what_remains_without_the_level() {
        let features = Features { shape: true, ..Features::default() };
        let found = features.describe(&segment((0..16).map(|n| if n < 8 { 1.0 } else { 3.0 })), UNIT);
        near(&found[6..], &[-1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn a_day_is_known_when_it_was_seen_twice() {
        let days = |count: i64| Features::of_past(Span::from_secs(count * 86_400), false);
        assert_eq!((days(1).day, days(2).day, days(13).week, days(14).week), (false, true, false, true));
    }

    proptest! {
        #[test]
        fn a_shift_changes_the_level_alone(values in prop::collection::vec(-1e3..1e3_f64, 2..80), by in -1e3..1e3_f64) {
            let before = Features::default().describe(&segment(values.iter().copied()), UNIT);
            let after = Features::default().describe(&segment(values.iter().map(|value| value + by)), UNIT);
            prop_assert!((after[0] - before[0] - by).abs() < 1e-6);
            for (a, b) in before[1..].iter().zip(&after[1..]) {
                prop_assert!((a - b).abs() < 1e-6, "{before:?} {after:?}");
            }
        }
    }
}
