//! One alarm: its state, and what each piece of evidence does to it.
//!
//! The life cycle of ISA-18.2, in the words that users see:
//!
//! ```text
//!            enable                 trigger               acknowledge
//!     off ───────────▶ enabled ───────────▶ activated ───────────────▶ acknowledged
//!      ▲                                     ▲   │ condition ended           │
//!      │ disable (from any state)    trigger │   ▼                           │
//!      └──────────────────────────────────  idled ◀──────────────────────────┘
//! ```

use super::window::{MAX_ALL_SAMPLES, Window, WindowSample};
use super::{AlarmIx, DefinitionIx, InputFault, PropertyIx, Receipt, Shelving, Standing, Timer};
use crate::domain::model::{
    AlarmDefinition, AlarmFacts, AlarmId, OnGap, Severity, ThingId, Trigger, Value, ValueRef, ValueType, Verdict,
};
use crate::domain::time::{Moment, Now, Stamp};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Where an alarm is in its life cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Disabled: nothing is evaluated.
    Off,
    /// Enabled, and not activated since.
    Enabled,
    /// Enabled, was activated before, and the condition has ended.
    Idled,
    /// The trigger was reached.
    Activated,
    /// Acknowledged while the condition still holds.
    Acknowledged,
}

impl State {
    /// All states, in the order of the life cycle.
    pub const ALL: [State; 5] = [State::Off, State::Enabled, State::Idled, State::Activated, State::Acknowledged];

    /// As topics and commands spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Off => "off",
            State::Enabled => "enabled",
            State::Idled => "idled",
            State::Activated => "activated",
            State::Acknowledged => "acknowledged",
        }
    }

    /// Whether an occurrence is going on.
    pub fn is_active(self) -> bool {
        matches!(self, State::Activated | State::Acknowledged)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a state changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A value decided at once.
    Value,
    /// The condition held for the observe-time.
    ObserveTime,
    /// The condition was gone for the clear-delay.
    ClearDelay,
    /// An operator's command.
    Command,
    /// The configuration changed.
    Config,
    /// An anomaly came, became worse, or went.
    Anomaly,
}

impl Cause {
    /// All causes.
    pub const ALL: [Cause; 6] =
        [Cause::Value, Cause::ObserveTime, Cause::ClearDelay, Cause::Command, Cause::Config, Cause::Anomaly];

    /// As events spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Value => "value",
            Cause::ObserveTime => "observe-time",
            Cause::ClearDelay => "clear-delay",
            Cause::Command => "command",
            Cause::Config => "config",
            Cause::Anomaly => "anomaly",
        }
    }
}

/// One state change of one alarm.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its number among all events of this gateway: rises by one, never repeats.
    pub seq: u64,
    /// The alarm that changed.
    pub alarm: Arc<AlarmFacts>,
    /// The alarm's number; none if it is not configured any more.
    pub ix: Option<AlarmIx>,
    /// The state before.
    pub from: State,
    /// The state after; the same as before where an occurrence that has idled was acknowledged, or one that is active
    /// has become more severe.
    pub to: State,
    /// When it happened.
    pub at: Stamp,
    /// When the condition became true; for a no-value alarm when the last value came or its clock started.
    /// Activations only.
    pub since: Option<Stamp>,
    /// The occurrence it belongs to, from 1; 0 before the first.
    pub occurrence: u64,
    /// Why it happened.
    pub cause: Cause,
    /// The latest value that counted for the alarm.
    pub value: Option<Value>,
    /// The stamp that the source gave this value.
    pub value_at: Option<Stamp>,
    /// The mean as last calculated; average alarms only.
    pub average: Option<f64>,
    /// Who gave the command.
    pub by: Option<Arc<str>>,
    /// What they said.
    pub comment: Option<Arc<str>>,
    /// Whether no reaction starts: it belongs to what a look at the past has found.
    pub quiet: bool,
    /// Whether events with numbers between the one before and this one may be missing: the store has lost something.
    pub seq_gap: bool,
}

/// Who acknowledged an occurrence, when and with which words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// When.
    pub at: Stamp,
    /// Who.
    pub by: Arc<str>,
    /// Their words.
    pub comment: Option<Arc<str>>,
}

/// The latest event of an alarm, as its retained topic tells it to those who come later.
#[derive(Debug, Clone, PartialEq)]
pub struct LastChange {
    /// The event's number.
    pub seq: u64,
    /// When it happened.
    pub at: Stamp,
    /// Why.
    pub cause: Cause,
    /// The value that counted then: for an idled alarm the one that ended the activation.
    pub value: Option<Value>,
    /// The mean then.
    pub average: Option<f64>,
}

/// What is kept of one alarm while the daemon runs. There may be a hundred thousand: what its definition says, and what
/// only few have, is not in here.
#[derive(Debug)]
pub(crate) struct Alarm {
    pub(crate) id: AlarmId,
    pub(crate) definition: DefinitionIx,
    pub(crate) property: PropertyIx,
    pub(crate) state: State,
    /// The definition's, or that of the anomaly.
    pub(crate) severity: Severity,
    /// What has happened to it; none before the first event.
    pub(crate) past: Option<Box<Past>>,
    /// When the condition that is being observed became true; for a no-value alarm, when its clock started.
    pub(crate) since: Moment,
    pub(crate) value: Option<Value>,
    pub(crate) value_at: Option<Stamp>,
    /// Values that counted for it since this engine began.
    pub(crate) heard: u64,
    /// Its liveness topic has said that the thing lives until its last will says otherwise: the clock stands still.
    pub(crate) lives_until_told: bool,
    pub(crate) window: Option<Box<Window>>,
    pub(crate) shelved: Option<Box<Shelving>>,
    /// The anomaly that is going on.
    pub(crate) anomaly: Option<Box<Standing>>,
    /// An anomaly alarm of which there is nothing to tell yet.
    pub(crate) is_latent: bool,
    /// It has left the configuration: nothing but its number is left.
    pub(crate) is_gone: bool,
    /// Whether its state may not be what was last published, because the store has lost something.
    pub(crate) is_uncertain: bool,
    /// The type of the latest value, if it was not the one of the limit.
    pub(crate) mismatch: Option<ValueType>,
    /// Its place in the store; none until it was stored once.
    pub(crate) handle: Option<NonZeroU32>,
    /// Whether the store says that a timer of it is running.
    pub(crate) timer_is_stored: bool,
    /// Whether it is in the engine's list of alarms with changes.
    pub(crate) is_listed: bool,
    /// Whether something has changed since it was last stored.
    pub(crate) unsaved: Unsaved,
}

/// What is kept of an alarm that something has happened to.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Past {
    /// Occurrences so far; the number of the present or the last one.
    pub(crate) occurrence: u64,
    /// When the condition of the present or the last occurrence became true, as published with it.
    pub(crate) activated_since: Option<Stamp>,
    pub(crate) acknowledged: Option<Box<Acknowledgement>>,
    pub(crate) last: Option<LastChange>,
}

/// What the store does not have yet of an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unsaved {
    /// Nothing.
    Nothing,
    /// What changes with every value: written with the next checkpoint.
    Soft,
    /// A state: written before the event is seen by anybody.
    Hard,
}

/// What a value is to an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// Nothing.
    None,
    /// A value to remember, and nothing more.
    Noted,
    /// A sign of life.
    Life,
    /// Something about its condition.
    Verdict(Verdict),
}

/// What decides about an alarm that has just been enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beginning {
    /// The latest value does, at once.
    Verdict(Verdict),
    /// The clock of silence starts.
    Clock,
    /// The latest order does.
    Order,
    /// The next value does.
    NextValue,
}

impl Alarm {
    /// Takes one value, if it counts for this alarm. `held` counts the samples of all windows.
    #[expect(clippy::too_many_arguments, reason = "a value, how it came, and what the engine counts and input_faults")]
    pub(crate) fn measure(
        &mut self,
        ix: AlarmIx,
        definition: &AlarmDefinition,
        value: ValueRef<'_>,
        receipt: Receipt,
        now: Now,
        held: &mut usize,
        input_faults: &mut Vec<InputFault>,
    ) -> Evidence {
        let (condition, window_span) = match &definition.trigger {
            Trigger::NoValue { .. } if receipt.retained => return Evidence::None,
            Trigger::NoValue { .. } => {
                self.take(value, receipt.stamp);
                return if receipt.sign_of_life { Evidence::Life } else { Evidence::Noted };
            }
            // What a model finds is ordered.
            Trigger::Anomaly { .. } => return Evidence::None,
            Trigger::Standard { condition, .. } | Trigger::Score { condition, .. } => (condition, None),
            Trigger::Average { condition, window, .. } => (condition, Some(*window)),
        };
        let verdict = condition.classify(value);
        if verdict == Verdict::WrongType {
            let (wanted, got) = (condition.value_type(), value.value_type());
            self.mismatch = Some(got);
            input_faults.push(InputFault::WrongType { alarm: ix, wanted, got });
            return Evidence::None;
        }
        let (Some(span), ValueRef::Number(number)) = (window_span, value) else {
            self.take(value, receipt.stamp);
            return Evidence::Verdict(verdict);
        };
        if receipt.retained {
            return Evidence::None;
        }
        self.take(value, receipt.stamp);
        if self.state == State::Off {
            return Evidence::Noted;
        }
        let window = self.window.get_or_insert_default();
        let at = receipt.stamp.map_or(now.at, |stamp| now.moment(stamp));
        let until = receipt.gap.filter(|_| definition.on_gap == OnGap::Pause).unwrap_or(now.at);
        let before = window.len();
        let most = MAX_ALL_SAMPLES.saturating_sub(*held) + before;
        if !window.push(WindowSample { at, value: number }, span, until, most) {
            input_faults.push(InputFault::WindowFull { alarm: ix });
        }
        *held = *held + window.len() - before;
        match window.mean() {
            Some(mean) if !window.is_empty() => Evidence::Verdict(condition.classify(ValueRef::Number(mean))),
            Some(_) | None => Evidence::Noted,
        }
    }

    /// What the latest evidence says of the condition; none before there is any.
    fn verdict(&self, definition: &AlarmDefinition) -> Option<Verdict> {
        let holds = |holds| Some(if holds { Verdict::Holds } else { Verdict::Fails });
        match &definition.trigger {
            Trigger::Standard { condition, .. } | Trigger::Score { condition, .. } => {
                self.value.as_ref().map(|value| condition.classify(value.borrow()))
            }
            Trigger::Average { condition, .. } => {
                let mean = self.window.as_ref().filter(|window| !window.is_empty()).and_then(|window| window.mean());
                mean.map(|mean| condition.classify(ValueRef::Number(mean)))
            }
            Trigger::NoValue { .. } => holds(self.state.is_active()),
            Trigger::Anomaly { .. } => holds(self.anomaly.is_some()),
        }
    }

    /// What decides when the alarm has just been enabled: the latest value, the clock of silence, or the next value, as an
    /// average begins without samples.
    pub(super) fn beginning(&self, definition: &AlarmDefinition) -> Beginning {
        match &definition.trigger {
            Trigger::Standard { .. } | Trigger::Score { .. } => {
                self.verdict(definition).map_or(Beginning::NextValue, Beginning::Verdict)
            }
            Trigger::Anomaly { .. } => Beginning::Order,
            Trigger::NoValue { .. } => Beginning::Clock,
            Trigger::Average { .. } => Beginning::NextValue,
        }
    }

    fn take(&mut self, value: ValueRef<'_>, stamp: Option<Stamp>) {
        value.store_in(&mut self.value);
        self.mismatch = None;
        self.heard += 1;
        self.value_at = stamp;
    }

    /// What it is called, by its definition and its thing.
    pub(crate) fn facts(&self, definition: &AlarmDefinition, thing: &ThingId) -> AlarmFacts {
        AlarmFacts {
            id: self.id.clone(),
            thing: thing.clone(),
            property: definition.property.clone(),
            level: definition.level.clone(),
            alarm_type: definition.trigger.alarm_type(),
            severity: self.severity,
            title: definition.title.clone(),
        }
    }

    /// Occurrences so far; the number of the present or the last one.
    pub(crate) fn occurrence(&self) -> u64 {
        self.past.as_ref().map_or(0, |past| past.occurrence)
    }

    /// When the condition of that occurrence became true.
    pub(crate) fn activated_since(&self) -> Option<Stamp> {
        self.past.as_ref()?.activated_since
    }

    /// The mean as last calculated; average alarms only.
    pub(crate) fn average(&self) -> Option<f64> {
        self.window.as_ref().and_then(|window| window.mean())
    }
}

/// One alarm as the outside may see it.
#[derive(Debug, Clone, Copy)]
pub struct AlarmView<'a> {
    pub(crate) alarm: &'a Alarm,
    pub(crate) timer: Option<Timer>,
    pub(crate) definition: &'a AlarmDefinition,
    pub(crate) thing: &'a ThingId,
}

impl<'a> AlarmView<'a> {
    /// Its identity.
    pub fn id(&self) -> &'a AlarmId {
        &self.alarm.id
    }

    /// The thing that it watches.
    pub fn thing(&self) -> &'a ThingId {
        self.thing
    }

    /// Information for people: the definition's, or that of the anomaly.
    pub fn severity(&self) -> Severity {
        self.alarm.severity
    }

    /// What it is called, as events tell it.
    pub fn facts(&self) -> AlarmFacts {
        self.alarm.facts(self.definition, self.thing)
    }

    /// The definition that it comes from.
    pub fn definition(&self) -> &'a AlarmDefinition {
        self.definition
    }

    /// Where it is in its life cycle.
    pub fn state(&self) -> State {
        self.alarm.state
    }

    /// Whether its state may not be what was last published: the store has lost something, and nothing has decided since.
    pub fn is_uncertain(&self) -> bool {
        self.alarm.is_uncertain
    }

    /// Whether there is nothing to tell of it: it is to be found by its name, and has no topic.
    pub fn is_latent(&self) -> bool {
        self.alarm.is_latent
    }

    /// The anomaly that is going on.
    pub fn anomaly(&self) -> Option<&'a Standing> {
        self.alarm.anomaly.as_deref()
    }

    /// The number of the present or the last occurrence; 0 before the first.
    pub fn occurrence(&self) -> u64 {
        self.alarm.occurrence()
    }

    /// When the condition of that occurrence became true.
    pub fn since(&self) -> Option<Stamp> {
        self.alarm.activated_since()
    }

    /// Who acknowledged that occurrence, if somebody did.
    pub fn acknowledgement(&self) -> Option<&'a Acknowledgement> {
        self.alarm.past.as_ref()?.acknowledged.as_deref()
    }

    /// The latest event, if there was one.
    pub fn last_change(&self) -> Option<&'a LastChange> {
        self.alarm.past.as_ref()?.last.as_ref()
    }

    /// The latest value that counted for it.
    pub fn value(&self) -> Option<&'a Value> {
        self.alarm.value.as_ref()
    }

    /// The stamp that the source gave that value.
    pub fn value_at(&self) -> Option<Stamp> {
        self.alarm.value_at
    }

    /// How many values have counted for it since the engine began: it rises with each, equal ones too.
    pub fn heard(&self) -> u64 {
        self.alarm.heard
    }

    /// The mean as last calculated; average alarms only.
    pub fn average(&self) -> Option<f64> {
        self.alarm.average()
    }

    /// What the latest evidence says of the condition; none before there is any.
    pub fn verdict(&self) -> Option<Verdict> {
        self.alarm.verdict(self.definition())
    }

    /// Samples in the window; average alarms only.
    pub fn samples(&self) -> usize {
        self.alarm.window.as_ref().map_or(0, |window| window.len())
    }

    /// Whether an operator has put it aside, and until when.
    pub fn shelving(&self) -> Option<&'a Shelving> {
        self.alarm.shelved.as_deref()
    }

    /// The type of the latest value, if it did not count because the limit has another one.
    pub fn mismatch(&self) -> Option<ValueType> {
        self.alarm.mismatch
    }

    /// When the condition that is being observed became true; for a no-value alarm, when its clock started.
    pub fn observed_since(&self) -> Moment {
        self.alarm.since
    }

    /// Whether its liveness topic has said that the thing lives until its last will says otherwise.
    pub fn lives_until_told(&self) -> bool {
        self.alarm.lives_until_told
    }

    /// The observe-time or clear-delay that is running.
    pub fn timer(&self) -> Option<Timer> {
        self.timer
    }
}
