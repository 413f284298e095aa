//! The samples of an average alarm: those of the window, and their mean.
//!
//! Adding a sample and dropping an old one cost the same whatever the window holds. The mean is exact
//! ([`super::sum`]), so it equals a fresh sum of the window after any number of samples.

use super::samples::Samples;
use super::sum::ExactSum;
use crate::domain::time::{Moment, Span};

/// Samples that one window holds at most: 27 MiB with what is in reserve. At 10 values a second it is reached after two
/// days; who needs more averages a slower property. The oldest sample makes room, and the caller is told.
pub(crate) const MAX_SAMPLES: usize = 1 << 21;

/// Samples that all windows hold together: a hundred megabytes, of the unit's 512. When there are more, a window that gets
/// another loses its oldest.
pub(crate) const MAX_ALL_SAMPLES: usize = 1 << 23;

/// One value and the time from which its age counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WindowSample {
    /// When it was taken (its source's stamp) or received.
    pub at: Moment,
    /// A finite number.
    pub value: f64,
}

/// A sliding window and its mean.
#[derive(Debug, Clone, Default)]
pub(crate) struct Window {
    samples: Samples,
    sum: ExactSum,
    mean: Option<f64>,
    /// How many samples have left the window since it was empty: with it every sample has a number for ever.
    dropped: u64,
    /// Samples below this number are on disk as they are here.
    stored: u64,
    /// The first number that may still have a block on disk.
    stored_from: u64,
}

impl Window {
    /// Takes a sample, drops what is older than `span` at `now` (in a gap that stops the time: at its beginning), and
    /// calculates the mean. False: the window was full and lost a sample that was still young enough.
    ///
    /// `most` is how many it may hold.
    pub(crate) fn push(&mut self, sample: WindowSample, span: Span, now: Moment, most: usize) -> bool {
        let later = self.samples.take_later(sample.at);
        if !later.is_empty() {
            self.changed_from(self.samples.len());
        }
        self.samples.push(sample);
        later.into_iter().for_each(|later| self.samples.push(later));
        self.sum.add(sample.value);
        while self.samples.oldest().is_some_and(|oldest| now - oldest > span) {
            self.drop_oldest();
        }
        let fits = self.samples.len() <= most.clamp(1, MAX_SAMPLES);
        if !fits {
            self.drop_oldest();
        }
        // A sample whose stamp is older than the window leaves at once. Without any, the mean stays what it was.
        if !self.is_empty() {
            self.mean = Some(self.sum.mean(self.samples.len()));
        }
        fits
    }

    /// Reads where the next sample will be added and where old ones will leave.
    pub(crate) fn fetch(&self) -> u32 {
        self.samples.fetch()
    }

    fn drop_oldest(&mut self) {
        if let Some(value) = self.samples.drop_oldest() {
            self.sum.subtract(value);
            self.dropped += 1;
        }
    }

    fn changed_from(&mut self, place: usize) {
        self.stored = self.stored.min(self.dropped + place as u64);
    }

    /// The mean as last calculated; none before the first sample.
    pub(crate) fn mean(&self) -> Option<f64> {
        self.mean
    }

    /// How many samples are in the window.
    pub(crate) fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether no sample is in the window.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes the samples as young at `end` as they were at `since`.
    pub(crate) fn pause(&mut self, since: Moment, end: Moment) {
        let in_gap = self.samples.take_later(since);
        self.samples.shift(end - since);
        in_gap.into_iter().for_each(|sample| self.samples.push(WindowSample { at: sample.at.max(end), ..sample }));
        self.changed_from(0);
    }

    /// Forgets all samples, and gives their number. The mean stays as it was last calculated; without samples nobody judges
    /// it.
    pub(crate) fn clear(&mut self) -> usize {
        let count = self.samples.len();
        self.dropped += count as u64;
        self.samples = Samples::default();
        self.sum = ExactSum::default();
        count
    }

    /// The newest samples, so many of them, oldest first.
    pub(crate) fn last(&self, count: usize) -> Vec<WindowSample> {
        self.samples.last(count)
    }

    /// The numbers of the samples in the window.
    pub(crate) fn numbers(&self) -> std::ops::Range<u64> {
        self.dropped..self.dropped + self.samples.len() as u64
    }

    /// A window with these samples and the mean that was calculated last.
    pub(crate) fn restore(samples: Vec<WindowSample>, mean: Option<f64>, dropped: u64) -> Window {
        let mut window = Window { mean, dropped, stored_from: dropped, ..Window::default() };
        for sample in samples {
            window.sum.add(sample.value);
            window.samples.push(sample);
        }
        window.stored = dropped + window.len() as u64;
        window
    }

    /// The numbers of the samples in the window, the first of them that is not on disk yet, and the first number that
    /// may have left something there. From now on all are on disk.
    pub(crate) fn take_unstored(&mut self) -> (std::ops::Range<u64>, u64, u64) {
        let held = self.numbers();
        let first = self.stored.clamp(held.start, held.end);
        let stored_from = std::mem::replace(&mut self.stored_from, held.start);
        self.stored = held.end;
        (held, first, stored_from)
    }

    /// Nothing of it is on disk any more.
    pub(crate) fn forget_stored(&mut self) {
        self.changed_from(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64, value: f64) -> WindowSample {
        WindowSample { at: Moment::from_micros(secs * 1_000_000), value }
    }

    #[test]
    fn a_sample_exactly_as_old_as_the_window_is_kept() {
        let mut window = Window::default();
        for (secs, value) in [(0, 10.0), (1, 20.0)] {
            window.push(at(secs, value), Span::from_secs(5), at(secs, 0.0).at, MAX_SAMPLES);
        }
        window.push(at(5, 30.0), Span::from_secs(5), at(5, 0.0).at, MAX_SAMPLES);
        assert_eq!(window.mean(), Some(20.0));
        window.push(at(6, 40.0), Span::from_secs(5), at(6, 0.0).at, MAX_SAMPLES);
        assert_eq!(window.mean(), Some(30.0), "the first is older than the window now");
    }

    #[test]
    fn a_late_sample_finds_its_place() {
        let mut window = Window::default();
        for secs in [0, 3, 2] {
            window.push(at(secs, 1.0), Span::from_secs(5), at(3, 0.0).at, MAX_SAMPLES);
        }
        let times: Vec<i64> = window.last(9).iter().map(|s| s.at.as_micros() / 1_000_000).collect();
        assert_eq!(times, [0, 2, 3]);
        assert_eq!(window.take_unstored(), (0..3, 0, 0));
        assert_eq!(window.take_unstored(), (0..3, 3, 0));
        window.push(at(1, 1.0), Span::from_secs(5), at(3, 0.0).at, MAX_SAMPLES);
        assert_eq!(window.take_unstored(), (0..4, 1, 0), "all behind the inserted one has moved");
    }

    #[test]
    fn where_there_is_no_room_for_one_more_the_oldest_leaves() {
        let mut window = Window::default();
        let push = |window: &mut Window, secs: i64, most: usize| {
            window.push(at(secs, 1.0), Span::from_secs(100), at(secs, 0.0).at, most)
        };
        assert!(push(&mut window, 0, 2) && push(&mut window, 1, 2) && !push(&mut window, 2, 2));
        assert!(!push(&mut window, 3, 0), "it may always have the newest");
        assert_eq!(window.len(), 2, "no more than one leaves at once");
    }
}
