//! Models in the daemon's turn: values are taken down, work is begun and its results are taken, alarms get their orders,
//! topics are brought up to date.

use super::watched::{LookBack, Ordered, Watched};
use super::work::{Built, Done, Job, Looked, Row, Show};
use super::workers::{Finished, Lane};
use super::{Anomalies, Asked, Kind, Task, What};
use crate::anomaly::definition::AnomalyDefinition;
use crate::anomaly::life::Order;
use crate::daemon::Daemon;
use crate::daemon::answers::Reply;
use crate::mqtt::Outbound;
use crate::outbox::Token;
use crate::store::anomalies::{Phase, Wanted};
use crate::store::samples::reader::Plan;
use crate::time::{Moment, Now, Span};
use crate::wire::anomaly::{self, ModelState, RefreshState};
use crate::wire::reply;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A model's topic follows what happens, but no faster than this.
const TOPIC_PAUSE: Span = Span::from_millis(250);
/// How often progress is told.
const PROGRESS_PAUSE: Span = Span::from_secs(1);
/// How often old values are looked for, and models that have enough history now.
const LOOK: Span = Span::from_secs(60);
/// A build that nobody has asked for and that failed is tried again after this time.
const TRY_AGAIN: Span = Span::from_secs(3_600);
/// A look that cannot begin now, because the model is busy, is tried again after this time.
const BUSY: Span = Span::from_millis(100);

impl Anomalies {
    /// When the loop has to turn for models.
    pub(in crate::daemon) fn wake_at(&self, can_speak: bool) -> Option<Moment> {
        if self.models.is_empty() && self.gone.is_empty() {
            return None;
        }
        let looks = self.models.iter().filter(|_| self.quick.is_none()).filter_map(|model| model.look_at);
        let topics = self.models.iter().filter(|model| can_speak && model.is_dirty).map(|model| model.publish_at);
        looks.chain(topics).chain([self.look_at]).min()
    }

    /// Waits for the result of some work.
    pub(in crate::daemon) async fn done(&mut self) -> Finished {
        self.workers.done().await
    }

    /// Begins what is due and has a thread.
    fn begin(&mut self, now: Now) {
        if now.at >= self.look_at {
            self.look_at = now.at + LOOK;
            self.samples.look_for_old(now.wall);
            self.find_out_what_wants_to_be_built(now.at);
        }
        if self.slow.is_none() {
            self.begin_slow();
        }
        if self.quick.is_none() {
            self.begin_quick(now);
        }
        let working = self.slow.as_ref().map(|task| task.model.clone());
        if let Some(model) = working.and_then(|name| self.model(&name)).filter(|model| !model.is_dirty) {
            (model.is_dirty, model.publish_at) = (true, now.at + PROGRESS_PAUSE);
        }
    }

    /// Models that build themselves when there is enough history.
    pub(super) fn find_out_what_wants_to_be_built(&mut self, now: Moment) {
        for model in &mut self.models {
            if model.wants_to_be_built(&self.samples, now) {
                model.build_at = now + TRY_AGAIN;
                model.ask_for_build(Wanted::default());
            }
        }
    }

    fn begin_slow(&mut self) {
        let queued = self.models.iter().position(|model| model.standing.wanted.is_some());
        if let Some(model) = queued.and_then(|place| self.models.get_mut(place)) {
            let (name, revision) = (model.definition.name.clone(), model.standing.revision);
            if let Some(build) = model.build(&self.samples) {
                self.start(
                    Lane::Slow,
                    Job::Build(build),
                    Task { model: name, revision, progress: Arc::default(), kind: Kind::Build },
                );
            }
            return;
        }
        let is_free = |asked: &Asked| matches!(asked.what, What::Show { .. }) || !self.is_looking(&asked.model);
        let Some(asked) = self.asked.iter().position(is_free).and_then(|place| self.asked.remove(place)) else {
            return;
        };
        let Some(model) = self.models.iter().find(|model| model.definition.name == asked.model) else { return };
        let revision = model.standing.revision;
        let mut ranges = BTreeMap::new();
        let job = match &asked.what {
            What::Reprocess { range, things, .. } => {
                let (looks, back): (Vec<_>, Vec<_>) =
                    model.looks_back(&self.samples, *range, things).into_iter().unzip();
                ranges = looks.iter().map(|look| look.thing.clone()).zip(back).collect();
                Job::Look(looks)
            }
            What::Show { thing, property, range, points, .. } => {
                let look = model.look_for_show(&self.samples, thing, *range);
                let place =
                    model.definition.properties.iter().position(|name| **name == **property).unwrap_or_default();
                let plain = || -> Vec<Plan> {
                    let properties = model.definition.properties.iter();
                    properties.map(|property| self.samples.plan(thing, property, *range)).collect()
                };
                let plans = look.as_ref().map_or_else(plain, |look| look.plans.clone());
                let values = self.samples.plan(thing, property, *range).count();
                Job::Show(Show { look, property: place, plans, from: range.0, values, points: *points })
            }
        };
        let model = asked.model.clone();
        self.start(
            Lane::Slow,
            job,
            Task { model, revision, progress: Arc::default(), kind: Kind::Asked(asked, ranges) },
        );
    }

    fn begin_quick(&mut self, now: Now) {
        let due = self.models.iter().position(|model| {
            model.look_at.is_some_and(|due| due <= now.at) && !self.is_looking(&model.definition.name)
        });
        let Some(place) = due else {
            // Those that are due are busy.
            for model in self.models.iter_mut().filter(|model| model.look_at.is_some_and(|due| due <= now.at)) {
                model.look_at = Some(now.at + BUSY);
            }
            return;
        };
        let Some(model) = self.models.get_mut(place) else { return };
        let looks = model.looks(&self.samples, now);
        let (name, revision) = (model.definition.name.clone(), model.standing.revision);
        model.schedule(now);
        if !looks.is_empty() {
            self.start(
                Lane::Quick,
                Job::Look(looks),
                Task { model: name, revision, progress: Arc::default(), kind: Kind::Refresh },
            );
        }
    }

    fn start(&mut self, lane: Lane, job: Job, task: Task) {
        match self.workers.begin(lane, job, task.progress.clone()) {
            Ok(()) => *self.lane(lane) = Some(task),
            Err(error) => {
                tracing::error!(%error, model = %task.model, "no thread for the work on models");
                if let Some(model) = self.model(&task.model) {
                    model.build_failed(Phase::Failed, Some(format!("no thread for it: {error}")));
                }
            }
        }
    }
}

impl Daemon {
    /// Takes down the values of the turn, and begins work that is due.
    pub(in crate::daemon) fn turn_of_models(&mut self, now: Now) {
        let anomalies = &mut self.journal.anomalies;
        for recorded in self.intake.recorder.drain() {
            anomalies.samples.push(&recorded.thing, &recorded.property, recorded.sample);
        }
        if anomalies.models() > 0 {
            anomalies.begin(now);
        }
    }

    /// Takes another configuration.
    pub(in crate::daemon) fn reconfigure_models(&mut self, definitions: &[AnomalyDefinition], now: Now) {
        for Asked { model, name, to, .. } in self.journal.anomalies.reconfigure(definitions, now.at) {
            let payload = reply::refused(name, format!("{model} is not configured any more"));
            self.replies.push(Reply { payload, to });
        }
    }

    /// Takes the result of some work.
    pub(in crate::daemon) fn model_done(&mut self, Finished { lane, done }: Finished, now: Now) {
        let Some(Task { model: name, revision, progress, kind }) = self.journal.anomalies.lane(lane).take() else {
            return;
        };
        match (kind, done) {
            (Kind::Build, Done::Built(result)) => self.built(&name, result, progress.is_cancelled(), now),
            (Kind::Refresh, Done::Looked(result)) => self.refreshed(&name, revision, result, now),
            (Kind::Asked(asked, ranges), Done::Looked(result)) => {
                self.looked_back(asked, revision, &ranges, result, now)
            }
            (Kind::Asked(asked, _), Done::Shown(result)) => self.shown(asked, result),
            // A thread gives the result of the work that it was given.
            (Kind::Build | Kind::Refresh | Kind::Asked(..), Done::Built(_) | Done::Looked(_) | Done::Shown(_)) => {}
        }
    }

    fn built(&mut self, name: &str, result: Result<Built, String>, is_cancelled: bool, now: Now) {
        let anomalies = &mut self.journal.anomalies;
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
                self.obey(name, orders, now);
            }
            Err(error) => {
                tracing::warn!(model = name, error, "no model could be built");
                model.build_failed(Phase::Failed, Some(error));
            }
        }
    }

    fn refreshed(&mut self, name: &str, revision: u64, result: Result<Vec<Looked>, String>, now: Now) {
        let anomalies = &mut self.journal.anomalies;
        let Some(model) = anomalies.models.iter_mut().find(|model| *model.definition.name == *name) else { return };
        if model.standing.revision != revision {
            return;
        }
        let all = match result {
            Ok(all) => all,
            Err(error) => {
                tracing::error!(model = name, error, "cannot look at what is new");
                model.standing.error = Some(error);
                model.is_dirty = true;
                return;
            }
        };
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
        self.obey(name, orders, now);
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
        let anomalies = &mut self.journal.anomalies;
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
                self.obey(&name, orders, now);
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
    pub(super) fn obey(&mut self, name: &str, orders: Vec<Ordered>, now: Now) {
        let definition = self.config.anomalies.iter().find(|definition| *definition.name == *name);
        let Some(alarm) = definition.map(|definition| definition.alarm) else { return };
        for Ordered { thing, order, score } in orders {
            match self.engine.alarm_of(alarm, &thing) {
                Some(ix) => {
                    self.engine.order(ix, &order, score, now, &mut self.step);
                }
                None => {
                    tracing::warn!(model = name, %thing, "there are too many things for another alarm (max_things)")
                }
            }
        }
    }

    /// Publishes how models are, where that has changed.
    pub(in crate::daemon) fn publish_models(&mut self, now: Now) {
        if !self.can_speak() {
            return;
        }
        for place in 0..self.journal.anomalies.models.len() {
            let Some(model) = self.journal.anomalies.models.get(place) else { return };
            if !model.is_dirty || now.at < model.publish_at {
                continue;
            }
            let topic = self.config.gateway.topics.model(&model.definition.name);
            let payload = self.journal.anomalies.state_of(model, now).render().into();
            let state = Outbound { topic, payload, confirmed: true, retain: true, ..Outbound::default() };
            if !self.link.send(state, Token::Passing) {
                return;
            }
            if let Some(model) = self.journal.anomalies.models.get_mut(place) {
                (model.is_dirty, model.publish_at) = (false, now.at + TOPIC_PAUSE);
            }
        }
    }
}

impl Anomalies {
    /// The broker may have forgotten how models are.
    pub(in crate::daemon) fn connected(&mut self) {
        self.models.iter_mut().for_each(|model| model.is_dirty = true);
    }

    /// How a model is.
    pub(super) fn state_of<'a>(&'a self, model: &'a Watched, now: Now) -> ModelState<'a> {
        let refresh = model.definition.refresh.as_ref();
        let is_on = model.standing.is_refreshed;
        let name = &model.definition.name;
        let mut task = [&self.slow, &self.quick].into_iter().flatten().filter(|task| task.model == *name);
        let is_building = model.standing.phase == Phase::Building;
        let shown = |task: &&Task| match (&task.kind, is_building) {
            (Kind::Build, true) => true,
            (Kind::Asked(asked, _), false) => matches!(asked.what, What::Reprocess { .. }),
            (Kind::Build | Kind::Refresh | Kind::Asked(..), _) => false,
        };
        let is_misfit = !model.models_are_none() && !model.fits();
        let (state, error) = match model.standing.phase {
            Phase::Ready if is_misfit => (Phase::Failed, Some(MISFIT)),
            phase => (phase, model.standing.error.as_deref()),
        };
        let models: Vec<_> = model.models().collect();
        ModelState {
            model: name,
            state: state.as_str(),
            progress: task.find(shown).map(|task| task.progress.share()),
            error,
            revision: model.standing.revision,
            built_at: models.first().map(|(_, kept, _)| kept.built_at),
            models: models.into_iter().map(|(thing, kept, levels)| (thing, &*kept.model, levels)).collect(),
            refresh: RefreshState {
                on: is_on,
                every: refresh.map(|refresh| refresh.every),
                alarms: model.alarms(),
                save: refresh.is_some_and(|refresh| refresh.save),
                last: model.last_look,
                next: model.look_at.filter(|_| is_on).map(|at| now.stamp(at)),
            },
            warning: model.storm_warning().filter(|_| is_on && model.alarms()),
            history: model.history(&self.samples),
            open: model.life.found().filter(|(_, found)| !found.is_over).count(),
        }
    }
}

const MISFIT: &str = "the configuration has changed since it was built: build it again";
