//! What the stream of one property can tell by itself: how far a value lies from those before it and from those of the
//! same time on other days.
//!
//! Five kinds of evidence, each weighed by its own [`Tail`]. All of them adapt, so that a new normal becomes normal. A
//! bounded amount of memory, whatever the stream is. The sixth kind, the segment, needs a model: see [`super::scorer`].

use super::detector::Evidence;
use super::season::{Season, SeasonMemory};
use super::series::{Sample, Scale, moments};
use super::tail::Tail;
use std::collections::VecDeque;

/// How fast the expectation follows: a value counts a fiftieth, so it knows roughly the last fifty.
const FOLLOWS: f64 = 0.02;
/// What a second kind of evidence counts beside the rarest: a part of its own score, because the two look at the same
/// value and are not independent.
const WITNESS: f64 = 0.3;

/// The kinds of evidence that a stream gives, in the order of their tails.
pub(super) const STREAMED: [Evidence; 5] =
    [Evidence::Departure, Evidence::Unseen, Evidence::Season, Evidence::Spread, Evidence::Level];

/// Several kinds of evidence about one value, of which the rarest counts, and the next one in part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Weighed {
    rarest: (Evidence, f64),
    next: f64,
}

impl Default for Weighed {
    fn default() -> Weighed {
        Weighed { rarest: (Evidence::Departure, 0.0), next: 0.0 }
    }
}

impl Weighed {
    pub(super) fn add(&mut self, evidence: Evidence, score: f64) {
        self.next = self.next.max(score.min(self.rarest.1));
        if score > self.rarest.1 {
            self.rarest = (evidence, score);
        }
    }

    pub(super) fn score(&self) -> f64 {
        self.rarest.1 + WITNESS * self.next
    }

    pub(super) fn evidence(&self) -> Evidence {
        self.rarest.0
    }
}

/// One property, value by value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stream {
    scale: Scale,
    expected: Option<f64>,
    season: Season,
    /// Values of the present stretch and of the one before it.
    recent: VecDeque<f64>,
    /// Values of a stretch.
    stretch: usize,
    tails: [Tail; STREAMED.len()],
}

/// A stream as plain data.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamMemory {
    /// What the next value is expected to be.
    pub expected: Option<f64>,
    /// The days before.
    pub season: SeasonMemory,
    /// The last values, on the scale.
    pub recent: Vec<f64>,
    /// Of each tail its blocks.
    pub tails: Vec<Vec<(usize, Vec<f64>)>>,
}

impl Stream {
    pub(super) fn new(scale: Scale, stretch: usize) -> Stream {
        Stream {
            scale,
            expected: None,
            season: Season::default(),
            recent: VecDeque::with_capacity(2 * stretch + 1),
            stretch,
            tails: Default::default(),
        }
    }

    /// Weighs the next value, by what was before it, and learns from it.
    pub(super) fn observe(&mut self, sample: Sample, weighed: &mut Weighed) {
        let distances = self.distances(sample);
        for ((evidence, tail), distance) in STREAMED.into_iter().zip(&mut self.tails).zip(distances) {
            weighed.add(evidence, tail.score(distance));
            tail.push(distance);
        }
    }

    fn distances(&mut self, sample: Sample) -> [f64; STREAMED.len()] {
        let value = self.scale.apply(sample.value);
        let expected = self.expected.get_or_insert(value);
        let departure = (value - *expected).abs();
        *expected += FOLLOWS * (value - *expected);

        let season = self.season.observe(sample.at, value).unwrap_or_default();

        self.recent.push_back(value);
        if self.recent.len() > 2 * self.stretch {
            self.recent.pop_front();
        }
        let split = self.recent.len().saturating_sub(self.stretch);
        let (level, spread) = moments(self.recent.range(split..).copied());
        let is_full = self.recent.len() == 2 * self.stretch;
        let moved = if is_full { (level - moments(self.recent.range(..split).copied()).0).abs() } else { 0.0 };
        [departure, season.nearest, season.usual, spread, moved]
    }

    /// What comes now does not follow what came before.
    pub(super) fn begin_anew(&mut self) {
        self.expected = None;
        self.recent.clear();
    }

    /// The stream as plain data.
    pub(super) fn memory(&self) -> StreamMemory {
        StreamMemory {
            expected: self.expected,
            season: self.season.memory(),
            recent: self.recent.iter().copied().collect(),
            tails: self.tails.iter().map(|tail| tail.blocks().to_vec()).collect(),
        }
    }

    /// Goes on where another one was.
    pub(super) fn restore_alarm(&mut self, memory: StreamMemory) {
        self.expected = memory.expected;
        self.season = Season::recalled(memory.season);
        self.recent = memory.recent.into();
        for (tail, blocks) in self.tails.iter_mut().zip(memory.tails) {
            *tail = Tail::from_blocks(blocks);
        }
    }
}
