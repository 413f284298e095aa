//! Carries what was learnt through a stream: one value in, one score out.
//!
//! Six kinds of evidence are weighed, each by its own [`Tail`]; the score is that of the rarest, and a part of that of
//! the next. The segment is compared with the model; all others adapt, so that a new normal becomes normal. It needs the
//! present segment and the one before it, seven days in quarters of an hour, and six tails: a bounded amount, whatever
//! the stream is.

use super::cluster::Clustering;
use super::model::{BuildError, Describer, Model, Settings};
use super::onset::Onset;
use super::season::Season;
use super::series::{Sample, Scale, Survey, moments};
use super::share_of;
use super::tail::Tail;
use super::threshold::Thresholds;
use crate::time::Span;
use std::collections::VecDeque;

/// How fast the expectation follows: a value counts a fiftieth, so it knows roughly the last fifty.
const FOLLOWS: f64 = 0.02;
/// What a second kind of evidence counts beside the rarest: a part of its own score, because the two look at the same
/// value and are not independent.
const WITNESS: f64 = 0.3;
/// A segment is a fifteenth of the past, but not shorter or longer than so many values.
const SEGMENT_SHARE: f64 = 1.0 / 15.0;
const SEGMENT: (usize, usize) = (8, 60);
/// An echo lasts for that share of the past.
const ECHO: f64 = 0.6;
/// The percentile of past scores from which on a score is unusual, unless a user says otherwise.
pub const SENSITIVITY: f64 = 99.5;

/// Why a value may be unusual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// It is far from what the last values let expect.
    Departure,
    /// It is far from every value of this time of the day.
    Unseen,
    /// It is far from the usual value of this time of the day.
    Season,
    /// The last values vary more than they used to.
    Spread,
    /// The level moved from the last segment to this one.
    Level,
    /// The segment resembles none of the past.
    Segment,
}

impl Evidence {
    /// All kinds.
    pub const ALL: [Evidence; 6] =
        [Evidence::Departure, Evidence::Unseen, Evidence::Season, Evidence::Spread, Evidence::Level, Evidence::Segment];

    /// In words that end a sentence about an anomaly.
    pub const fn as_str(self) -> &'static str {
        match self {
            Evidence::Departure => "far from the values before",
            Evidence::Unseen => "never seen at this time of day",
            Evidence::Season => "unusual at this time of day",
            Evidence::Spread => "unusually unsteady",
            Evidence::Level => "an unusual change of level",
            Evidence::Segment => "a course unlike any before",
        }
    }
}

/// What is said of one value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// How unusual it is: expected once in 10^score values.
    pub score: f64,
    /// The same, but 0 while it only echoes an anomaly that was told before.
    pub onset: f64,
    /// What makes it so.
    pub evidence: Evidence,
}

/// Scores one property, value by value.
#[derive(Debug, Clone)]
pub struct Detector {
    model: Model,
    scale: Scale,
    describer: Describer,
    /// Values of the present segment and of the one before it.
    recent: VecDeque<f64>,
    segment: usize,
    expected: Option<f64>,
    season: Season,
    tails: [Tail; Evidence::ALL.len()],
    onset: Onset,
}

impl Detector {
    /// Learns from the first part of a series.
    ///
    /// # Errors
    /// What is wrong with that part.
    pub fn learn(past: &[Sample]) -> Result<Detector, BuildError> {
        let mut survey = Survey::default();
        past.iter().for_each(|sample| survey.push(*sample));
        let interval = survey.interval().ok_or(BuildError::Missing(0))?;
        let scale = survey.scale().ok_or(BuildError::Constant(0))?;
        let segment = share_of(past.len(), SEGMENT_SHARE).clamp(SEGMENT.0, SEGMENT.1);
        let length = interval.as_micros().saturating_mul(i64::try_from(segment).unwrap_or(i64::MAX));
        let settings = Settings {
            segment: Span::from_micros(length),
            step: interval,
            clustering: Clustering::KMeans,
            sensitivity: SENSITIVITY,
            min_duration: Span::ZERO,
        };
        let model = Model::build(1, settings, || past.iter().map(|sample| (0, *sample)))?;
        let mut detector = Detector {
            scale,
            describer: model.describer(),
            model,
            recent: VecDeque::with_capacity(2 * segment + 1),
            segment,
            expected: None,
            season: Season::default(),
            tails: Default::default(),
            onset: Onset::new(share_of(past.len(), ECHO)),
        };
        let scores: Vec<f64> = past.iter().map(|sample| detector.observe(*sample).score).collect();
        // In the first half nearly everything happens for the first time.
        // The past has judged its segments already, without those that the model was made from.
        let [.., segment] = &mut detector.tails;
        segment.clone_from(&detector.model.tail);
        detector.model.thresholds = Thresholds::derive(&scores[scores.len() / 2..], SENSITIVITY);
        detector.onset = Onset::new(share_of(past.len(), ECHO));
        Ok(detector)
    }

    /// Scores the next value, by what was before it, and learns from it.
    pub fn observe(&mut self, sample: Sample) -> Reading {
        let distances = self.distances(sample);
        let (mut rarest, mut next) = ((Evidence::Departure, 0.0), 0.0_f64);
        for ((evidence, tail), distance) in Evidence::ALL.into_iter().zip(&mut self.tails).zip(distances) {
            let score = tail.score(distance);
            tail.push(distance);
            next = next.max(score.min(rarest.1));
            if score > rarest.1 {
                rarest = (evidence, score);
            }
        }
        let (evidence, score) = rarest;
        let score = score + WITNESS * next;
        Reading { score, onset: self.onset.observe(score), evidence }
    }

    fn distances(&mut self, sample: Sample) -> [f64; Evidence::ALL.len()] {
        let value = self.scale.apply(sample.value);
        let expected = self.expected.get_or_insert(value);
        let departure = (value - *expected).abs();
        *expected += FOLLOWS * (value - *expected);

        let season = self.season.observe(sample.at, value).unwrap_or_default();

        self.recent.push_back(value);
        if self.recent.len() > 2 * self.segment {
            self.recent.pop_front();
        }
        let split = self.recent.len().saturating_sub(self.segment);
        let (level, spread) = moments(self.recent.range(split..).copied());
        let is_full = self.recent.len() == 2 * self.segment;
        let moved = if is_full { (level - moments(self.recent.range(..split).copied()).0).abs() } else { 0.0 };

        let segment = self.describer.push(0, sample).map_or(0.0, |description| self.model.distance(&description));
        [departure, season.nearest, season.usual, spread, moved, segment]
    }

    /// What it was built with, and from when on a score is an anomaly.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The least time between two anomalies: a segment.
    pub fn join(&self) -> Span {
        self.model.settings.segment
    }

    /// Roughly how many bytes it takes.
    pub fn bytes(&self) -> usize {
        let tails: usize =
            self.tails.iter().map(|tail| 2 * tail.blocks().iter().map(|(_, kept)| kept.len() * 8).sum::<usize>()).sum();
        let references: usize = self.model.normal.references.iter().map(|reference| reference.len() * 8).sum();
        size_of::<Detector>()
            + tails
            + references
            + self.recent.capacity() * 8
            + self.segment * size_of::<Sample>()
            + 96 * (7 * 8 + 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anomaly::real;
    use crate::time::Stamp;
    use std::f64::consts::TAU;
    use std::sync::LazyLock;

    /// Five-minute values of a daily swing, with a noise of a few percent.
    fn value(index: i64) -> f64 {
        let noise = real(usize::try_from(index * 7_919 % 1_009).unwrap()) / 1_009.0 - 0.5;
        10.0 + 5.0 * (TAU * real(usize::try_from(index % 288).unwrap()) / 288.0).sin() + noise
    }

    fn run(fault: impl Fn(i64, f64) -> f64) -> Vec<Reading> {
        static LEARNT: LazyLock<Detector> = LazyLock::new(|| {
            let past: Vec<Sample> = (0..1_000).map(|index| sample(index, value(index))).collect();
            Detector::learn(&past).unwrap()
        });
        let mut detector = LEARNT.clone();
        (1_000..4_000).map(|index| detector.observe(sample(index, fault(index, value(index))))).collect()
    }

    fn sample(index: i64, value: f64) -> Sample {
        Sample { at: Stamp::from_micros(index * 300_000_000), value }
    }

    /// When the score was highest, and how high.
    fn peak(readings: &[Reading]) -> (i64, f64) {
        let peak = readings.iter().enumerate().max_by(|a, b| a.1.onset.total_cmp(&b.1.onset)).unwrap();
        (1_000 + i64::try_from(peak.0).unwrap(), peak.1.onset)
    }

    #[test]
    fn what_goes_on_as_before_is_not_unusual() {
        let (_, score) = peak(&run(|_, value| value));
        assert!(score < 4.0, "{score}");
    }

    #[test]
    fn each_fault_is_found_when_it_begins() {
        let found = |name: &str, lasts: i64, fault: fn(f64) -> f64| {
            let readings =
                run(|index, value| if (2_500..2_500 + lasts).contains(&index) { fault(value) } else { value });
            let (at, score) = peak(&readings);
            assert!((2_500..2_600).contains(&at) && score > 4.0, "{name}: {score} at {at}");
        };
        found("a spike", 1, |value| value + 12.0);
        found("a shift", 1_000, |value| value + 9.0);
        found("stuck", 200, |_| 10.0);
        found("unsteady", 100, |value| 10.0 + 25.0 * (value - value.floor()));
    }

    #[test]
    fn the_same_stream_gives_the_same_scores() {
        assert_eq!(run(|_, value| value), run(|_, value| value));
    }

    #[test]
    fn the_largest_numbers_do_no_harm() {
        for reading in run(|index, value| if index % 500 == 0 { f64::MAX } else { value }) {
            assert!(reading.score.is_finite() && reading.onset.is_finite());
        }
    }
}
