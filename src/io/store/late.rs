//! A store that could not be opened when it was needed, and may be later: a file system that was mounted for reading
//! only, a folder without permission.
//!
//! Until then it holds what could be read of the store: a copy of its files, in the folder for temporary files, because
//! sled cannot open what it may not write. Nobody else has written since, so what is committed when the store opens at
//! last fits what is in it. If nothing could be read, a store that turns up later is moved aside, and an empty one is
//! begun: its numbers are not those that were given out in the meantime.

use super::disk::{DiskStore, OpenError};
use super::{Batch, Pair, Store, StoreError, private};
use std::path::{Path, PathBuf};

/// The store in a folder, once it can be opened.
#[derive(Debug)]
pub struct LateStore {
    state_dir: PathBuf,
    store: Content,
}

#[derive(Debug)]
enum Content {
    /// It could not be read either.
    Unknown,
    /// What could be read.
    Copied { store: Box<DiskStore>, _copy: Copy },
    /// It is open.
    Open(Box<DiskStore>),
}

impl LateStore {
    /// A store for `state_dir`, with what can be read of it.
    pub fn new(state_dir: &Path) -> LateStore {
        let copy = Copy::of(state_dir).ok();
        let opened = copy.and_then(|copy| DiskStore::open(copy.folder()).ok().map(|opened| (opened, copy)));
        let store = match opened {
            Some((opened, copy)) if opened.trouble.is_none() => {
                Content::Copied { store: Box::new(opened.store), _copy: copy }
            }
            Some(_) | None => Content::Unknown,
        };
        LateStore { state_dir: state_dir.to_owned(), store }
    }

    /// Whether it knows what the store holds.
    pub fn is_known(&self) -> bool {
        !matches!(self.store, Content::Unknown)
    }

    fn open(&mut self) -> Result<&mut DiskStore, StoreError> {
        if !matches!(self.store, Content::Open(_)) {
            if !self.is_known() {
                DiskStore::move_aside(&self.state_dir)?;
            }
            let opened = DiskStore::open(&self.state_dir).map_err(|error| match error {
                OpenError::Io(error) => error,
                OpenError::InUse(_) => StoreError::new("cannot open the store", error),
            })?;
            self.store = Content::Open(Box::new(opened.store));
        }
        match &mut self.store {
            Content::Open(store) => Ok(store),
            Content::Unknown | Content::Copied { .. } => {
                Err(StoreError::new("cannot open the store", "it is not there"))
            }
        }
    }

    fn readable(&mut self) -> Option<&mut DiskStore> {
        match &mut self.store {
            Content::Unknown => None,
            Content::Copied { store, .. } | Content::Open(store) => Some(store),
        }
    }
}

impl Store for LateStore {
    fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.open()?.commit(batch)
    }

    fn confirm(&mut self, next_seq: u64, is_durable: bool) -> bool {
        match &mut self.store {
            Content::Open(store) => store.confirm(next_seq, is_durable),
            Content::Unknown | Content::Copied { .. } => false,
        }
    }

    fn reads_at_once(&self) -> bool {
        match &self.store {
            Content::Unknown => true,
            Content::Copied { store, .. } | Content::Open(store) => store.reads_at_once(),
        }
    }

    fn scan(&mut self, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        self.readable().map_or(Ok(Vec::new()), |store| store.scan(prefix, from, limit))
    }

    fn scan_back(&mut self, prefix: &[u8], before: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        self.readable().map_or(Ok(Vec::new()), |store| store.scan_back(prefix, before, limit))
    }
}

/// A copy of a store's files, in the folder for temporary files. It goes when this is dropped.
#[derive(Debug)]
pub(super) struct Copy(PathBuf);

impl Copy {
    /// Copies the store in a state folder.
    pub(super) fn of(state_dir: &Path) -> std::io::Result<Copy> {
        let copy = Copy(std::env::temp_dir().join(format!("annunciator-{}", std::process::id())));
        let (from, to) = (state_dir.join(super::disk::FOLDER), copy.0.join(super::disk::FOLDER));
        private::create(&copy.0)?;
        private::has_files_only(&from)?;
        copy_below(&from, &to)?;
        let confirmed = state_dir.join(super::disk::confirmed::NAME);
        if confirmed.is_file() {
            std::fs::copy(&confirmed, copy.0.join(super::disk::confirmed::NAME))?;
        }
        Ok(copy)
    }

    /// A state folder with the copy.
    pub(super) fn folder(&self) -> &Path {
        &self.0
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::debug!(%error, "nothing to remove");
        }
    }
}

fn copy_below(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_below(&source, &target)?;
        } else {
            std::fs::copy(&source, &target)?;
        }
    }
    Ok(())
}
