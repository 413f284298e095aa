//! From scores to anomalies: intervals in which a thing behaves unlike its past.
//!
//! It decides when an anomaly begins and ends, which neighbours are one, how severe it is and how much of it there was.
//! It knows nothing of alarms.

use super::threshold::Thresholds;
use crate::domain::model::Severity;
use crate::domain::time::{Span, Stamp};

/// An interval of unusual scores.
#[derive(Debug, Clone, PartialEq)]
pub struct Anomaly {
    /// The first unusual score.
    pub from: Stamp,
    /// The last one so far.
    pub to: Stamp,
    /// The highest score so far.
    pub score: f64,
    /// The score accumulated over the anomaly's time: score times hours.
    pub index: f64,
    /// The severity of the highest score; none below the lowest threshold.
    pub severity: Option<Severity>,
}

/// What a score changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Nothing that anybody has to know.
    None,
    /// An anomaly is long enough to be one, or has become more severe.
    Grown(Anomaly),
    /// It is over.
    Ended(Anomaly),
}

/// Follows the scores of one thing.
#[derive(Debug, Clone)]
pub struct Follower {
    thresholds: Thresholds,
    min_duration: Span,
    join: Span,
    open: Option<Open>,
}

/// An anomaly that is not over yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Open {
    /// What it is so far.
    pub anomaly: Anomaly,
    /// The last score, usual or not.
    pub last: Stamp,
    /// Score times hours since the last unusual score; it counts if the anomaly goes on.
    pub pending: f64,
    /// What was told of its severity, if it was told of at all.
    pub told: Option<Option<Severity>>,
}

impl Follower {
    /// Anomalies shorter than `min_duration` are none; those less than `join` apart are one.
    pub fn new(thresholds: Thresholds, min_duration: Span, join: Span) -> Follower {
        Follower { thresholds, min_duration, join, open: None }
    }

    /// Goes on with an anomaly that another one has followed so far.
    #[must_use]
    pub fn with(self, open: Option<Open>) -> Follower {
        Follower { open, ..self }
    }

    /// The anomaly that is not over yet, whether it is long enough or not.
    pub fn into_open(self) -> Option<Open> {
        self.open
    }

    /// Takes the next score in. An anomaly ends when the scores have been usual for the joining time.
    pub fn observe(&mut self, at: Stamp, score: f64) -> Change {
        let severity = self.thresholds.severity(score);
        let is_unusual = score >= self.thresholds.unusual;
        let ended = self.open.take_if(|open| at - open.anomaly.to > self.join);
        if let Some(open) = &mut self.open {
            open.pending += score * hours(at - open.last);
            open.last = at;
            if is_unusual {
                let anomaly = &mut open.anomaly;
                anomaly.to = at;
                anomaly.index += std::mem::take(&mut open.pending);
                anomaly.score = anomaly.score.max(score);
                anomaly.severity = anomaly.severity.max(severity);
            }
        } else if is_unusual {
            let anomaly = Anomaly { from: at, to: at, score, index: 0.0, severity };
            self.open = Some(Open { anomaly, last: at, pending: 0.0, told: None });
        }
        match ended {
            Some(open) if open.told.is_some() => Change::Ended(open.anomaly),
            Some(_) | None => self.grown(),
        }
    }

    fn grown(&mut self) -> Change {
        match &mut self.open {
            Some(open)
                if open.anomaly.to - open.anomaly.from >= self.min_duration
                    && open.told.is_none_or(|told| told < open.anomaly.severity) =>
            {
                open.told = Some(open.anomaly.severity);
                Change::Grown(open.anomaly.clone())
            }
            Some(_) | None => Change::None,
        }
    }

    /// The anomaly that is not over yet, if it is long enough to be one.
    pub fn open(&self) -> Option<&Anomaly> {
        self.open.as_ref().filter(|open| open.told.is_some()).map(|open| &open.anomaly)
    }
}

fn hours(span: Span) -> f64 {
    span.as_secs_f64() / 3_600.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(min_minutes: i64, join_minutes: i64, scores: &[f64]) -> Vec<(usize, String)> {
        let thresholds = Thresholds { unusual: 3.0, least: vec![(Severity::Warning, 3.0), (Severity::Critical, 5.0)] };
        let minutes = |count: i64| Span::from_secs(60 * count);
        let mut follower = Follower::new(thresholds, minutes(min_minutes), minutes(join_minutes));
        let mut told = Vec::new();
        for (minute, score) in scores.iter().enumerate() {
            let at = Stamp::default() + minutes(i64::try_from(minute).unwrap());
            match follower.observe(at, *score) {
                Change::None => {}
                Change::Grown(anomaly) => told.push((minute, anomaly.severity.unwrap().as_str().to_owned())),
                Change::Ended(anomaly) => {
                    told.push((minute, format!("{} {} index {:.3}", anomaly.from, anomaly.to, anomaly.index)));
                }
            }
        }
        told
    }

    fn told(told: &[(usize, &str)]) -> Vec<(usize, String)> {
        told.iter().map(|(minute, what)| (*minute, (*what).to_owned())).collect()
    }

    #[test]
    fn severity_rises_and_never_falls_and_neighbours_are_one() {
        let found = follow(0, 2, &[0.0, 3.0, 0.0, 5.0, 3.0, 0.0, 0.0, 0.0]);
        let end = "1970-01-01T00:01:00Z 1970-01-01T00:04:00Z index 0.133";
        assert_eq!(found, told(&[(1, "warning"), (3, "critical"), (7, end)]));
    }

    #[test]
    fn what_is_too_short_is_no_anomaly() {
        assert_eq!(follow(2, 1, &[0.0, 9.0, 9.0, 0.0, 0.0, 0.0]), []);
        assert_eq!(follow(2, 1, &[0.0, 3.0, 3.0, 3.0]), told(&[(3, "warning")]));
    }
}
