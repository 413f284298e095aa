//! Times in which nothing could be heard: the daemon was down, or not connected to the broker.
//!
//! A gap is no evidence, neither of silence nor of a condition that held on. While it lasts nothing fires; at its end
//! every alarm treats it as its definition says ([`OnGap`]). Active alarms stay active. A restart is a gap like any
//! other: the engine is restored with its link down since the last moment that is on disk.

use super::{AlarmIx, Effects, Engine, State};
use crate::domain::model::{OnGap, Trigger};
use crate::domain::time::{Moment, Now, Span};

/// Whether the engine can hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It could never hear yet: no clock of silence runs.
    NeverUp,
    /// It hears.
    Up,
    /// It has not been able to hear since then.
    Down {
        /// The beginning of the gap.
        since: Moment,
    },
}

impl Link {
    /// Whether the engine hears now.
    pub fn is_up(self) -> bool {
        self == Link::Up
    }

    pub(super) fn was_ever_up(self) -> bool {
        self != Link::NeverUp
    }
}

impl Engine {
    pub(super) fn link_down(&mut self, now: Now) {
        if self.link.is_up() {
            self.link = Link::Down { since: now.at };
        }
    }

    pub(super) fn link_up(&mut self, now: Now, effects: &mut Effects) {
        let since = match std::mem::replace(&mut self.link, Link::Up) {
            Link::Up => return,
            Link::NeverUp => now.at,
            Link::Down { since } => since,
        };
        let alarms = self.all_alarms();
        for alarm in alarms {
            match self.definition(alarm).on_gap {
                OnGap::Count => {}
                OnGap::Pause => self.pause(alarm, since, now.at),
                OnGap::Reset => self.reset(alarm, now.at),
            }
            if matches!(self.alarms[alarm.index()].state, State::Enabled | State::Idled)
                && self.timers.get(alarm).is_none()
            {
                self.start_clock(alarm, now.at);
            }
        }
        // What fell due in a gap that counts fires at its end; of the others nothing is due any more.
        while let Some((alarm, _)) = self.timers.pop_due(now.at) {
            self.fire(alarm, now, effects);
        }
    }

    /// Deadlines and the age of samples move by the part of the gap that they have seen.
    fn pause(&mut self, alarm: AlarmIx, since: Moment, end: Moment) {
        if let Some(timer) = self.timers.get(alarm) {
            let started = timer.deadline - self.running(alarm);
            let seen = end - since.max(started);
            if seen > Span::ZERO {
                self.timers.shift(alarm, seen);
                self.note(alarm, super::Unsaved::Soft);
            }
        }
        if let Some(window) = &mut self.alarms[alarm.index()].window {
            window.pause(since, end);
            self.note(alarm, super::Unsaved::Soft);
        }
    }

    /// What is running starts anew; samples are dropped, and with them an observe-time that only they supported.
    fn reset(&mut self, alarm: AlarmIx, end: Moment) {
        let averages = matches!(self.trigger(alarm), Trigger::Average { .. });
        let entry = &mut self.alarms[alarm.index()];
        if let Some(window) = &mut entry.window {
            self.samples_held -= window.clear();
            self.note(alarm, super::Unsaved::Soft);
        }
        if self.timers.get(alarm).is_none() {
            return;
        }
        self.note(alarm, super::Unsaved::Soft);
        if averages {
            self.timers.stop(alarm);
            return;
        }
        if !self.alarms[alarm.index()].state.is_active() {
            self.alarms[alarm.index()].since = end;
        }
        self.timers.start(alarm, end + self.running(alarm));
    }

    /// The length of the delay that is running for the alarm in its present state.
    fn running(&self, alarm: AlarmIx) -> Span {
        let trigger = self.trigger(alarm);
        if self.alarms[alarm.index()].state.is_active() { trigger.clear_delay() } else { trigger.observe_time() }
    }
}
