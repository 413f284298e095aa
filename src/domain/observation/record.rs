//! The latest ten minutes of observation in coarse steps: how many connections there were, and how much was a gap.
//!
//! Short gaps in a row keep observe-times from ever ending, although none of them is long. So their sum is watched.

use super::{Cause, Problem};
use crate::domain::time::{Moment, Span};

/// The length of a step.
const STEP: Span = Span::from_secs(10);
/// Steps that are kept: ten minutes.
const STEPS: i64 = 60;
/// Steps over which the share of gaps is judged: about a minute.
const JUDGED_STEPS: i64 = 6;
/// Less than this says nothing yet.
const SHORTEST_JUDGED: Span = Span::from_secs(10);
/// Fewer connections than these in ten minutes are ordinary.
const MANY_CONNECTIONS: u64 = 10;
/// A single long gap explains itself; so many in a minute are a state.
const MANY_GAPS: u64 = 3;
/// A gap with a connection that lasts longer than this is a state, too.
const LONG_GAP: Span = Span::from_secs(30);

#[derive(Debug, Clone, Copy, Default)]
struct Step {
    number: i64,
    connections: u64,
    gaps: u64,
    unobserved: Span,
}

/// The steps, each in the place that its number gives it.
#[derive(Debug)]
pub(super) struct Record {
    began: Moment,
    steps: Vec<Step>,
    last_cause: Cause,
}

fn number_of(moment: Moment) -> i64 {
    moment.as_micros().div_euclid(STEP.as_micros())
}

fn begin_of(number: i64) -> Moment {
    Moment::from_micros(number.saturating_mul(STEP.as_micros()))
}

impl Record {
    pub(super) fn new(now: Moment) -> Record {
        Record { began: now, steps: Vec::new(), last_cause: Cause::NotRunning }
    }

    fn step(&mut self, number: i64) -> &mut Step {
        if self.steps.is_empty() {
            // Not before it is needed: most daemons are connected once.
            self.steps = vec![Step { number: i64::MIN, ..Step::default() }; usize::try_from(STEPS).unwrap_or(0)];
        }
        let place = usize::try_from(number.rem_euclid(STEPS)).unwrap_or(0);
        let step = &mut self.steps[place];
        if step.number != number {
            *step = Step { number, ..Step::default() };
        }
        step
    }

    /// A connection was made.
    pub(super) fn connected(&mut self, at: Moment) {
        self.step(number_of(at)).connections += 1;
    }

    /// A gap has ended.
    pub(super) fn gap(&mut self, since: Moment, until: Moment, cause: Cause) {
        self.last_cause = cause;
        let last = number_of(until);
        self.step(last).gaps += 1;
        let first = number_of(since.max(self.began)).max(last - STEPS + 1);
        for number in first..=last {
            let unobserved = overlap(begin_of(number), begin_of(number + 1), since.max(self.began), until);
            let step = self.step(number);
            step.unobserved = step.unobserved + unobserved;
        }
    }

    /// The problem of connections, or of observation, that hardly last. `open`: the beginning and the cause of the gap that
    /// goes on, and true if there is a connection.
    pub(super) fn problem(&self, now: Moment, open: Option<(Moment, Cause, bool)>) -> Option<Problem> {
        let current = number_of(now);
        let connections = self.steps.iter().filter(|step| step.number > current - STEPS);
        let connections = connections.map(|step| step.connections).sum();
        if connections >= MANY_CONNECTIONS {
            return Some(Problem::HardlyConnected { connections });
        }
        let judged = || self.steps.iter().filter(|step| step.number > current - JUDGED_STEPS);
        let begun = begin_of(current - JUDGED_STEPS + 1).max(self.began);
        let of = now - begun;
        let is_long = open.is_some_and(|(since, _, is_connected)| is_connected && now - since > LONG_GAP);
        let gaps = judged().map(|step| step.gaps).sum::<u64>() + u64::from(open.is_some());
        if of < SHORTEST_JUDGED || (gaps < MANY_GAPS && !is_long) {
            return None;
        }
        let closed = judged().fold(Span::ZERO, |sum, step| sum + step.unobserved);
        let opened = open.map_or(Span::ZERO, |(since, _, _)| overlap(begun, now, since, now));
        let unobserved = (closed + opened).min(of);
        if unobserved + unobserved < of {
            return None;
        }
        let cause = open.map_or(self.last_cause, |(_, cause, _)| cause);
        Some(Problem::HardlyObserving { observed: of - unobserved, of, cause })
    }
}

fn overlap(begin: Moment, end: Moment, since: Moment, until: Moment) -> Span {
    (end.min(until) - begin.max(since)).max(Span::ZERO)
}
