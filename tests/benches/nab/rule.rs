//! NAB's scoring rule, standard profile.
//!
//! A window that is found counts the more the earlier: a sigmoid of the place of its first detection, 1 at the left edge
//! and 0 at the right one. A window that is missed costs 1, a detection outside of any up to 0.11, the more the further
//! behind a window it is. 0 is the detector that says nothing, 100 the one that finds everything at once.

use super::series::Series;

/// What a false alarm costs at most.
const FALSE_ALARM: f64 = 0.11;
/// From so many window lengths behind a window on, a false alarm costs all.
const FAR: f64 = 3.0;
/// Thresholds that are tried: the highest scores of each file, more than any threshold worth trying lets through.
const TRIED: usize = 100;

/// What one file contributes.
pub(crate) struct Judgement {
    pub(crate) value: f64,
    pub(crate) found: usize,
    pub(crate) false_alarms: usize,
}

pub(crate) struct Best {
    pub(crate) threshold: f64,
    pub(crate) score: f64,
}

fn real(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn sigmoid(place: f64) -> f64 {
    2.0 / (1.0 + (5.0 * place).exp()) - 1.0
}

pub(crate) fn classify(series: &Series, scores: &[f64], threshold: f64) -> Judgement {
    let probation = series.probation();
    let mut judgement = Judgement { value: 0.0, found: 0, false_alarms: 0 };
    for (first, last) in &series.windows {
        match (*first.max(&probation)..=*last).find(|row| scores[*row] >= threshold) {
            Some(row) => {
                let place = -real(last + 1 - row) / real(last + 1 - first);
                judgement.value += sigmoid(place) / sigmoid(-1.0);
                judgement.found += 1;
            }
            None => judgement.value -= 1.0,
        }
    }
    for row in (probation..scores.len()).filter(|row| scores[*row] >= threshold) {
        if !series.windows.iter().any(|(first, last)| (*first..=*last).contains(&row)) {
            judgement.value += FALSE_ALARM * far(series, row);
            judgement.false_alarms += 1;
        }
    }
    judgement
}

fn far(series: &Series, row: usize) -> f64 {
    let before = series.windows.iter().rfind(|(_, last)| *last < row);
    let lengths = before.map_or(FAR, |(first, last)| real(row - last) / real(last - first));
    if lengths >= FAR { -1.0 } else { sigmoid(lengths) }
}

pub(crate) fn total(all: &[Series], scores: &[Vec<f64>], threshold: f64) -> f64 {
    let windows: usize = all.iter().map(|series| series.windows.len()).sum();
    let value: f64 = all.iter().zip(scores).map(|(series, scores)| classify(series, scores, threshold).value).sum();
    100.0 * (value + real(windows)) / (2.0 * real(windows))
}

/// The one threshold for all files that scores best.
pub(crate) fn best(all: &[Series], scores: &[Vec<f64>]) -> Best {
    let mut thresholds: Vec<f64> = Vec::new();
    for (series, scores) in all.iter().zip(scores) {
        let mut highest = scores[series.probation()..].to_vec();
        highest.sort_by(|a, b| b.total_cmp(a));
        thresholds.extend(highest.iter().take(TRIED));
    }
    thresholds.sort_by(f64::total_cmp);
    thresholds.dedup();
    let every = (thresholds.len() / 500).max(1);
    let nothing = Best { threshold: f64::INFINITY, score: 0.0 };
    thresholds.into_iter().step_by(every).fold(nothing, |best, threshold| {
        let score = total(all, scores, threshold);
        if score > best.score { Best { threshold, score } } else { best }
    })
}
