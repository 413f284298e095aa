//! How long the oldest outbound event has waited for the broker.
//!
//! Outbound events carry no time. So which number the next one would have is noted now and then, and the age of a outbound event is told
//! to within the second from the first note in which its number had been given.

use crate::domain::time::{Moment, Span};
use std::collections::VecDeque;

/// Notes are at least this far apart.
const PAUSE: Span = Span::from_secs(1);
/// Notes that are kept, 16 KiB; when there are more, every second one goes and the next ones come half as often. So the
/// error stays below a hundredth of the time that the outage lasts.
const NOTES: usize = 1_024;

/// When which outbound events had been written.
#[derive(Debug)]
pub(super) struct Backlog {
    /// At this moment the next outbound event had this number.
    notes: VecDeque<(Moment, u64)>,
    noted_at: Moment,
    pause: Span,
}

impl Backlog {
    /// Outbound events below `next` are from an earlier run: their age is counted from now.
    pub(super) fn new(now: Moment, next: u64) -> Backlog {
        Backlog { notes: VecDeque::from([(now, next)]), noted_at: now, pause: PAUSE }
    }

    /// Takes a note. `first` is the oldest outbound event that waits.
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

    /// How long the oldest outbound event has waited, in whole seconds; 0 if none waits.
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
