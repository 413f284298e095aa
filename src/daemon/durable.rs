//! Durable things, as peers: each knows what the store lacks of it, and learns what has become of a write.
//!
//! [`Persistence`](super::persistence::Persistence) asks all of them in turn and knows none of them. The next durable thing
//! implements [`Durable`] and stands in one list: [`Durables::peers`].

use super::discovery::Prefixes;
use super::filters::Filters;
use super::history_log::HistoryLog;
use super::models::Anomalies;
use super::notifier::Notifier;
use crate::domain::dedup::Dedup;
use crate::domain::engine::{AlarmMemory, Engine};
use crate::domain::outbox::{OutboundEvent, Outbox};
use crate::domain::time::{Moment, Now};
use crate::io::store::{Batch, Pair, SmallBytes, record};

/// One write, while it is put together.
pub(super) struct Write {
    /// Changes of records, in their order.
    pub(super) batch: Batch,
    /// Handles of alarms whose samples leave with it.
    pub(super) void: Vec<u32>,
    /// The time of the write.
    pub(super) now: Now,
    /// True for what changes with values, too, and not with decisions alone.
    pub(super) is_checkpoint: bool,
    /// True if everything is written again, because a failed write may have left anything.
    pub(super) is_whole: bool,
}

/// A thing that outlives the process.
pub(super) trait Durable {
    /// True if it has decided something that the store lacks and that must not wait.
    fn must_be_written(&self) -> bool;

    /// Adds to a write what the store lacks.
    fn put(&mut self, write: &mut Write);

    /// The write is on disk.
    fn stored(&mut self);

    /// The write has failed: nothing of it may be on disk, or all.
    fn failed(&mut self);
}

/// The durable things of the daemon besides its engine and its notifier.
#[derive(Debug)]
pub(super) struct Durables {
    pub(super) obsolete: Obsolete,
    pub(super) removed: Removed,
    pub(super) outbox: Outbox,
    pub(super) dedup: Dedup,
    pub(super) prefixes: Prefixes,
    pub(super) filters: Filters,
    pub(super) history_log: HistoryLog,
    pub(super) anomalies: Anomalies,
}

impl Durables {
    /// All peers, in the order in which they put their changes into a write.
    pub(super) fn peers<'a>(
        &'a mut self,
        engine: &'a mut Engine,
        notifier: &'a mut Notifier,
    ) -> [&'a mut dyn Durable; 10] {
        let Durables { obsolete, removed, outbox, dedup, prefixes, filters, history_log, anomalies } = self;
        [obsolete, engine, removed, outbox, dedup, prefixes, filters, notifier, history_log, anomalies]
    }

    /// Outbound events become those that the broker has to take. `on_disk`: the store has them.
    pub(super) fn keep(&mut self, outbound_events: Vec<OutboundEvent>, on_disk: bool) {
        for outbound_event in outbound_events {
            self.outbox.push(outbound_event, on_disk);
        }
    }

    /// True if something of what the store has is to leave it.
    pub(super) fn has_deletions(&self, now: Moment) -> bool {
        self.outbox.has_deletions() || self.history_log.wants_to_forget(now)
    }
}

/// Records that an earlier run has left and nothing needs any more. They leave before anything is put: it may have the same
/// keys.
#[derive(Debug, Default)]
pub(super) struct Obsolete {
    pub(super) keys: Vec<SmallBytes>,
    /// The note that damage was found and told, to be put with the first write.
    pub(super) damage_told: Option<Pair>,
}

impl Durable for Obsolete {
    fn must_be_written(&self) -> bool {
        self.damage_told.is_some()
    }

    fn put(&mut self, write: &mut Write) {
        self.keys.iter().for_each(|key| write.batch.delete(key.clone()));
        if let Some((key, value)) = self.damage_told.clone() {
            write.batch.put(key, value);
        }
    }

    fn stored(&mut self) {
        self.keys.clear();
        self.damage_told = None;
    }

    fn failed(&mut self) {}
}

/// Alarms that are not configured any more, or belong to another instance.
#[derive(Debug, Default)]
pub(super) struct Removed(pub(super) Vec<AlarmMemory>);

impl Durable for Removed {
    fn must_be_written(&self) -> bool {
        !self.0.is_empty()
    }

    fn put(&mut self, write: &mut Write) {
        for memory in &self.0 {
            record::delete_alarm(&mut write.batch, memory);
            write.void.push(memory.handle);
        }
    }

    fn stored(&mut self) {
        self.0.clear();
    }

    fn failed(&mut self) {}
}

impl Durable for Engine {
    fn must_be_written(&self) -> bool {
        self.has_decided()
    }

    fn put(&mut self, write: &mut Write) {
        let changes = self.take_changes(write.is_checkpoint);
        record::put_changes(&mut write.batch, &changes);
        write.void.extend(changes.void);
    }

    fn stored(&mut self) {}

    fn failed(&mut self) {
        self.forget_stored();
    }
}

impl Durable for Outbox {
    /// Events are put with the turn that has decided them; those that the broker has taken can wait.
    fn must_be_written(&self) -> bool {
        false
    }

    fn put(&mut self, write: &mut Write) {
        if write.is_whole {
            self.held().for_each(|(number, event)| record::put_outbound_event(&mut write.batch, number, event));
        }
        self.begin_deletions().iter().for_each(|number| record::delete_outbound_event(&mut write.batch, *number));
    }

    fn stored(&mut self) {
        self.end_deletions();
    }

    fn failed(&mut self) {
        self.give_back_deletions();
    }
}

impl Durable for Dedup {
    fn must_be_written(&self) -> bool {
        Dedup::must_be_written(self)
    }

    fn put(&mut self, write: &mut Write) {
        record::put_packets(&mut write.batch, &self.changes());
    }

    fn stored(&mut self) {
        Dedup::stored(self);
    }

    fn failed(&mut self) {
        self.forget_stored();
    }
}
