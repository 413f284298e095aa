//! The client that withholds nothing: what the daemon is measured by.

use std::collections::VecDeque;

/// The moments at which messages would reach a client that acknowledges each of them at once.
#[derive(Debug)]
pub(super) struct Ideal {
    window: usize,
    latency: i64,
    /// When the last messages would have left, as many as the window has room for.
    left: VecDeque<i64>,
    not_before: i64,
}

impl Ideal {
    pub(super) fn new(window: usize, latency: i64) -> Ideal {
        Ideal { window, latency, left: VecDeque::new(), not_before: 0 }
    }

    /// A new connection begins.
    pub(super) fn restart(&mut self, now: i64) {
        self.left.clear();
        self.not_before = now;
    }

    /// The broker sends nothing before this moment.
    pub(super) fn hold(&mut self, until: i64) {
        self.not_before = self.not_before.max(until);
    }

    /// The moment at which the next message, published now, would arrive.
    pub(super) fn next(&mut self, now: i64) -> i64 {
        let has_room = if self.left.len() < self.window { None } else { self.left.pop_front() };
        // Its place in the window is free when the acknowledgement is back.
        let room_at = has_room.map_or(now, |left| left + 2 * self.latency);
        let leaves = now.max(self.not_before).max(room_at);
        self.not_before = leaves;
        self.left.push_back(leaves);
        leaves + self.latency
    }
}
