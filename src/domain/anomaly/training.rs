//! From a past to everything that live data are judged by: the model, the thresholds, and for each thing a scorer that
//! has seen that past.
//!
//! The past is gone through four times and never held: three times for the model ([`super::model`]), once through the
//! scorers themselves. So the thresholds come from the very scores that live data get. Of these, the first half does not
//! count: there nearly everything happens for the first time.

use super::interval::{Anomaly, Change, Follower};
use super::model::{BuildError, MOST_MARKED, MOST_SCORES, Model, Settings, Sparse};
use super::real;
use super::scorer::{Judgement, Scorer, ScorerMemory};
use super::series::Sample;
use super::threshold::Thresholds;
use crate::domain::time::{Span, Stamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Scores of a past by whose course its anomalies are counted; of a longer one, the highest of each few.
const MOST_PEAKS: usize = 16_384;
/// Anomalies of a past whose scores are remembered.
const REMEMBERED: usize = 1_000;
/// A thing's scores count when it has been seen for this part of the past.
const SEEN: i64 = 4;

/// What a past has taught.
#[derive(Debug, Clone, PartialEq)]
pub struct Learnt {
    /// What is normal, and from when on something is not.
    pub model: Model,
    /// Of each thing, by its number, the scorer that has seen its past.
    pub things: BTreeMap<usize, ScorerMemory>,
}

/// Learns from the pasts of several like things, one thing after the other; each value comes with the numbers of its
/// thing and of its property. There are so many clusters, or as many as suit best.
///
/// # Errors
/// What is wrong with the past.
pub fn learn<I>(
    properties: usize,
    settings: Settings,
    clusters: Option<usize>,
    past: impl Fn() -> I,
) -> Result<Learnt, BuildError>
where
    I: Iterator<Item = (usize, usize, Sample)>,
{
    let model = Arc::new(Model::of_fleet(properties, settings, clusters, &past)?);
    let mut things = BTreeMap::new();
    let mut scores = Scores::new(&model);
    let mut present: Option<(usize, Scorer)> = None;
    for (thing, property, sample) in past() {
        let (_, scorer) = match &mut present {
            Some(present) if present.0 == thing => present,
            other => {
                put_aside(other.take(), &model, &mut things);
                scores.another_thing();
                other.insert((thing, Scorer::new(model.clone())))
            }
        };
        if let Some(judgement) = scorer.observe(property, sample) {
            scores.push(judgement);
        }
    }
    put_aside(present, &model, &mut things);
    let (thresholds, peaks, days) = scores.settle()?;
    let mut model = Model::clone(&model);
    model.thresholds = thresholds;
    model.trained.anomalies_per_day = real(peaks.len()) / days.max(1e-9);
    model.trained.peaks = peaks;
    model.trained.peaks.truncate(REMEMBERED);
    Ok(Learnt { model, things })
}

fn put_aside(scorer: Option<(usize, Scorer)>, model: &Model, things: &mut BTreeMap<usize, ScorerMemory>) {
    let Some((thing, mut scorer)) = scorer else { return };
    // The past has judged its segments already, without those that the model was made from.
    scorer.judged_by(model.tail.clone());
    things.extend(scorer.memory().map(|memory| (thing, memory)));
}

/// The scores of a past.
struct Scores {
    settings: Settings,
    from: Stamp,
    length: Span,
    /// The present thing's first score.
    first: Option<Stamp>,
    spread: Sparse<f64>,
    /// Each thing's course.
    courses: Vec<Peaks>,
}

impl Scores {
    fn new(model: &Model) -> Scores {
        Scores {
            settings: model.settings,
            from: model.trained.from,
            length: model.trained.to - model.trained.from,
            first: None,
            spread: Sparse::new(MOST_SCORES),
            courses: Vec::new(),
        }
    }

    fn another_thing(&mut self) {
        self.first = None;
        self.courses.push(Peaks::default());
    }

    fn push(&mut self, judgement: Judgement) {
        let first = *self.first.get_or_insert(judgement.at);
        let part = |count: i64| Span::from_micros(self.length.as_micros() / count);
        if judgement.at < self.from + part(2) || judgement.at < first + part(SEEN) {
            return;
        }
        self.spread.push(judgement.score);
        if let Some(course) = self.courses.last_mut() {
            course.push(judgement.at, judgement.score);
        }
    }

    /// Thresholds, the highest scores of all anomalies with the highest first, and in how many days they were.
    fn settle(self) -> Result<(Thresholds, Vec<f64>, f64), BuildError> {
        let thresholds = Thresholds::derive(&self.spread.kept, self.settings.sensitivity);
        let marked = self.spread.kept.iter().filter(|score| **score >= thresholds.unusual).count();
        let marked = real(marked) / real(self.spread.kept.len()).max(1.0);
        if marked > MOST_MARKED {
            return Err(BuildError::MarksItself(marked));
        }
        let mut peaks = Vec::new();
        for course in self.courses {
            let mut follower = Follower::new(thresholds.clone(), self.settings.min_duration, self.settings.segment);
            for (at, score) in course.kept {
                if let Change::Ended(Anomaly { score, .. }) = follower.observe(at, score) {
                    peaks.push(score);
                }
            }
            peaks.extend(follower.open().map(|anomaly| anomaly.score));
        }
        peaks.sort_by(|a, b| b.total_cmp(a));
        Ok((thresholds, peaks, self.length.as_secs_f64() / 2.0 / 86_400.0))
    }
}

/// A course of scores of any length in bounded memory: where it is too long, the highest of each few remain.
#[derive(Default)]
struct Peaks {
    kept: Vec<(Stamp, f64)>,
    /// How many scores an entry stands for, less one, as a power of two.
    halvings: u32,
    in_last: usize,
}

impl Peaks {
    fn push(&mut self, at: Stamp, score: f64) {
        match self.kept.last_mut() {
            Some(last) if self.in_last < 1 << self.halvings => {
                if score > last.1 {
                    *last = (at, score);
                }
                self.in_last += 1;
            }
            Some(_) | None => {
                self.kept.push((at, score));
                self.in_last = 1;
            }
        }
        if self.kept.len() > MOST_PEAKS {
            let higher = |pair: &[(Stamp, f64)]| pair.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
            self.in_last += ((self.kept.len() - 1) % 2) << self.halvings;
            self.kept = self.kept.chunks(2).filter_map(higher).collect();
            self.halvings += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::anomaly::cluster::Clustering;

    /// Values of a day.
    const DAY: i64 = 288;

    fn settings() -> Settings {
        Settings {
            segment: Span::from_secs(3_600),
            step: Span::from_secs(900),
            clustering: Clustering::KMeans,
            sensitivity: 99.5,
            min_duration: Span::ZERO,
        }
    }

    /// A daily swing, one value each five minutes, with a noise of its own for each thing and property.
    fn value(thing: usize, property: usize, slot: i64) -> (usize, usize, Sample) {
        let noise = (slot + 1) * (7_919 + 2 * i64::try_from(10 * thing + property).unwrap()) % 1_009;
        let noise = f64::from(i32::try_from(noise).unwrap()) / 1_009.0;
        let day = f64::from(i32::try_from(slot % DAY).unwrap()) / 288.0;
        let value = 20.0 + 5.0 * (std::f64::consts::TAU * day).sin() + noise;
        (thing, property, Sample { at: Stamp::from_micros(slot * 300_000_000), value })
    }

    fn fleet() -> impl Iterator<Item = (usize, usize, Sample)> {
        (0..2).flat_map(|thing| {
            (0..10 * DAY).flat_map(move |slot| (0..2).map(move |property| value(thing, property, slot)))
        })
    }

    #[test]
    fn a_fleet_has_one_model_and_a_scorer_for_each_thing() {
        let learnt = learn(2, settings(), None, fleet).unwrap();
        assert_eq!(learnt.things.len(), 2);
        assert!(learnt.model.trained.anomalies_per_day < 0.5, "{:?}", learnt.model.trained);
        assert_eq!(learnt.model.trained.samples, 2 * 10 * 288 * 2);
        assert_eq!(learn(2, settings(), None, fleet).unwrap(), learnt, "the same past teaches the same");
    }

    #[test]
    fn a_scorer_that_was_put_aside_goes_on_as_if_it_had_not_been() {
        let learnt = learn(2, settings(), None, fleet).unwrap();
        let model = Arc::new(learnt.model);
        let mut scorer = Scorer::recalled(model.clone(), &learnt.things[&1]);
        let past = || (8 * DAY..10 * DAY).flat_map(|slot| (0..2).map(move |p| value(1, p, slot)));
        past().for_each(|(_, property, sample)| scorer.warm(property, sample));
        scorer.warmed(&learnt.things[&1]);
        let mut aside = None;
        let mut highest = (0, 0.0);
        for slot in 10 * DAY..12 * DAY {
            for property in 0..2 {
                let (_, property, mut sample) = value(1, property, slot);
                // In the second property something breaks.
                if property == 1 && slot >= 11 * DAY {
                    sample.value += 6.0;
                }
                let judged = scorer.observe(property, sample);
                if let Some(judged) = judged.filter(|judged| judged.score > highest.1 + 1.0) {
                    highest = (slot, judged.score);
                }
            }
            if slot == 10 * DAY + 77 {
                aside = Some((slot, scorer.memory().unwrap()));
            }
        }
        assert!(highest.0 >= 11 * DAY && highest.1 > model.thresholds.unusual, "{highest:?}");
        let (slot, memory) = aside.unwrap();
        let mut again = Scorer::recalled(model.clone(), &memory);
        let begin = slot - 24;
        (begin..=slot)
            .flat_map(|m| (0..2).map(move |p| value(1, p, m)))
            .for_each(|(_, p, sample)| again.warm(p, sample));
        again.warmed(&memory);
        for later in slot + 1..12 * DAY {
            for property in 0..2 {
                let (_, property, mut sample) = value(1, property, later);
                if property == 1 && later >= 11 * DAY {
                    sample.value += 6.0;
                }
                again.observe(property, sample);
            }
        }
        assert_eq!(again.memory(), scorer.memory());
    }

    #[test]
    fn a_long_course_keeps_its_peaks() {
        let mut peaks = Peaks::default();
        for index in 0..100_000_i64 {
            peaks.push(Stamp::from_micros(index), if index % 10_000 == 77 { 9.0 } else { 1.0 });
        }
        assert!(peaks.kept.len() <= MOST_PEAKS);
        let high: Vec<i64> =
            peaks.kept.iter().filter(|(_, score)| *score > 5.0).map(|(at, _)| at.as_micros()).collect();
        assert_eq!(high, (0..10).map(|n| n * 10_000 + 77).collect::<Vec<_>>());
    }
}
