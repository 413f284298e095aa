//! Carries what was learnt through a stream: one value in, one score out.
//!
//! Six kinds of evidence are weighed, each by its own [`Tail`]; the score is that of the rarest, and a part of that of
//! the next. The segment is compared with the model; all others adapt, so that a new normal becomes normal. It needs the
//! present segment and the one before it, seven days in quarters of an hour, and six tails: a bounded amount, whatever
//! the stream is.

use super::cluster::{Clustering, Normal};
use super::interval::{Change, Follower};
use super::model::{BuildError, Describer, LEAST_SEGMENTS, Model, Settings};
use super::onset::Onset;
use super::series::{Sample, Scale, Survey};
use super::stream::{Stream, Weighed};
use super::tail::Tail;
use super::threshold::Thresholds;
use super::{real, share_of};
use crate::domain::time::{Span, Stamp};

/// A segment is a fifteenth of the past, but not shorter or longer than so many values.
const SEGMENT_SHARE: f64 = 1.0 / 15.0;
pub(super) const SEGMENT: (usize, usize) = (8, 60);
/// Seconds.
const DAY: f64 = 86_400.0;
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
    stream: Stream,
    /// Why segments are not compared, or what they are compared with.
    segments: Result<(Normal, Describer), BuildError>,
    /// How far from normal the segments were.
    tail: Tail,
    length: Span,
    thresholds: Thresholds,
    anomalies_per_day: f64,
    onset: Onset,
}

impl Detector {
    /// Learns from the first part of a series. Where that makes no model, what only the stream can tell still counts:
    /// [`Detector::without_segments`] says why.
    ///
    /// # Errors
    /// There are next to no values.
    pub fn learn(past: &[Sample]) -> Result<Detector, BuildError> {
        let mut survey = Survey::default();
        past.iter().for_each(|sample| survey.push(*sample));
        let (Some(interval), Some(last)) = (survey.interval(), past.last()) else { return Err(BuildError::Missing(0)) };
        let segment = share_of(past.len(), SEGMENT_SHARE).clamp(SEGMENT.0, SEGMENT.1);
        let times = |count: usize| {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            Span::from_micros(interval.as_micros().saturating_mul(count))
        };
        if past.len() < LEAST_SEGMENTS {
            let covers = survey.covers().map_or(Span::ZERO, |(from, to)| to - from);
            let segments = past.len().saturating_sub(segment);
            return Err(BuildError::TooLittle { segments, covers, needed: times(LEAST_SEGMENTS + segment) });
        }
        let settings = Settings {
            segment: times(segment),
            step: interval,
            clustering: Clustering::KMeans,
            sensitivity: SENSITIVITY,
            min_duration: Span::ZERO,
        };
        let model = Model::build(1, settings, || past.iter().map(|sample| (0, *sample)));
        let judged = model.as_ref().map(|model| model.tail.clone()).unwrap_or_default();
        let mut detector = Detector {
            stream: Stream::new(survey.scale().unwrap_or_else(|| still(last.value)), segment),
            segments: model.map(|model| (model.normal.clone(), model.describer())),
            tail: Tail::default(),
            length: settings.segment,
            thresholds: Thresholds::default(),
            anomalies_per_day: 0.0,
            onset: Onset::new(share_of(past.len(), ECHO)),
        };
        let scores: Vec<f64> = past.iter().map(|sample| detector.observe(*sample).score).collect();
        // The past has judged its segments already, without those that the model was made from.
        detector.tail = judged;
        // In the first half nearly everything happens for the first time.
        let half = scores.len() / 2;
        detector.thresholds = Thresholds::derive(&scores[half..], SENSITIVITY);
        let judged = past.iter().map(|sample| sample.at).zip(scores).skip(half);
        detector.anomalies_per_day = per_day(judged, &detector.thresholds, detector.length);
        detector.onset = Onset::new(share_of(past.len(), ECHO));
        Ok(detector)
    }

    /// Scores the next value, by what was before it, and learns from it.
    pub fn observe(&mut self, sample: Sample) -> Reading {
        let mut weighed = Weighed::default();
        self.stream.observe(sample, &mut weighed);
        let distance = match &mut self.segments {
            Ok((normal, describer)) => {
                describer.push(0, sample).map_or(0.0, |description| normal.distance(&description))
            }
            Err(_) => 0.0,
        };
        weighed.add(Evidence::Segment, self.tail.score(distance));
        self.tail.push(distance);
        let score = weighed.score();
        Reading { score, onset: self.onset.observe(score), evidence: weighed.evidence() }
    }

    /// From when on a score is an anomaly.
    pub fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    /// Anomalies that it would have told of in the second half of what it learnt from, for each day.
    pub fn anomalies_per_day(&self) -> f64 {
        self.anomalies_per_day
    }

    /// Why segments are not compared with those of the past, if they are not.
    pub fn without_segments(&self) -> Option<&BuildError> {
        self.segments.as_ref().err()
    }

    /// How long a segment is. Anomalies that are closer together are one.
    pub fn segment(&self) -> Span {
        self.length
    }
}

/// How many anomalies a day these scores are.
fn per_day(scores: impl Iterator<Item = (Stamp, f64)>, thresholds: &Thresholds, join: Span) -> f64 {
    let mut follower = Follower::new(thresholds.clone(), Span::ZERO, join);
    let (mut count, mut covers) = (0, None);
    for (at, score) in scores {
        count += usize::from(matches!(follower.observe(at, score), Change::Ended(_)));
        covers = Some(covers.map_or((at, at), |(from, _)| (from, at)));
    }
    count += usize::from(follower.open().is_some());
    let days = covers.map_or(0.0, |(from, to)| (to - from).as_secs_f64() / DAY);
    if days > 0.0 { real(count) / days } else { 0.0 }
}

/// The scale of a value that has never moved: a percent of it is a step.
fn still(value: f64) -> Scale {
    let step = (value.abs() / 100.0).max(0.01);
    Scale { low: value, high: value + step }
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn what_never_moved_is_found_when_it_moves() {
        let past: Vec<Sample> = (0..200).map(|index| sample(index, 45.0)).collect();
        let mut detector = Detector::learn(&past).unwrap();
        assert_eq!(detector.without_segments(), Some(&BuildError::Constant(0)));
        assert!((200..300).all(|index| detector.observe(sample(index, 45.0)).score <= 0.0));
        assert!(detector.observe(sample(300, 46.0)).score > 4.0);
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
