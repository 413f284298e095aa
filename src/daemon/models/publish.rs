//! How models are, on their topics.

use super::monitor::Watched;
use super::{Anomalies, Kind, Task, What};
use crate::api::anomaly::{ModelState, RefreshState};
use crate::daemon::Daemon;
use crate::domain::outbox::Token;
use crate::domain::time::{Now, Span};
use crate::io::mqtt::Outbound;
use crate::io::store::anomalies::Phase;

/// A model's topic follows what happens, but no faster than this.
const TOPIC_PAUSE: Span = Span::from_millis(250);

impl Daemon {
    /// Publishes how models are, where that has changed.
    pub(in crate::daemon) fn publish_models(&mut self, now: Now) {
        if !self.can_speak() {
            return;
        }
        for place in 0..self.durables.anomalies.models.len() {
            let Some(model) = self.durables.anomalies.models.get(place) else { return };
            if !model.is_dirty || now.at < model.publish_at {
                continue;
            }
            let topic = self.config.gateway.topics.model(&model.definition.name);
            let payload = self.durables.anomalies.state_of(model, now).render().into();
            let state = Outbound { topic, payload, confirmed: true, retain: true, ..Outbound::default() };
            if !self.link.send(state, Token::Passing) {
                return;
            }
            if let Some(model) = self.durables.anomalies.models.get_mut(place) {
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
        let (state, error) = if is_misfit && model.standing.phase == Phase::Ready {
            (Phase::Failed, Some(MISFIT))
        } else {
            (model.standing.phase, model.trouble.as_deref().or(model.standing.error.as_deref()))
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
