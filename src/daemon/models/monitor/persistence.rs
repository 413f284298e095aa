//! What of a model the store does not have.

use super::{Unsaved, Watched};
use crate::io::store::Batch;
use crate::io::store::anomalies::{put_found, put_place, put_standing};
use crate::io::store::models::{self, put_scorer, running_key};

impl Watched {
    /// Whether it has decided something that the store does not have.
    pub(in crate::daemon::models) fn must_be_written(&self) -> bool {
        self.unsaved.decided || self.unsaved.models
    }

    /// Whether a checkpoint has something to write.
    pub(in crate::daemon::models) fn wants_checkpoint(&self) -> bool {
        self.unsaved != Unsaved::default()
    }

    /// Adds everything to a write that the store does not have.
    pub(in crate::daemon::models) fn put(&self, batch: &mut Batch) {
        if self.unsaved == Unsaved::default() {
            return;
        }
        let name = &self.definition.name;
        self.obsolete.iter().for_each(|key| batch.delete(key.clone()));
        if self.unsaved.models {
            for (thing, kept) in &self.models {
                models::put(batch, name, thing.as_deref(), kept);
            }
        }
        for (thing, from, found) in self.life.changes() {
            put_found(batch, name, thing, from, found);
        }
        for (thing, spot) in self.spots.iter().filter(|(_, spot)| spot.is_changed) {
            put_place(batch, name, thing, Some(&spot.place));
            if let Some(aside) = &spot.aside {
                put_scorer(batch, running_key(name, thing), aside);
            }
        }
        put_standing(batch, name, &self.standing);
    }

    /// That write is on disk.
    pub(in crate::daemon::models) fn stored(&mut self) {
        if self.unsaved == Unsaved::default() {
            return;
        }
        self.unsaved = Unsaved::default();
        self.obsolete.clear();
        self.life.stored();
        for spot in self.spots.values_mut() {
            (spot.is_changed, spot.aside) = (false, None);
        }
    }
}
