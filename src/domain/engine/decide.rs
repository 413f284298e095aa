//! The decisions: what a value, a sign of life, a deadline and a command do to an alarm.
//!
//! Every state changes in one place, [`Engine::change`], which also makes the event. What a value says about an alarm's
//! condition is weighed in [`super::alarm`]; what a gap does is in [`super::gap`].

use super::alarm::{Beginning, Evidence, Unsaved};
use super::{
    Acknowledgement, AlarmIx, Answer, Cause, Effects, Engine, Event, LastChange, Life, PropertyIx, Receipt, Signature,
    State, Verb,
};
use crate::domain::model::{AlarmType, Trigger, ValueRef, Verdict};
use crate::domain::time::{Moment, Now, Span};
use std::sync::Arc;

impl Engine {
    /// What one value does to one alarm.
    pub(super) fn evaluate(
        &mut self,
        ix: AlarmIx,
        value: ValueRef<'_>,
        receipt: Receipt,
        now: Now,
        effects: &mut Effects,
    ) {
        let alarm = &mut self.alarms[ix.index()];
        let was_uncertain = alarm.is_uncertain;
        let definition = &self.model.definitions[alarm.definition.0 as usize];
        let is_score = matches!(definition.trigger, Trigger::Score { .. });
        let evidence =
            alarm.measure(ix, definition, value, receipt, now, &mut self.samples_held, &mut effects.input_faults);
        match evidence {
            Evidence::None => return,
            Evidence::Noted => {}
            Evidence::Life => self.heard(ix, now, effects),
            Evidence::Verdict(verdict) if is_score => {
                self.follow_score(ix, now);
                self.decide(ix, verdict, now, effects);
                self.rise(ix, now, effects);
            }
            Evidence::Verdict(verdict) => self.decide(ix, verdict, now, effects),
        }
        self.note(ix, Unsaved::Soft);
        if was_uncertain && evidence != Evidence::Noted {
            self.judged(ix, effects);
        }
    }

    /// Takes note that an alarm was judged by what it watches: its state is certain.
    pub(super) fn judged(&mut self, ix: AlarmIx, effects: &mut Effects) {
        let alarm = &mut self.alarms[ix.index()];
        if std::mem::take(&mut alarm.is_uncertain) {
            self.note(ix, Unsaved::Hard);
            effects.changed.push(ix);
        }
    }

    /// What a verdict does to an alarm with a condition.
    pub(super) fn decide(&mut self, ix: AlarmIx, verdict: Verdict, now: Now, effects: &mut Effects) {
        let alarm = &self.alarms[ix.index()];
        match (alarm.state, verdict) {
            (State::Off, _) | (_, Verdict::WrongType) => {}
            (State::Enabled | State::Idled, Verdict::Holds) => {
                if self.timers.get(ix).is_none() {
                    let observe_time = self.trigger(ix).observe_time();
                    self.alarms[ix.index()].since = now.at;
                    if observe_time == Span::ZERO {
                        self.activate(ix, Cause::Value, now, effects);
                    } else {
                        self.timers.start(ix, now.at + observe_time);
                    }
                }
            }
            (State::Activated | State::Acknowledged, Verdict::Fails) => {
                if self.timers.get(ix).is_none() {
                    let clear_delay = self.trigger(ix).clear_delay();
                    if clear_delay == Span::ZERO {
                        self.change(ix, State::Idled, Change::of(Cause::Value), now, effects);
                    } else {
                        self.timers.start(ix, now.at + clear_delay);
                    }
                }
            }
            // The observe-time wants the activation range all the time, the clear-delay its opposite.
            (State::Enabled | State::Idled, Verdict::Between | Verdict::Fails)
            | (State::Activated | State::Acknowledged, Verdict::Between | Verdict::Holds) => {
                // A crash must not bring back what the disk says is running: it would fire.
                if self.timers.stop(ix) && self.alarms[ix.index()].timer_is_stored {
                    self.note(ix, Unsaved::Hard);
                }
            }
        }
    }

    /// What a liveness topic says, for every no-value alarm of these properties.
    pub(super) fn alive(&mut self, properties: &[PropertyIx], life: Life, now: Now, effects: &mut Effects) {
        let mut alarms: Vec<AlarmIx> = properties
            .iter()
            .flat_map(|property| self.registry.get(*property).alarms.iter().copied())
            .filter(|ix| matches!(self.trigger(*ix), Trigger::NoValue { .. }))
            .collect();
        alarms.sort_unstable_by_key(|ix| (self.alarms[ix.index()].definition, *ix));
        for alarm in alarms {
            self.note(alarm, Unsaved::Soft);
            self.alarms[alarm.index()].lives_until_told = false;
            match life {
                Life::Beat => self.heard(alarm, now, effects),
                Life::Online => {
                    self.heard(alarm, now, effects);
                    self.timers.stop(alarm);
                    self.alarms[alarm.index()].lives_until_told = true;
                }
                Life::Offline => {
                    if self.timers.get(alarm).is_none() && !self.alarms[alarm.index()].state.is_active() {
                        self.start_clock(alarm, now.at);
                    }
                }
            }
        }
    }

    /// A sign of life for one no-value alarm.
    pub(super) fn heard(&mut self, ix: AlarmIx, now: Now, effects: &mut Effects) {
        match self.alarms[ix.index()].state {
            State::Off => return,
            State::Enabled | State::Idled => {}
            State::Activated | State::Acknowledged => {
                self.change(ix, State::Idled, Change::of(Cause::Value), now, effects);
            }
        }
        self.start_clock(ix, now.at);
    }

    /// Starts the clock of a no-value alarm that is enabled.
    pub(super) fn start_clock(&mut self, ix: AlarmIx, at: Moment) {
        if let Trigger::NoValue { observe_time } = *self.trigger(ix)
            && self.alarms[ix.index()].state != State::Off
            && !self.alarms[ix.index()].lives_until_told
        {
            self.alarms[ix.index()].since = at;
            self.timers.start(ix, at + observe_time);
            self.note(ix, Unsaved::Soft);
        }
    }

    /// Fires what is due at `now`, as far as silence is proven, each at its own time.
    pub(super) fn settle(&mut self, now: Now, effects: &mut Effects) {
        self.last = self.last.max(now.at);
        let until = if self.link.is_up() { now.at.min(self.proven) } else { now.at };
        if self.link.is_up() {
            while let Some((alarm, timer)) = self.timers.pop_due(until) {
                // What ended before this was due, ended before.
                while self.end_shelving(timer.deadline, now, effects) {}
                self.fire(alarm, now.moved_to(timer.deadline), effects);
            }
        }
        while self.end_shelving(until, now, effects) {}
    }

    pub(super) fn fire(&mut self, ix: AlarmIx, now: Now, effects: &mut Effects) {
        match self.alarms[ix.index()].state {
            State::Off => {}
            State::Enabled | State::Idled => self.activate(ix, Cause::ObserveTime, now, effects),
            State::Activated | State::Acknowledged => {
                self.change(ix, State::Idled, Change::of(Cause::ClearDelay), now, effects);
            }
        }
    }

    pub(super) fn activate(&mut self, ix: AlarmIx, cause: Cause, now: Now, effects: &mut Effects) {
        let alarm = &mut self.alarms[ix.index()];
        let past = alarm.past.get_or_insert_default();
        past.occurrence += 1;
        past.acknowledged = None;
        past.activated_since = Some(now.stamp(alarm.since));
        self.take_severity(ix);
        self.change(ix, State::Activated, Change::of(cause), now, effects);
    }

    /// What an operator wants of one alarm.
    pub fn command(&mut self, ix: AlarmIx, verb: Verb, who: &Signature, now: Now, effects: &mut Effects) -> Answer {
        self.settle(now, effects);
        let change = Change { cause: Cause::Command, by: who.by.clone(), comment: who.comment.clone() };
        let alarm = &mut self.alarms[ix.index()];
        match (verb, alarm.state) {
            (Verb::Enable, State::Off) => {
                self.change(ix, State::Enabled, change, now, effects);
                self.begin(ix, now, effects);
            }
            (Verb::Enable, _) | (Verb::Disable, State::Off) => return Answer::Already,
            (Verb::Disable, _) => self.change(ix, State::Off, change, now, effects),
            (Verb::Shelve(length), _) => return self.shelve(ix, length, who, now, effects),
            (Verb::Unshelve, _) => return self.unshelve(ix, who, now, effects),
            (Verb::Acknowledge, State::Off | State::Enabled) => return Answer::NothingToAcknowledge,
            (Verb::Acknowledge, State::Acknowledged) => return Answer::AlreadyAcknowledged,
            (Verb::Acknowledge, state @ (State::Activated | State::Idled)) => {
                let past = alarm.past.get_or_insert_default();
                if past.acknowledged.is_some() {
                    return Answer::AlreadyAcknowledged;
                }
                past.acknowledged = Some(Box::new(Acknowledgement {
                    at: now.wall,
                    by: who.by.clone().unwrap_or_else(|| Arc::from("")),
                    comment: who.comment.clone(),
                }));
                let to = if state == State::Idled { State::Idled } else { State::Acknowledged };
                self.change(ix, to, change, now, effects);
            }
        }
        Answer::Done
    }

    /// What an alarm does when it has just been enabled: the latest value is judged, the clock of silence starts, an
    /// average begins without samples.
    pub(super) fn begin(&mut self, ix: AlarmIx, now: Now, effects: &mut Effects) {
        match self.alarms[ix.index()].beginning(self.definition(ix)) {
            Beginning::Verdict(verdict) => {
                self.follow_score(ix, now);
                self.decide(ix, verdict, now, effects);
            }
            Beginning::Order => self.execute(ix, now, effects),
            Beginning::Clock if self.link.was_ever_up() => self.start_clock(ix, now.at),
            Beginning::Clock | Beginning::NextValue => {}
        }
    }

    /// The one place in which a state changes.
    pub(super) fn change(&mut self, ix: AlarmIx, to: State, change: Change, now: Now, effects: &mut Effects) {
        self.appear(ix, effects);
        // Which timer belongs to the new state, its beginning decides.
        let keeps_timer = to == State::Acknowledged || (to == State::Idled && change.cause == Cause::Command);
        if !keeps_timer {
            self.timers.stop(ix);
        }
        let is_score = matches!(self.trigger(ix), Trigger::Score { .. });
        let facts = self.facts(ix);
        let alarm = &mut self.alarms[ix.index()];
        let average = alarm.average();
        if to == State::Off
            && let Some(window) = &mut alarm.window
        {
            self.samples_held -= window.clear();
        }
        match (alarm.state.is_active(), to.is_active()) {
            (false, true) => self.active += 1,
            (true, false) => self.active -= 1,
            (true, true) | (false, false) => {}
        }
        let event = Event {
            seq: self.next_seq,
            cause: change.cause_for(facts.alarm_type),
            alarm: facts,
            ix: Some(ix),
            from: alarm.state,
            to,
            at: now.wall,
            since: if to == State::Activated { alarm.activated_since() } else { None },
            occurrence: alarm.occurrence(),
            value: alarm.value.clone(),
            value_at: alarm.value_at,
            average,
            by: change.by,
            comment: change.comment,
            quiet: alarm.anomaly.as_ref().is_some_and(|anomaly| anomaly.is_quiet),
            seq_gap: std::mem::take(&mut self.seq_gap),
        };
        // To acknowledge says nothing about the condition.
        alarm.is_uncertain &= keeps_timer;
        if (to == State::Idled && event.from.is_active()) || (to == State::Off && is_score) {
            alarm.anomaly = None;
        }
        alarm.state = to;
        alarm.past.get_or_insert_default().last = Some(LastChange {
            seq: event.seq,
            at: event.at,
            cause: event.cause,
            value: event.value.clone(),
            average: event.average,
        });
        self.next_seq += 1;
        self.note(ix, Unsaved::Hard);
        effects.events.push(event);
        effects.changed.push(ix);
    }

    /// Remembers that the store lacks something of the alarm.
    pub(super) fn note(&mut self, ix: AlarmIx, what: Unsaved) {
        let alarm = &mut self.alarms[ix.index()];
        if what == Unsaved::Hard && alarm.unsaved != Unsaved::Hard {
            self.decided.push(ix);
        }
        self.dirty += usize::from(alarm.unsaved == Unsaved::Nothing);
        if !alarm.is_listed {
            alarm.is_listed = true;
            self.unsaved.push(ix);
        }
        alarm.unsaved = what.max(alarm.unsaved);
    }
}

/// Why a state changes and who wanted it.
#[derive(Debug)]
pub(super) struct Change {
    cause: Cause,
    by: Option<Arc<str>>,
    comment: Option<Arc<str>>,
}

impl Change {
    pub(super) fn of(cause: Cause) -> Change {
        Change { cause, by: None, comment: None }
    }

    /// Whatever decides about an anomaly, a value or its duration: it is the anomaly that has come or gone.
    fn cause_for(&self, alarm_type: AlarmType) -> Cause {
        let is_of_values = matches!(self.cause, Cause::Value | Cause::ObserveTime | Cause::ClearDelay);
        if alarm_type == AlarmType::Anomaly && is_of_values { Cause::Anomaly } else { self.cause }
    }
}
