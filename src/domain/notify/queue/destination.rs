//! How long to stay away: from a delivery that has failed, and from a destination that nobody can reach.

use crate::domain::time::{Moment, Span};

/// The first pause before another attempt.
const FIRST_PAUSE: Span = Span::from_secs(1);
/// The longest: a server that is back should not be alone for longer.
const LONGEST_PAUSE: Span = Span::from_secs(300);
/// Failures in a row after which a destination is left alone, apart from one attempt at a time.
const FAILURES_UNTIL_OPEN: u32 = 5;

/// What is known of a destination. After some failures in a row it is closed for a while, and then one attempt at a time
/// asks whether it is back.
#[derive(Debug, Default)]
pub(super) struct Destination {
    failures: u32,
    /// Nobody asks before this.
    closed_until: Option<Moment>,
    asking: bool,
}

impl Destination {
    /// Whether an attempt may begin now.
    pub(super) fn is_open(&self, now: Moment) -> bool {
        self.closed_until.is_none_or(|until| !self.asking && now >= until)
    }

    /// When an attempt may begin that could at `at`; none: when the one that is asking has come back.
    pub(super) fn open_at(&self, at: Moment) -> Option<Moment> {
        if self.asking { None } else { Some(at.max(self.closed_until.unwrap_or(at))) }
    }

    /// An attempt begins.
    pub(super) fn began(&mut self) {
        self.asking = self.closed_until.is_some();
    }

    /// An attempt has ended. `name` spreads the times of different askers.
    pub(super) fn ended(&mut self, was_unreachable: bool, now: Moment, name: &str) {
        self.asking = false;
        self.failures = if was_unreachable { self.failures.saturating_add(1) } else { 0 };
        self.closed_until = self.failures.checked_sub(FAILURES_UNTIL_OPEN).map(|further| now + pause(further, name));
    }
}

/// Doubles with each failure and lies in the upper half of that: a thousand deliveries must not come back at once. The
/// name decides where in that half, so that the same history gives the same times.
pub(super) fn pause(failures: u32, name: &str) -> Span {
    let longest = FIRST_PAUSE.as_micros().saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE.as_micros());
    let seed = format!("{name} {failures}");
    let random = i64::from(crc32fast::hash(seed.as_bytes()) & 0xffff);
    Span::from_micros(longest / 2 + longest / 2 / 0xffff * random).max(FIRST_PAUSE)
}
