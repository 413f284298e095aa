//! What the engine remembers over a restart: handed out as plain data, and taken back.
//!
//! Two parts with two rhythms. [`AlarmMemory`] changes with events and has to be on disk before anybody sees them.
//! [`SoftMemory`] and the window's samples change with values and are written by checkpoint. How they look as bytes:
//! [`crate::io::store`].
//!
//! All moments are on the engine's time line, which goes on after a restart at the last moment that was stored; so
//! what is kept of a running timer is the time that was left of it, whatever the wall clock does meanwhile.

use super::alarm::{Past, Unsaved};
use super::decide::Change;
use super::window::Window;
use super::{
    Acknowledgement, AlarmIx, Cause, DefinitionIx, Effects, Engine, LastChange, Link, Shelving, Standing, State, Timer,
    WindowSample,
};
use crate::domain::model::{AlarmFacts, AlarmType, Model, Value};
use crate::domain::time::{Moment, Now, Stamp};
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;

/// The lasting part of one alarm.
#[derive(Debug, Clone, PartialEq)]
pub struct AlarmMemory {
    /// The short number under which its soft part is kept.
    pub handle: u32,
    /// What it is called.
    pub facts: AlarmFacts,
    /// Of the trigger that it was decided by.
    pub trigger_fingerprint: u64,
    /// Of the whole definition.
    pub definition_fingerprint: u64,
    /// Where it was in its life cycle.
    pub state: State,
    /// Occurrences so far.
    pub occurrence: u64,
    /// When the condition of the last occurrence became true.
    pub activated_since: Option<Stamp>,
    /// Who acknowledged that occurrence.
    pub acknowledged: Option<Acknowledgement>,
    /// Its latest event.
    pub last: Option<LastChange>,
    /// That it is shelved.
    pub shelved: Option<Shelving>,
    /// Whether its state may not be what was last published.
    pub is_uncertain: bool,
}

/// The part of one alarm that changes with values and with time.
#[derive(Debug, Clone, PartialEq)]
pub struct SoftMemory {
    /// The alarm's short number.
    pub handle: u32,
    /// When the condition that is being observed became true.
    pub since: Moment,
    /// The latest value that counted.
    pub value: Option<Value>,
    /// Its source's stamp.
    pub value_at: Option<Stamp>,
    /// Whether its clock stands still because a liveness topic has said so.
    pub lives_until_told: bool,
    /// What was running.
    pub timer: Option<Timer>,
    /// The mean as last calculated.
    pub mean: Option<f64>,
    /// The numbers of the samples in the window.
    pub samples: Range<u64>,
    /// The anomaly that is going on.
    pub anomaly: Option<Standing>,
}

/// Samples of one window that are not on disk as they are.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowMemory {
    /// The alarm's short number.
    pub handle: u32,
    /// The first sample that may still be on disk.
    pub stored_from: u64,
    /// The first sample of the window: what is older may go.
    pub held_from: u64,
    /// The number of the first sample that follows; the beginning of a block, or of the window.
    pub first: u64,
    /// All samples from there to the window's end.
    pub samples: Vec<WindowSample>,
}

/// Samples that are stored together: 4 KiB at most, the largest value sled likes.
pub const SAMPLES_PER_BLOCK: u64 = 256;

/// Everything that changed since the last time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// Lasting parts.
    pub alarms: Vec<AlarmMemory>,
    /// Parts that change with values.
    pub soft: Vec<SoftMemory>,
    /// Samples.
    pub windows: Vec<WindowMemory>,
    /// Alarms of which all samples that are stored are of no use any more, those in `windows` excepted.
    pub void: Vec<u32>,
}

impl Changes {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.alarms.is_empty() && self.soft.is_empty() && self.windows.is_empty() && self.void.is_empty()
    }
}

/// One alarm as it was stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory {
    /// The lasting part.
    pub alarm: AlarmMemory,
    /// The other part, if a checkpoint wrote it and it is readable.
    pub soft: Option<SoftMemory>,
    /// The samples of its window, oldest first; all of them or none.
    pub samples: Vec<WindowSample>,
}

impl Engine {
    /// Whether a checkpoint has something to write.
    pub fn has_changes(&self) -> bool {
        self.dirty > 0
    }

    /// Whether something was decided that has to be written before anybody sees it.
    pub fn has_decided(&self) -> bool {
        !self.decided.is_empty()
    }

    /// Hands out what the store lacks. `everything`: a checkpoint; otherwise only the alarms whose state changed.
    pub fn take_changes(&mut self, everything: bool) -> Changes {
        let mut changes = Changes { void: std::mem::take(&mut self.void), ..Changes::default() };
        let decided = std::mem::take(&mut self.decided);
        let list = if everything { std::mem::take(&mut self.unsaved) } else { decided };
        for ix in list {
            let alarm = &mut self.alarms[ix.index()];
            alarm.is_listed &= !everything;
            let unsaved = alarm.unsaved;
            if unsaved == Unsaved::Nothing {
                continue;
            }
            self.dirty -= 1;
            let is_new = self.alarms[ix.index()].handle.is_none();
            let handle = self.handle_of(ix);
            if is_new || unsaved == Unsaved::Hard {
                changes.alarms.push(self.alarm_memory(ix, handle));
            }
            let timer = self.timers.get(ix);
            let alarm = &mut self.alarms[ix.index()];
            alarm.unsaved = Unsaved::Nothing;
            alarm.timer_is_stored = timer.is_some();
            let mut samples = 0..0;
            if let Some(window) = &mut alarm.window {
                let (held, unstored, stored_from) = window.take_unstored();
                let first = (unstored - unstored % SAMPLES_PER_BLOCK).max(held.start);
                if unstored < held.end || stored_from < held.start {
                    let samples = window.last(usize::try_from(held.end - first).unwrap_or(usize::MAX));
                    let held_from = held.start;
                    changes.windows.push(WindowMemory { handle, stored_from, held_from, first, samples });
                }
                samples = held;
            }
            changes.soft.push(SoftMemory {
                handle,
                since: alarm.since,
                value: alarm.value.clone(),
                value_at: alarm.value_at,
                lives_until_told: alarm.lives_until_told,
                timer,
                mean: alarm.average(),
                samples,
                anomaly: alarm.anomaly.as_deref().copied(),
            });
        }
        changes
    }

    /// For whoever looks on and stores nothing: adds the alarms of which anything has changed since the last time to
    /// `touched`, and takes all of it as stored.
    pub fn take_touched(&mut self, touched: &mut Vec<AlarmIx>) {
        for ix in self.unsaved.drain(..) {
            let alarm = &mut self.alarms[ix.index()];
            alarm.unsaved = Unsaved::Nothing;
            alarm.is_listed = false;
            touched.push(ix);
        }
        self.decided.clear();
        self.void.clear();
        self.dirty = 0;
    }

    /// The short number of an alarm in the store.
    pub(super) fn handle_of(&mut self, ix: AlarmIx) -> u32 {
        let handle = self.alarms[ix.index()].handle.get_or_insert_with(|| {
            self.next_handle = self.next_handle.saturating_add(1);
            NonZeroU32::new(self.next_handle).unwrap_or(NonZeroU32::MIN)
        });
        handle.get()
    }

    pub(super) fn alarm_memory(&self, ix: AlarmIx, handle: u32) -> AlarmMemory {
        let alarm = &self.alarms[ix.index()];
        let fingerprints = self.fingerprints(ix);
        AlarmMemory {
            handle,
            facts: self.view(ix).facts(),
            trigger_fingerprint: fingerprints.trigger,
            definition_fingerprint: fingerprints.definition,
            state: alarm.state,
            occurrence: alarm.occurrence(),
            activated_since: alarm.activated_since(),
            acknowledged: alarm.past.as_ref().and_then(|past| past.acknowledged.as_deref().cloned()),
            last: alarm.past.as_ref().and_then(|past| past.last.clone()),
            shelved: alarm.shelved.as_deref().cloned(),
            is_uncertain: alarm.is_uncertain,
        }
    }

    /// The store has lost what it was given: all alarms are handed out again, in full, next time.
    pub fn forget_stored(&mut self) {
        for index in 0..self.alarms.len() {
            if let Some(window) = &mut self.alarms[index].window {
                window.forget_stored();
            }
            let alarm = &self.alarms[index];
            if alarm.is_gone {
                continue;
            }
            if !alarm.is_latent || alarm.anomaly.is_some() || alarm.value.is_some() {
                self.note(AlarmIx::new(index), Unsaved::Hard);
            }
        }
    }

    /// The store has lost something. Alarms for which `is_known` says no may be in other states than was published: they
    /// say so until they are judged.
    pub fn mark_uncertain(&mut self, is_known: &dyn Fn(u32) -> bool) {
        for index in 0..self.alarms.len() {
            let alarm = &mut self.alarms[index];
            if !alarm.is_latent && !alarm.handle.is_some_and(|handle| is_known(handle.get())) {
                alarm.is_uncertain = true;
                self.note(AlarmIx::new(index), Unsaved::Hard);
            }
        }
    }

    /// Handles from this one on are free.
    pub fn handles_from(&mut self, handle: u32) {
        self.next_handle = self.next_handle.max(handle.saturating_sub(1));
    }

    /// An engine that goes on where another one was at `last_seen`, under a configuration that may have changed
    /// since. Until its link comes up it is in a gap that began then. Returned beside it: alarms that are not
    /// configured any more; what this means for those that were active is among the events.
    pub fn restore(
        model: Arc<Model>,
        mut memories: Vec<Memory>,
        next_seq: u64,
        last_seen: Moment,
        now: Now,
        effects: &mut Effects,
    ) -> (Engine, Vec<AlarmMemory>) {
        let mut engine = Engine::new(model);
        engine.next_seq = next_seq;
        engine.link = Link::Down { since: last_seen.min(now.at) };
        // The order in which things were first heard.
        memories.sort_by_key(|memory| memory.alarm.handle);
        let mut gone = Vec::new();
        for memory in memories {
            engine.next_handle = engine.next_handle.max(memory.alarm.handle);
            match engine.alarm_for(&memory.alarm.facts) {
                Some(ix) => engine.restore_alarm(ix, memory, now, effects),
                None => {
                    engine.end_removed(&memory, now, effects);
                    gone.push(memory.alarm);
                }
            }
        }
        engine.decided.retain(|ix| engine.alarms[ix.index()].unsaved == Unsaved::Hard);
        (engine, gone)
    }

    /// The alarm that a stored one is today: it exists, or a pattern still covers it.
    pub(super) fn alarm_for(&mut self, facts: &AlarmFacts) -> Option<AlarmIx> {
        if let Some(known) = self.find(facts.id.as_str()) {
            return Some(known);
        }
        // A definition that names the thing would have made it already.
        let is_it = |definition: &DefinitionIx| {
            let entry = &self.model.definitions[definition.0 as usize];
            entry.property == facts.property && entry.level == facts.level
        };
        let covering = self.patterns.covering(&facts.thing);
        let definition = covering.into_iter().find(is_it).filter(|_| self.model.share.has(&facts.thing))?;
        let thing = self.registry.add_thing(&facts.thing);
        Some(self.add_alarm(definition, thing))
    }

    /// Gives an alarm back what it knew, as far as its definition is still the same.
    pub(super) fn restore_alarm(&mut self, ix: AlarmIx, memory: Memory, now: Now, effects: &mut Effects) {
        let Memory { alarm: stored, soft, samples } = memory;
        let fingerprints = self.fingerprints(ix);
        let definition = self.definition(ix);
        let mut same_trigger = fingerprints.trigger == stored.trigger_fingerprint;
        let mut same_definition = fingerprints.definition == stored.definition_fingerprint;
        let mut is_earlier = false;
        if !same_trigger || !same_definition {
            let earlier = definition.earlier_fingerprints();
            is_earlier = earlier == (stored.trigger_fingerprint, stored.definition_fingerprint);
            same_definition |= is_earlier;
            same_trigger |= earlier.0 == stored.trigger_fingerprint;
        }
        let enabled = definition.enabled;
        let is_anomaly = definition.trigger.alarm_type() == AlarmType::Anomaly;
        let alarm = &mut self.alarms[ix.index()];
        alarm.handle = NonZeroU32::new(stored.handle);
        // It is on disk as it is, unless something below says otherwise.
        self.dirty -= usize::from(alarm.unsaved != Unsaved::Nothing);
        alarm.unsaved = Unsaved::Nothing;
        let was_anomaly = stored.facts.alarm_type == AlarmType::Anomaly;
        if alarm.is_latent && (stored.last.is_some() || stored.shelved.is_some() || !was_anomaly) {
            alarm.is_latent = false;
            self.latent -= 1;
        }
        if is_anomaly && was_anomaly && stored.occurrence > 0 {
            alarm.severity = stored.facts.severity;
        }
        alarm.state = stored.state;
        alarm.is_uncertain = stored.is_uncertain;
        let past = Past {
            occurrence: stored.occurrence,
            activated_since: stored.activated_since,
            acknowledged: stored.acknowledged.map(Box::new),
            last: stored.last,
        };
        alarm.past = (past != Past::default()).then(|| Box::new(past));
        self.active += usize::from(stored.state.is_active());
        self.put_on_shelf(ix, stored.shelved);
        let alarm = &mut self.alarms[ix.index()];
        if let Some(soft) = soft {
            alarm.value = soft.value;
            alarm.value_at = soft.value_at;
            let newest = &mut self.registry.get_mut(alarm.property).newest;
            *newest = (*newest).max(soft.value_at);
            if !same_trigger && !soft.samples.is_empty() {
                self.void.push(stored.handle);
            }
            if same_trigger {
                alarm.since = soft.since;
                alarm.lives_until_told = soft.lives_until_told;
                alarm.anomaly = soft.anomaly.map(Box::new);
                if soft.mean.is_some() || !samples.is_empty() {
                    self.samples_held += samples.len();
                    alarm.window = Some(Box::new(Window::restore(samples, soft.mean, soft.samples.start)));
                }
                if let Some(timer) = soft.timer {
                    self.timers.put(ix, timer);
                    self.alarms[ix.index()].timer_is_stored = true;
                }
            }
        }
        if is_earlier {
            self.note(ix, Unsaved::Hard);
        }
        if same_definition {
            return;
        }
        self.yield_to_definition(ix, (stored.state, enabled), same_trigger, now, effects);
    }

    /// What an operator switched yields to a definition that has changed. With another trigger the alarm starts anew.
    pub(super) fn yield_to_definition(
        &mut self,
        ix: AlarmIx,
        (state, enabled): (State, bool),
        same_trigger: bool,
        now: Now,
        effects: &mut Effects,
    ) {
        self.note(ix, Unsaved::Hard);
        match (state, enabled) {
            (State::Off, false) => {}
            (State::Off, true) => {
                self.change(ix, State::Enabled, Change::of(Cause::Config), now, effects);
                self.begin(ix, now, effects);
            }
            (_, false) => self.change(ix, State::Off, Change::of(Cause::Config), now, effects),
            (_, true) if same_trigger => {}
            (state, true) => {
                if state.is_active() {
                    self.change(ix, State::Enabled, Change::of(Cause::Config), now, effects);
                } else {
                    self.alarms[ix.index()].state = State::Enabled;
                }
                self.begin(ix, now, effects);
            }
        }
    }

    /// Ends the occurrence of an alarm that is not configured any more.
    pub(super) fn end_removed(&mut self, memory: &Memory, now: Now, effects: &mut Effects) {
        let stored = &memory.alarm;
        if !stored.state.is_active() {
            return;
        }
        effects.events.push(super::Event {
            seq: self.next_seq,
            alarm: Arc::new(stored.facts.clone()),
            ix: None,
            from: stored.state,
            to: State::Off,
            at: now.wall,
            since: None,
            occurrence: stored.occurrence,
            cause: Cause::Config,
            value: memory.soft.as_ref().and_then(|soft| soft.value.clone()),
            value_at: memory.soft.as_ref().and_then(|soft| soft.value_at),
            average: memory.soft.as_ref().and_then(|soft| soft.mean),
            by: None,
            comment: None,
            quiet: false,
            seq_gap: std::mem::take(&mut self.seq_gap),
        });
        self.next_seq += 1;
    }
}
