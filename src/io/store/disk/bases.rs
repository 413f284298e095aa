//! The two databases of the store: which of them can be used, and how one is brought up to date.
//!
//! While one is written a mark lies beside it. Whoever finds the mark does not believe what is in the database, even if it
//! opens: sled may have lost something when the process ended.

use super::Changes;
use crate::io::store::private;
use crate::io::store::snapshot::Base;
use crate::io::store::snapshot::layers::newer_first;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which of the two bases.
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

    /// It is there while this base is written.
    pub(super) fn mark(self, store: &Path) -> PathBuf {
        store.join(match self {
            Side::A => "a.unfinished",
            Side::B => "b.unfinished",
        })
    }
}

/// What brings a base up to date.
pub(super) struct Work {
    pub(super) store: PathBuf,
    pub(super) side: Side,
    pub(super) source: Option<PathBuf>,
    pub(super) exists: bool,
    pub(super) behind: Arc<Changes>,
    pub(super) changes: Arc<Changes>,
    pub(super) seal: u64,
    /// Whether it is read soon.
    pub(super) stays_open: bool,
}

impl Work {
    /// The base, if it stays open: with 100,000 alarms that takes as much memory as a fifth of them.
    pub(super) fn run(self) -> Result<Option<Base>, String> {
        let mark = self.side.mark(&self.store);
        let marked = || File::create(&mark).and_then(|_| File::open(&self.store)?.sync_all());
        marked().map_err(|error| error.to_string())?;
        let target = self.side.folder(&self.store);
        if !self.exists && target.exists() {
            std::fs::remove_dir_all(&target).map_err(|error| error.to_string())?;
        }
        let base = Base::open(&target)?;
        if let Some(source) = &self.source {
            base.copy(&Base::open(source)?)?;
        }
        let changes = newer_first(self.changes.iter(), self.behind.iter(), Ord::cmp);
        base.apply(changes.map(|(key, value)| (&**key, value.as_deref())))?;
        base.seal_at(self.seal)?;
        // If the mark comes back after a power cut, the base is made anew without need.
        std::fs::remove_file(&mark).map_err(|error| error.to_string())?;
        if self.stays_open {
            return Ok(Some(base));
        }
        base.close();
        Ok(None)
    }
}

/// The bases that can be used, newest first, and why another one cannot.
pub(super) fn look(folder: &Path) -> (Vec<(Side, u64)>, String) {
    let (mut bases, mut damage) = (Vec::new(), Vec::new());
    for side in [Side::A, Side::B] {
        let path = side.folder(folder);
        if !path.exists() || side.mark(folder).exists() {
            continue;
        }
        let opened = private::has_files_only(&path).map_err(|error| error.to_string()).and_then(|()| Base::open(&path));
        let looked = opened.and_then(|base| {
            let looked = base.verify().map(|()| base.seal());
            base.close();
            looked
        });
        match looked {
            Ok(Some(seal)) => bases.push((side, seal)),
            // It was being made for the first time.
            Ok(None) => {}
            Err(reason) => damage.push(format!("{}: {reason}", path.display())),
        }
    }
    bases.sort_by_key(|(_, seal)| std::cmp::Reverse(*seal));
    (bases, damage.join("; "))
}
