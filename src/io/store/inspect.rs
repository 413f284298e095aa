//! A look at a store that changes nothing in it, for `check --state`.
//!
//! What a daemon is writing is not touched: it says itself, on its status, how its store is. One that nobody has open is
//! copied, and the copy is opened.

use super::disk::{self, DiskStore, Opened};
use super::late::Copy;
use super::{Store, StoreError, models, record};
use crate::domain::anomaly::definition::AnomalyDefinition;
use crate::domain::anomaly::model::Model;
use std::path::Path;

/// What a look has found.
#[derive(Debug, Default)]
pub struct Findings {
    /// What needs a person, each in a sentence; empty: nothing.
    pub problems: Vec<String>,
    /// What there is otherwise.
    pub remark: String,
    /// The models that are built.
    pub models: Vec<Built>,
}

/// A model that is built.
#[derive(Debug, Clone, PartialEq)]
pub struct Built {
    /// Its name.
    pub model: String,
    /// Alarms a day that it would have raised in the past that it was built from.
    pub alarms_per_day: f64,
    /// More than this a day are a storm.
    pub storm: f64,
}

/// Looks at the store in a state folder, which should belong to this gateway and have these models.
pub fn inspect(state_dir: &Path, gateway: &str, anomalies: &[AnomalyDefinition]) -> Findings {
    let mut findings = Findings::default();
    for aside in disk::moved_aside(state_dir) {
        findings.problems.push(match disk::what_is_missing(&aside) {
            Some(what) => {
                format!(
                    "something was lost: {what}; what is damaged was copied to {}: remove it when you have seen it",
                    aside.display()
                )
            }
            None => {
                format!("{} was moved aside because it could not be read: look into it, or remove it", aside.display())
            }
        });
    }
    match disk::is_in_use(state_dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => match disk::is_there(state_dir) {
            (false, false) => {
                "there is no store yet".clone_into(&mut findings.remark);
                return findings;
            }
            (false, true) => {}
            (true, _) => tracing::debug!("the store has no lock file"),
        },
        Err(error) => {
            findings.problems.push(format!("cannot look into {}: {error}", state_dir.display()));
            return findings;
        }
        Ok(true) => {
            "a daemon has the store open; its status says how it is".clone_into(&mut findings.remark);
            return findings;
        }
        Ok(false) => {}
    }
    if disk::is_there(state_dir) == (false, true) {
        findings.problems.push(format!(
            "the store is gone from {}: events were published from it, and the daemon will begin an empty one",
            state_dir.display()
        ));
        return findings;
    }
    if let Err(error) = rustix::fs::access(state_dir, rustix::fs::Access::WRITE_OK) {
        findings.problems.push(format!("{} cannot be written: {error}", state_dir.display()));
    }
    if let Err(problem) = read(state_dir, gateway, anomalies, &mut findings) {
        findings.problems.push(problem);
    }
    findings
}

fn read(
    state_dir: &Path,
    gateway: &str,
    anomalies: &[AnomalyDefinition],
    findings: &mut Findings,
) -> Result<(), String> {
    let copy = Copy::of(state_dir).map_err(|error| format!("cannot read the store: {error}"))?;
    let Opened { mut store, loss, .. } = DiskStore::open(copy.folder()).map_err(|error| error.to_string())?;
    match loss {
        Some(loss) if loss.is_beyond_use => {
            let what = loss.what;
            return Err(format!(
                "the store is damaged beyond use ({what}): the daemon will move it aside and begin another one"
            ));
        }
        Some(loss) => findings.problems.push(format!(
            "something is lost: {}; the daemon will go on with the rest, and alarms that it may have been about are \
             uncertain until they are judged again",
            loss.what
        )),
        None => {}
    }
    let found = record::recover(&mut store).map_err(|error| error.to_string())?;
    if found.damaged > 0 {
        findings.problems.push(format!("{} records are damaged: those alarms begin anew", found.damaged));
    }
    let Some(position) = found.position else {
        "the store is empty".clone_into(&mut findings.remark);
        return Ok(());
    };
    if position.gateway != gateway {
        return Err(format!("the store belongs to gateway {:?}, this one is {gateway:?}", position.gateway));
    }
    findings.remark =
        format!("the store has {} alarms, the last event is {}", found.alarms.len(), position.next_seq - 1);
    for definition in anomalies {
        findings.models.extend(built(&mut store, definition).map_err(|error| error.to_string())?);
    }
    Ok(())
}

/// How many alarms a day a model would have raised, with the severities of the configuration; none: it is not built.
fn built(store: &mut dyn Store, definition: &AnomalyDefinition) -> Result<Option<Built>, StoreError> {
    let models = models::all(store, &definition.name)?;
    let per_day = |model: &Model| {
        let thresholds = match &definition.severities {
            Some(severities) => model.thresholds.overridden(severities.clone()),
            None => model.thresholds.clone(),
        };
        thresholds.least.first().map_or(0.0, |(_, lowest)| model.trained.per_day(*lowest))
    };
    let alarms_per_day = models.iter().map(|(_, kept)| per_day(&kept.model)).sum();
    let (model, storm) = (definition.name.to_string(), definition.storm);
    Ok((!models.is_empty()).then_some(Built { model, alarms_per_day, storm }))
}
