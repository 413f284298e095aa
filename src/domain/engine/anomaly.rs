//! Anomaly alarms: what an order or a score does to an alarm that says how unusual its thing behaves.
//!
//! Two feeds, one life. What a model finds comes as an [`Order`] from whoever scores by it; a score that somebody else
//! publishes is compared with thresholds here, value by value. While an anomaly goes on its severity may rise and never
//! falls. A rise is an event from the state in which the alarm is to activated: what was acknowledged was something less
//! severe, so it has to be acknowledged anew (ISA-18.2, 11.6: re-alarming).
//!
//! Such an alarm is *latent* until there is something to tell of it: a first anomaly, or that an operator has switched or
//! shelved it. A latent alarm has its name and obeys operators; it has no topic and is in no list. It is so again after the
//! deletion of its anomalies.

use super::alarm::Unsaved;
use super::decide::Change;
use super::{AlarmIx, Cause, DefinitionIx, Effects, Engine, State, number};
use crate::domain::anomaly::life::Order;
use crate::domain::model::{Severity, Trigger, Value};
use crate::domain::time::{Now, Stamp};
use std::sync::Arc;

/// An anomaly that is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// When it began.
    pub since: Stamp,
    /// The highest severity that it has reached.
    pub severity: Severity,
    /// Whether no reaction starts for it, because a look at the past has found it.
    pub is_quiet: bool,
}

impl Engine {
    /// The alarm of a definition for one thing, which begins to exist now if it has not been heard of. None: the
    /// definition is not for this thing, or more things than are allowed are watched.
    pub fn alarm_of(&mut self, definition: usize, thing: &str) -> Option<AlarmIx> {
        let model = self.model.clone();
        let entry = model.definitions.get(definition).filter(|entry| entry.covers(thing))?;
        if let Some(known) =
            self.find(crate::domain::model::AlarmId::new(thing, &entry.property, &entry.level).as_str())
        {
            return Some(known);
        }
        if self.registry.thing(thing).is_none()
            && let Some(bound) = self.bound_of_things(thing)
        {
            self.refuse(thing, bound, 1);
            return None;
        }
        let thing = self.registry.add_thing(&Arc::from(thing));
        Some(self.add_alarm(DefinitionIx(number(definition)), thing))
    }

    /// Carries out an order for the alarm of a model. `score` is the anomaly's highest so far; none: what is known stays.
    /// An alarm that is off remembers what goes on and is activated when it is enabled meanwhile. False: nothing changed.
    pub fn order(&mut self, ix: AlarmIx, order: &Order, score: Option<f64>, now: Now, effects: &mut Effects) -> bool {
        self.settle(now, effects);
        if !matches!(self.trigger(ix), Trigger::Anomaly { .. }) {
            return false;
        }
        let alarm = &self.alarms[ix.index()];
        if alarm.is_uncertain {
            self.judged(ix, effects);
        }
        let alarm = &mut self.alarms[ix.index()];
        if let Some(score) = score {
            alarm.value = Some(Value::Number(score));
            alarm.heard += 1;
        }
        match order {
            Order::Activate { since, severity, reactions } => {
                // One is active at most.
                self.end(ix, now, effects);
                let standing = Standing { since: *since, severity: *severity, is_quiet: !reactions };
                self.alarms[ix.index()].anomaly = Some(Box::new(standing));
                self.note(ix, Unsaved::Hard);
                self.execute(ix, now, effects);
            }
            Order::Rise { severity } => {
                let Some(standing) = alarm.anomaly.as_mut().filter(|standing| standing.severity < *severity) else {
                    return false;
                };
                // Whatever began in the past, this happens now.
                **standing = Standing { severity: *severity, is_quiet: false, ..**standing };
                self.note(ix, Unsaved::Hard);
                self.rise(ix, now, effects);
            }
            Order::Clear => return self.end(ix, now, effects),
            Order::Delete => {
                self.end(ix, now, effects);
                let has_vanished = self.vanish(ix, effects);
                if has_vanished {
                    self.alarms[ix.index()].value = None;
                }
                return has_vanished;
            }
        }
        true
    }

    /// The anomaly that was going on is over. False: there was none.
    fn end(&mut self, ix: AlarmIx, now: Now, effects: &mut Effects) -> bool {
        let alarm = &mut self.alarms[ix.index()];
        if alarm.state.is_active() {
            self.change(ix, State::Idled, Change::of(Cause::Anomaly), now, effects);
            return true;
        }
        let was_known = alarm.anomaly.take().is_some();
        if was_known {
            self.note(ix, Unsaved::Hard);
        }
        was_known
    }

    /// Activates an enabled alarm whose anomaly goes on.
    pub(super) fn execute(&mut self, ix: AlarmIx, now: Now, effects: &mut Effects) {
        let alarm = &mut self.alarms[ix.index()];
        let Some(since) = alarm.anomaly.as_ref().map(|standing| standing.since) else { return };
        match alarm.state {
            State::Off | State::Activated | State::Acknowledged => {}
            State::Enabled | State::Idled => {
                alarm.since = now.moment(since);
                self.activate(ix, Cause::Anomaly, now, effects);
            }
        }
    }

    /// Takes note of what the latest score says of the anomaly.
    pub(super) fn follow_score(&mut self, ix: AlarmIx, now: Now) {
        let alarm = &mut self.alarms[ix.index()];
        let Trigger::Score { severities, .. } = &self.model.definitions[alarm.definition.0 as usize].trigger else {
            return;
        };
        let Some(Value::Number(score)) = alarm.value else { return };
        match severities.iter().rev().find(|(_, least)| score >= *least).map(|(severity, _)| *severity) {
            _ if alarm.state == State::Off => {}
            Some(severity) => {
                let new = Standing { since: now.wall, severity, is_quiet: false };
                let standing = alarm.anomaly.get_or_insert_with(|| Box::new(new));
                standing.severity = standing.severity.max(severity);
            }
            None if alarm.state.is_active() => {}
            None => alarm.anomaly = None,
        }
    }

    /// An alarm that is being activated has its anomaly's severity and beginning.
    pub(super) fn take_severity(&mut self, ix: AlarmIx) {
        let alarm = &mut self.alarms[ix.index()];
        let Some(standing) = alarm.anomaly.as_deref().copied() else { return };
        alarm.severity = standing.severity;
        if matches!(self.trigger(ix), Trigger::Anomaly { .. }) {
            self.alarms[ix.index()].past.get_or_insert_default().activated_since = Some(standing.since);
        }
    }

    /// An active alarm whose anomaly has become more severe than the alarm is.
    pub(super) fn rise(&mut self, ix: AlarmIx, now: Now, effects: &mut Effects) {
        let alarm = &mut self.alarms[ix.index()];
        let Some(severity) = alarm.anomaly.as_ref().map(|standing| standing.severity) else { return };
        if alarm.state.is_active() && alarm.severity < severity {
            alarm.severity = severity;
            if let Some(past) = &mut alarm.past {
                past.acknowledged = None;
            }
            self.change(ix, State::Activated, Change::of(Cause::Anomaly), now, effects);
        }
    }

    /// An alarm that has left the store under its old number comes back under a new one, if it knows something.
    pub(super) fn note_if_heard(&mut self, ix: AlarmIx) {
        let alarm = &self.alarms[ix.index()];
        if alarm.value.is_some() || alarm.anomaly.is_some() {
            self.note(ix, Unsaved::Hard);
        }
    }

    /// From now on there is something to tell of the alarm.
    pub(super) fn appear(&mut self, ix: AlarmIx, effects: &mut Effects) {
        if std::mem::take(&mut self.alarms[ix.index()].is_latent) {
            self.latent -= 1;
            effects.appeared.push(ix);
        }
    }

    /// From now on there is nothing to tell of the alarm, unless an operator has switched or shelved it. What comes later
    /// is another alarm: its occurrences are numbered from 1.
    pub(super) fn vanish(&mut self, ix: AlarmIx, effects: &mut Effects) -> bool {
        let alarm = &self.alarms[ix.index()];
        let is_as_configured = (alarm.state != State::Off) == self.definition(ix).enabled;
        let is_known = !alarm.is_latent || alarm.handle.is_some();
        if !is_known || !is_as_configured || alarm.shelved.is_some() {
            return false;
        }
        let handle = self.handle_of(ix);
        effects.vanished.push(self.alarm_memory(ix, handle));
        let severity = self.definition(ix).severity;
        let alarm = &mut self.alarms[ix.index()];
        self.latent += usize::from(!alarm.is_latent);
        self.dirty -= usize::from(alarm.unsaved != Unsaved::Nothing);
        alarm.severity = severity;
        alarm.is_latent = true;
        alarm.unsaved = Unsaved::Nothing;
        alarm.state = if alarm.state == State::Off { State::Off } else { State::Enabled };
        (alarm.handle, alarm.past) = (None, None);
        true
    }
}

#[cfg(test)]
mod tests;
