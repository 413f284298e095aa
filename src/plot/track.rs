//! Follows one alarm through a recording: what the engine says of it after each line becomes a [`Lane`].
//!
//! It decides when an observe-time or clear-delay was running and how far it came. It knows no other alarm, and no
//! values: they belong to the property.

use super::picture::{Lane, Light, Reading, Turn, Wait};
use super::words;
use crate::domain::engine::{AlarmView, Event, State, Timer};
use crate::domain::time::{Span, Stamp};

/// One alarm, and what was running for it when it was last looked at.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) lane: Lane,
    looked: bool,
    heard: u64,
    running: Option<Running>,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    begun: Stamp,
    from: f64,
    timer: Timer,
    length: Span,
}

impl Running {
    /// Which share of its length is over at `at`.
    fn share(&self, at: Stamp) -> f64 {
        share(self.timer, self.length, at)
    }
}

fn share(timer: Timer, length: Span, at: Stamp) -> f64 {
    let left = Stamp::from_micros(timer.deadline.as_micros()) - at;
    let share = 1.0 - left.as_secs_f64() / length.as_secs_f64();
    if share.is_finite() { share.clamp(0.0, 1.0) } else { 1.0 }
}

impl From<State> for Light {
    fn from(state: State) -> Light {
        match state {
            State::Off => Light::Off,
            State::Enabled => Light::Enabled,
            State::Idled => Light::Idled,
            State::Activated => Light::Activated,
            State::Acknowledged => Light::Acknowledged,
        }
    }
}

impl Track {
    /// The track of an alarm that begins to exist at `begins`, before anything happens to it.
    pub(crate) fn new(view: AlarmView<'_>, begins: Stamp) -> Track {
        let definition = view.definition();
        let lane = Lane {
            name: definition.level.to_string(),
            words: words::alarm(definition),
            begins,
            light: if definition.enabled { Light::Enabled } else { Light::Off },
            turns: super::Thin::default(),
            waits: super::Thin::default(),
            means: super::Thin::default(),
            activations: 0,
        };
        Track { lane, looked: false, heard: 0, running: None }
    }

    /// Takes note of one of its state changes.
    pub(crate) fn turn(&mut self, event: &Event) {
        let to = Light::from(event.to);
        // Taking note of an occurrence stops nothing: neither a clear-delay nor the next observe-time.
        let stops = event.to != State::Acknowledged && event.from != event.to;
        if stops {
            self.missed(event);
            self.stop(event.at);
        }
        let activated = (event.to == State::Activated && !event.from.is_active()).then_some(event.at);
        self.lane.activations += u64::from(activated.is_some());
        let late_acknowledgement = event.from == event.to && event.to == State::Idled;
        self.lane.turns.push(event.at, Turn { to, worst: to, activated, late_acknowledgement });
    }

    /// The clock of a thing that never spoke ran out before anybody looked at it.
    fn missed(&mut self, event: &Event) {
        if let (false, Some(since)) = (self.looked, event.since)
            && since < event.at
        {
            self.lane.waits.push(since, Wait { end: event.at, from: 0.0, to: 1.0, before: 0.0 });
        }
        self.looked = true;
    }

    /// Looks at the alarm as it is at `at`. True: a value has counted for it since it was last looked at.
    pub(crate) fn look(&mut self, view: AlarmView<'_>, link_up: bool, at: Stamp) -> bool {
        // In a gap nothing runs, whatever becomes of it at the gap's end.
        let timer = view.timer().filter(|_| link_up);
        if self.running.map(|running| running.timer) != timer {
            self.stop(at);
            self.running = timer.map(|timer| {
                let trigger = &view.definition().trigger;
                let length = if view.state().is_active() { trigger.clear_delay() } else { trigger.observe_time() };
                // At the first look it may have been running for a while.
                let started = Stamp::from_micros(timer.deadline.as_micros()) - length;
                let begun = if self.looked { at } else { started.max(self.lane.begins).min(at) };
                Running { begun, from: share(timer, length, begun), timer, length }
            });
        }
        self.looked = true;
        let has_heard = view.heard() != self.heard;
        self.heard = view.heard();
        if let (true, Some(mean)) = (has_heard, view.average()) {
            self.lane.means.push(at, Reading::of(mean));
        }
        has_heard
    }

    /// Ends what is running.
    pub(crate) fn stop(&mut self, at: Stamp) {
        if let Some(running) = self.running.take() {
            let wait = Wait { end: at, from: running.from, to: running.share(at), before: 0.0 };
            self.lane.waits.push(running.begun, wait);
        }
    }
}
