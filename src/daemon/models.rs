//! Models while the daemon runs: values are kept for them, they are built, they look at what is new and at the past, and
//! what they find becomes alarms.
//!
//! - *Recording.* The numbers of the properties that models name go to [`Samples`] with the checkpoints: never a write for
//!   a value. A crash costs at most the values since the last checkpoint. A time in which nothing could be heard is a gap
//!   in the series and no evidence; retained messages are no samples.
//! - *Work* is done by two threads of low priority ([`workers`]); the loop plans it ([`watched`]), and takes the results
//!   between two messages.
//! - *What was found* goes to the store in the same batch as the events that it caused: no alarm without its anomaly, no
//!   anomaly without its alarm, at whatever instant the power goes. Up to where a thing was looked at has time until the
//!   next checkpoint: after a crash the same values are looked at again, with the same scorer, and found to be the same.
//! - *A build* that a crash interrupts is begun again; a look at the past is not, and has changed nothing then.

mod commands;
mod jobs;
mod monitor;
mod past;
mod publish;
mod results;
mod turn;
mod workers;

use super::durable::{Durable, Write};
use crate::api::status::Metrics;
use crate::domain::anomaly::definition::AnomalyDefinition;
use crate::domain::time::{Moment, Span, Stamp};
use crate::io::mqtt::ReplyTo;
use crate::io::store::anomalies::{self, Stored};
use crate::io::store::keeper::Keeper;
use crate::io::store::models;
use crate::io::store::samples::{Bounds, Samples};
use crate::io::store::{Store, StoreError};
use monitor::{LookBack, Watched};
use past::Progress;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use workers::{Lane, Workers};

/// Values that no model names any more are kept for as long: whoever takes a model out for a day has them afterwards.
const KEPT_WITHOUT_MODEL: Span = Span::from_secs(30 * 86_400);
/// Requests that wait for the slow thread. Each may take a while.
const ASKED: usize = 16;

/// A look at the past that somebody has asked for, or a series that they want to see.
#[derive(Debug)]
struct Asked {
    model: Arc<str>,
    name: Value,
    to: Option<ReplyTo>,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Reprocess { range: (Stamp, Stamp), things: Vec<String>, alarms: bool },
    Show { answer: Value, thing: String, property: String, range: (Stamp, Stamp), points: usize },
}

/// What a thread is doing.
#[derive(Debug)]
struct Task {
    model: Arc<str>,
    /// The revision that it began with: what it finds by another one does not count.
    revision: u64,
    progress: Arc<Progress>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Build,
    Refresh,
    Asked(Box<Asked>, BTreeMap<Arc<str>, LookBack>),
}

impl Task {
    fn is_build(&self) -> bool {
        matches!(self.kind, Kind::Build)
    }

    fn looks(&self) -> bool {
        match &self.kind {
            Kind::Build => false,
            Kind::Refresh => true,
            Kind::Asked(asked, _) => matches!(asked.what, What::Reprocess { .. }),
        }
    }
}

/// What is counted.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    builds: u64,
    scored: u64,
    found: u64,
}

/// All models.
#[derive(Debug)]
pub(super) struct Anomalies {
    pub(super) samples: Samples,
    models: Vec<Watched>,
    /// Models that are not configured any more, and are to be forgotten.
    gone: Vec<String>,
    /// The keys of those of them that were looked for.
    forgotten: Vec<Vec<u8>>,
    workers: Workers,
    slow: Option<Task>,
    quick: Option<Task>,
    asked: VecDeque<Asked>,
    tally: Tally,
    /// When the oldest values are looked at for those that are too old, and models for those that want to be built.
    look_at: Moment,
    wrote_samples: bool,
}

/// What the store knows of models.
pub(super) struct Recovered {
    samples: Samples,
    stored: BTreeMap<String, Stored>,
    models: BTreeMap<Arc<str>, Vec<(Option<crate::domain::model::ThingId>, models::Kept)>>,
}

/// Reads what the store knows of models.
pub(super) fn recover(store: &mut dyn Store, definitions: &[AnomalyDefinition]) -> Result<Recovered, StoreError> {
    let samples = Samples::open(store, bounds(definitions))?;
    if samples.damaged() > 0 {
        tracing::error!(blocks = samples.damaged(), "values that were kept for models were damaged");
    }
    let stored = anomalies::recover(store)?;
    let mut found = BTreeMap::new();
    for definition in definitions {
        found.insert(definition.name.clone(), models::all(store, &definition.name)?);
    }
    Ok(Recovered { samples, stored, models: found })
}

/// All models share one room for their values: as long as the longest wants, as large as all together.
fn bounds(definitions: &[AnomalyDefinition]) -> Bounds {
    let age = definitions.iter().map(|model| model.history).max().unwrap_or(KEPT_WITHOUT_MODEL);
    let bytes = definitions.iter().map(|model| model.history_bytes).fold(0_u64, u64::saturating_add);
    Bounds { age, bytes: if definitions.is_empty() { u64::MAX } else { bytes } }
}

impl Anomalies {
    /// Goes on with what was stored.
    pub(super) fn restore(
        recovered: Recovered,
        definitions: &[AnomalyDefinition],
        keeper: Keeper,
        now: Moment,
    ) -> Anomalies {
        let Recovered { samples, mut stored, models: mut found } = recovered;
        let watch = |definition: &AnomalyDefinition| {
            let found = found.remove(&definition.name).unwrap_or_default();
            Watched::restore(definition.clone(), stored.remove(&*definition.name), found, now)
        };
        let models = definitions.iter().map(watch).collect();
        Anomalies {
            samples,
            models,
            gone: stored.into_keys().collect(),
            forgotten: Vec::new(),
            workers: Workers::new(keeper),
            slow: None,
            quick: None,
            asked: VecDeque::new(),
            tally: Tally::default(),
            look_at: now,
            wrote_samples: false,
        }
    }

    /// Takes another configuration: models with the same name keep what they know, those that are gone are forgotten.
    /// Returned: requests that nobody will answer any more.
    fn reconfigure(&mut self, definitions: &[AnomalyDefinition], now: Moment) -> Vec<Asked> {
        self.samples.change_bounds(bounds(definitions));
        let mut before: BTreeMap<Arc<str>, Watched> = BTreeMap::new();
        for model in self.models.drain(..) {
            before.insert(model.definition.name.clone(), model);
        }
        for definition in definitions {
            let mut known = before.remove(&definition.name);
            if let Some(known) = &mut known {
                known.reconfigure(definition.clone(), now);
            }
            let new = || Watched::restore(definition.clone(), None, Vec::new(), now);
            self.models.push(known.unwrap_or_else(new));
        }
        for task in [&self.slow, &self.quick].into_iter().flatten() {
            let known = self.models.iter().find(|model| model.definition.name == task.model);
            if known.is_none_or(|known| task.is_build() && !known.would_build_the_same()) {
                task.progress.cancel();
            }
        }
        self.gone.extend(before.keys().map(ToString::to_string));
        let (left, kept) = self.asked.drain(..).partition(|asked| before.contains_key(&asked.model));
        self.asked = kept;
        Vec::from_iter::<VecDeque<Asked>>(left)
    }

    fn model(&mut self, name: &str) -> Option<&mut Watched> {
        self.models.iter_mut().find(|model| *model.definition.name == *name)
    }

    fn lane(&mut self, lane: Lane) -> &mut Option<Task> {
        match lane {
            Lane::Slow => &mut self.slow,
            Lane::Quick => &mut self.quick,
        }
    }

    /// Whether a model is being looked with, on either thread.
    fn is_looking(&self, name: &str) -> bool {
        [&self.slow, &self.quick].into_iter().flatten().any(|task| *task.model == *name && task.looks())
    }

    pub(super) fn models(&self) -> usize {
        self.models.len()
    }

    /// Adds what is counted.
    pub(super) fn count(&self, metrics: &mut Metrics) {
        let open = |model: &Watched| model.life.found().filter(|(_, found)| !found.is_over).count();
        metrics.models = self.models.len() as u64;
        metrics.anomalies_open = self.models.iter().map(open).sum::<usize>() as u64;
        (metrics.samples, metrics.samples_bytes) = (self.samples.count(), self.samples.bytes());
        metrics.samples_lost = self.samples.lost();
        let Tally { builds, scored, found } = self.tally;
        (metrics.model_builds, metrics.scored_values, metrics.anomalies_found) = (builds, scored, found);
    }

    /// Models that are not configured any more, whose keys are to be looked for.
    pub(super) fn take_gone(&mut self) -> Vec<String> {
        std::mem::take(&mut self.gone)
    }

    /// These keys belong to a model that is not configured any more.
    pub(super) fn forget(&mut self, keys: Vec<Vec<u8>>) {
        self.forgotten.extend(keys);
    }

    /// Whether a checkpoint has something to write.
    pub(super) fn wants_checkpoint(&self) -> bool {
        self.samples.is_changed() || self.models.iter().any(Watched::wants_checkpoint)
    }
}

impl Durable for Anomalies {
    fn must_be_written(&self) -> bool {
        !self.forgotten.is_empty() || self.samples.is_crowded() || self.models.iter().any(Watched::must_be_written)
    }

    /// Adds decisions, and values at a checkpoint only.
    fn put(&mut self, write: &mut Write) {
        let batch = &mut write.batch;
        self.forgotten.iter().for_each(|key| batch.delete(key.clone()));
        self.models.iter().for_each(|model| model.put(batch));
        self.wrote_samples = write.is_checkpoint || self.samples.is_crowded();
        if self.wrote_samples {
            self.samples.write(write.now.wall, batch);
        }
    }

    fn stored(&mut self) {
        self.forgotten.clear();
        self.models.iter_mut().for_each(Watched::stored);
        if std::mem::take(&mut self.wrote_samples) {
            self.samples.stored();
        }
    }

    fn failed(&mut self) {
        if std::mem::take(&mut self.wrote_samples) {
            self.samples.failed();
        }
    }
}
