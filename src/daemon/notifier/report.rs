//! What there is to say of reactions: on the status, in the metrics, to whoever asks about an alarm.

use super::Notifier;
use crate::api::reaction::{Explained, Waiting};
use crate::api::{self, Rfc3339};
use crate::domain::engine::{AlarmIx, Engine};
use crate::domain::notify::ReactionIx;
use crate::domain::notify::schedule::CourseId;
use crate::domain::time::{Moment, Now, Span};

impl Notifier {
    /// What a technician should know, in words.
    pub(in crate::daemon) fn troubles(&self) -> impl Iterator<Item = String> {
        self.queue.troubles().filter_map(|(ix, trouble, waiting)| {
            let name = &self.reactions.get(ix)?.name;
            Some(match waiting {
                0 => format!("{name}: {trouble}"),
                waiting => format!("{name}: {trouble} ({waiting} waiting)"),
            })
        })
    }

    /// Adds the figures to the metrics.
    pub(in crate::daemon) fn count(&self, metrics: &mut api::status::Metrics, now: Moment) {
        let counters = self.queue.counters();
        metrics.reactions_delivered = counters.delivered;
        metrics.reactions_failed = counters.failed;
        metrics.reactions_retried = counters.retried;
        metrics.reactions_dropped = counters.dropped;
        metrics.reactions_waiting = self.queue.len() as u64;
        let age = self.queue.oldest().map_or(Span::ZERO, |due| now - due);
        metrics.reactions_oldest_seconds = u64::try_from(age.as_micros() / 1_000_000).unwrap_or(0);
    }

    /// What there is to say of an alarm's reactions: what comes next, and what waits.
    pub(in crate::daemon) fn explain(&self, ix: AlarmIx, engine: &Engine, now: Now) -> Vec<Explained> {
        let alarm = engine.view(ix).id();
        let waiting: Vec<_> = self.queue.of(alarm).collect();
        let of = |reaction: &ReactionIx| {
            let name = self.reactions.get(*reaction)?.name.clone();
            let id: CourseId = (alarm.clone(), *reaction);
            let course = self.schedule.of(alarm).find(|(other, _)| **other == id).map(|(_, course)| course);
            let waits = waiting.iter().filter(|(delivery, ..)| delivery.reaction == *reaction);
            Some(Explained {
                reaction: name,
                delivered: course.is_some_and(|course| course.delivered),
                next: self.schedule.due_of(&id, &self.reactions).map(|at| Rfc3339(now.stamp(at))),
                waiting: waits
                    .map(|(delivery, attempts, at)| Waiting {
                        delivery: delivery.id.clone(),
                        attempts: *attempts,
                        next_at: Rfc3339(now.stamp((*at).max(now.at))),
                    })
                    .collect(),
                trouble: self.queue.troubles().find(|(other, ..)| other == reaction).map(|(_, why, _)| why.to_owned()),
            })
        };
        self.named(alarm, Some(ix), engine).iter().filter_map(of).collect()
    }
}
