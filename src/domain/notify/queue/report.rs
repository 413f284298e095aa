//! What the queue tells those around it: attempts that begin, what became of them, and figures.

use crate::domain::model::AlarmId;
use crate::domain::notify::{Delivery, ReactionIx};
use crate::domain::time::Moment;
use std::sync::Arc;

/// Something that happened to a delivery, to be reported.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The delivery.
    pub delivery: Arc<Delivery>,
    /// Which attempt it was, from 1; 0: it was never attempted.
    pub attempt: u32,
    /// What became of it.
    pub outcome: DeliveryEnd,
}

/// What became of an attempt, as it is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryEnd {
    /// The other side has it.
    Delivered {
        /// What it said.
        answer: String,
        /// What did not work all the same.
        warnings: Vec<String>,
    },
    /// It will be tried again.
    Failed {
        /// Why it failed.
        reason: String,
        /// When it is tried again.
        retry_at: Moment,
    },
    /// It will never be delivered.
    Dropped {
        /// Why.
        reason: String,
        /// Whether somebody should look at it: false if it was only not needed any more.
        is_loss: bool,
    },
}

/// Deliveries that have left the queue, as the schedule wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The delivery's alarm and reaction.
    pub course: (AlarmId, ReactionIx),
    /// Its number.
    pub number: u64,
    /// Whether the other side has it.
    pub delivered: bool,
}

/// An attempt that begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// The delivery's number.
    pub number: u64,
    /// The delivery.
    pub delivery: Arc<Delivery>,
    /// Others that it tells of, too.
    pub digest: Vec<Arc<Delivery>>,
}

/// Figures for the metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Deliveries that the other side has taken.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Attempts that were not the first.
    pub retried: u64,
    /// Deliveries that never arrive.
    pub dropped: u64,
}
