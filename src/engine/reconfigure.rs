//! Another configuration for a running engine.
//!
//! What is remembered of each alarm is taken out and put into an engine that is built from the new model, exactly as
//! after a restart, but without a gap: an alarm whose definition is the same keeps its state, timer, window and shelving;
//! one whose trigger changed starts anew; one that is gone ends its occurrence.

use super::memory::{AlarmMemory, Memory, SoftMemory};
use super::{AlarmIx, Engine, Step};
use crate::model::{AlarmId, Model};
use crate::time::Now;
use std::collections::BTreeSet;
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

impl Engine {
    /// Goes on under another model. All alarms have new numbers afterwards. Returned beside the outline: what was stored
    /// of alarms that are gone.
    pub fn reconfigure(&mut self, model: Arc<Model>, now: Now, step: &mut Step) -> (Outline, Vec<AlarmMemory>) {
        self.settle(now, step);
        let memories = self.memories();
        let before: BTreeSet<AlarmId> = self.alarms.iter().map(|alarm| alarm.id.clone()).collect();
        let mut next = Engine::new(model);
        (next.next_seq, next.next_handle) = (self.next_seq, self.next_handle);
        next.seq_gap = self.seq_gap;
        next.void = std::mem::take(&mut self.void);
        (next.link, next.last) = (self.link, self.last);
        let mut outline = Outline::default();
        let mut gone = Vec::new();
        for memory in memories {
            let Some(ix) = next.alarm_for(&memory.alarm.facts) else {
                next.bury(&memory, now, step);
                outline.removed.push(memory.alarm.facts.id.clone());
                gone.push(memory.alarm);
                continue;
            };
            if next.fingerprints(ix).definition == memory.alarm.definition_fingerprint {
                outline.kept += 1;
            } else {
                outline.changed.push(memory.alarm.facts.id.clone());
            }
            let stored_from = self.find(memory.alarm.facts.id.as_str()).and_then(|ix| self.stored_from(ix));
            next.recall(ix, memory, now, step);
            if let (Some(window), Some(number)) = (&mut next.alarms[ix.index()].window, stored_from) {
                window.is_stored_from(number);
            }
        }
        // What has spoken need not speak again for the alarms of a new pattern to exist.
        for id in self.roster.heard() {
            if next.model.definitions.iter().any(|definition| definition.covers(id)) {
                let thing = next.roster.add_thing(id);
                next.roster.hear(thing);
                next.instantiate(thing, now);
            }
        }
        let added: Vec<AlarmIx> =
            next.all_alarms().into_iter().filter(|ix| !before.contains(&next.alarms[ix.index()].id)).collect();
        for ix in added {
            outline.added.push(next.alarms[ix.index()].id.clone());
            if next.link.was_ever_up() {
                next.start_clock(ix, now.at);
            }
        }
        // Nobody compares what is on disk with what is new: all of it is written once.
        next.forget_stored();
        *self = next;
        (outline, gone)
    }

    fn stored_from(&self, ix: AlarmIx) -> Option<u64> {
        self.alarms[ix.index()].window.as_ref().map(|window| window.stored_from())
    }

    /// Everything that is remembered, as a restart would find it if all of it were on disk now.
    fn memories(&mut self) -> Vec<Memory> {
        self.all_alarms()
            .into_iter()
            .map(|ix| {
                let handle = self.handle_of(ix);
                let alarm = self.alarm_memory(ix, handle);
                let entry = &self.alarms[ix.index()];
                let samples = entry.window.as_ref().map_or(Vec::new(), |window| window.last(usize::MAX));
                let soft = SoftMemory {
                    handle,
                    since: entry.since,
                    value: entry.value.clone(),
                    value_at: entry.value_at,
                    lives_until_told: entry.lives_until_told,
                    timer: self.timers.get(ix),
                    mean: entry.average(),
                    anomaly: entry.anomaly.as_deref().copied(),
                    samples: entry.window.as_ref().map_or(0..0, |window| window.numbers()),
                };
                Memory { alarm, soft: Some(soft), samples }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Input, Sample, Signature, State, Verb};
    use super::*;
    use crate::config::Config;
    use crate::model::ValueRef;
    use crate::time::{Moment, Stamp};
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

    fn value(engine: &mut Engine, number: f64, now: Now, step: &mut Step) {
        let property = engine.property(engine.thing("a").unwrap(), "p").unwrap();
        let samples = &[Sample { property, value: ValueRef::Number(number) }];
        engine.handle(Input::Message { samples, stamp: None, retained: false, sign_of_life: true }, now, step);
    }

    const HIGH: &str = "type = \"standard\"\noperator = \">\"\nlimit = 10\nobserve_time = \"10s\"";
    const LOWER: &str = "type = \"standard\"\noperator = \">\"\nlimit = 5\nobserve_time = \"10s\"";
    const SILENT: &str = "type = \"no-value\"\nobserve_time = \"20s\"";

    #[test]
    fn what_is_the_same_goes_on_and_the_rest_starts_anew() {
        let mut step = Step::default();
        let mut engine = Engine::new(model(&[("keeps", HIGH), ("changes", HIGH), ("goes", HIGH)]));
        engine.handle(Input::LinkUp, at(0), &mut step);
        value(&mut engine, 20.0, at(1), &mut step);
        let keeps = engine.find("a/p/keeps").unwrap();
        engine.command(keeps, Verb::Shelve(crate::time::Span::from_secs(60)), &Signature::default(), at(2), &mut step);
        let (outline, gone) =
            engine.reconfigure(model(&[("comes", SILENT), ("changes", LOWER), ("keeps", HIGH)]), at(4), &mut step);
        let ids = |ids: &[AlarmId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(ids(&outline.added), ["a/p/comes"]);
        assert_eq!(ids(&outline.changed), ["a/p/changes"]);
        assert_eq!(ids(&outline.removed), ["a/p/goes"]);
        assert_eq!((outline.kept, gone.len()), (1, 1));
        engine.handle(Input::Tick, at(30), &mut step);
        let fired: Vec<_> =
            step.events.iter().map(|e| (e.alarm.level.to_string(), e.at.as_micros() / 1_000_000)).collect();
        assert_eq!(fired, [("keeps".into(), 11), ("changes".into(), 14), ("comes".into(), 24)]);
        let keeps = engine.find("a/p/keeps").unwrap();
        assert_eq!(engine.view(keeps).state(), State::Activated);
        assert!(engine.view(keeps).shelving().is_some());
        engine.handle(Input::Tick, at(63), &mut step);
        assert!(engine.view(keeps).shelving().is_none());
        let shelvings: Vec<_> = step.shelvings.iter().map(|s| (s.place, s.at.as_micros() / 1_000_000)).collect();
        assert_eq!(shelvings, [(0, 2), (3, 62)]);
    }

    #[test]
    fn an_active_alarm_that_leaves_ends_its_occurrence() {
        let mut step = Step::default();
        let mut engine = Engine::new(model(&[("goes", HIGH)]));
        engine.handle(Input::LinkUp, at(0), &mut step);
        value(&mut engine, 20.0, at(1), &mut step);
        engine.handle(Input::Tick, at(12), &mut step);
        engine.reconfigure(model(&[("comes", HIGH)]), at(13), &mut step);
        let last = step.events.last().unwrap();
        assert_eq!((last.from, last.to, last.seq, last.occurrence), (State::Activated, State::Off, 2, 1));
        assert_eq!(engine.active(), 0);
        assert_eq!(engine.next_seq(), 3);
    }
}
