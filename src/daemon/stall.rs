//! Stalls: times in which the process did not run, because it was stopped or the machine swapped. It reads no socket then
//! and does not know it.
//!
//! A task does nothing but look at the clock once a second. If it finds that far more time has passed, the thread on which
//! everything runs was not running, the socket was not read, and what comes out of it now is older than it looks. The disk
//! has a thread of its own, so a slow one is no stall.

use crate::clock::Clock;
use crate::time::{Moment, Span};
use std::cell::Cell;
use std::rc::Rc;

/// How often the task looks.
const BEAT: Span = Span::from_secs(1);
/// A beat that comes this much late is one of a process that did not run. Schedulers of busy cards are late by less.
const TOLERANCE: Span = Span::from_millis(250);

/// A time in which the process did not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stall {
    /// When the process last ran for certain.
    pub(super) since: Moment,
}

impl Stall {
    /// Takes note of a message that may have been received before the process stopped. True: it was received after.
    pub(super) fn is_before(&mut self, received: Moment) -> bool {
        let is_before = received - self.since > BEAT;
        if !is_before {
            self.since = self.since.max(received);
        }
        is_before
    }
}

/// Knows when the process last ran.
#[derive(Debug)]
pub(super) struct StallDetector {
    clock: Rc<Clock>,
    last: Cell<Moment>,
    stalled_since: Cell<Option<Moment>>,
}

impl StallDetector {
    /// Begins to look. Must be called inside a `LocalSet`.
    pub(super) fn start(clock: Rc<Clock>) -> Rc<StallDetector> {
        let last = Cell::new(clock.at());
        let detector = Rc::new(StallDetector { clock, last, stalled_since: Cell::new(None) });
        let looking = detector.clone();
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(BEAT.to_std()).await;
                looking.look();
            }
        });
        detector
    }

    fn look(&self) {
        let now = self.clock.at();
        let last = self.last.replace(now);
        if now - last > BEAT + TOLERANCE && self.stalled_since.get().is_none() {
            self.stalled_since.set(Some(last));
        }
    }

    /// The stall that has ended since the last call.
    pub(super) fn take(&self) -> Option<Stall> {
        self.look();
        self.stalled_since.take().map(|since| Stall { since })
    }
}
