//! Stalls: times in which the process did not run, because it was stopped or the machine swapped. It reads no socket
//! then and does not know it.
//!
//! A task reads the clock once a second. If far more time has passed, the thread on which everything runs was not
//! running, the socket was not read, and data that comes out of it now is older than it looks. The disk has a thread of
//! its own, so a slow one is no stall.

use crate::domain::time::{Moment, Span};
use crate::io::clock::Clock;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// The pause between two looks of the task.
const BEAT: Span = Span::from_secs(1);
/// Lateness of a beat that shows a stall. Schedulers of busy cards are late by less.
const TOLERANCE: Span = Span::from_millis(250);

/// Stalls that are kept apart while the loop waits for a write; more are joined to the latest.
const MOST_STALLS: usize = 16;

/// A time in which the process did not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stall {
    /// The last moment at which the process ran for certain.
    pub(super) since: Moment,
    /// The first moment at which it ran again.
    pub(super) until: Moment,
}

impl Stall {
    /// True if the stall may have delayed a message received at this time. An earlier message moves the start of the
    /// stall.
    pub(super) fn has_delayed(&mut self, received: Moment) -> bool {
        let has_delayed = received - self.since > BEAT;
        if !has_delayed {
            self.since = self.since.max(received);
        }
        has_delayed
    }
}

/// Detects stalls with a task that reads the clock every [`BEAT`].
#[derive(Debug)]
pub(super) struct StallDetector {
    clock: Rc<Clock>,
    last: Cell<Moment>,
    /// Stalls since the last [`StallDetector::take`].
    stalls: RefCell<VecDeque<Stall>>,
}

impl StallDetector {
    /// Starts the task. Must be called inside a `LocalSet`.
    pub(super) fn start(clock: Rc<Clock>) -> Rc<StallDetector> {
        let last = Cell::new(clock.at());
        let detector = Rc::new(StallDetector { clock, last, stalls: RefCell::default() });
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
        if now - last > BEAT + TOLERANCE {
            let mut stalls = self.stalls.borrow_mut();
            if stalls.len() < MOST_STALLS {
                stalls.push_back(Stall { since: last, until: now });
            } else if let Some(latest) = stalls.back_mut() {
                latest.until = now;
            }
        }
    }

    /// The stalls that have ended since the last call.
    pub(super) fn take(&self) -> VecDeque<Stall> {
        self.look();
        self.stalls.take()
    }
}
