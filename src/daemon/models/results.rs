//! What threads have done, taken between two messages: models that were built, what was found, and what it means for
//! alarms.

use super::jobs::{Built, Done, Looked, Row};
use super::monitor::{LookBack, Ordered};
use super::workers::Finished;
use super::{Asked, Kind, Task, What};
use crate::api::{anomaly, reply};
use crate::daemon::Daemon;
use crate::daemon::replies::Reply;
use crate::domain::anomaly::life::Order;
use crate::domain::time::Now;
use crate::io::store::anomalies::Phase;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Daemon {
    /// Takes the result of some work.
    pub(in crate::daemon) fn model_done(&mut self, Finished { lane, done }: Finished, now: Now) {
        let Some(Task { model: name, revision, progress, kind }) = self.durables.anomalies.lane(lane).take() else {
            return;
        };
        match (kind, done) {
            (Kind::Build, Done::Built(result)) => self.built(&name, result, progress.is_cancelled(), now),
            (Kind::Refresh, Done::Looked(result)) => self.refreshed(&name, revision, result, now),
            (Kind::Asked(asked, ranges), Done::Looked(result)) => {
                self.looked_back(*asked, revision, &ranges, result, now)
            }
            (Kind::Asked(asked, _), Done::Shown(result)) => self.shown(*asked, result),
            // A thread gives the result of the work that it was given.
            (Kind::Build | Kind::Refresh | Kind::Asked(..), Done::Built(_) | Done::Looked(_) | Done::Shown(_)) => {}
        }
    }

    fn built(&mut self, name: &str, result: Result<Built, String>, is_cancelled: bool, now: Now) {
        let anomalies = &mut self.durables.anomalies;
        let Some(model) = anomalies.models.iter_mut().find(|model| *model.definition.name == *name) else { return };
        if is_cancelled {
            // Cancelled by a command, or because the configuration has changed: then it is still wanted.
            if model.standing.wanted.is_some() {
                model.enter(Phase::Queued);
            }
            return;
        }
        match result {
            Ok(built) => {
                let orders = model.take_built(built, now);
                anomalies.tally.builds += 1;
                let days = model.alarms_per_day();
                tracing::info!(model = name, revision = model.standing.revision, alarms_per_day = days, "model built");
                if model.standing.is_refreshed
                    && model.alarms()
                    && let Some(warning) = model.storm_warning()
                {
                    tracing::warn!(model = name, warning);
                }
                self.execute(name, orders, now);
            }
            Err(error) => {
                tracing::warn!(model = name, error, "no model could be built");
                model.build_failed(Phase::Failed, Some(error));
            }
        }
    }

    fn refreshed(&mut self, name: &str, revision: u64, result: Result<Vec<Looked>, String>, now: Now) {
        let anomalies = &mut self.durables.anomalies;
        let Some(model) = anomalies.models.iter_mut().find(|model| *model.definition.name == *name) else { return };
        if model.standing.revision != revision {
            return;
        }
        let all = match result {
            Ok(all) => all,
            Err(error) => {
                if model.trouble.as_ref() != Some(&error) {
                    tracing::error!(model = name, error, "cannot look at what is new");
                    (model.trouble, model.is_dirty) = (Some(error), true);
                }
                return;
            }
        };
        model.is_dirty |= model.trouble.take().is_some();
        let saves = model.definition.refresh.as_ref().is_some_and(|refresh| refresh.save);
        let (mut orders, mut saved) = (Vec::new(), Vec::new());
        for looked in all {
            anomalies.tally.scored += looked.scored;
            anomalies.tally.found += looked.begun();
            let (thing, highest, ended) = (looked.thing.clone(), looked.highest, looked.last_index());
            orders.extend(model.take_looked(looked));
            if saves {
                let index = model.index(&thing).or(ended).unwrap_or_default();
                saved.push((thing, highest, index));
            }
        }
        for (thing, score, index) in saved {
            for (what, number) in [("score", score), ("index", index)] {
                let topic = self.config.gateway.topics.saved(name, &thing, what);
                self.publish(topic, anomaly::saved(number), true, false);
            }
        }
        self.execute(name, orders, now);
    }

    fn looked_back(
        &mut self,
        asked: Asked,
        revision: u64,
        ranges: &BTreeMap<Arc<str>, LookBack>,
        result: Result<Vec<Looked>, String>,
        now: Now,
    ) {
        #[derive(Serialize)]
        struct Body<'a> {
            model: &'a str,
            things: usize,
            anomalies: usize,
            alarms: usize,
        }
        let Asked { model: name, name: request, to, what } = asked;
        let What::Reprocess { alarms, .. } = what else { return };
        let anomalies = &mut self.durables.anomalies;
        let model = anomalies.models.iter_mut().find(|model| model.definition.name == name);
        let payload = match (model.filter(|model| model.standing.revision == revision), result) {
            (None, _) => reply::refused(request, format!("{name} was built anew or has gone meanwhile")),
            (Some(_), Err(error)) => reply::refused(request, error),
            (Some(model), Ok(all)) => {
                let mut body = Body { model: &name, things: all.len(), anomalies: 0, alarms: 0 };
                let mut orders = Vec::new();
                for looked in all {
                    let Some(back) = ranges.get(&looked.thing) else { continue };
                    anomalies.tally.scored += looked.scored;
                    let (found, given) = model.take_looked_back(looked, *back, alarms);
                    body.anomalies += found;
                    body.alarms += given.iter().filter(|given| matches!(given.order, Order::Activate { .. })).count();
                    orders.extend(given);
                }
                anomalies.tally.found += body.anomalies as u64;
                let payload = reply::answer(&request, None, body);
                self.execute(&name, orders, now);
                payload
            }
        };
        self.replies.push(Reply { payload, to });
    }

    fn shown(&mut self, asked: Asked, result: Result<Vec<Row>, String>) {
        let Asked { name: request, to, what, .. } = asked;
        let What::Show { answer, thing, property, .. } = what else { return };
        let payload = match result {
            Ok(rows) => anomaly::with_series(answer, &thing, &property, &rows),
            Err(error) => reply::refused(request, error),
        };
        self.replies.push(Reply { payload, to });
    }

    /// Has alarms do what a model's anomalies mean for them.
    pub(super) fn execute(&mut self, name: &str, orders: Vec<Ordered>, now: Now) {
        let definition = self.config.anomalies.iter().find(|definition| *definition.name == *name);
        let Some(alarm) = definition.map(|definition| definition.alarm) else { return };
        for Ordered { thing, order, score } in orders {
            match self.engine.alarm_of(alarm, &thing) {
                Some(ix) => {
                    self.engine.order(ix, &order, score, now, &mut self.effects);
                }
                None => {
                    tracing::warn!(model = name, %thing, "there are too many things for another alarm (max_things)")
                }
            }
        }
    }
}
