//! Another configuration while the daemon runs: a transaction. A file with a mistake changes nothing and is reported; a
//! right one takes effect between two messages, so none is lost and none is decided by half of it.
//!
//! The files are read and compared beside the loop, because compiling a hundred thousand alarms takes a while. What is
//! different is carried out in slices: messages that come meanwhile wait for the end, but they are received.

use super::replies::Reply;
use super::{Daemon, signals, wanted};
use crate::api::problem::ProblemKind;
use crate::api::reply::{self, Names};
use crate::config::Config;
use crate::config::report::Problems;
use crate::domain::engine::{Difference, Outline, Reconfiguration};
use crate::domain::time::Now;
use crate::ingest::recorder::Recorder;
use crate::ingest::router::Intake;
use crate::ingest::source::of_last_wills;
use crate::io::mqtt::ReplyTo;
use serde_json::Value;
use tokio::task::JoinHandle;

/// Requests that wait for one reload.
const ASKERS: usize = 16;

/// Alarms that are looked at between two looks at the connection: some milliseconds.
const SLICE: usize = 1_000;
/// Mistakes of a configuration that are logged, a line each.
const LOGGED: usize = 20;

/// A configuration that was read, what `check` would warn of, and what is different in it.
type Read = (Config, Problems, Difference);
type Reading = JoinHandle<Result<Read, Problems>>;

/// Reloads that were asked for, and the one that is going on.
#[derive(Debug, Default)]
pub(super) struct Reload {
    reading: Option<Reading>,
    /// Requests that get its answer; a signal has none.
    asked_by: Vec<Asker>,
    /// Asked for while it was going on: the files may have changed after they were read, so they are read once more.
    asked_again: Option<Vec<Asker>>,
}

/// The name of a request, and where its answer goes.
type Asker = (Value, Option<ReplyTo>);

impl Reload {
    /// Waits until a configuration has been read; for ever, if none is.
    pub(super) async fn read(&mut self) -> Result<Read, Problems> {
        let Some(reading) = &mut self.reading else { return std::future::pending().await };
        let read = reading.await;
        self.reading = None;
        // It cannot panic; if it does, nothing has changed.
        read.unwrap_or_else(|_| Err(Problems::default()))
    }
}

impl Daemon {
    /// Somebody wants the configuration to be read again.
    pub(super) fn ask_for_reload(&mut self, name: Value, to: Option<ReplyTo>) {
        let again = self.reload.asked_again.as_ref().map_or(0, Vec::len);
        if self.reload.asked_by.len().max(again) >= ASKERS {
            let error = format!("{ASKERS} requests wait for the configuration already: ask again");
            self.replies.push(Reply { payload: reply::refused(name, error), to });
            return;
        }
        self.begin_reload(Some((name, to)));
    }

    /// Begins to read the configuration again.
    pub(super) fn begin_reload(&mut self, asked_by: impl IntoIterator<Item = Asker>) {
        if self.reload.reading.is_some() {
            self.reload.asked_again.get_or_insert_default().extend(asked_by);
            return;
        }
        self.reload.asked_by.extend(asked_by);
        signals::reloading();
        let (file, present) = (self.config.file.clone(), self.config.model.clone());
        self.reload.reading = Some(tokio::task::spawn_blocking(move || {
            let (config, warnings) = Config::load(&file)?;
            let difference = Difference::between(&present, &config.model);
            Ok((config, warnings, difference))
        }));
    }

    /// Takes the configuration that was read, or says why not.
    pub(super) async fn finish_reload(&mut self, read: Result<Read, Problems>, now: Now) {
        let result = match read {
            Ok((config, warnings, difference)) => match self.config.needs_a_restart(&config) {
                None => Ok(self.reconfigure(config, difference, now, &warnings).await),
                Some(what) => Err((format!("{what} cannot change while the daemon runs: restart it"), Vec::new())),
            },
            Err(problems) => {
                let (errors, _) = problems.count();
                tracing::error!(errors, "the configuration has mistakes; the old one stays");
                for line in problems.to_text().lines().take(LOGGED) {
                    tracing::error!("{line}");
                }
                Err((format!("the configuration has {errors} errors; the old one stays"), problems.to_lines()))
            }
        };
        self.status.problems.remove(ProblemKind::Reload);
        if let Err((error, _)) = &result {
            tracing::error!(error, "reload");
            self.status.problems.add(ProblemKind::Reload, error.clone());
        }
        for (name, to) in std::mem::take(&mut self.reload.asked_by) {
            let payload = match &result {
                Ok(outline) => reply::answer(&name, None, Names::from(outline)),
                Err((error, problems)) => reply::with_problems(&name, error.clone(), problems),
            };
            self.replies.push(Reply { payload, to });
        }
        signals::ready();
        if let Some(again) = self.reload.asked_again.take() {
            self.begin_reload(again);
        }
    }

    async fn reconfigure(&mut self, config: Config, difference: Difference, now: Now, warnings: &Problems) -> Outline {
        self.end_begun_change(now);
        let Daemon { engine, effects, .. } = self;
        let mut going_on = engine.begin_to_reconfigure(config.model.clone(), difference, now, effects);
        while !self.engine.go_on_reconfiguring(&mut going_on, SLICE, now, &mut self.effects) {
            tokio::task::yield_now().await;
        }
        self.tell_what_changed(&going_on);
        let Reconfiguration { outline, gone, .. } = going_on;
        self.turn_of_models(now);
        self.intake = Intake::new(config.sources.clone(), config.gateway.max_payload)
            .recording(Recorder::new(&config.anomalies, config.model.share));
        self.reconfigure_models(&config.anomalies, now);
        self.persistence.reconfigured(&config.gateway, gone, &mut self.durables);
        self.notifier.reconfigure(&config, &self.engine, now);
        let Outline { added, removed, changed, kept } = &outline;
        if !warnings.is_empty() {
            for line in warnings.to_text().lines().take(LOGGED) {
                tracing::warn!("{line}");
            }
        }
        tracing::info!(
            added = added.len(),
            removed = removed.len(),
            changed = changed.len(),
            kept,
            "the configuration was read again"
        );
        let filters = wanted(&config);
        let has_new_clocks = !outline.added.is_empty() || !outline.changed.is_empty();
        let of_last_wills = if has_new_clocks { of_last_wills(&config.sources, &filters) } else { Vec::new() };
        self.durables.filters.change(&filters);
        self.link.subscribe(filters);
        self.link.subscribe_again(&of_last_wills);
        if self.config.home_assistant != config.home_assistant {
            self.durables.prefixes.change(config.home_assistant.clone());
            self.discovery.begin_anew();
        }
        self.config = config;
        outline
    }

    /// The topics of alarms that are others now; those of new ones follow by themselves.
    fn tell_what_changed(&mut self, done: &Reconfiguration) {
        for event in &mut self.effects.events {
            event.ix = if done.is_renumbered {
                self.engine.find(event.alarm.id.as_str())
            } else {
                event.ix.filter(|ix| !done.has_left(*ix))
            };
        }
        if done.is_renumbered {
            self.effects.changed.clear();
            self.effects.appeared.clear();
            self.durables.outbox.states_begin_anew(self.engine.alarms().collect());
            self.alarms_known = self.engine.next_alarm();
            self.discovery.begin_anew();
            return;
        }
        self.effects.changed.retain(|alarm| !done.has_left(*alarm));
        self.effects.appeared.retain(|alarm| !done.has_left(*alarm));
        self.effects.changed.extend(&done.changed);
        self.durables.outbox.forget_states(|alarm| done.has_left(alarm));
        self.discovery.change(&done.changed, |alarm| done.has_left(alarm));
    }
}
