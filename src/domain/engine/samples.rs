//! Samples in the order of their times, twelve bytes each: a queue that is read and changed at its ends.
//!
//! Each sample has the time that passed since the one before it, in 32 bits. Where that is more than 71 minutes, a *pause*
//! stands between the two: an entry that has the upper part of the time where others have a number. Times are exact.

use super::window::WindowSample;
use crate::domain::time::{Moment, Span};
use std::collections::VecDeque;

/// A sample or a pause, in parts of 32 bits: together they would be aligned to 64, and take sixteen bytes.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Microseconds since the sample before.
    passed: u32,
    /// The number's upper and lower half. A pause has what no sample is: no number, and the upper part of a time.
    number: [u32; 2],
}

/// The upper half of what is no number.
const PAUSE: u32 = 0x7ff8_0000;

impl Entry {
    fn value(self) -> f64 {
        let [high, low] = self.number;
        f64::from_bits(u64::from(high) << 32 | u64::from(low))
    }

    /// The upper part of the time that a pause stands for; none: it is a sample.
    fn pause(self) -> Option<u64> {
        let [high, low] = self.number;
        (high == PAUSE).then_some(u64::from(low) << 32)
    }
}

/// Samples, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples {
    entries: VecDeque<Entry>,
    /// How many entries are samples.
    count: usize,
    oldest: Moment,
    newest: Moment,
}

impl Samples {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The time of the oldest.
    pub(super) fn oldest(&self) -> Option<Moment> {
        (self.count > 0).then_some(self.oldest)
    }

    /// Reads both ends.
    pub(super) fn fetch(&self) -> u32 {
        let passed = |entry: Option<&Entry>| entry.map_or(0, |entry| entry.passed);
        passed(self.entries.front()) ^ passed(self.entries.back())
    }

    /// Adds a sample that is not older than the newest.
    pub(super) fn push(&mut self, sample: WindowSample) {
        if self.count == 0 {
            (self.oldest, self.newest) = (sample.at, sample.at);
        }
        let passed = u64::try_from((sample.at - self.newest).as_micros()).unwrap_or(0);
        let (upper, passed) = halves(passed);
        if upper > 0 {
            self.add(Entry { passed: 0, number: [PAUSE, upper] });
        }
        self.add(Entry { passed, number: halves(sample.value.to_bits()).into() });
        self.count += 1;
        self.newest = sample.at;
    }

    /// With an eighth in reserve: to double it would leave a quarter of it empty on average.
    fn add(&mut self, entry: Entry) {
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(self.entries.len() / 8 + 4);
        }
        self.entries.push_back(entry);
    }

    /// Takes out the oldest, and gives its number.
    pub(super) fn drop_oldest(&mut self) -> Option<f64> {
        let oldest = self.entries.pop_front()?;
        self.count -= 1;
        let upper = self.entries.front().and_then(|entry| entry.pause());
        if upper.is_some() {
            self.entries.pop_front();
        }
        if let Some(next) = self.entries.front() {
            self.oldest = self.oldest + span(upper, next.passed);
        }
        Some(oldest.value())
    }

    /// Takes out what is later than `moment`, oldest first.
    pub(super) fn take_later(&mut self, moment: Moment) -> Vec<WindowSample> {
        if self.newest <= moment {
            return Vec::new();
        }
        let later = self.backwards().take_while(|sample| sample.at > moment).count();
        let taken = self.last(later);
        let left = self.backwards().nth(later).map(|sample| sample.at);
        for _ in 0..later {
            self.entries.pop_back();
            if self.entries.back().is_some_and(|entry| entry.pause().is_some()) {
                self.entries.pop_back();
            }
        }
        self.count -= later;
        self.newest = left.unwrap_or_default();
        taken
    }

    /// Makes all samples later.
    pub(super) fn shift(&mut self, by: Span) {
        self.oldest = self.oldest + by;
        self.newest = self.newest + by;
    }

    /// The newest ones, so many of them, oldest first.
    pub(super) fn last(&self, count: usize) -> Vec<WindowSample> {
        let mut samples: Vec<WindowSample> = self.backwards().take(count).collect();
        samples.reverse();
        samples
    }

    /// All, newest first.
    fn backwards(&self) -> impl Iterator<Item = WindowSample> + '_ {
        let mut at = self.newest;
        let mut entries = self.entries.iter().rev().peekable();
        std::iter::from_fn(move || {
            let entry = entries.next()?;
            let sample = WindowSample { at, value: entry.value() };
            let upper = entries.peek().and_then(|before| before.pause());
            if upper.is_some() {
                entries.next();
            }
            at = at - span(upper, entry.passed);
            Some(sample)
        })
    }
}

fn span(upper: Option<u64>, passed: u32) -> Span {
    Span::from_micros(i64::try_from(upper.unwrap_or(0) | u64::from(passed)).unwrap_or(i64::MAX))
}

/// The upper and the lower half.
fn halves(wide: u64) -> (u32, u32) {
    let low = wide & u64::from(u32::MAX);
    (u32::try_from(wide >> 32).unwrap_or(u32::MAX), u32::try_from(low).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_sample_takes_twelve_bytes() {
        assert_eq!(size_of::<Entry>(), 12);
    }

    #[derive(Debug, Clone)]
    enum Act {
        Push(i64, f64),
        DropOldest,
        TakeLater(i64),
        Shift(i64),
    }

    fn act() -> impl Strategy<Value = Act> {
        // Less than 71 minutes, more, and much more.
        let passed = prop_oneof![0..10_i64, 4_294_967_290..4_294_967_300_i64, 0..1_i64 << 50];
        prop_oneof![
            6 => (passed.clone(), proptest::num::f64::NORMAL | proptest::num::f64::ZERO | proptest::num::f64::SUBNORMAL)
                .prop_map(|(passed, value)| Act::Push(passed, value)),
            2 => Just(Act::DropOldest),
            1 => passed.clone().prop_map(Act::TakeLater),
            1 => passed.prop_map(Act::Shift),
        ]
    }

    proptest! {
        /// The dumb formulation: a list of times and numbers.
        #[test]
        fn they_are_what_a_plain_list_holds(begin in -1_i64 << 52..1_i64 << 52, acts in proptest::collection::vec(act(), 1..60)) {
            let (mut samples, mut list, mut now) = (Samples::default(), VecDeque::new(), begin);
            for act in acts {
                match act {
                    Act::Push(passed, value) => {
                        now += passed;
                        let sample = WindowSample { at: Moment::from_micros(now), value };
                        samples.push(sample);
                        list.push_back(sample);
                    }
                    Act::DropOldest => {
                        let dropped = list.pop_front().map(|sample| sample.value.to_bits());
                        prop_assert_eq!(samples.drop_oldest().map(f64::to_bits), dropped);
                    }
                    Act::TakeLater(before) => {
                        let moment = Moment::from_micros(now - before);
                        let place = list.partition_point(|sample| sample.at <= moment);
                        prop_assert_eq!(samples.take_later(moment), Vec::from(list.split_off(place)));
                        now = list.back().map_or(now, |sample| sample.at.as_micros());
                    }
                    Act::Shift(by) => {
                        let by = Span::from_micros(by);
                        samples.shift(by);
                        list.iter_mut().for_each(|sample| sample.at = sample.at + by);
                        now += by.as_micros();
                    }
                }
                prop_assert_eq!(samples.len(), list.len());
                prop_assert_eq!(samples.oldest(), list.front().map(|sample| sample.at));
                prop_assert_eq!(samples.last(usize::MAX), Vec::from(list.clone()));
            }
        }
    }
}
