//! Age of the oldest outbound event that waits for the broker.
//!
//! Outbound events carry no time. So the number of the next one is noted at intervals, and the age of an event is
//! measured from the first note with a higher number, which is accurate to the second at first.

use crate::domain::time::{Moment, Span};
use std::collections::VecDeque;

/// Minimum time between two notes at first.
const PAUSE: Span = Span::from_secs(1);
/// Maximum number of notes, 16 KiB. With more, every second one is removed and the minimum time between notes doubles.
/// So the error stays below a hundredth of the outage's duration.
const NOTES: usize = 1_024;

/// Times at which outbound events were written, by their numbers.
#[derive(Debug)]
pub(super) struct Backlog {
    /// A time, and the number that the next outbound event had then.
    notes: VecDeque<(Moment, u64)>,
    noted_at: Moment,
    pause: Span,
}

impl Backlog {
    /// The backlog at a start. Outbound events below `next` are from an earlier run: their age is measured from now.
    pub(super) fn new(now: Moment, next: u64) -> Backlog {
        Backlog { notes: VecDeque::from([(now, next)]), noted_at: now, pause: PAUSE }
    }

    /// Takes a note if one is due. `first` is the number of the oldest outbound event that waits; `None` if none waits.
    pub(super) fn mark(&mut self, now: Moment, next: u64, first: Option<u64>) {
        let first = first.unwrap_or(next);
        while self.notes.front().is_some_and(|(_, written)| *written <= first) {
            self.notes.pop_front();
        }
        if self.notes.is_empty() {
            self.pause = PAUSE;
        }
        let is_news = self.notes.back().map_or(first < next, |(_, written)| *written < next);
        if !is_news || (now - self.noted_at < self.pause && !self.notes.is_empty()) {
            return;
        }
        self.noted_at = now;
        self.notes.push_back((now, next));
        if self.notes.len() > NOTES {
            self.pause = Span::from_micros(self.pause.as_micros().saturating_mul(2));
            let mut stays = false;
            self.notes.retain(|_| {
                stays = !stays;
                stays
            });
        }
    }

    /// Age in whole seconds of the outbound event `first`, the oldest that waits; 0 if none waits.
    pub(super) fn age(&self, now: Moment, first: Option<u64>) -> u64 {
        let Some(first) = first else { return 0 };
        let written = self.notes.iter().find(|(_, next)| *next > first);
        let age = written.map_or(Span::ZERO, |(at, _)| now - *at);
        u64::try_from(age.as_micros() / 1_000_000).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Moment {
        Moment::from_micros(secs * 1_000_000)
    }

    #[test]
    fn the_oldest_event_has_an_age() {
        let mut backlog = Backlog::new(at(0), 7);
        assert_eq!(backlog.age(at(9), Some(3)), 9, "from an earlier run");
        backlog.mark(at(10), 7, None);
        assert_eq!(backlog.age(at(10), None), 0);
        backlog.mark(at(20), 9, Some(7));
        backlog.mark(at(30), 12, Some(7));
        assert_eq!((backlog.age(at(50), Some(8)), backlog.age(at(50), Some(9))), (30, 20));
        backlog.mark(at(60), 12, Some(10));
        assert_eq!(backlog.age(at(60), Some(10)), 30);
    }

    #[test]
    fn a_long_outage_takes_no_more_room_and_the_age_stays_right() {
        let mut backlog = Backlog::new(at(0), 0);
        for second in 1..=100_000_u32 {
            backlog.mark(at(second.into()), second.into(), Some(0));
            assert!(backlog.notes.len() <= NOTES);
        }
        let age = backlog.age(at(100_000), Some(0));
        assert!((99_000..=100_000).contains(&age), "{age}");
        let age = backlog.age(at(100_000), Some(50_000));
        assert!((49_000..=50_000).contains(&age), "{age}");
    }
}
