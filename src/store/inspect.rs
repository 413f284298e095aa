//! A look at a store that changes nothing in it, for `check --state`.
//!
//! What a daemon is writing is not touched: it says itself, on its status, how its store is. One that nobody has open is
//! copied, and the copy is opened.

use super::disk::{self, DiskStore, Opened};
use super::late::Copy;
use super::record;
use std::path::Path;

/// What a look has found.
#[derive(Debug, Default)]
pub struct Findings {
    /// What needs a person, each in a sentence; empty: nothing.
    pub problems: Vec<String>,
    /// What there is otherwise.
    pub remark: String,
}

/// Looks at the store in a state folder, which should belong to this gateway.
pub fn inspect(state_dir: &Path, gateway: &str) -> Findings {
    let mut findings = Findings::default();
    for aside in disk::moved_aside(state_dir) {
        findings.problems.push(format!(
            "{} was moved aside because it could not be read: look into it, or remove it",
            aside.display()
        ));
    }
    match disk::is_in_use(state_dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            "there is no store yet".clone_into(&mut findings.remark);
            return findings;
        }
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
    if let Err(error) = rustix::fs::access(state_dir, rustix::fs::Access::WRITE_OK) {
        findings.problems.push(format!("{} cannot be written: {error}", state_dir.display()));
    }
    if let Err(problem) = read(state_dir, gateway, &mut findings) {
        findings.problems.push(problem);
    }
    findings
}

fn read(state_dir: &Path, gateway: &str, findings: &mut Findings) -> Result<(), String> {
    let copy = Copy::of(state_dir).map_err(|error| format!("cannot read the store: {error}"))?;
    let Opened { mut store, trouble } = DiskStore::open(copy.folder()).map_err(|error| error.to_string())?;
    if trouble.is_some() {
        return Err("the store is damaged beyond use: the daemon will move it aside and begin an empty one".to_owned());
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
    Ok(())
}
