//! The commands about models and their anomalies, carried out or begun.

use super::monitor::Chosen;
use super::{ASKED, Anomalies, Asked, What};
use crate::api::anomaly::{self, Listed, RefreshState};
use crate::api::commands::{AnomalyCommand, AnomalyQuery, Deleted, ModelQuery, Set};
use crate::api::reply;
use crate::daemon::Daemon;
use crate::daemon::replies::Reply;
use crate::domain::anomaly::life::Found;
use crate::domain::engine::STAMP_TOLERANCE;
use crate::domain::model::{AlarmId, ThingId};
use crate::domain::time::{Now, Stamp};
use crate::io::mqtt::ReplyTo;
use crate::io::store::anomalies::{Phase, Wanted};
use serde::Serialize;
use serde_json::Value;

const EVER: (Stamp, Stamp) = (Stamp::from_micros(i64::MIN), Stamp::from_micros(i64::MAX));

fn range(from: Option<Stamp>, to: Option<Stamp>) -> (Stamp, Stamp) {
    (from.unwrap_or(EVER.0), to.unwrap_or(EVER.1))
}

#[derive(Serialize)]
struct Queued<'a> {
    model: &'a str,
    state: &'a str,
}

impl Daemon {
    /// Carries out a command about models, or begins to.
    pub(in crate::daemon) fn anomaly_command(
        &mut self,
        name: Value,
        command: AnomalyCommand,
        to: Option<ReplyTo>,
        now: Now,
    ) {
        let answer = match command {
            AnomalyCommand::Build { model, from, to } => self.ask_for_build(&name, &model, Wanted { from, to }),
            AnomalyCommand::Cancel { model } => self.cancel_build(&name, &model),
            AnomalyCommand::Reprocess { model, from, to: until, things, alarms } => {
                let what = What::Reprocess { range: (from, until), things: things.clone(), alarms };
                match self.durables.anomalies.ask_to_look(&model, &things, name.clone(), to.clone(), what) {
                    Ok(()) => return,
                    Err(error) => Err(error),
                }
            }
            AnomalyCommand::Refresh { model, set, things } => self.refresh(&name, &model, set, things, now),
            AnomalyCommand::List(query) => self.list_anomalies(&name, &query),
            AnomalyCommand::Delete(what) => self.delete_anomalies(&name, what, now),
            AnomalyCommand::Models(query) => match self.show_models(&name, query, to.clone(), now) {
                Ok(Some(payload)) => Ok(payload),
                Ok(None) => return,
                Err(error) => Err(error),
            },
            AnomalyCommand::Import { model, thing, property, samples } => {
                self.import(&name, &model, &thing, &property, samples, now)
            }
        };
        let payload = answer.unwrap_or_else(|error| reply::refused(name, error));
        self.replies.push(Reply { payload, to });
    }

    fn ask_for_build(&mut self, name: &Value, model: &str, wanted: Wanted) -> Result<Vec<u8>, String> {
        let found = self.durables.anomalies.known(model)?;
        if found.standing.phase == Phase::Building {
            return Err(format!("{model} is being built already; \"cancel\": true ends that"));
        }
        found.ask_for_build(wanted);
        let state = found.standing.phase.as_str();
        Ok(reply::answer(name, None, Queued { model, state }))
    }

    fn cancel_build(&mut self, name: &Value, model: &str) -> Result<Vec<u8>, String> {
        let anomalies = &mut self.durables.anomalies;
        let found = anomalies.known(model)?;
        if found.standing.wanted.is_none() {
            return Err(format!("{model} is not being built (it is {})", found.standing.phase.as_str()));
        }
        found.build_failed(Phase::Cancelled, None);
        if let Some(task) = anomalies.slow.as_ref().filter(|task| *task.model == *model && task.is_build()) {
            task.progress.cancel();
        }
        Ok(reply::answer(name, None, Queued { model, state: Phase::Cancelled.as_str() }))
    }

    fn refresh(
        &mut self,
        name: &Value,
        model: &str,
        set: Set,
        things: Option<Vec<String>>,
        now: Now,
    ) -> Result<Vec<u8>, String> {
        #[derive(Serialize)]
        struct Body<'a> {
            model: &'a str,
            refresh: RefreshState,
            #[serde(skip_serializing_if = "Option::is_none")]
            warning: Option<String>,
        }
        let anomalies = &mut self.durables.anomalies;
        anomalies.check_things(model, things.as_deref().unwrap_or_default())?;
        let found = anomalies.known(model)?;
        if set != Set::Off && !found.is_usable() {
            let state = found.standing.phase.as_str();
            return Err(format!("{model} is not built as it is configured (it is {state}): anomaly-build comes first"));
        }
        match set {
            Set::On if found.definition.refresh.is_none() => {
                return Err(format!(
                    "{model} has no refresh in the configuration: add refresh = {{ every = \"1m\", alarms = true }}"
                ));
            }
            Set::On => found.refresh(true, things, now.at),
            Set::Off => found.refresh(false, things, now.at),
            Set::Now => {
                found.once = things.filter(|things| !things.is_empty());
                found.look_at = Some(now.at);
                found.is_dirty = true;
            }
        }
        let warning = found.storm_warning().filter(|_| set == Set::On && found.alarms());
        if let Some(warning) = &warning {
            tracing::warn!(model, warning);
        }
        let found = anomalies.models.iter().find(|known| *known.definition.name == *model);
        let Some(found) = found else { return Err(format!("no model {model}")) };
        let refresh = anomalies.state_of(found, now).refresh;
        Ok(reply::answer(name, None, Body { model, refresh, warning }))
    }

    fn list_anomalies(&mut self, name: &Value, query: &AnomalyQuery) -> Result<Vec<u8>, String> {
        let AnomalyQuery { model, thing, from, to, open, limit, before } = query;
        let before = match before {
            None => None,
            Some(id) => Some(anomaly::named(id).ok_or_else(|| format!("no anomaly has the id {id:?}"))?),
        };
        let anomalies = &self.durables.anomalies;
        let (models, things) = (Chosen::of(model.as_slice()), Chosen::of(thing.as_slice()));
        if let Some(model) = model.as_ref().filter(|_| models.is_one()) {
            anomalies.find(model)?;
        }
        let mut found: Vec<(&str, &ThingId, &Found, String)> = Vec::new();
        for known in anomalies.models.iter().filter(|known| model.is_none() || models.has(&known.definition.name)) {
            let definition = self.config.model.definitions.get(known.definition.alarm);
            for (of, anomaly) in known.life.found().filter(|(of, _)| thing.is_none() || things.has(of)) {
                let alarm = definition.map(|alarm| AlarmId::new(of, &alarm.property, &alarm.level).to_string());
                found.push((&known.definition.name, of, anomaly, alarm.unwrap_or_default()));
            }
        }
        found.retain(|(.., anomaly, _)| {
            anomaly.touches(range(*from, *to)) && open.is_none_or(|open| open != anomaly.is_over)
        });
        // The latest first; what began at one time in the order of names.
        found.sort_by(|a, b| b.2.anomaly.from.cmp(&a.2.anomaly.from).then_with(|| (a.0, a.1).cmp(&(b.0, b.1))));
        let is_next = |(model, thing, anomaly, _): &(&str, &ThingId, &Found, String)| match &before {
            None => true,
            Some((last_model, last_thing, last)) => {
                let place = (model, &thing[..]).cmp(&(&last_model.as_str(), &last_thing[..]));
                last.cmp(&anomaly.anomaly.from).then(place).is_gt()
            }
        };
        found.retain(is_next);
        let is_more = found.len() > *limit;
        let listed: Vec<Listed<'_>> = found
            .iter()
            .take(*limit)
            .map(|(model, thing, anomaly, alarm)| (*model, &thing[..], *anomaly, anomaly.alarm.map(|_| alarm.clone())))
            .collect();
        Ok(anomaly::list(name, &listed, is_more))
    }

    fn delete_anomalies(&mut self, name: &Value, what: Deleted, now: Now) -> Result<Vec<u8>, String> {
        #[derive(Serialize)]
        struct Body {
            deleted: usize,
        }
        let anomalies = &mut self.durables.anomalies;
        let (model, wanted) = match what {
            Deleted::One(id) => {
                let unknown = || format!("no anomaly has the id {id:?}; anomaly-list names them");
                let (model, thing, from) = anomaly::named(&id).ok_or_else(unknown)?;
                let thing = ThingId::from(thing);
                anomalies.known(&model)?.life.get(&thing, from).ok_or_else(unknown)?;
                (model, vec![(thing, from)])
            }
            Deleted::Of { model, thing, from, to } => {
                let things: Vec<String> = thing.into_iter().collect();
                let chosen = Chosen::of(&things);
                let found = anomalies
                    .known(&model)?
                    .life
                    .found()
                    .filter(|(of, found)| (things.is_empty() || chosen.has(of)) && found.touches(range(from, to)));
                let wanted = found.map(|(of, found)| (of.clone(), found.anomaly.from)).collect();
                (model, wanted)
            }
        };
        let found = anomalies.known(&model)?;
        let deleted = wanted.len();
        let orders: Vec<_> = wanted.into_iter().flat_map(|(thing, from)| found.delete(&thing, from)).collect();
        self.execute(&model, orders, now);
        Ok(reply::answer(name, None, Body { deleted }))
    }

    fn show_models(
        &mut self,
        name: &Value,
        query: ModelQuery,
        to: Option<ReplyTo>,
        now: Now,
    ) -> Result<Option<Vec<u8>>, String> {
        let ModelQuery { model, thing, property, from, to: until, points } = query;
        let anomalies = &self.durables.anomalies;
        let chosen = Chosen::of(std::slice::from_ref(&model));
        if chosen.is_one() {
            anomalies.find(&model)?;
        }
        let found: Vec<_> = anomalies.models.iter().filter(|known| chosen.has(&known.definition.name)).collect();
        let states: Vec<_> = found.iter().map(|model| anomalies.state_of(model, now)).collect();
        let answer = anomaly::models(name, &states);
        let ([found], Some(thing), 1..) = (found.as_slice(), thing, points) else {
            return Ok(Some(serde_json::to_vec(&answer).unwrap_or_default()));
        };
        let definition = &found.definition;
        let property = property.or_else(|| definition.properties.first().map(ToString::to_string)).unwrap_or_default();
        let model = definition.name.to_string();
        anomalies.check_property(&model, &property)?;
        anomalies.check_things(&model, std::slice::from_ref(&thing))?;
        let what = What::Show { answer, thing, property, range: range(from, until), points };
        self.durables.anomalies.ask(&model, name.clone(), to, what).map(|()| None)
    }

    fn import(
        &mut self,
        name: &Value,
        model: &str,
        thing: &str,
        property: &str,
        samples: Vec<crate::domain::anomaly::series::Sample>,
        now: Now,
    ) -> Result<Vec<u8>, String> {
        #[derive(Serialize)]
        struct Body {
            taken: usize,
            ignored: usize,
        }
        let anomalies = &mut self.durables.anomalies;
        anomalies.check_property(model, property)?;
        let found = anomalies.known(model)?;
        if !found.definition.covers(thing) {
            return Err(format!("{model} is not for {thing:?}"));
        }
        let oldest = now.wall - found.definition.history;
        let given = samples.len();
        // Of the future nothing is known, and what is too old would go with the next write.
        let usable =
            samples.into_iter().filter(|sample| sample.at >= oldest && sample.at <= now.wall + STAMP_TOLERANCE);
        let taken = anomalies.samples.import(thing, property, usable.collect());
        if let Some(found) = anomalies.model(model) {
            found.is_dirty = true;
        }
        anomalies.find_out_what_wants_to_be_built(now.at);
        Ok(reply::answer(name, None, Body { taken, ignored: given - taken }))
    }
}

impl Anomalies {
    fn find(&self, model: &str) -> Result<&super::Watched, String> {
        let found = self.models.iter().find(|known| *known.definition.name == *model);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.models.iter().map(|known| &*known.definition.name).collect();
            match names.as_slice() {
                [] => format!("no model {model}: the configuration has no [[anomaly]]"),
                names => format!("no model {model}; there are {}", names.join(", ")),
            }
        })
    }

    fn known(&mut self, model: &str) -> Result<&mut super::Watched, String> {
        self.find(model)?;
        self.model(model).ok_or_else(|| format!("no model {model}"))
    }

    fn check_property(&self, model: &str, property: &str) -> Result<(), String> {
        let names = &self.find(model)?.definition.properties;
        if names.iter().any(|name| **name == *property) {
            return Ok(());
        }
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        Err(format!("{model} does not look at {property:?}; it looks at {}", names.join(", ")))
    }

    /// Whether each of these ids and patterns means a thing of which there is something.
    fn check_things(&self, model: &str, wanted: &[String]) -> Result<(), String> {
        let things = self.find(model)?.things(&self.samples);
        let is_known = |wanted: &String| {
            let chosen = Chosen::of(std::slice::from_ref(wanted));
            things.iter().any(|thing| chosen.has(thing))
        };
        let Some(unknown) = wanted.iter().find(|wanted| !is_known(wanted)) else { return Ok(()) };
        let names: Vec<&str> = things.iter().take(10).map(AsRef::as_ref).collect();
        let known = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        Err(format!("{model} has no history of {unknown:?}; it has some of {known}"))
    }

    fn ask_to_look(
        &mut self,
        model: &str,
        things: &[String],
        name: Value,
        to: Option<ReplyTo>,
        what: What,
    ) -> Result<(), String> {
        self.check_things(model, things)?;
        let found = self.known(model)?;
        if !found.is_usable() {
            let state = found.standing.phase.as_str();
            return Err(format!("{model} is not built as it is configured (it is {state}): anomaly-build comes first"));
        }
        self.ask(model, name, to, what)
    }

    fn ask(&mut self, model: &str, name: Value, to: Option<ReplyTo>, what: What) -> Result<(), String> {
        if self.asked.len() >= ASKED {
            return Err(format!("{ASKED} requests wait already: ask again"));
        }
        let model = self.find(model)?.definition.name.clone();
        self.asked.push_back(Asked { model, name, to, what });
        Ok(())
    }
}
