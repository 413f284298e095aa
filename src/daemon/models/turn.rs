//! Models in the daemon's turn: values are taken down, and work is begun that is due.

use super::jobs::{Job, Show};
use super::workers::{Finished, Lane};
use super::{Anomalies, Asked, Kind, Task, What};
use crate::api::reply;
use crate::daemon::Daemon;
use crate::daemon::replies::Reply;
use crate::domain::anomaly::definition::AnomalyDefinition;
use crate::domain::time::{Moment, Now, Span};
use crate::io::store::anomalies::{Phase, Wanted};
use crate::io::store::samples::reader::Plan;
use std::collections::BTreeMap;
use std::sync::Arc;

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
            Task { model, revision, progress: Arc::default(), kind: Kind::Asked(Box::new(asked), ranges) },
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
        let anomalies = &mut self.durables.anomalies;
        for recorded in self.intake.recorder.drain() {
            anomalies.samples.push(&recorded.thing, &recorded.property, recorded.sample);
        }
        if anomalies.models() > 0 {
            anomalies.begin(now);
        }
    }

    /// Takes another configuration.
    pub(in crate::daemon) fn reconfigure_models(&mut self, definitions: &[AnomalyDefinition], now: Now) {
        for Asked { model, name, to, .. } in self.durables.anomalies.reconfigure(definitions, now.at) {
            let payload = reply::refused(name, format!("{model} is not configured any more"));
            self.replies.push(Reply { payload, to });
        }
    }
}
