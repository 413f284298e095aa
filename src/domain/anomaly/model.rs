//! What was learnt from a past: the scales of the properties, how segments are described, and what is normal.
//!
//! It decides whether a past suffices and what stands in the way. A past may be longer than memory: it is gone through
//! three times, for the scales, for the clusters, and for the scores, and never held. Several properties of one thing
//! are described side by side; the first of them sets the pace.

use super::cluster::{Clustering, Normal};
use super::feature::Features;
use super::interval::{Change, Follower};
use super::real;
use super::segment::{Cut, Cutter, CutterMemory};
use super::series::{Sample, Scale, Survey};
use super::tail::Tail;
use super::threshold::Thresholds;
use crate::domain::time::{Span, Stamp};
use std::fmt;

/// Segments without which nothing is normal yet. With half of them, clusters are a matter of luck.
pub const LEAST_SEGMENTS: usize = 30;
/// Descriptions that are held for the clustering; of more, every second one is left out, and so on.
const MOST_HELD: usize = 4_096;
/// Scores of the past that are held for the thresholds, in the same way.
pub(super) const MOST_SCORES: usize = 16_384;
/// Parts of the past that take turns in judging each other.
const PARTS: i64 = 8;
/// A model that finds more of its own past unusual than this has not understood it.
pub(super) const MOST_MARKED: f64 = 0.1;

/// What a user says about a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// How long a segment is.
    pub segment: Span,
    /// From one segment to the next.
    pub step: Span,
    /// How clusters are found.
    pub clustering: Clustering,
    /// The percentile of the past scores from which on a score is unusual.
    pub sensitivity: f64,
    /// Anomalies shorter than this are none.
    pub min_duration: Span,
}

/// The past that a model was built from.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// Its first sample.
    pub from: Stamp,
    /// Its last sample.
    pub to: Stamp,
    /// How many samples there were.
    pub samples: usize,
    /// How many segments described it.
    pub segments: usize,
    /// Anomalies that the model finds in it, for each day.
    pub anomalies_per_day: f64,
    /// The highest scores of these anomalies, the highest first; of very many only the first thousand.
    pub peaks: Vec<f64>,
}

impl Trained {
    /// Anomalies a day whose score reaches this.
    pub fn per_day(&self, least: f64) -> f64 {
        let reached = self.peaks.iter().filter(|peak| **peak >= least).count();
        if reached == self.peaks.len() {
            self.anomalies_per_day
        } else {
            self.anomalies_per_day * real(reached) / real(self.peaks.len())
        }
    }
}

/// What is normal, and from when on something is not.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// What the user said.
    pub settings: Settings,
    /// How each property is cut.
    pub cuts: Vec<Cut>,
    /// The scale of each property.
    pub scales: Vec<Scale>,
    /// How segments are described.
    pub features: Features,
    /// What is normal.
    pub normal: Normal,
    /// How far from it the past was.
    pub tail: Tail,
    /// From scores to severities.
    pub thresholds: Thresholds,
    /// What it was learnt from.
    pub trained: Trained,
}

/// Why a past makes no model.
#[derive(Debug, Clone, PartialEq)]
pub enum BuildError {
    /// There is no sample of this property, by its place in the model.
    Missing(usize),
    /// This property never changes.
    Constant(usize),
    /// There are too few whole segments.
    TooLittle {
        /// How many there are.
        segments: usize,
        /// How long the past is.
        covers: Span,
        /// How long it should be, if it had no gaps.
        needed: Span,
    },
    /// The model would find that share of its own past unusual.
    MarksItself(f64),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Missing(place) => write!(f, "property {} has no numeric values in this time", place + 1),
            BuildError::Constant(place) => {
                write!(f, "property {} never changes in this time: there is nothing to learn from it", place + 1)
            }
            BuildError::TooLittle { segments, covers, needed } => write!(
                f,
                "too little history: {covers} with {segments} whole segments, at least {LEAST_SEGMENTS} are needed ({needed} \
                 without gaps); a shorter segment or step needs less"
            ),
            BuildError::MarksItself(share) => write!(
                f,
                "the model finds {:.0} % of its own past unusual; a higher sensitivity percentile, a longer segment or a \
                 past without the faults would help",
                share * 100.0
            ),
        }
    }
}

impl std::error::Error for BuildError {}

/// Describes the present segment of a thing, as its samples come.
#[derive(Debug, Clone, PartialEq)]
pub struct Describer {
    cutters: Vec<Cutter>,
    scales: Vec<Scale>,
    features: Features,
}

impl Describer {
    fn new(cuts: &[Cut], scales: &[Scale], features: Features) -> Describer {
        Describer { cutters: cuts.iter().map(|cut| Cutter::new(*cut)).collect(), scales: scales.to_vec(), features }
    }

    /// Takes the next sample of a property in. The description of a segment, when the first property completes one and
    /// the others have enough samples in it.
    pub fn push(&mut self, property: usize, sample: Sample) -> Option<Vec<f64>> {
        let is_complete = self.cutters.get_mut(property)?.push(sample);
        if property != 0 || !is_complete || !self.cutters.iter().all(Cutter::has_enough) {
            return None;
        }
        let parts = self.cutters.iter().zip(&self.scales);
        let parts = parts.map(|(cutter, scale)| self.features.describe(cutter.segment(), *scale));
        let description: Vec<f64> = parts.flatten().collect();
        // A value near the largest number has no place on any scale.
        description.iter().all(|feature| feature.is_finite()).then_some(description)
    }

    /// Where its segments stand.
    pub(super) fn memory(&self) -> Vec<CutterMemory> {
        self.cutters.iter().map(Cutter::memory).collect()
    }

    /// Goes on where another one was that had seen the same samples last.
    pub(super) fn restore_alarm(&mut self, memory: &[CutterMemory]) {
        self.cutters.iter_mut().zip(memory).for_each(|(cutter, memory)| cutter.restore_alarm(*memory));
    }
}

impl Model {
    /// Learns from a past of `properties` properties of one thing, which is gone through three times.
    ///
    /// # Errors
    /// What is wrong with the past.
    pub fn build<I>(properties: usize, settings: Settings, past: impl Fn() -> I) -> Result<Model, BuildError>
    where
        I: Iterator<Item = (usize, Sample)>,
    {
        Model::of_fleet(properties, settings, None, || past().map(|(property, sample)| (0, property, sample)))
    }

    /// Learns from the pasts of several like things, one thing after the other; each value comes with the numbers of its
    /// thing and of its property. There are so many clusters, or as many as suit best.
    ///
    /// # Errors
    /// What is wrong with the past.
    pub fn of_fleet<I>(
        properties: usize,
        settings: Settings,
        clusters: Option<usize>,
        past: impl Fn() -> I,
    ) -> Result<Model, BuildError>
    where
        I: Iterator<Item = (usize, usize, Sample)>,
    {
        let (surveys, cuts, scales) = survey(properties, settings, past())?;
        let covers = surveys.iter().filter_map(Survey::covers).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        let (from, to) = covers.unwrap_or_default();
        let is_fixed = cuts.iter().all(Cut::is_fixed);
        let features = Features::of_past(to - from, is_fixed);

        let new = || Describer::new(&cuts, &scales, features);
        let mut describers = Each::new(new);
        let mut points = Sparse::new(MOST_HELD);
        for (thing, property, sample) in past() {
            if let Some(point) = describers.of(thing).push(property, sample) {
                points.push((sample.at, point));
            }
        }
        let segments = points.seen;
        let too_little = || {
            let steps = i64::try_from(LEAST_SEGMENTS).unwrap_or(i64::MAX);
            let steps = settings.step.as_micros().saturating_mul(steps);
            let needed = Span::from_micros(settings.segment.as_micros().saturating_add(steps));
            BuildError::TooLittle { segments, covers: to - from, needed }
        };
        if segments < LEAST_SEGMENTS {
            return Err(too_little());
        }
        // What a model was made from always looks normal to it, so each half of the past is judged by the other one. The
        // halves are interleaved: a past changes as it goes on.
        let part = ((to - from).as_micros() / PARTS).saturating_add(1);
        let is_odd = |at: Stamp| (at - from).as_micros() / part % 2 == 1;
        let (odd, even): (Vec<_>, Vec<_>) = points.kept.iter().cloned().partition(|(at, _)| is_odd(*at));
        let learn = |points: Vec<(Stamp, Vec<f64>)>| {
            let points: Vec<Vec<f64>> = points.into_iter().map(|(_, point)| point).collect();
            Normal::learn(&points, settings.clustering, clusters).ok_or_else(too_little)
        };
        let (normal, odd, even) = (learn(points.kept)?, learn(odd)?, learn(even)?);

        let mut describers = Each::new(new);
        let mut tail = Tail::default();
        let mut distances = Sparse::new(MOST_SCORES);
        for (thing, property, sample) in past() {
            if let Some(point) = describers.of(thing).push(property, sample) {
                let distance = if is_odd(sample.at) { even.distance(&point) } else { odd.distance(&point) };
                tail.push(distance);
                distances.push((sample.at, distance));
            }
        }
        let scores: Vec<(Stamp, f64)> = distances.kept.iter().map(|(at, far)| (*at, tail.score(*far))).collect();
        let only: Vec<f64> = scores.iter().map(|(_, score)| *score).collect();
        let thresholds = Thresholds::derive(&only, settings.sensitivity);
        let marked =
            real(only.iter().filter(|score| **score >= thresholds.unusual).count()) / real(only.len()).max(1.0);
        if marked > MOST_MARKED {
            return Err(BuildError::MarksItself(marked));
        }
        let anomalies = count_anomalies(&scores, &thresholds, settings);
        let days = ((to - from).as_secs_f64() / 86_400.0).max(1e-9);
        let samples = surveys.iter().map(Survey::count).sum();
        let anomalies_per_day = real(anomalies) / days;
        let trained = Trained { from, to, samples, segments, anomalies_per_day, peaks: Vec::new() };
        Ok(Model { settings, cuts, scales, features, normal, tail, thresholds, trained })
    }

    /// Describes segments as this model does.
    pub fn describer(&self) -> Describer {
        Describer::new(&self.cuts, &self.scales, self.features)
    }

    /// How far from normal a described segment is.
    pub fn distance(&self, description: &[f64]) -> f64 {
        self.normal.distance(description)
    }

    /// The score of a described segment, by the past alone.
    pub fn score(&self, description: &[f64]) -> f64 {
        self.tail.score(self.distance(description))
    }
}

type Surveyed = (Vec<Survey>, Vec<Cut>, Vec<Scale>);

fn survey(
    properties: usize,
    settings: Settings,
    past: impl Iterator<Item = (usize, usize, Sample)>,
) -> Result<Surveyed, BuildError> {
    let mut surveys = vec![Survey::default(); properties];
    let mut present = None;
    for (thing, property, sample) in past {
        if present.replace(thing).is_some_and(|before| before != thing) {
            surveys.iter_mut().for_each(Survey::another_thing);
        }
        if let Some(survey) = surveys.get_mut(property) {
            survey.push(sample);
        }
    }
    let (mut cuts, mut scales) = (Vec::new(), Vec::new());
    for (place, survey) in surveys.iter().enumerate() {
        let interval = survey.interval().ok_or(BuildError::Missing(place))?;
        scales.push(survey.scale().ok_or(BuildError::Constant(place))?);
        cuts.push(Cut::new(settings.segment, settings.step, interval));
    }
    Ok((surveys, cuts, scales))
}

fn count_anomalies(scores: &[(Stamp, f64)], thresholds: &Thresholds, settings: Settings) -> usize {
    let mut follower = Follower::new(thresholds.clone(), settings.min_duration, settings.segment);
    let ended = scores.iter().filter(|(at, score)| matches!(follower.observe(*at, *score), Change::Ended(_))).count();
    ended + usize::from(follower.open().is_some())
}

/// Something that each thing has anew, where one thing comes after the other.
struct Each<T, New: Fn() -> T> {
    new: New,
    thing: usize,
    present: T,
}

impl<T, New: Fn() -> T> Each<T, New> {
    fn new(new: New) -> Each<T, New> {
        Each { thing: 0, present: new(), new }
    }

    fn of(&mut self, thing: usize) -> &mut T {
        if thing != self.thing {
            (self.thing, self.present) = (thing, (self.new)());
        }
        &mut self.present
    }
}

/// Entries of a sequence of any length, evenly spread, in bounded memory.
pub(super) struct Sparse<T> {
    pub(super) kept: Vec<T>,
    most: usize,
    every: usize,
    seen: usize,
}

impl<T> Sparse<T> {
    pub(super) fn new(most: usize) -> Sparse<T> {
        Sparse { kept: Vec::new(), most, every: 1, seen: 0 }
    }

    pub(super) fn push(&mut self, entry: T) {
        if self.seen.is_multiple_of(self.every) {
            self.kept.push(entry);
            if self.kept.len() > self.most {
                self.every *= 2;
                let mut index = 0;
                self.kept.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
            }
        }
        self.seen += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Span = Span::from_secs(3_600);

    fn settings() -> Settings {
        Settings {
            segment: HOUR,
            step: Span::from_secs(900),
            clustering: Clustering::KMeans,
            sensitivity: 99.0,
            min_duration: Span::ZERO,
        }
    }

    /// Five days of a machine that runs from six to six, one sample a minute.
    fn days(property: usize) -> impl Iterator<Item = (usize, Sample)> {
        (0..5 * 1_440).map(move |minute| {
            let runs = (360..1_080).contains(&(minute % 1_440));
            let wobble = f64::from(u32::try_from(minute * 31 % 17).unwrap()) / 17.0;
            let value = if runs { 50.0 + wobble } else { 20.0 + wobble };
            (property, Sample { at: Stamp::from_micros(minute * 60_000_000), value })
        })
    }

    #[test]
    fn what_happens_each_day_is_normal_and_what_never_happened_is_not() {
        let model = Model::build(1, settings(), || days(0)).unwrap();
        assert!(model.normal.clusters >= 2, "{model:?}");
        assert!(model.trained.anomalies_per_day < 1.0);
        let mut describer = model.describer();
        let mut scores = Vec::new();
        for (property, sample) in days(0).take(1_440) {
            let at = sample.at;
            // From noon on something drags.
            let value = if at.as_micros() > 43_200_000_000 { sample.value - 15.0 } else { sample.value };
            scores.extend(describer.push(property, Sample { at, value }).map(|point| (at, model.score(&point))));
        }
        let most = |from: i64, to: i64| {
            let hours = |at: &Stamp| at.as_micros() / 3_600_000_000;
            scores.iter().filter(|(at, _)| (from..to).contains(&hours(at))).map(|(_, score)| *score).fold(0.0, f64::max)
        };
        assert!(most(0, 12) < model.thresholds.unusual, "{}", most(0, 12));
        assert!(most(13, 17) >= model.thresholds.unusual, "{}", most(13, 17));
    }

    #[test]
    fn several_properties_are_one_description() {
        let both = || days(0).zip(days(1)).flat_map(|(a, b)| [b, a]);
        let model = Model::build(2, settings(), both).unwrap();
        let alone = Model::build(1, settings(), || days(0)).unwrap();
        assert_eq!(model.normal.references[0].len(), 2 * alone.normal.references[0].len());
        assert_eq!(model.trained.samples, 2 * alone.trained.samples);
    }

    #[test]
    fn the_same_past_gives_the_same_model() {
        assert_eq!(Model::build(1, settings(), || days(0)), Model::build(1, settings(), || days(0)));
    }

    #[test]
    fn what_makes_no_model_says_why() {
        let short = Model::build(1, settings(), || days(0).take(200)).unwrap_err();
        assert_eq!(
            short.to_string(),
            "too little history: 3h 19m with 10 whole segments, at least 30 are needed (8h 30m without gaps); a shorter \
             segment or step needs less"
        );
        assert_eq!(Model::build(2, settings(), || days(0)), Err(BuildError::Missing(1)));
        let flat = || days(0).map(|(property, sample)| (property, Sample { value: 1.0, ..sample }));
        assert_eq!(Model::build(1, settings(), flat), Err(BuildError::Constant(0)));
    }
}
