//! Cuts a series into segments, as it comes: the same cutter serves the past and the live data.
//!
//! A segment ends with the first sample at or after its end. One with too few samples, or with a gap that was too long
//! to be filled, is skipped: it would describe the gap.

use super::series::{Sample, fill};
use crate::domain::time::{Span, Stamp};
use std::collections::VecDeque;

/// How a series is cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    /// How long a segment is.
    pub length: Span,
    /// From one to the next: shorter than the length, they slide; equal, they are fixed.
    pub step: Span,
    /// The usual time between two samples.
    pub interval: Span,
    /// A segment with fewer samples is skipped.
    pub least: usize,
    /// Gaps up to here are filled, longer ones cost the segments that they touch.
    pub longest_gap: Span,
}

impl Cut {
    /// Segments of `length`, one each `step`, half of whose samples may be missing, a quarter in one piece.
    pub fn new(length: Span, step: Span, interval: Span) -> Cut {
        let samples = length.as_micros() / interval.as_micros().max(1);
        let least = usize::try_from(samples / 2).unwrap_or(2).max(2);
        let longest_gap = Span::from_micros((length.as_micros() / 4).max(2 * interval.as_micros()));
        Cut { length, step, interval, least, longest_gap }
    }

    /// Whether the segments do not overlap.
    pub fn is_fixed(&self) -> bool {
        self.step >= self.length
    }
}

/// Cuts one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Cutter {
    cut: Cut,
    window: VecDeque<Sample>,
    /// When the present segment ends.
    due: Option<Stamp>,
    /// The end of the latest gap that was too long to be filled.
    broken_at: Option<Stamp>,
    skipped: usize,
}

/// Where a cutter stands, without the samples of its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CutterMemory {
    /// When the present segment ends.
    pub due: Option<Stamp>,
    /// The end of the latest gap that was too long to be filled.
    pub broken_at: Option<Stamp>,
}

impl Cutter {
    /// A cutter before the first sample.
    pub fn new(cut: Cut) -> Cutter {
        Cutter { cut, window: VecDeque::new(), due: None, broken_at: None, skipped: 0 }
    }

    /// Takes the next sample in. True: it completes a segment, which is then in [`Cutter::segment`].
    pub fn push(&mut self, sample: Sample) -> bool {
        if let Some(last) = self.window.back().copied() {
            if sample.at - last.at > self.cut.longest_gap {
                self.broken_at = Some(sample.at);
            }
            self.window.extend(fill(last, sample, self.cut.interval, self.cut.longest_gap));
        }
        self.window.push_back(sample);
        let begin = sample.at - self.cut.length;
        while self.window.front().is_some_and(|oldest| oldest.at <= begin) {
            self.window.pop_front();
        }
        let due = *self.due.get_or_insert(sample.at + self.cut.length - self.cut.interval);
        if sample.at < due {
            return false;
        }
        let step = self.cut.step.as_micros().max(1);
        let behind = (sample.at - due).as_micros() / step;
        self.due = Some(due + Span::from_micros(step.saturating_mul(behind.saturating_add(1))));
        let is_whole = self.has_enough() && self.broken_at.is_none_or(|broken| broken <= begin);
        self.skipped += usize::from(!is_whole);
        is_whole
    }

    /// The samples of the segment that was just completed, oldest first.
    pub fn segment(&self) -> &VecDeque<Sample> {
        &self.window
    }

    /// Whether there are enough samples for a segment.
    pub fn has_enough(&self) -> bool {
        self.window.len() >= self.cut.least
    }

    /// Where it stands.
    pub fn memory(&self) -> CutterMemory {
        CutterMemory { due: self.due, broken_at: self.broken_at }
    }

    /// Goes on where another one was that had seen the same samples last.
    pub fn restore_alarm(&mut self, memory: CutterMemory) {
        (self.due, self.broken_at) = (memory.due, memory.broken_at);
    }

    /// How many segments were skipped.
    pub fn skipped(&self) -> usize {
        self.skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(cut: Cut, seconds: impl Iterator<Item = i64>) -> (Vec<(i64, usize)>, usize) {
        let mut cutter = Cutter::new(cut);
        let mut ends = Vec::new();
        for second in seconds {
            let at = Stamp::from_micros(second * 1_000_000);
            if cutter.push(Sample { at, value: 1.0 }) {
                ends.push((second, cutter.segment().len()));
            }
        }
        (ends, cutter.skipped())
    }

    fn seconds(length: i64, step: i64) -> Cut {
        Cut::new(Span::from_secs(length), Span::from_secs(step), Span::from_secs(1))
    }

    #[test]
    fn fixed_segments_follow_each_other_and_sliding_ones_overlap() {
        assert_eq!(ends(seconds(10, 10), 0..31).0, [(9, 10), (19, 10), (29, 10)]);
        assert_eq!(ends(seconds(10, 5), 0..25).0, [(9, 10), (14, 10), (19, 10), (24, 10)]);
        assert_eq!(ends(seconds(10, 1), 0..12).0, [(9, 10), (10, 10), (11, 10)]);
    }

    #[test]
    fn a_short_gap_is_filled_and_a_long_one_costs_the_segments_that_it_touches() {
        assert_eq!(ends(seconds(10, 10), (0..5).chain(6..20)), (vec![(9, 10), (19, 10)], 0));
        assert_eq!(ends(seconds(10, 10), (0..12).chain(17..40)), (vec![(9, 10), (29, 10), (39, 10)], 1));
    }

    #[test]
    fn a_segment_of_too_few_samples_is_skipped() {
        let cut = Cut { longest_gap: Span::from_secs(100), interval: Span::from_secs(100), ..seconds(10, 10) };
        assert_eq!(ends(cut, (0..60).step_by(4)).0, []);
    }
}
