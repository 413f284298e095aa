//! `base/alarms/<thing>/<property>/<level>` read back: the state of an alarm that this instance takes over from
//! another.
//!
//! [`super::state`] writes these payloads. Data that they lack is not taken over: latest values, windows, running
//! timers. A payload that cannot be parsed is ignored.

use crate::domain::engine::{Acknowledgement, AlarmMemory, Cause, Event, LastChange, Shelving, State};
use crate::domain::model::{AlarmFacts, AlarmId, AlarmType, Model, Severity, Value, fnv};
use crate::domain::time::{Moment, Now, Stamp};
use serde::Deserialize;
use std::sync::Arc;

/// An alarm as an instance has published it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Alarm {
    /// The thing's id.
    pub(crate) thing: String,
    property: String,
    level: String,
    #[serde(rename = "type", default)]
    alarm_type: String,
    severity: String,
    #[serde(default)]
    title: String,
    /// The id of the instance that published it.
    gateway: String,
    /// The state; in an event, the state after it.
    #[serde(alias = "to")]
    state: String,
    #[serde(default)]
    occurrence: u64,
    since: Option<String>,
    seq: Option<u64>,
    at: Option<String>,
    cause: Option<String>,
    #[serde(default)]
    value: serde_json::Value,
    #[serde(default)]
    average: Option<f64>,
    acknowledged: Option<Said>,
    shelved: Option<Shelved>,
    /// In an event: the operator who gave the command.
    by: Option<String>,
    comment: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Said {
    at: String,
    by: String,
    comment: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Shelved {
    until: String,
    at: String,
    by: Option<String>,
    comment: Option<String>,
}

/// Parses a retained state or an event; `None` if the payload is neither.
pub(crate) fn read(payload: &[u8]) -> Option<Alarm> {
    serde_json::from_slice(payload).ok()
}

impl Alarm {
    /// Completes an event to the alarm's new state: members that events lack come from the state before.
    pub(crate) fn since(self, before: Option<Alarm>) -> Alarm {
        // An instance may publish events again after its restart; older ones than the known state are ignored.
        if let Some(before) = &before
            && stamp(before.at.as_ref()) > stamp(self.at.as_ref())
        {
            return before.clone();
        }
        let is_new = self.state == State::Activated.as_str();
        let (since, shelved, acknowledged) =
            before.map_or((None, None, None), |before| (before.since, before.shelved, before.acknowledged));
        let said = self.by.clone().zip(self.at.clone()).filter(|_| self.state == State::Acknowledged.as_str());
        let said = said.map(|(by, at)| Said { at, by, comment: self.comment.clone() });
        Alarm {
            since: if is_new { self.since.clone() } else { since },
            acknowledged: said.or(acknowledged.filter(|_| !is_new)),
            shelved,
            ..self
        }
    }

    /// The alarm's id.
    pub(crate) fn id(&self) -> AlarmId {
        AlarmId::new(&self.thing, &self.property, &self.level)
    }

    /// The event that activated the alarm and the instance that published it; `None` unless the state is `activated`.
    pub(crate) fn activation(&self, facts: Arc<AlarmFacts>) -> Option<(Event, &str)> {
        if self.state != State::Activated.as_str() {
            return None;
        }
        let at = stamp(self.at.as_ref())?;
        let event = Event {
            // A state that was taken over has lost its number. Deliveries need a unique one, so a hash replaces it.
            seq: self.seq.unwrap_or_else(|| fnv(&format!("{} {at}", facts.id))),
            alarm: facts,
            ix: None,
            from: State::Enabled,
            to: State::Activated,
            at,
            since: stamp(self.since.as_ref()),
            occurrence: self.occurrence,
            cause: self.cause(),
            value: value(&self.value),
            value_at: None,
            average: self.average,
            by: None,
            comment: None,
            quiet: false,
            seq_gap: false,
        };
        Some((event, &self.gateway))
    }

    fn cause(&self) -> Cause {
        let is_written = |cause: &Cause| self.cause.as_deref() == Some(cause.as_str());
        Cause::ALL.into_iter().find(is_written).unwrap_or(Cause::Config)
    }

    /// The record as the store would have it, under this handle. `None`: a state or severity is unknown, or an anomaly
    /// is the cause.
    pub(crate) fn memory(&self, handle: u32, model: &Model, now: Now) -> Option<AlarmMemory> {
        // Such an alarm ends with its anomaly, which only the instance with the model and the samples knows.
        if self.alarm_type == AlarmType::Anomaly.as_str() {
            return None;
        }
        let state = State::ALL.into_iter().find(|state| state.as_str() == self.state)?;
        let definition = model.definitions.iter().find(|definition| {
            *definition.property == *self.property && *definition.level == *self.level && definition.covers(&self.thing)
        });
        let facts = match definition {
            Some(definition) => definition.facts(&Arc::from(self.thing.as_str())),
            None => AlarmFacts {
                id: self.id(),
                thing: Arc::from(self.thing.as_str()),
                property: Arc::from(self.property.as_str()),
                level: Arc::from(self.level.as_str()),
                alarm_type: AlarmType::Standard,
                severity: Severity::ALL.into_iter().find(|severity| severity.as_str() == self.severity)?,
                title: Arc::from(self.title.as_str()),
            },
        };
        Some(AlarmMemory {
            handle,
            facts,
            trigger_fingerprint: definition.map_or(0, |definition| definition.trigger_fingerprint()),
            definition_fingerprint: definition.map_or(0, |definition| definition.fingerprint()),
            state,
            occurrence: self.occurrence,
            activated_since: stamp(self.since.as_ref()),
            acknowledged: self.acknowledged.as_ref().and_then(|said| {
                let at = Stamp::parse(&said.at).ok()?;
                Some(Acknowledgement { at, by: Arc::from(said.by.as_str()), comment: text(said.comment.as_ref()) })
            }),
            last: stamp(self.at.as_ref()).map(|at| LastChange {
                // The number belongs to the other instance: with this gateway's id it would denote another event.
                seq: 0,
                at,
                cause: self.cause(),
                value: value(&self.value),
                average: self.average,
            }),
            shelved: self.shelved.as_ref().and_then(|shelved| {
                let until = Stamp::parse(&shelved.until).ok()?;
                let ends: Moment = now.at + (until - now.wall);
                let at = Stamp::parse(&shelved.at).ok()?;
                let (by, comment) = (text(shelved.by.as_ref()), text(shelved.comment.as_ref()));
                Some(Shelving { at, until, ends, by, comment })
            }),
            is_uncertain: false,
        })
    }

    /// The number of its latest event, if this gateway has published it.
    pub(crate) fn seq_of(&self, gateway: &str) -> Option<u64> {
        self.seq.filter(|_| self.gateway == gateway)
    }

    /// Like [`Alarm::memory`], for a state that this gateway itself published before its store lost it. The event keeps
    /// its number, and the state is uncertain until the next value.
    pub(crate) fn own_memory(&self, gateway: &str, handle: u32, model: &Model, now: Now) -> Option<AlarmMemory> {
        let mut memory = self.memory(handle, model, now)?;
        if let Some(last) = &mut memory.last {
            last.seq = self.seq_of(gateway).unwrap_or(0);
        }
        memory.is_uncertain = true;
        Some(memory)
    }
}

fn stamp(text: Option<&String>) -> Option<Stamp> {
    Stamp::parse(text?).ok()
}

fn text(text: Option<&String>) -> Option<Arc<str>> {
    text.map(|text| Arc::from(text.as_str()))
}

fn value(value: &serde_json::Value) -> Option<Value> {
    let number = || value.as_f64().map(Value::Number);
    let boolean = || value.as_bool().map(Value::Boolean);
    value.as_str().map(|text| Value::Text(text.into())).or_else(number).or_else(boolean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{event, state};
    use crate::config::Config;
    use crate::domain::engine::{Effects, Engine, Input, Memory, Sample, Signature, Verb};
    use crate::domain::model::ValueRef;
    use crate::domain::time::Span;
    use std::path::Path;

    const CONFIG: &str = "[[source]]\ntopic = \"t/{thing}/{property}\"\n[[alarm]]\nthing = \"a*\"\nproperty = \"p\"\n\
                          level = \"hi\"\ntype = \"standard\"\noperator = \">\"\nlimit = 10\n";

    fn at(secs: i64) -> Now {
        Now { at: Moment::from_micros(secs * 1_000_000), wall: Stamp::from_micros(secs * 1_000_000) }
    }

    fn value(engine: &mut Engine, number: f64, now: Now, effects: &mut Effects) {
        let thing = engine.register_thing("a/1", now, effects).unwrap();
        let property = engine.property(thing, "p").unwrap();
        let samples = &[Sample { property, value: ValueRef::Number(number) }];
        engine.handle(Input::Message { samples, stamp: None, retained: false, sign_of_life: true }, now, effects);
    }

    fn payload(engine: &Engine) -> Vec<u8> {
        let alarm = engine.find("a%2F1/p/hi").unwrap();
        state::render(engine.view(alarm), "gw/a")
    }

    /// The retained state of an engine that has taken over another one's alarm.
    fn handed_over(known: &Alarm, model: &Arc<Model>, now: Now) -> Vec<u8> {
        let memory = Memory { alarm: known.memory(1, model, now).unwrap(), soft: None, samples: Vec::new() };
        let mut effects = Effects::default();
        let (engine, gone) = Engine::restore(model.clone(), vec![memory], 1, now.at, now, &mut effects);
        assert_eq!((effects.events.len(), gone.len()), (0, 0));
        payload(&engine)
    }

    fn without_number(payload: &[u8]) -> serde_json::Value {
        let mut json: serde_json::Value = serde_json::from_slice(payload).unwrap();
        json.as_object_mut().unwrap().remove("seq");
        json
    }

    #[test]
    fn whatever_its_state_is_taken_over_from_its_topic_or_from_its_events() {
        let (config, _) = Config::parse(Path::new("x"), CONFIG).unwrap_or_else(|all| panic!("{}", all.to_text()));
        let (model, mut engine, mut effects) = (config.model.clone(), Engine::new(config.model), Effects::default());
        let kim = Signature { by: Some("kim".into()), comment: Some("seen".into()) };
        engine.handle(Input::LinkUp, at(0), &mut effects);
        value(&mut engine, 5.0, at(1), &mut effects);
        let mut told: Option<Alarm> = None;
        for round in 1..=6 {
            let now = at(round * 10);
            let alarm = engine.find("a%2F1/p/hi").unwrap();
            match round {
                1 => value(&mut engine, 11.0, now, &mut effects),
                2 => drop(engine.command(alarm, Verb::Acknowledge, &kim, now, &mut effects)),
                3 => value(&mut engine, 9.0, now, &mut effects),
                4 => value(&mut engine, 12.0, now, &mut effects),
                5 => drop(engine.command(alarm, Verb::Shelve(Span::from_secs(60)), &kim, now, &mut effects)),
                _ => drop(engine.command(alarm, Verb::Disable, &kim, now, &mut effects)),
            }
            let published = payload(&engine);
            let known = read(&published).unwrap();
            assert_eq!(without_number(&handed_over(&known, &model, now)), without_number(&published), "round {round}");
            for event in effects.events.drain(..) {
                told = Some(read(&event::render(&event, "gw/a")).unwrap().since(told));
            }
            // A shelving is in no event, so from its round on the topic knows more.
            if round < 5 {
                let told = told.as_ref().unwrap();
                assert_eq!(
                    without_number(&handed_over(told, &model, now)),
                    without_number(&published),
                    "round {round}"
                );
            }
        }
    }

    #[test]
    fn what_comes_again_changes_nothing() {
        let event = |to: &str, at: &str| {
            let json = serde_json::json!({
                "thing": "a", "property": "p", "level": "l", "severity": "info", "gateway": "gw", "to": to, "at": at
            });
            read(json.to_string().as_bytes()).unwrap()
        };
        let newer = event("idled", "2026-05-01T12:00:01Z");
        assert_eq!(event("activated", "2026-05-01T12:00:00.5Z").since(Some(newer.clone())), newer);
        assert_eq!(read(b"{}"), None);
        assert_eq!(read(b"offline"), None);
    }
}
