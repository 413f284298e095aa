//! Decides which alarm is in which state: a function of its inputs and nothing else.
//!
//! Entry points: [`Engine::handle`] for messages, link changes and the passing of time, [`Engine::command`] for
//! operators, [`Engine::next_deadline`] for whoever has to wake it. Time is an argument; the same inputs give the
//! same events, always. It knows no topic, no disk, no clock and no configuration file; they are in
//! [`crate::ingest::source`], [`crate::io::store`], [`crate::io::clock`] and [`crate::config`].
//!
//! The order of everything: timers that are due settle first, each at its own due time and as if nobody had been
//! late, then the input is applied. A deadline is due when it has *strictly* passed.

mod alarm;
mod anomaly;
mod decide;
mod gap;
mod index;
mod input;
mod memory;
mod patterns;
mod reconfigure;
mod registry;
mod samples;
mod shelving;
mod sum;
mod timers;
mod window;

pub use alarm::{Acknowledgement, AlarmView, Cause, Event, LastChange, State};
pub use anomaly::Standing;
pub use gap::Link;
pub use input::{Answer, Bound, Effects, Input, InputFault, Life, Refused, Sample, Signature, Verb};
pub use memory::{AlarmMemory, Changes, Memory, SAMPLES_PER_BLOCK, SoftMemory, WindowMemory};
pub use reconfigure::{Difference, Outline, Reconfiguration};
pub use registry::{PropertyIx, ThingIx};
pub use shelving::{Shelving, ShelvingChange};
pub use timers::Timer;
pub use window::WindowSample;

use crate::domain::model::{AlarmDefinition, AlarmFacts, AlarmId, AlarmType, Model, ThingPattern, Trigger};
use crate::domain::small_list;
use crate::domain::text::clip;
use crate::domain::time::{Moment, Now, Span, Stamp};
use alarm::{Alarm, Unsaved};
use index::Index;
use patterns::Patterns;
use registry::Registry;
use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;
use timers::Timers;

/// How far a source's clock may be ahead before its stamp is not believed.
pub const STAMP_TOLERANCE: Span = Span::from_secs(5);

/// Bytes of the names of things that were heard and of their alarms, together: they are in memory several times, and in
/// the store. A hundred thousand alarms have some megabytes.
const NAME_BYTES: usize = 64 << 20;
/// Bytes of an id that is told as one that was refused.
const REFUSED_BYTES: usize = 128;

/// The number of an alarm in this engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlarmIx(u32);

impl AlarmIx {
    pub(crate) fn new(index: usize) -> AlarmIx {
        AlarmIx(number(index))
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// The number of a definition in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DefinitionIx(u32);

/// Numbers of things, properties and alarms: four billion of each are beyond every memory this runs in.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// All alarms of a gateway.
#[derive(Debug)]
pub struct Engine {
    model: Arc<Model>,
    /// Those of its definitions that name things by patterns.
    patterns: Patterns,
    registry: Registry,
    alarms: Vec<Alarm>,
    /// By their ids.
    ids: Index<AlarmIx>,
    timers: Timers,
    /// Shelved alarms, by when that ends.
    shelved: BTreeSet<(Moment, AlarmIx)>,
    link: Link,
    /// Silence is proven up to here.
    proven: Moment,
    /// The time of the latest input.
    last: Moment,
    next_seq: u64,
    /// Whether events before the next one may be missing.
    seq_gap: bool,
    next_handle: u32,
    active: usize,
    /// Anomaly alarms of which there is nothing to tell.
    latent: usize,
    /// Places of alarms that have left the configuration: their numbers are not given again before all are.
    gone: usize,
    /// Bytes of the names of all alarms and their things.
    name_bytes: usize,
    /// Things that were not watched because a bound was reached.
    refused: Option<Refused>,
    /// Samples in all windows.
    samples_held: usize,
    /// All alarms that are not [`Unsaved::Nothing`], and perhaps others, each once.
    unsaved: Vec<AlarmIx>,
    /// Alarms that are [`Unsaved::Hard`], each once.
    decided: Vec<AlarmIx>,
    /// How many alarms are not [`Unsaved::Nothing`].
    dirty: usize,
    /// Alarms whose stored samples are of no use any more.
    void: Vec<u32>,
    /// Scratch for messages with several values.
    turn: Vec<(DefinitionIx, usize, AlarmIx)>,
    /// Those of the definition that was asked for last: mostly many alarms have the same one.
    fingerprints: Cell<Option<(DefinitionIx, Fingerprints)>>,
}

/// What tells whether a definition is still the same, and whether its trigger is.
#[derive(Debug, Clone, Copy)]
struct Fingerprints {
    trigger: u64,
    definition: u64,
}

impl Engine {
    /// An engine that has heard nothing yet: its link is down until the first [`Input::LinkUp`].
    pub fn new(model: Arc<Model>) -> Engine {
        let mut engine = Engine {
            model: model.clone(),
            patterns: Patterns::of(&model),
            registry: Registry::default(),
            alarms: Vec::new(),
            ids: Index::default(),
            timers: Timers::default(),
            shelved: BTreeSet::new(),
            link: Link::NeverUp,
            proven: Moment::END,
            last: Moment::BEGINNING,
            next_seq: 1,
            seq_gap: false,
            next_handle: 0,
            active: 0,
            latent: 0,
            gone: 0,
            name_bytes: 0,
            refused: None,
            samples_held: 0,
            unsaved: Vec::new(),
            decided: Vec::new(),
            dirty: 0,
            void: Vec::new(),
            turn: Vec::new(),
            fingerprints: Cell::new(None),
        };
        for (index, definition) in model.definitions.iter().enumerate() {
            for pattern in &definition.things {
                if let ThingPattern::Exactly(id) = pattern
                    && model.share.has(id)
                {
                    let thing = engine.registry.add_thing(id);
                    engine.add_alarm(DefinitionIx(number(index)), thing);
                }
            }
        }
        engine
    }

    /// The configuration that it works by.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The number of the next event.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Goes on with this number, if it is beyond the next one. The next event says that others may be missing before it.
    pub fn number_from(&mut self, seq: u64) {
        self.next_seq = self.next_seq.max(seq);
        self.seq_gap = true;
    }

    /// Whether the next event has to say that others may be missing before it.
    pub fn seq_gap(&self) -> bool {
        self.seq_gap
    }

    /// How many alarms there are of which there is something to tell.
    pub fn len(&self) -> usize {
        self.alarms.len() - self.latent - self.gone
    }

    /// Whether there is no such alarm at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number that the next new alarm gets.
    pub(crate) fn next_alarm(&self) -> usize {
        self.alarms.len()
    }

    /// How many alarms are activated or acknowledged.
    pub fn active(&self) -> usize {
        self.active
    }

    /// Up to where it has observed: what was running has run until then, and not longer. None: it never has.
    pub fn observed_until(&self) -> Option<Moment> {
        match self.link {
            Link::NeverUp => None,
            Link::Up => Some(self.last.min(self.proven)),
            Link::Down { since } => Some(since),
        }
    }

    /// Silence is proven up to this moment: until it is said otherwise no later deadline fires, whatever the time of an
    /// input is. Without a call there is no such bound.
    pub fn prove(&mut self, until: Moment) {
        self.proven = until;
    }

    /// Whether it can hear, and since when not.
    pub fn link(&self) -> Link {
        self.link
    }

    /// The watched thing with this id.
    pub fn thing(&self, id: &str) -> Option<ThingIx> {
        self.registry.thing(id)
    }

    /// All watched properties of a thing.
    pub fn properties_of(&self, thing: ThingIx) -> impl Iterator<Item = PropertyIx> + '_ {
        self.registry.properties_of(thing)
    }

    /// The watched property with this name.
    pub fn property(&self, thing: ThingIx, name: &str) -> Option<PropertyIx> {
        self.registry.property(thing, name)
    }

    /// The alarm with this id.
    pub fn find(&self, id: &str) -> Option<AlarmIx> {
        self.ids.find(|ix| self.name_of(ix).cmp(id))
    }

    /// All alarms of which there is something to tell, in the order of their definitions; those of a pattern in the order
    /// in which things were heard.
    pub fn alarms(&self) -> impl Iterator<Item = AlarmIx> + '_ {
        self.all_alarms().into_iter().filter(|ix| !self.is_latent(*ix))
    }

    /// The same with those of which there is nothing to tell.
    pub(crate) fn all_alarms(&self) -> Vec<AlarmIx> {
        let mut order: Vec<AlarmIx> = self.numbered_alarms().collect();
        order.sort_by_key(|ix| (self.alarms[ix.index()].definition, *ix));
        order
    }

    /// The same, in whatever order costs nothing.
    pub(crate) fn numbered_alarms(&self) -> impl Iterator<Item = AlarmIx> + '_ {
        (0..self.alarms.len()).map(AlarmIx::new).filter(|ix| !self.alarms[ix.index()].is_gone)
    }

    /// All alarms of which there is something to tell, in the order of their ids, from the one after this id on.
    pub fn alarms_by_id(&self, after: Option<&str>) -> impl Iterator<Item = AlarmIx> + '_ {
        let compare = |ix| after.map_or(Ordering::Greater, |after| self.name_of(ix).cmp(after));
        self.ids.after(&compare).filter(|ix| !self.is_latent(*ix))
    }

    /// Those of which there is something to tell, from this number on.
    pub fn alarms_from(&self, number: usize) -> impl Iterator<Item = AlarmIx> + '_ {
        let there = |ix: &AlarmIx| !self.is_latent(*ix) && !self.alarms[ix.index()].is_gone;
        (number..self.alarms.len()).map(AlarmIx::new).filter(there)
    }

    fn name_of(&self, ix: AlarmIx) -> &str {
        self.alarms[ix.index()].id.as_str()
    }

    fn is_latent(&self, ix: AlarmIx) -> bool {
        self.alarms[ix.index()].is_latent
    }

    /// One alarm.
    pub fn view(&self, alarm: AlarmIx) -> AlarmView<'_> {
        let found = &self.alarms[alarm.index()];
        AlarmView {
            alarm: found,
            timer: self.timers.get(alarm),
            definition: &self.model.definitions[found.definition.0 as usize],
            thing: self.registry.thing_id(self.registry.get(found.property).thing),
        }
    }

    /// The place of an alarm's definition in the model.
    pub(crate) fn definition_of(&self, alarm: AlarmIx) -> usize {
        self.alarms[alarm.index()].definition.0 as usize
    }

    /// When it has to be woken at the latest, if nothing happens before: just after this moment.
    pub fn next_wake(&mut self) -> Option<Moment> {
        [self.next_deadline(), self.next_unshelving()].into_iter().flatten().min()
    }

    /// When the next observe-time or clear-delay ends; none while nothing can be heard.
    pub fn next_deadline(&mut self) -> Option<Moment> {
        if self.link.is_up() { self.timers.next_deadline() } else { None }
    }

    /// Takes note of a thing that has spoken. If a definition's pattern fits a thing that was never heard before, the
    /// thing's alarms begin to exist. None: no alarm watches this thing.
    pub fn register_thing(&mut self, id: &str, now: Now, effects: &mut Effects) -> Option<ThingIx> {
        self.settle(now, effects);
        if let Some(known) = self.registry.thing(id) {
            // A thing that one definition names may fit the pattern of another: those alarms begin to exist now.
            if self.registry.mark_seen(known) {
                self.instantiate(known, now);
            }
            return Some(known);
        }
        if !self.model.share.has(id) || !self.patterns.cover(id) {
            return None;
        }
        if let Some(bound) = self.bound_of_things(id) {
            self.refuse(id, bound, 1);
            effects.input_faults.push(InputFault::ThingRefused { bound });
            return None;
        }
        let thing = self.registry.add_thing(&Arc::from(id));
        self.registry.mark_seen(thing);
        self.instantiate(thing, now);
        Some(thing)
    }

    /// What keeps a thing that is not known from being watched; none: it can be.
    fn bound_of_things(&self, id: &str) -> Option<Bound> {
        let Model { max_things, max_id_bytes, .. } = &*self.model;
        if id.len() > *max_id_bytes {
            Some(Bound::IdBytes(*max_id_bytes))
        } else if self.registry.things() >= *max_things {
            Some(Bound::Things(*max_things))
        } else if self.name_bytes >= NAME_BYTES + self.patterns.named_bytes() {
            Some(Bound::NameBytes(NAME_BYTES))
        } else {
            None
        }
    }

    /// Counts properties whose names are too long, of which this is the last one. The bound.
    pub fn refuse_properties(&mut self, count: usize, last: &str) -> Bound {
        let bound = Bound::PropertyBytes(self.model.max_id_bytes);
        self.refuse(last, bound, u64::try_from(count).unwrap_or(u64::MAX));
        bound
    }

    fn refuse(&mut self, id: &str, bound: Bound, times: u64) {
        let count = self.refused.as_ref().map_or(times, |refused| refused.count.saturating_add(times));
        self.refused = Some(Refused { count, bound, last: clip(id, REFUSED_BYTES).into_owned() });
    }

    /// Things and properties that were not watched because a bound was reached, if there were any.
    pub fn refused(&self) -> Option<&Refused> {
        self.refused.as_ref()
    }

    /// Creates the alarms of patterns that the thing lacks. Those of definitions that name it exist since they are
    /// configured.
    fn instantiate(&mut self, thing: ThingIx, now: Now) {
        let id = self.registry.thing_id(thing).clone();
        for definition in self.patterns.covering(&id) {
            let entry = &self.model.definitions[definition.0 as usize];
            let name = AlarmId::new(&id, &entry.property, &entry.level);
            if self.find(name.as_str()).is_none() {
                let alarm = self.add_alarm(definition, thing);
                if self.link.was_ever_up() {
                    self.start_clock(alarm, now.at);
                }
            }
        }
    }

    fn add_alarm(&mut self, definition: DefinitionIx, thing: ThingIx) -> AlarmIx {
        let alarm = AlarmIx::new(self.alarms.len());
        let entry = &self.model.definitions[definition.0 as usize];
        let property = self.registry.add_property(thing, &entry.property);
        let id = AlarmId::new(self.registry.thing_id(thing), &entry.property, &entry.level);
        let is_latent = entry.trigger.alarm_type() == AlarmType::Anomaly;
        let alarms = &self.alarms;
        self.ids.insert(alarm, |ix| alarms[ix.index()].id.cmp(&id));
        self.name_bytes += id.as_str().len() + self.registry.thing_id(thing).len();
        let new = Alarm {
            id,
            definition,
            property,
            state: if entry.enabled { State::Enabled } else { State::Off },
            severity: entry.severity,
            past: None,
            since: Moment::default(),
            value: None,
            value_at: None,
            lives_until_told: false,
            heard: 0,
            window: None,
            shelved: None,
            anomaly: None,
            is_latent,
            is_gone: false,
            is_uncertain: false,
            mismatch: None,
            handle: None,
            timer_is_stored: false,
            is_listed: false,
            unsaved: Unsaved::Nothing,
        };
        small_list::push(&mut self.alarms, new);
        self.timers.add_alarm();
        let alarms = &self.alarms;
        let on_property = &mut self.registry.get_mut(property).alarms;
        let place = on_property.partition_point(|other| alarms[other.index()].definition <= definition);
        on_property.insert(place, alarm);
        if is_latent {
            self.latent += 1;
            return alarm;
        }
        // Stored at once: then the order in which things were first heard outlives a restart, and whatever is published
        // of the alarm can be taken back when it leaves the configuration.
        self.note(alarm, Unsaved::Hard);
        alarm
    }

    /// Applies one input at `now`, which is never before the last one's.
    pub fn handle(&mut self, input: Input<'_>, now: Now, effects: &mut Effects) {
        self.settle(now, effects);
        match input {
            Input::Tick => {}
            Input::LinkDown => self.link_down(now),
            Input::LinkUp => self.link_up(now, effects),
            Input::Alive { properties, life } => self.alive(properties, life, now, effects),
            Input::Message { samples, stamp, retained, sign_of_life } => {
                let stamp = stamp.map(|stamp| {
                    let ahead = stamp - now.wall;
                    if ahead <= STAMP_TOLERANCE {
                        return stamp;
                    }
                    effects.input_faults.push(InputFault::StampInFuture { by: ahead });
                    now.wall
                });
                let gap = match self.link {
                    Link::Down { since } => Some(since),
                    Link::Up | Link::NeverUp => None,
                };
                let receipt = Receipt { stamp, retained, sign_of_life, gap };
                self.message(samples, receipt, now, effects);
            }
        }
    }

    fn message(&mut self, samples: &[Sample<'_>], receipt: Receipt, now: Now, effects: &mut Effects) {
        if let [sample] = samples {
            if !self.accept_stamp(sample.property, receipt.stamp, effects) {
                return;
            }
            self.fetch(sample.property);
            for place in 0..self.registry.get(sample.property).alarms.len() {
                let alarm = self.registry.get(sample.property).alarms[place];
                self.evaluate(alarm, sample.value, receipt, now, effects);
            }
            return;
        }
        let mut turn = std::mem::take(&mut self.turn);
        turn.clear();
        for (index, sample) in samples.iter().enumerate() {
            if self.accept_stamp(sample.property, receipt.stamp, effects) {
                let on_property = self.registry.get(sample.property).alarms.iter();
                turn.extend(on_property.map(|alarm| (self.alarms[alarm.index()].definition, index, *alarm)));
            }
        }
        turn.sort_unstable();
        for (_, index, alarm) in &turn {
            self.evaluate(*alarm, samples[*index].value, receipt, now, effects);
        }
        self.turn = turn;
    }

    /// Reads what the alarms of a property will need. One evaluation waits for memory several times, one after the other;
    /// these reads do not depend on each other, so the processor waits for all of them at once.
    fn fetch(&self, property: PropertyIx) {
        let alarms = &self.registry.get(property).alarms;
        if alarms.len() > 1 {
            let read = |ix: &AlarmIx| self.alarms[ix.index()].window.as_ref().map_or(0, |window| window.fetch());
            std::hint::black_box(alarms.iter().map(read).fold(0, u32::wrapping_add));
        }
    }

    fn accept_stamp(&mut self, property: PropertyIx, stamp: Option<Stamp>, effects: &mut Effects) -> bool {
        let Some(stamp) = stamp else { return true };
        let newest = &mut self.registry.get_mut(property).newest;
        match *newest {
            Some(newer) if stamp < newer => {
                effects.input_faults.push(InputFault::StampOutOfOrder { by: newer - stamp });
                false
            }
            _ => {
                *newest = Some(stamp);
                true
            }
        }
    }

    fn facts(&self, ix: AlarmIx) -> Arc<AlarmFacts> {
        Arc::new(self.view(ix).facts())
    }

    fn trigger(&self, ix: AlarmIx) -> &Trigger {
        &self.definition(ix).trigger
    }

    fn definition(&self, ix: AlarmIx) -> &AlarmDefinition {
        &self.model.definitions[self.alarms[ix.index()].definition.0 as usize]
    }

    fn fingerprints(&self, ix: AlarmIx) -> Fingerprints {
        let number = self.alarms[ix.index()].definition;
        if let Some((_, known)) = self.fingerprints.get().filter(|(known, _)| *known == number) {
            return known;
        }
        let definition = self.definition(ix);
        let new = Fingerprints { trigger: definition.trigger_fingerprint(), definition: definition.fingerprint() };
        self.fingerprints.set(Some((number, new)));
        new
    }
}

/// How a message came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Receipt {
    stamp: Option<Stamp>,
    retained: bool,
    sign_of_life: bool,
    /// The beginning of the gap that is not over yet: a session's queued messages come before its subscriptions.
    gap: Option<Moment>,
}
