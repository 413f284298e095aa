//! Which times are kept already, so that what is imported twice is kept once.

use crate::domain::time::Stamp;

/// Times that are kept already.
pub(super) struct Covered {
    /// By their beginnings, each with the latest end up to there.
    spans: Vec<(Stamp, Stamp)>,
}

impl Covered {
    pub(super) fn new(mut spans: Vec<(Stamp, Stamp)>) -> Covered {
        spans.sort_unstable();
        let mut latest = Stamp::from_micros(i64::MIN);
        for (_, end) in &mut spans {
            latest = latest.max(*end);
            *end = latest;
        }
        Covered { spans }
    }

    pub(super) fn covers(&self, at: Stamp) -> bool {
        let begun = self.spans.partition_point(|(first, _)| *first <= at);
        begun.checked_sub(1).and_then(|last| self.spans.get(last)).is_some_and(|(_, end)| *end >= at)
    }

    pub(super) fn next_after(&self, at: Stamp) -> Option<Stamp> {
        self.spans.get(self.spans.partition_point(|(first, _)| *first <= at)).map(|(first, _)| *first)
    }
}
