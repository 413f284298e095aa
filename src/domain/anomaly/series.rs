//! A series made ready: the values of one property between 0 and 1, without holes that a straight line can close.
//!
//! It decides what an extreme is and which gaps are filled. It does not know what the values are compared with.

use super::{real, share_of};
use crate::domain::time::{Span, Stamp};

/// Values beyond these two quantiles do not say what the range of a property is: one in fifty at either end.
const EXTREMES: f64 = 0.02;
/// Values that are kept to find the range of a long past. A quantile of 2 % is then known to ± 0.1 %.
const KEPT: usize = 1 << 14;
/// A value that is further than a million times the range away is just far away.
const FURTHEST: f64 = 1e6;
/// A pause is a gap when it is longer than this many times the usual interval: one lost message is none.
const LATE: f64 = 1.5;

/// One number of a property, and when it was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When.
    pub at: Stamp,
    /// A finite number.
    pub value: f64,
}

/// What maps a property's values to 0…1; extremes go beyond.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// What becomes 0.
    pub low: f64,
    /// What becomes 1; above `low`.
    pub high: f64,
}

impl Scale {
    /// The value on the scale, a million at most: sums of such values and their squares stay numbers.
    pub fn apply(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(-FURTHEST, FURTHEST)
    }
}

/// Finds scale and interval of a past of any length, in bounded memory.
///
/// Of a long past every second value is kept, then every fourth, and so on: the same past gives the same scale.
#[derive(Debug, Clone)]
pub struct Survey {
    kept: Vec<f64>,
    pauses: Vec<i64>,
    every: usize,
    seen: usize,
    first: Option<Stamp>,
    last: Option<Stamp>,
    end: Option<Stamp>,
}

impl Default for Survey {
    fn default() -> Survey {
        Survey { kept: Vec::new(), pauses: Vec::new(), every: 1, seen: 0, first: None, last: None, end: None }
    }
}

impl Survey {
    /// Takes the next sample in.
    pub fn push(&mut self, sample: Sample) {
        if self.seen.is_multiple_of(self.every) {
            self.kept.push(sample.value);
            if let Some(last) = self.last {
                self.pauses.push((sample.at - last).as_micros());
            }
            if self.kept.len() > KEPT {
                self.every *= 2;
                halve(&mut self.kept);
                halve(&mut self.pauses);
            }
        }
        self.seen += 1;
        self.first = Some(self.first.map_or(sample.at, |first| first.min(sample.at)));
        self.last = Some(sample.at);
        self.end = Some(self.end.map_or(sample.at, |end| end.max(sample.at)));
    }

    /// From here on the samples are another thing's: from the last one to the next is no pause.
    pub fn another_thing(&mut self) {
        self.last = None;
    }

    /// How many samples there were.
    pub fn count(&self) -> usize {
        self.seen
    }

    /// From the first sample to the last.
    pub fn covers(&self) -> Option<(Stamp, Stamp)> {
        self.first.zip(self.end)
    }

    /// The scale; none if nothing changes, or there is nothing.
    pub fn scale(&self) -> Option<Scale> {
        let mut sorted = self.kept.clone();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let cut = share_of(sorted.len(), EXTREMES);
        let (low, high) = (sorted[cut], sorted[sorted.len() - 1 - cut]);
        // A property that hardly ever moves still has a range: all of it.
        let (low, high) = if low < high { (low, high) } else { (least, most) };
        (low < high && (high - low).is_finite()).then_some(Scale { low, high })
    }

    /// The usual time between two samples: the median.
    pub fn interval(&self) -> Option<Span> {
        let mut sorted = self.pauses.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).map(|pause| Span::from_micros((*pause).max(1)))
    }
}

fn halve<T>(values: &mut Vec<T>) {
    let mut index = 0;
    values.retain(|_| {
        index += 1;
        index % 2 == 1
    });
}

/// The samples that a straight line puts between two, one each `interval`; none if they are close together, or
/// further apart than `longest`.
pub fn fill(before: Sample, after: Sample, interval: Span, longest: Span) -> impl Iterator<Item = Sample> {
    let pause = after.at - before.at;
    let is_gap = pause.as_secs_f64() > LATE * interval.as_secs_f64() && pause <= longest;
    let missing = if is_gap { (pause.as_micros() - 1) / interval.as_micros().max(1) } else { 0 };
    (1..=missing).map(move |step| {
        let at = before.at + Span::from_micros(interval.as_micros().saturating_mul(step));
        let part = (at - before.at).as_secs_f64() / pause.as_secs_f64();
        Sample { at, value: before.value + part * (after.value - before.value) }
    })
}

/// Mean and standard deviation of values, of which there is at least one.
pub(crate) fn moments(values: impl ExactSizeIterator<Item = f64> + Clone) -> (f64, f64) {
    let count = real(values.len()).max(1.0);
    let mean = values.clone().sum::<f64>() / count;
    let variance = values.map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
    (mean, variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(second: i64, value: f64) -> Sample {
        Sample { at: Stamp::from_micros(second * 1_000_000), value }
    }

    #[test]
    fn extremes_do_not_stretch_the_scale() {
        let mut survey = Survey::default();
        (0..1_000).for_each(|n| survey.push(sample(n, f64::from(u16::try_from(n % 100).unwrap()))));
        survey.push(sample(1_000, 1e9));
        assert_eq!(survey.scale(), Some(Scale { low: 2.0, high: 98.0 }));
        assert_eq!(survey.interval(), Some(Span::from_secs(1)));
    }

    #[test]
    fn what_never_changes_has_no_scale_and_what_hardly_changes_has_one() {
        let mut survey = Survey::default();
        assert_eq!(survey.scale(), None);
        (0..1_000).for_each(|n| survey.push(sample(n, 5.0)));
        assert_eq!(survey.scale(), None);
        survey.push(sample(1_000, 6.0));
        assert_eq!(survey.scale(), Some(Scale { low: 5.0, high: 6.0 }));
    }

    #[test]
    fn a_long_past_is_surveyed_in_little_memory() {
        let mut survey = Survey::default();
        (0..1_000_000).for_each(|n| survey.push(sample(n, f64::from(u32::try_from(n).unwrap()))));
        assert!(survey.kept.len() <= KEPT);
        let scale = survey.scale().unwrap();
        assert!((scale.low - 20_000.0).abs() < 1_000.0 && (scale.high - 980_000.0).abs() < 1_000.0, "{scale:?}");
    }

    #[test]
    fn a_short_gap_is_closed_by_a_straight_line_and_a_long_one_stays() {
        let (before, after) = (sample(0, 0.0), sample(4, 8.0));
        let filled: Vec<Sample> = fill(before, after, Span::from_secs(1), Span::from_secs(10)).collect();
        assert_eq!(filled, [sample(1, 2.0), sample(2, 4.0), sample(3, 6.0)]);
        assert_eq!(fill(before, after, Span::from_secs(1), Span::from_secs(3)).count(), 0);
        assert_eq!(fill(before, after, Span::from_secs(4), Span::from_secs(10)).count(), 0);
    }
}
