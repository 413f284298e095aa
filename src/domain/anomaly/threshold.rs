//! From scores to severities.
//!
//! It derives the thresholds from the scores of the past, and says which severity a score has. A score that equals a
//! threshold reaches it.

use super::{real, share_of};
use crate::domain::model::Severity;

/// Each severity is this much rarer than the one below: ten times.
const STEP: f64 = 1.0;
/// No threshold is below this, whatever the past says: what is expected once in three thousand values, which is every ten
/// days with a value every five minutes. A short past has not seen how rare its own rarest scores are.
const LOWEST: f64 = 3.5;

/// The least score of each severity that is used, mildest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Thresholds {
    /// From here on a score is part of an anomaly.
    pub unusual: f64,
    /// Severities in ascending order with their least scores.
    pub least: Vec<(Severity, f64)>,
}

impl Thresholds {
    /// Derives them: what exceeds the `sensitivity` percentile of the past scores is a warning, ten times rarer an error,
    /// a hundred times rarer critical.
    pub fn derive(scores: &[f64], sensitivity: f64) -> Thresholds {
        let lowest = percentile(scores, sensitivity).unwrap_or(LOWEST).max(LOWEST);
        let used = [Severity::Warning, Severity::Error, Severity::Critical];
        let least = used.into_iter().enumerate().map(|(index, severity)| (severity, lowest + STEP * real(index)));
        Thresholds { unusual: lowest, least: least.collect() }
    }

    /// The severity of a score; none below the lowest threshold.
    pub fn severity(&self, score: f64) -> Option<Severity> {
        self.least.iter().rev().find(|(_, least)| score >= *least).map(|(severity, _)| *severity)
    }

    /// The same anomalies with other severities, as a user has set them.
    #[must_use]
    pub fn overridden(&self, mut least: Vec<(Severity, f64)>) -> Thresholds {
        least.sort_by_key(|(severity, _)| *severity);
        Thresholds { unusual: self.unusual, least }
    }
}

/// The score that so many percent of the scores do not exceed.
fn percentile(scores: &[f64], percent: f64) -> Option<f64> {
    let mut sorted = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(share_of(sorted.len(), percent / 100.0).min(sorted.len().saturating_sub(1))).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_that_equals_a_threshold_reaches_it() {
        let scores: Vec<f64> = (0..1_000).map(|n| f64::from(n) / 100.0).collect();
        let thresholds = Thresholds::derive(&scores, 50.0);
        assert_eq!(thresholds.least, [(Severity::Warning, 5.0), (Severity::Error, 6.0), (Severity::Critical, 7.0)]);
        assert_eq!(thresholds.severity(4.999), None);
        assert_eq!(thresholds.severity(5.0), Some(Severity::Warning));
        assert_eq!(thresholds.severity(6.0), Some(Severity::Error));
        assert_eq!(thresholds.severity(1e9), Some(Severity::Critical));
        let overridden = thresholds.overridden(vec![(Severity::Critical, 9.0), (Severity::Info, 8.0)]);
        assert_eq!(overridden.severity(7.0), None);
        assert_eq!(overridden.severity(8.5), Some(Severity::Info));
    }

    #[test]
    fn a_short_past_cannot_make_everything_an_anomaly() {
        assert!((Thresholds::derive(&[], 99.0).unusual - LOWEST).abs() < 1e-9);
        assert!((Thresholds::derive(&[0.1; 20], 99.0).unusual - LOWEST).abs() < 1e-9);
    }
}
