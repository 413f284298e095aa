//! What waits, for people who ask: how much, since when, for which alarm, and what is in the way. It changes nothing.

use super::{Counters, Queue};
use crate::domain::model::AlarmId;
use crate::domain::notify::{Delivery, ReactionIx};
use crate::domain::time::Moment;

impl Queue {
    /// Figures since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Deliveries that wait.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Attempts that are on their way.
    pub fn in_flight(&self) -> usize {
        self.lanes.values().map(|lane| lane.in_flight).sum()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// When the oldest delivery that waits was due.
    pub fn oldest(&self) -> Option<Moment> {
        self.items.values().map(|item| item.delivery.due).min()
    }

    /// Deliveries that wait for an alarm, in order, with the attempts so far and when the next one is due.
    pub fn of(&self, alarm: &AlarmId) -> impl Iterator<Item = (&Delivery, u32, Moment)> {
        self.items
            .values()
            .filter(move |item| item.delivery.alarm == *alarm)
            .map(|item| (&*item.delivery, item.attempts, item.not_before))
    }

    /// Reactions with which something is not right, in words, and how many of their deliveries wait.
    pub fn troubles(&self) -> impl Iterator<Item = (ReactionIx, &str, usize)> {
        self.lanes.iter().filter_map(|(ix, lane)| Some((*ix, lane.trouble.as_deref()?, lane.waiting)))
    }
}
