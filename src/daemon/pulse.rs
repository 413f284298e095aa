//! Whether the process ran at all: a stopped process, or a machine that swaps, listens to nobody and does not know it.
//!
//! A task does nothing but look at the clock once a second. If it finds that far more time has passed, the thread on which
//! everything runs was not running, the socket was not read, and what comes out of it now is older than it looks.

use crate::clock::Clock;
use crate::time::{Moment, Span};
use std::cell::Cell;
use std::rc::Rc;

/// How often it looks.
const BEAT: Span = Span::from_secs(1);
/// A beat that comes this much late is one of a process that did not run. No busy card is that slow, because the disk has
/// a thread of its own.
const STALL: Span = Span::from_secs(3);
/// A stop that makes a beat so late is at least this long, because the last beat may have been one interval before it.
pub(super) const SHORTEST_STOP: Span = Span::from_micros(STALL.as_micros() - BEAT.as_micros());

/// Knows when the process last ran.
#[derive(Debug)]
pub(super) struct Pulse {
    clock: Rc<Clock>,
    last: Cell<Moment>,
    stopped: Cell<Option<Moment>>,
}

impl Pulse {
    /// Begins to beat. Must be called inside a `LocalSet`.
    pub(super) fn start(clock: Rc<Clock>) -> Rc<Pulse> {
        let last = Cell::new(clock.at());
        let pulse = Rc::new(Pulse { clock, last, stopped: Cell::new(None) });
        let beating = pulse.clone();
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(BEAT.to_std()).await;
                beating.beat();
            }
        });
        pulse
    }

    fn beat(&self) {
        let now = self.clock.at();
        let last = self.last.replace(now);
        if now - last > STALL && self.stopped.get().is_none() {
            self.stopped.set(Some(last));
        }
    }

    /// Since when the process did not run, if it did not. It is told once.
    pub(super) fn take_stop(&self) -> Option<Moment> {
        self.beat();
        self.stopped.take()
    }
}
