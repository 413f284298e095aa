//! Alarms announced to Home Assistant: all of them after each connect and when it asks, new ones as they come, and taken
//! back when they or the option go.
//!
//! The topics are retained, so what was announced has to be remembered: the store keeps the prefixes under which there
//! may be something of ours. One that is not configured any more is cleaned, alarm by alarm, before anything else is
//! announced, and forgotten when the broker has taken all of it. Alarms that leave the configuration say last_status in a
//! outbound event, as on their own topic.

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

/// Announcements that wait for the broker at one time: few, so that a hundred thousand of them leave room for events.
const WINDOW: usize = 16;
/// Home Assistant says once that it has started. If it is said again and again, all is announced again after this time at
/// the earliest, and when the round before is complete.
const ROUND_PAUSE: Span = Span::from_secs(10);

/// Under which prefixes this gateway may have announced alarms, as the store has to know it.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    /// The configured one.
    current: Option<String>,
    /// Those of earlier configurations.
    obsolete: Vec<String>,
    stored: Vec<String>,
}

impl Prefixes {
    /// What an earlier run has left, and what is configured now.
    pub(super) fn restore(stored: Vec<String>, current: Option<String>) -> Prefixes {
        let obsolete = stored.iter().filter(|prefix| Some(*prefix) != current.as_ref()).cloned().collect();
        Prefixes { current, obsolete, stored }
    }

    /// Another one is configured, or none.
    pub(super) fn change(&mut self, current: Option<String>) {
        let mut known: Vec<String> = self.known().cloned().collect();
        known.retain(|prefix| Some(prefix) != current.as_ref());
        (self.obsolete, self.current) = (known, current);
    }

    pub(super) fn known(&self) -> impl Iterator<Item = &String> {
        self.obsolete.iter().chain(&self.current)
    }

    /// Outbound events that take back what was announced of an alarm that is gone.
    pub(super) fn retractions(&self, gateway: &str, alarm: &AlarmId) -> impl Iterator<Item = OutboundEvent> {
        self.known().map(move |prefix| OutboundEvent {
            topic: Arc::from(home_assistant::topic(prefix, gateway, alarm)),
            payload: Bytes::new(),
            retain: true,
        })
    }
}

impl Durable for Prefixes {
    /// True if the store has to be told before anything is announced.
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

/// How far the announcing has come.
#[derive(Debug, Default)]
pub(super) struct Discovery {
    /// Alarms up to here were announced, or cleaned away under the first obsolete prefix.
    done: usize,
    /// Of those before, the ones of which there is something to tell only since then.
    late: Vec<AlarmIx>,
    in_flight: usize,
    /// Whether somebody who was not there before has asked for a round.
    is_asked: bool,
    /// When the next round that is asked for may begin.
    next_round: Moment,
}

impl Discovery {
    /// Everything has to be said again, because nobody knows what the broker has.
    pub(super) fn connected(&mut self) {
        *self = Discovery { next_round: self.next_round, ..Discovery::default() };
    }

    /// Everything has to be said again to somebody who was not there.
    pub(super) fn begin_anew(&mut self) {
        self.done = 0;
        self.late.clear();
    }

    /// There is something to tell of these now.
    pub(super) fn appeared(&mut self, alarms: &mut Vec<AlarmIx>) {
        self.late.extend(alarms.drain(..).filter(|alarm| alarm.index() < self.done));
    }

    /// These have to be said again, and some have gone.
    pub(super) fn change(&mut self, changed: &[AlarmIx], is_gone: impl Fn(AlarmIx) -> bool) {
        self.late.retain(|alarm| !is_gone(*alarm));
        self.late.extend(changed.iter().copied().filter(|alarm| alarm.index() < self.done));
        self.late.sort_unstable();
        self.late.dedup();
    }

    /// The broker has taken one.
    pub(super) fn taken(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }
}

impl Daemon {
    /// Announces what has room in the window. A outbound event that takes back an old announcement must not come after a new one.
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

    /// When the broker has taken all that cleans an obsolete prefix, the next one has its turn. True: there is more to do.
    fn forget_cleaned_prefix(&mut self) -> bool {
        if self.discovery.in_flight > 0 || self.durables.prefixes.obsolete.is_empty() {
            return false;
        }
        let prefix = self.durables.prefixes.obsolete.remove(0);
        tracing::info!(prefix, "not announced to Home Assistant any more");
        self.discovery.begin_anew();
        true
    }

    /// Home Assistant says whether it is there.
    pub(super) fn home_assistant_says(&mut self, payload: &[u8], retained: bool) {
        // A retained one was there before we connected, and all was announced since.
        if !retained && home_assistant::is_birth(payload) {
            self.discovery.is_asked = true;
        }
    }

    /// All is announced again, if somebody wants that and the last time is long enough ago. False: there is nothing to do.
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

    /// When a round begins that is asked for, if nothing else is in the way.
    pub(super) fn next_announcements(&self) -> Option<Moment> {
        self.discovery.is_asked.then_some(self.discovery.next_round)
    }
}
