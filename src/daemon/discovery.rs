//! Alarms announced to Home Assistant: all of them after each connect and at its request, new ones as they appear.
//! Announcements are withdrawn with the alarm or the option.
//!
//! The topics are retained, so earlier announcements must be remembered: the store keeps the prefixes under which there
//! may be some of this gateway. A prefix that is no longer configured is cleaned, alarm by alarm, before anything else
//! is announced, and forgotten when the broker has taken all of it. The announcement of an alarm that leaves the
//! configuration is withdrawn by an outbound event, as is its state.

use super::Daemon;
use super::durable::{Durable, Write};
use crate::api::home_assistant;
use crate::domain::engine::AlarmIx;
use crate::domain::model::AlarmId;
use crate::domain::outbox::{OutboundEvent, Token};
use crate::domain::time::{Moment, Span};
use crate::io::mqtt::Outbound;
use crate::io::store::record;
use bytes::Bytes;
use std::sync::Arc;

/// Maximum number of unconfirmed announcements: small, so that a hundred thousand of them leave room for events.
const WINDOW: usize = 16;
/// Minimum time between two rounds of announcements that Home Assistant asks for. It asks at its start; repeated
/// requests have to wait, also until the round before is complete.
const ROUND_PAUSE: Span = Span::from_secs(10);

/// The prefixes under which this gateway may have announced alarms, in memory and in the store.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    /// The configured prefix; `None` if alarms are not announced.
    current: Option<String>,
    /// The prefixes of earlier configurations that are not cleaned yet.
    obsolete: Vec<String>,
    stored: Vec<String>,
}

impl Prefixes {
    /// Combines the stored prefixes of earlier runs with the configured one.
    pub(super) fn restore(stored: Vec<String>, current: Option<String>) -> Prefixes {
        let obsolete = stored.iter().filter(|prefix| Some(*prefix) != current.as_ref()).cloned().collect();
        Prefixes { current, obsolete, stored }
    }

    /// Replaces the configured prefix; the one before becomes obsolete.
    pub(super) fn change(&mut self, current: Option<String>) {
        let mut known: Vec<String> = self.known().cloned().collect();
        known.retain(|prefix| Some(prefix) != current.as_ref());
        (self.obsolete, self.current) = (known, current);
    }

    pub(super) fn known(&self) -> impl Iterator<Item = &String> {
        self.obsolete.iter().chain(&self.current)
    }

    /// Outbound events that withdraw the announcements of an alarm that is removed, one for each known prefix.
    pub(super) fn retractions(&self, gateway: &str, alarm: &AlarmId) -> impl Iterator<Item = OutboundEvent> {
        self.known().map(move |prefix| OutboundEvent {
            topic: Arc::from(home_assistant::topic(prefix, gateway, alarm)),
            payload: Bytes::new(),
            retain: true,
        })
    }
}

impl Durable for Prefixes {
    /// True if the store must be updated before anything is announced.
    fn must_be_written(&self) -> bool {
        !self.known().eq(&self.stored)
    }

    fn put(&mut self, write: &mut Write) {
        if write.is_whole || self.must_be_written() {
            let known: Vec<String> = self.known().cloned().collect();
            record::put_texts(&mut write.batch, record::DISCOVERY, &known);
        }
    }

    fn stored(&mut self) {
        self.stored = self.known().cloned().collect();
    }

    fn failed(&mut self) {}
}

/// The progress of the announcements.
#[derive(Debug, Default)]
pub(super) struct Discovery {
    /// Index of the next alarm: those before it were announced, or cleaned under the first obsolete prefix.
    done: usize,
    /// Alarms before `done` that have to be announced again, or have appeared since.
    late: Vec<AlarmIx>,
    in_flight: usize,
    /// True if Home Assistant has asked for a round since the last one began.
    is_asked: bool,
    /// Earliest start of the next round that is asked for.
    next_round: Moment,
}

impl Discovery {
    /// Begins with the first alarm after a connect: the retained messages of the broker are unknown.
    pub(super) fn connected(&mut self) {
        *self = Discovery { next_round: self.next_round, ..Discovery::default() };
    }

    /// Begins with the first alarm again.
    pub(super) fn begin_anew(&mut self) {
        self.done = 0;
        self.late.clear();
    }

    /// Queues alarms that have appeared. Those not reached yet are announced in their turn.
    pub(super) fn appeared(&mut self, alarms: &mut Vec<AlarmIx>) {
        self.late.extend(alarms.drain(..).filter(|alarm| alarm.index() < self.done));
    }

    /// Queues changed alarms again and removes those that are gone.
    pub(super) fn change(&mut self, changed: &[AlarmIx], is_gone: impl Fn(AlarmIx) -> bool) {
        self.late.retain(|alarm| !is_gone(*alarm));
        self.late.extend(changed.iter().copied().filter(|alarm| alarm.index() < self.done));
        self.late.sort_unstable();
        self.late.dedup();
    }

    /// Counts an announcement that the broker has taken.
    pub(super) fn taken(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }
}

impl Daemon {
    /// Sends announcements while the window has room. Outbound events go first, because a withdrawal must not follow a
    /// new announcement.
    pub(super) fn announce(&mut self) {
        if self.durables.outbox.has_unsent_events() {
            return;
        }
        while self.can_speak() && self.discovery.in_flight < WINDOW {
            let Daemon { discovery, engine, .. } = self;
            while discovery.late.pop_if(|alarm| engine.view(*alarm).is_latent()).is_some() {}
            let late = self.discovery.late.last().copied().filter(|_| self.durables.prefixes.current.is_some());
            let next = self.engine.alarms_from(self.discovery.done).next();
            let Some(alarm) = late.or(next) else {
                if !self.forget_cleaned_prefix() && !self.begin_round_that_is_asked_for() {
                    return;
                }
                continue;
            };
            let Some(outbound) = self.announcement(alarm) else { return };
            if !self.link.send(outbound, Token::Discovery) {
                return;
            }
            if late.is_some() {
                self.discovery.late.pop();
            } else {
                self.discovery.done = alarm.index() + 1;
            }
            self.discovery.in_flight += 1;
        }
    }

    fn announcement(&self, alarm: AlarmIx) -> Option<Outbound> {
        let gateway = &self.config.gateway;
        let prefixes = &self.durables.prefixes;
        let view = self.engine.view(alarm);
        let (prefix, payload) = match (prefixes.obsolete.first(), &prefixes.current) {
            (Some(obsolete), _) => (obsolete, Bytes::new()),
            (None, Some(current)) => {
                (current, home_assistant::render(view, &gateway.shared_id, &gateway.topics).into())
            }
            (None, None) => return None,
        };
        let topic = home_assistant::topic(prefix, &gateway.shared_id, view.id());
        Some(Outbound { topic, payload, confirmed: true, retain: true, ..Outbound::default() })
    }

    /// Forgets an obsolete prefix once the broker has taken all that cleans it, and begins with the next. True if one
    /// was forgotten.
    fn forget_cleaned_prefix(&mut self) -> bool {
        if self.discovery.in_flight > 0 || self.durables.prefixes.obsolete.is_empty() {
            return false;
        }
        let prefix = self.durables.prefixes.obsolete.remove(0);
        tracing::info!(prefix, "not announced to Home Assistant any more");
        self.discovery.begin_anew();
        true
    }

    /// Handles the message by which Home Assistant publishes its availability.
    pub(super) fn home_assistant_says(&mut self, payload: &[u8], retained: bool) {
        // A retained one is from before this connection, and all alarms were announced since.
        if !retained && home_assistant::is_birth(payload) {
            self.discovery.is_asked = true;
        }
    }

    /// Begins a round if one is asked for and the pause is over. True if one has begun.
    fn begin_round_that_is_asked_for(&mut self) -> bool {
        let now = self.clock.at();
        if !self.discovery.is_asked || now < self.discovery.next_round {
            return false;
        }
        tracing::info!("Home Assistant has started: all alarms are announced again");
        self.discovery.is_asked = false;
        self.discovery.next_round = now + ROUND_PAUSE;
        self.discovery.begin_anew();
        true
    }

    /// Start of the next round that is asked for; `None` if there is no request.
    pub(super) fn next_announcements(&self) -> Option<Moment> {
        self.discovery.is_asked.then_some(self.discovery.next_round)
    }
}
