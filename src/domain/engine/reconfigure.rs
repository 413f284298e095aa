//! Another configuration for a running engine, by what is different in it.
//!
//! Alarms whose definition is the same are not touched: they keep state, timer, window, shelving, their number, and what is
//! on disk of them. One whose trigger changed starts anew; one that is gone ends its occurrence. What comes out is what a
//! restart with the new configuration would make of the old states, but without a gap.
//!
//! It goes in slices ([`Reconfiguration`]), so that whoever calls can look after the connection in between. No input may be
//! given to the engine before it is complete: nothing is decided by half a configuration.

use super::alarm::Unsaved;
use super::memory::{AlarmMemory, Memory, SoftMemory};
use super::patterns::Patterns;
use super::{AlarmIx, DefinitionIx, Effects, Engine, Fingerprints, number};
use crate::domain::model::{AlarmDefinition, AlarmId, AlarmType, Model, ThingPattern};
use crate::domain::time::{Moment, Now};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What another configuration has made of the alarms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// Alarms that exist now and did not before.
    pub added: Vec<AlarmId>,
    /// Alarms that do not exist any more.
    pub removed: Vec<AlarmId>,
    /// Alarms whose definition is another one now.
    pub changed: Vec<AlarmId>,
    /// How many are as they were.
    pub kept: usize,
}

/// What is different between two models. It takes milliseconds where there are very many definitions, and no engine.
#[derive(Debug, Clone, Default)]
pub struct Difference {
    /// For each old definition the place of the same one in the new model, if it is there.
    places: Vec<Option<DefinitionIx>>,
    /// The definitions that are new, in their order.
    new: Vec<DefinitionIx>,
    /// The alarms that those name exactly.
    named: BTreeMap<AlarmId, DefinitionIx>,
}

impl Difference {
    /// Compares two models.
    pub fn between(old: &Model, new: &Model) -> Difference {
        let key = |definition: &AlarmDefinition| {
            let AlarmDefinition { things, attributes } = definition;
            (
                things.first().map(|thing| thing.as_str().to_owned()),
                attributes.property.clone(),
                attributes.level.clone(),
            )
        };
        let (before, after) = (&old.definitions, &new.definitions);
        let mut places = vec![None; before.len()];
        let mut is_new = vec![true; after.len()];
        // Mostly they are in the same order, with few that are different somewhere between.
        let head = before.iter().zip(after).take_while(|(old, new)| old == new).count();
        let most = before.len().min(after.len()) - head;
        let tail = before.iter().rev().zip(after.iter().rev()).take(most).take_while(|(old, new)| old == new).count();
        let same = (0..head).map(|place| (place, place));
        for (old, new) in same.chain((1..=tail).map(|place| (before.len() - place, after.len() - place))) {
            places[old] = Some(DefinitionIx(number(new)));
            is_new[new] = false;
        }
        let moved = head..before.len() - tail;
        let mut left: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        let others = new.definitions.iter().enumerate().filter(|(place, _)| is_new[*place]);
        others.for_each(|(place, definition)| left.entry(key(definition)).or_default().push(place));
        for place in moved {
            let definition = &old.definitions[place];
            let Some(candidates) = left.get_mut(&key(definition)) else { continue };
            if let Some(found) = candidates.iter().position(|other| new.definitions[*other] == *definition) {
                let found = candidates.remove(found);
                places[place] = Some(DefinitionIx(number(found)));
                is_new[found] = false;
            }
        }
        let new_ones: Vec<usize> = (0..new.definitions.len()).filter(|place| is_new[*place]).collect();
        let mut named = BTreeMap::new();
        for place in &new_ones {
            let definition = &new.definitions[*place];
            for thing in &definition.things {
                if let ThingPattern::Exactly(thing) = thing {
                    let id = AlarmId::new(thing, &definition.property, &definition.level);
                    named.insert(id, DefinitionIx(number(*place)));
                }
            }
        }
        Difference { places, new: new_ones.into_iter().map(|place| DefinitionIx(number(place))).collect(), named }
    }
}

/// An engine on its way to another configuration.
#[derive(Debug)]
pub struct Reconfiguration {
    difference: Difference,
    old: Arc<Model>,
    /// Alarms whose definition is not there any more as it was, the next one last, with the place that it had.
    affected: Vec<(AlarmIx, DefinitionIx)>,
    /// New definitions that were looked at.
    looked_at: usize,
    /// Alarms that leave.
    leaving: Vec<AlarmIx>,
    /// What it makes of the alarms.
    pub outline: Outline,
    /// What was stored of alarms that are gone.
    pub gone: Vec<AlarmMemory>,
    /// Alarms of which something else is to be told now; those that are new have the greatest numbers.
    pub changed: Vec<AlarmIx>,
    /// Whether all alarms have other numbers now.
    pub is_renumbered: bool,
}

impl Reconfiguration {
    /// Whether an alarm has left, by its number before. Known when all is complete.
    pub fn has_left(&self, alarm: AlarmIx) -> bool {
        self.leaving.binary_search(&alarm).is_ok()
    }
}

impl Engine {
    /// Goes on under another model, in one go. Returned beside the outline: what was stored of alarms that are gone.
    pub fn reconfigure(&mut self, model: Arc<Model>, now: Now, effects: &mut Effects) -> (Outline, Vec<AlarmMemory>) {
        let difference = Difference::between(&self.model, &model);
        let mut going_on = self.begin_to_reconfigure(model, difference, now, effects);
        while !self.go_on_reconfiguring(&mut going_on, usize::MAX, now, effects) {}
        (going_on.outline, going_on.gone)
    }

    /// Begins to go on under another model. `difference` is that between this engine's model and the new one.
    pub fn begin_to_reconfigure(
        &mut self,
        model: Arc<Model>,
        difference: Difference,
        now: Now,
        effects: &mut Effects,
    ) -> Reconfiguration {
        self.settle(now, effects);
        let mut affected = Vec::new();
        let mut outline = Outline::default();
        for (index, alarm) in self.alarms.iter_mut().enumerate().filter(|(_, alarm)| !alarm.is_gone) {
            match difference.places.get(alarm.definition.0 as usize).copied().flatten() {
                Some(place) => {
                    alarm.definition = place;
                    outline.kept += 1;
                }
                None => affected.push((AlarmIx::new(index), alarm.definition)),
            }
        }
        // In the order of their former definitions.
        affected.sort_unstable_by_key(|(ix, definition)| std::cmp::Reverse((*definition, *ix)));
        self.patterns = Patterns::of(&model);
        self.fingerprints.set(None);
        self.refused = None;
        let old = std::mem::replace(&mut self.model, model);
        Reconfiguration {
            difference,
            old,
            affected,
            looked_at: 0,
            leaving: Vec::new(),
            outline,
            gone: Vec::new(),
            changed: Vec::new(),
            is_renumbered: false,
        }
    }

    /// Goes on with so many alarms. True: it is complete.
    pub fn go_on_reconfiguring(
        &mut self,
        going_on: &mut Reconfiguration,
        looks: usize,
        now: Now,
        effects: &mut Effects,
    ) -> bool {
        for _ in 0..looks {
            if let Some((ix, former)) = going_on.affected.pop() {
                self.follow_definition(going_on, ix, former, now, effects);
                continue;
            }
            let Some(definition) = going_on.difference.new.get(going_on.looked_at).copied() else {
                self.end_reconfiguring(going_on);
                return true;
            };
            going_on.looked_at += 1;
            self.add_alarms_of(definition, going_on, now);
        }
        false
    }

    /// An alarm whose definition is not there any more as it was.
    fn follow_definition(
        &mut self,
        going_on: &mut Reconfiguration,
        ix: AlarmIx,
        former: DefinitionIx,
        now: Now,
        effects: &mut Effects,
    ) {
        let before = &going_on.old.definitions[former.0 as usize];
        let fingerprints = Fingerprints { trigger: before.trigger_fingerprint(), definition: before.fingerprint() };
        let was_anomaly = before.trigger.alarm_type() == AlarmType::Anomaly;
        let id = self.alarms[ix.index()].id.clone();
        let Some(definition) = self.definition_for(ix, before, &going_on.difference.named) else {
            let memory = self.memory_of(ix, former, &going_on.old);
            self.end_removed(&memory, now, effects);
            going_on.outline.removed.push(id);
            going_on.gone.push(memory.alarm);
            going_on.leaving.push(ix);
            return;
        };
        self.alarms[ix.index()].definition = definition;
        let present = self.fingerprints(ix);
        if present.definition == fingerprints.definition {
            going_on.outline.kept += 1;
            return;
        }
        going_on.outline.changed.push(id);
        going_on.changed.push(ix);
        let same_trigger = present.trigger == fingerprints.trigger;
        let (enabled, severity) = (self.definition(ix).enabled, self.definition(ix).severity);
        let is_anomaly = self.definition(ix).trigger.alarm_type() == AlarmType::Anomaly;
        if !same_trigger {
            self.timers.stop(ix);
        }
        let alarm = &mut self.alarms[ix.index()];
        if let Some(handle) = alarm.handle.filter(|_| !same_trigger && alarm.window.is_some()) {
            self.void.push(handle.get());
        }
        if !same_trigger {
            self.samples_held -= alarm.window.as_ref().map_or(0, |window| window.len());
            (alarm.window, alarm.anomaly, alarm.mismatch) = (None, None, None);
            (alarm.since, alarm.lives_until_told) = (Moment::default(), false);
        }
        if !(is_anomaly && was_anomaly && alarm.occurrence() > 0) {
            alarm.severity = severity;
        }
        if alarm.is_latent && !is_anomaly {
            alarm.is_latent = false;
            self.latent -= 1;
        }
        let state = alarm.state;
        self.yield_to_definition(ix, (state, enabled), same_trigger, now, effects);
    }

    /// The definition that an alarm has under the present model.
    fn definition_for(
        &self,
        ix: AlarmIx,
        before: &AlarmDefinition,
        named: &BTreeMap<AlarmId, DefinitionIx>,
    ) -> Option<DefinitionIx> {
        let alarm = &self.alarms[ix.index()];
        let thing = self.registry.thing_id(self.registry.get(alarm.property).thing);
        if !self.model.share.has(thing) {
            return None;
        }
        let is_same = |definition: &DefinitionIx| {
            let entry = &self.model.definitions[definition.0 as usize];
            entry.property == before.property && entry.level == before.level
        };
        named.get(&alarm.id).copied().or_else(|| self.patterns.covering(thing).into_iter().find(is_same))
    }

    /// Everything that is remembered of an alarm whose definition was at this place of another model.
    fn memory_of(&mut self, ix: AlarmIx, definition: DefinitionIx, model: &Arc<Model>) -> Memory {
        let handle = self.handle_of(ix);
        let present = std::mem::replace(&mut self.model, model.clone());
        self.alarms[ix.index()].definition = definition;
        self.fingerprints.set(None);
        let alarm = self.alarm_memory(ix, handle);
        self.fingerprints.set(None);
        self.model = present;
        let entry = &self.alarms[ix.index()];
        let soft = SoftMemory {
            handle,
            since: entry.since,
            value: entry.value.clone(),
            value_at: entry.value_at,
            lives_until_told: entry.lives_until_told,
            timer: self.timers.get(ix),
            mean: entry.average(),
            anomaly: entry.anomaly.as_deref().copied(),
            samples: 0..0,
        };
        Memory { alarm, soft: Some(soft), samples: Vec::new() }
    }

    /// The alarms of a new definition that do not exist yet. What has spoken need not speak again for those of a pattern.
    fn add_alarms_of(&mut self, definition: DefinitionIx, going_on: &mut Reconfiguration, now: Now) {
        let model = self.model.clone();
        let entry = &model.definitions[definition.0 as usize];
        let mut things = Vec::new();
        for pattern in &entry.things {
            match pattern {
                ThingPattern::Exactly(id) if model.share.has(id) => things.push(id.clone()),
                ThingPattern::Exactly(_) => {}
                ThingPattern::Matching(glob) => {
                    things.extend(self.registry.seen().filter(|id| glob.matches(id)).cloned());
                }
            }
        }
        for id in things {
            if self.find(AlarmId::new(&id, &entry.property, &entry.level).as_str()).is_some() {
                continue;
            }
            let thing = self.registry.add_thing(&id);
            let alarm = self.add_alarm(definition, thing);
            going_on.outline.added.push(self.alarms[alarm.index()].id.clone());
            if self.link.was_ever_up() {
                self.start_clock(alarm, now.at);
            }
        }
    }

    fn end_reconfiguring(&mut self, going_on: &mut Reconfiguration) {
        going_on.leaving.sort_unstable();
        for ix in &going_on.leaving {
            self.remove(*ix);
        }
        let alarms = &self.alarms;
        let definition = |ix: &AlarmIx| alarms[ix.index()].definition;
        for on_property in self.registry.alarms_mut().filter(|list| !list.is_sorted_by_key(definition)) {
            let mut sorted = on_property.to_vec();
            sorted.sort_by_key(definition);
            *on_property = sorted.into();
        }
        // Numbers of alarms that left are not given again: where half of all have left, all get others.
        if self.gone > self.alarms.len() / 2 {
            self.renumber();
            going_on.is_renumbered = true;
        }
    }

    /// Nothing but the number of an alarm is left.
    fn remove(&mut self, ix: AlarmIx) {
        self.timers.stop(ix);
        self.put_on_shelf(ix, None);
        let id = self.alarms[ix.index()].id.clone();
        let alarms = &self.alarms;
        self.ids.remove(|other| alarms[other.index()].id.cmp(&id));
        let thing = self.registry.thing_id(self.registry.get(self.alarms[ix.index()].property).thing);
        self.name_bytes -= id.as_str().len() + thing.len();
        let alarm = &mut self.alarms[ix.index()];
        self.active -= usize::from(alarm.state.is_active());
        self.latent -= usize::from(alarm.is_latent);
        self.dirty -= usize::from(alarm.unsaved != Unsaved::Nothing);
        self.gone += 1;
        self.samples_held -= alarm.window.as_ref().map_or(0, |window| window.len());
        (alarm.is_gone, alarm.is_latent, alarm.unsaved) = (true, false, Unsaved::Nothing);
        (alarm.definition, alarm.value, alarm.window) = (DefinitionIx(0), None, None);
        (alarm.past, alarm.anomaly) = (None, None);
        self.registry.remove_alarm(self.alarms[ix.index()].property, ix);
    }

    /// Gives the alarms numbers without a gap, in their order.
    fn renumber(&mut self) {
        let before: Vec<AlarmIx> = self.numbered_alarms().collect();
        let mut numbers = vec![None; self.alarms.len()];
        before.iter().enumerate().for_each(|(index, ix)| numbers[ix.index()] = Some(AlarmIx::new(index)));
        let new = |ix: AlarmIx| numbers.get(ix.index()).copied().flatten();
        self.alarms.retain(|alarm| !alarm.is_gone);
        self.alarms.shrink_to_fit();
        self.ids.renumber(|ix| new(ix).unwrap_or(ix));
        for on_property in self.registry.alarms_mut() {
            *on_property = on_property.iter().copied().filter_map(new).collect();
        }
        self.timers.renumber(&before);
        self.shelved = self.shelved.iter().filter_map(|(ends, ix)| Some((*ends, new(*ix)?))).collect();
        self.unsaved = self.unsaved.iter().copied().filter_map(new).collect();
        self.decided = self.decided.iter().copied().filter_map(new).collect();
        self.gone = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Event, Input, Sample, Signature, State, Verb};
    use super::*;
    use crate::config::Config;
    use crate::domain::model::ValueRef;
    use crate::domain::time::{Moment, Stamp};
    use proptest::prelude::*;
    use std::path::Path;

    fn model(alarms: &[(&str, &str)]) -> Arc<Model> {
        let head = "[mqtt]\nurl = \"mqtt://h\"\n[[source]]\ntopic = \"t/{thing}/{property}\"\n";
        let alarms = alarms
            .iter()
            .map(|(level, rest)| format!("[[alarm]]\nthing = \"a\"\nproperty = \"p\"\nlevel = \"{level}\"\n{rest}\n"));
        let text: String = std::iter::once(head.to_owned()).chain(alarms).collect();
        Config::parse(Path::new("x"), &text).unwrap_or_else(|problems| panic!("{}", problems.to_text())).0.model
    }

    fn at(secs: i64) -> Now {
        Now { at: Moment::from_micros(secs * 1_000_000), wall: Stamp::from_micros(secs * 1_000_000) }
    }

    fn value(engine: &mut Engine, number: f64, now: Now, effects: &mut Effects) {
        let property = engine.property(engine.thing("a").unwrap(), "p").unwrap();
        let samples = &[Sample { property, value: ValueRef::Number(number) }];
        engine.handle(Input::Message { samples, stamp: None, retained: false, sign_of_life: true }, now, effects);
    }

    const HIGH: &str = "type = \"standard\"\noperator = \">\"\nlimit = 10\nobserve_time = \"10s\"";
    const LOWER: &str = "type = \"standard\"\noperator = \">\"\nlimit = 5\nobserve_time = \"10s\"";
    const SILENT: &str = "type = \"no-value\"\nobserve_time = \"20s\"";

    #[test]
    fn what_is_the_same_goes_on_and_the_rest_starts_anew() {
        let mut effects = Effects::default();
        let mut engine = Engine::new(model(&[("keeps", HIGH), ("changes", HIGH), ("goes", HIGH)]));
        engine.handle(Input::LinkUp, at(0), &mut effects);
        value(&mut engine, 20.0, at(1), &mut effects);
        let keeps = engine.find("a/p/keeps").unwrap();
        engine.command(
            keeps,
            Verb::Shelve(crate::domain::time::Span::from_secs(60)),
            &Signature::default(),
            at(2),
            &mut effects,
        );
        let (outline, gone) =
            engine.reconfigure(model(&[("comes", SILENT), ("changes", LOWER), ("keeps", HIGH)]), at(4), &mut effects);
        let ids = |ids: &[AlarmId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(ids(&outline.added), ["a/p/comes"]);
        assert_eq!(ids(&outline.changed), ["a/p/changes"]);
        assert_eq!(ids(&outline.removed), ["a/p/goes"]);
        assert_eq!((outline.kept, gone.len()), (1, 1));
        engine.handle(Input::Tick, at(30), &mut effects);
        let fired: Vec<_> =
            effects.events.iter().map(|e| (e.alarm.level.to_string(), e.at.as_micros() / 1_000_000)).collect();
        assert_eq!(fired, [("keeps".into(), 11), ("changes".into(), 14), ("comes".into(), 24)]);
        let keeps = engine.find("a/p/keeps").unwrap();
        assert_eq!(engine.view(keeps).state(), State::Activated);
        assert!(engine.view(keeps).shelving().is_some());
        engine.handle(Input::Tick, at(63), &mut effects);
        assert!(engine.view(keeps).shelving().is_none());
        let shelvings: Vec<_> = effects.shelvings.iter().map(|s| (s.place, s.at.as_micros() / 1_000_000)).collect();
        assert_eq!(shelvings, [(0, 2), (3, 62)]);
    }

    /// The dumb formulation: an engine that is restored from all that the old one remembers.
    fn restarted(engine: &mut Engine, model: Arc<Model>, now: Now, effects: &mut Effects) -> Engine {
        let (old, link, seen) =
            (engine.model.clone(), engine.link, engine.registry.seen().cloned().collect::<Vec<_>>());
        let memories: Vec<Memory> = engine
            .all_alarms()
            .into_iter()
            .map(|ix| {
                let mut memory = engine.memory_of(ix, engine.alarms[ix.index()].definition, &old);
                memory.samples = engine.alarms[ix.index()].window.as_ref().map_or(Vec::new(), |w| w.last(usize::MAX));
                memory
            })
            .collect();
        let before: Vec<AlarmId> = memories.iter().map(|memory| memory.alarm.facts.id.clone()).collect();
        let mut next = Engine::new(model);
        (next.next_seq, next.link, next.last) = (engine.next_seq, link, engine.last);
        for memory in memories {
            match next.alarm_for(&memory.alarm.facts) {
                Some(ix) => next.restore_alarm(ix, memory, now, effects),
                None => next.end_removed(&memory, now, effects),
            }
        }
        for id in seen {
            if next.registry.thing(&id).is_some() || next.patterns.cover(&id) {
                let thing = next.registry.add_thing(&id);
                next.registry.mark_seen(thing);
                next.instantiate(thing, now);
            }
        }
        for ix in next.all_alarms() {
            if !before.contains(&next.alarms[ix.index()].id) && next.link.was_ever_up() {
                next.start_clock(ix, now.at);
            }
        }
        next
    }

    /// All that can be told of an engine, and what it decides from now on.
    fn told(engine: &mut Engine, effects: &mut Effects) -> Vec<String> {
        let mut told: Vec<String> = engine
            .alarms_by_id(None)
            .map(|ix| {
                let view = engine.view(ix);
                let timer = view.timer().map(|timer| timer.deadline);
                let shelving = view.shelving().map(|shelving| shelving.ends);
                let (state, severity, value) = (view.state(), view.severity(), view.value());
                format!("{} {state} {severity:?} {value:?} {timer:?} {shelving:?} {}", view.id(), view.occurrence())
            })
            .collect();
        told.push(format!("{} {} {} {:?}", engine.len(), engine.active(), engine.registry.things(), engine.latent));
        for secs in 200..240 {
            for thing in ["a", "b", "c"] {
                for (place, property) in [(0, "p"), (1, "q")] {
                    let now = at(secs);
                    let _known = engine.register_thing(thing, now, effects);
                    let property = engine.thing(thing).and_then(|thing| engine.property(thing, property));
                    let Some(property) = property else { continue };
                    let number = if (secs + place) % 13 < 9 { 20.0 } else { 1.0 };
                    let samples = &[Sample { property, value: ValueRef::Number(number) }];
                    let message = Input::Message { samples, stamp: None, retained: false, sign_of_life: secs % 30 < 5 };
                    engine.handle(message, now, effects);
                }
            }
        }
        told.extend(unnumbered(effects).iter().map(|event| format!("{event:?}")));
        told
    }

    /// Events without the numbers of their alarms: a restart may give others.
    fn unnumbered(effects: &Effects) -> Vec<Event> {
        effects.events.iter().map(|event| Event { ix: None, ..event.clone() }).collect()
    }

    fn definitions() -> impl Strategy<Value = Vec<(usize, usize, usize, usize)>> {
        // Thing, property, level and kind; one level of a property may be there once.
        proptest::collection::vec((0..5_usize, 0..2_usize, 0..2_usize, 0..6_usize), 0..7).prop_map(|mut list| {
            let mut seen = std::collections::BTreeSet::new();
            list.retain(|(thing, property, level, _)| {
                let things: &[usize] = if *thing < 3 { &[*thing][..] } else { &[0, 1, 2] };
                let is_free = things.iter().all(|thing| !seen.contains(&(*thing, *property, *level)));
                seen.extend(things.iter().map(|thing| (*thing, *property, *level)));
                is_free
            });
            list
        })
    }

    fn compiled(definitions: &[(usize, usize, usize, usize)]) -> Arc<Model> {
        const KINDS: [&str; 6] = [
            HIGH,
            LOWER,
            SILENT,
            "type = \"average\"\noperator = \">\"\nlimit = 10\nobserve_time = \"5s\"",
            "type = \"standard\"\noperator = \">\"\nlimit = 10\nobserve_time = \"10s\"\ntitle = \"x\"",
            "type = \"standard\"\noperator = \">\"\nlimit = 10\nobserve_time = \"10s\"\nenabled = false",
        ];
        let alarm = |(thing, property, level, kind): &(usize, usize, usize, usize)| {
            let (thing, property) = (["a", "b", "c", "?", "*"][*thing], ["p", "q"][*property]);
            format!(
                "[[alarm]]\nthing = \"{thing}\"\nproperty = \"{property}\"\nlevel = \"{level}\"\n{}\n",
                KINDS[*kind]
            )
        };
        let head = "[mqtt]\nurl = \"mqtt://h\"\n[[source]]\ntopic = \"t/{thing}/{property}\"\n".to_owned();
        let text: String = std::iter::once(head).chain(definitions.iter().map(alarm)).collect();
        Config::parse(Path::new("x"), &text).unwrap_or_else(|problems| panic!("{}", problems.to_text())).0.model
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

        #[test]
        fn it_is_what_a_restart_would_make_of_it(
            first in definitions(), second in definitions(), third in definitions(), shelved in 0..4_usize
        ) {
            let mut effects = Effects::default();
            let mut engine = Engine::new(compiled(&first));
            engine.handle(Input::LinkUp, at(0), &mut effects);
            for secs in 1..30 {
                for thing in ["a", "b"] {
                    let _known = engine.register_thing(thing, at(secs), &mut effects);
                    let property = engine.thing(thing).and_then(|thing| engine.property(thing, "p"));
                    let Some(property) = property else { continue };
                    let samples = &[Sample { property, value: ValueRef::Number(if secs < 25 { 20.0 } else { 3.0 }) }];
                    let message = Input::Message { samples, stamp: None, retained: false, sign_of_life: true };
                    engine.handle(message, at(secs), &mut effects);
                }
            }
            if let Some(ix) = engine.all_alarms().get(shelved) {
                let verb = Verb::Shelve(crate::domain::time::Span::from_secs(180));
                engine.command(*ix, verb, &Signature::default(), at(30), &mut effects);
            }
            for (turn, definitions) in [(0, second), (1, third)] {
                let now = at(40 + 10 * turn);
                engine.handle(Input::Tick, now, &mut effects);
                let (mut other_step, mut told_step) = (Effects::default(), Effects::default());
                let mut other = restarted(&mut engine, compiled(&definitions), now, &mut other_step);
                effects = Effects::default();
                engine.reconfigure(compiled(&definitions), now, &mut effects);
                prop_assert_eq!(unnumbered(&effects), unnumbered(&other_step));
                prop_assert_eq!(engine.is_consistent(), Ok(()));
                if turn == 1 {
                    effects = Effects::default();
                    prop_assert_eq!(told(&mut engine, &mut effects), told(&mut other, &mut told_step));
                }
            }
        }
    }

    impl Engine {
        /// Whether all that is counted and indexed is what there is.
        fn is_consistent(&self) -> Result<(), String> {
            let there: Vec<AlarmIx> = self.numbered_alarms().collect();
            let counts = (
                there.iter().filter(|ix| self.alarms[ix.index()].state.is_active()).count(),
                there.iter().filter(|ix| self.alarms[ix.index()].unsaved != Unsaved::Nothing).count(),
                self.alarms.len() - there.len(),
            );
            let listed = there.iter().all(|ix| {
                let alarm = &self.alarms[ix.index()];
                let is_listed = self.registry.get(alarm.property).alarms.contains(ix);
                let is_saved = alarm.unsaved == Unsaved::Nothing || self.unsaved.contains(ix);
                self.find(alarm.id.as_str()) == Some(*ix) && is_listed && is_saved
            });
            let all = self.alarms_by_id(None).count() == self.len();
            let windows = there.iter().filter_map(|ix| self.alarms[ix.index()].window.as_ref());
            let samples: usize = windows.map(|window| window.len()).sum();
            let names: usize = there.iter().map(|ix| self.name_of(*ix).len() + self.view(*ix).thing().len()).sum();
            let listed = listed && (samples, names) == (self.samples_held, self.name_bytes);
            let fine = counts == (self.active, self.dirty, self.gone) && listed && all;
            if fine { Ok(()) } else { Err(format!("{counts:?} {listed} {all} {self:?}")) }
        }
    }

    #[test]
    fn what_is_the_same_is_not_written_again() {
        let mut effects = Effects::default();
        let mut engine = Engine::new(model(&[("keeps", HIGH), ("changes", HIGH), ("goes", HIGH)]));
        engine.handle(Input::LinkUp, at(0), &mut effects);
        value(&mut engine, 20.0, at(1), &mut effects);
        let _all = engine.take_changes(true);
        let keeps = engine.find("a/p/keeps");
        engine.reconfigure(model(&[("comes", HIGH), ("changes", LOWER), ("keeps", HIGH)]), at(2), &mut effects);
        assert_eq!(engine.find("a/p/keeps"), keeps, "its number is the same");
        let changes = engine.take_changes(true);
        let written: Vec<&str> = changes.alarms.iter().map(|alarm| alarm.facts.id.as_str()).collect();
        assert_eq!(written, ["a/p/changes", "a/p/comes"]);
    }

    #[test]
    fn an_active_alarm_that_leaves_ends_its_occurrence() {
        let mut effects = Effects::default();
        let mut engine = Engine::new(model(&[("goes", HIGH)]));
        engine.handle(Input::LinkUp, at(0), &mut effects);
        value(&mut engine, 20.0, at(1), &mut effects);
        engine.handle(Input::Tick, at(12), &mut effects);
        engine.reconfigure(model(&[("comes", HIGH)]), at(13), &mut effects);
        let last = effects.events.last().unwrap();
        assert_eq!((last.from, last.to, last.seq, last.occurrence), (State::Activated, State::Off, 2, 1));
        assert_eq!(engine.active(), 0);
        assert_eq!(engine.next_seq(), 3);
    }
}
