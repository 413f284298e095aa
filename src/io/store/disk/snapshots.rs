//! The two databases of the store: which of them can be used, and how one is brought up to date.
//!
//! While one is written a mark lies beside it. Whoever finds the mark does not believe what is in the database, even if it
//! opens: sled may have lost something when the process ended.

use super::Changes;
use crate::io::store::private;
use crate::io::store::snapshot::Snapshot;
use crate::io::store::snapshot::layers::newer_first;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which of the two snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    A,
    B,
}

impl Side {
    pub(super) fn other(self) -> Side {
        match self {
            Side::A => Side::B,
            Side::B => Side::A,
        }
    }

    pub(super) fn folder(self, store: &Path) -> PathBuf {
        store.join(match self {
            Side::A => "a",
            Side::B => "b",
        })
    }

    /// It is there while this snapshot is written.
    pub(super) fn mark(self, store: &Path) -> PathBuf {
        store.join(match self {
            Side::A => "a.unfinished",
            Side::B => "b.unfinished",
        })
    }
}

/// What brings a snapshot up to date.
pub(super) struct Work {
    pub(super) store: PathBuf,
    pub(super) side: Side,
    pub(super) source: Option<PathBuf>,
    pub(super) exists: bool,
    pub(super) behind: Arc<Changes>,
    pub(super) changes: Arc<Changes>,
    pub(super) last_log: u64,
    /// Whether it is read soon.
    pub(super) stays_open: bool,
}

impl Work {
    /// The snapshot, if it stays open: with 100,000 alarms that takes as much memory as a fifth of them.
    pub(super) fn run(self) -> Result<Option<Snapshot>, String> {
        let mark = self.side.mark(&self.store);
        let marked = || File::create(&mark).and_then(|_| File::open(&self.store)?.sync_all());
        marked().map_err(|error| error.to_string())?;
        let target = self.side.folder(&self.store);
        if !self.exists && target.exists() {
            std::fs::remove_dir_all(&target).map_err(|error| error.to_string())?;
        }
        let snapshot = Snapshot::open(&target)?;
        if let Some(source) = &self.source {
            snapshot.copy(&Snapshot::open(source)?)?;
        }
        let changes = newer_first(self.changes.iter(), self.behind.iter(), Ord::cmp);
        snapshot.apply(changes.map(|(key, value)| (&**key, value.as_deref())))?;
        snapshot.complete_at(self.last_log)?;
        // If the mark comes back after a power cut, the snapshot is made anew without need.
        std::fs::remove_file(&mark).map_err(|error| error.to_string())?;
        if self.stays_open {
            return Ok(Some(snapshot));
        }
        snapshot.close();
        Ok(None)
    }
}

/// The snapshots that can be used, newest first, and why another one cannot.
pub(super) fn look(folder: &Path) -> (Vec<(Side, u64)>, String) {
    let (mut snapshots, mut damage) = (Vec::new(), Vec::new());
    for side in [Side::A, Side::B] {
        let path = side.folder(folder);
        if !path.exists() || side.mark(folder).exists() {
            continue;
        }
        let opened =
            private::has_files_only(&path).map_err(|error| error.to_string()).and_then(|()| Snapshot::open(&path));
        let looked = opened.and_then(|snapshot| {
            let looked = snapshot.verify().map(|()| snapshot.last_log());
            snapshot.close();
            looked
        });
        match looked {
            Ok(Some(last_log)) => snapshots.push((side, last_log)),
            // It was being made for the first time.
            Ok(None) => {}
            Err(reason) => damage.push(format!("{}: {reason}", path.display())),
        }
    }
    snapshots.sort_by_key(|(_, last_log)| std::cmp::Reverse(*last_log));
    (snapshots, damage.join("; "))
}
