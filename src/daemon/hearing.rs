//! What comes from the link: messages, confirmations, the beginning and the end of gaps, and the proof that there is none.

use super::Daemon;
use super::ear::Doubt;
use super::housekeeping::{PROBE, SUBSCRIPTION};
use super::repeats::Repeats;
use crate::engine::{Input, Link as Hearing};
use crate::intake::Message;
use crate::mqtt::{Heard, Inbound, LinkEvent, Outbound};
use crate::operate;
use crate::outbox::Token;
use crate::time::{Moment, Now};
use crate::wire::command::Request;
use crate::wire::status::Gap;

/// Messages that may come again and are kept in the list before the broker is asked how far it is: about 4 KiB on disk.
const UNSETTLED: usize = 512;

impl Daemon {
    /// The process was stopped, or the machine had no time for it: what came meanwhile was received late, so none of
    /// that time is evidence.
    pub(super) fn stalled(&mut self, since: Moment, resumed: Moment) {
        if !self.engine.link().is_up() {
            return;
        }
        let since = self.beginning_of_gap(since);
        let (from, to) = (self.clock.now().moved_to(since), self.clock.now().moved_to(resumed.max(since)));
        self.engine.handle(Input::LinkDown, from, &mut self.step);
        "the daemon was stopped, or the machine had no time for it".clone_into(&mut self.gap_cause);
        self.end_gap(to);
        self.ear.heard(to.at);
    }

    /// When a gap began of which nothing was known before `noticed`. Where silence matters (it was asked for proof, or a
    /// deadline has passed), what was not heard since the last proof belongs to the gap.
    fn beginning_of_gap(&mut self, noticed: Moment) -> Moment {
        let proven = self.ear.proven();
        let deadline_has_passed = self.engine.next_deadline().is_some_and(|deadline| deadline < noticed);
        if self.ear.silent_since().is_some() || deadline_has_passed { proven } else { noticed.max(proven) }
    }

    /// The engine can hear again.
    pub(super) fn end_gap(&mut self, now: Now) {
        if let Hearing::Down { since } = self.engine.link() {
            let length = now.at - since;
            let cause = std::mem::take(&mut self.gap_cause);
            tracing::info!(seconds = length.as_secs_f64(), cause, "gap in observation has ended");
            self.status.last_gap = Some(Gap { from: now.stamp(since), to: now.wall, length, cause });
        }
        self.engine.handle(Input::LinkUp, now, &mut self.step);
        self.gap_has_ended = true;
    }

    /// One thing that happened on the link.
    pub(super) fn hear(&mut self, Heard { at, event, .. }: Heard) {
        let now = self.clock.now().moved_to(at);
        match event {
            LinkEvent::Message(inbound) => self.message(&inbound, now),
            LinkEvent::Taken { token, acknowledged } => self.taken(token, acknowledged),
            LinkEvent::Refused { token, acknowledged, topic, reason } => {
                self.refused(token, acknowledged, &topic, &reason);
            }
            LinkEvent::Up { session_present } => {
                self.journal.repeats.connected(session_present);
                self.up(now);
            }
            LinkEvent::Subscribed { refused } => self.subscribed(refused),
            LinkEvent::Down { reason, silent_since } => {
                let since = self.beginning_of_gap(silent_since.unwrap_or(now.at));
                self.down(&reason, now.moved_to(since.min(now.at)));
            }
        }
    }

    /// Lets the engine's time go on to where silence is proven, and asks for proof where it is needed.
    pub(super) fn advance(&mut self) {
        let now = self.clock.now();
        if !self.can_speak() {
            if !self.engine.link().is_up() && self.engine.next_wake().is_some_and(|wake| wake < now.at) {
                self.engine.handle(Input::Tick, now, &mut self.step);
            }
            return;
        }
        self.engine.handle(Input::Tick, now.moved_to(self.ear.proven()), &mut self.step);
        let deadline = self.engine.next_wake();
        if self.ear.wants_probe(now.at, deadline) {
            self.ask_for_proof();
        }
        match self.ear.doubt(now.at) {
            None => {}
            Some(Doubt::Deaf) => {
                tracing::error!("the broker acknowledges but delivers nothing; connecting anew");
                self.link.reconnect("the broker acknowledged but delivered nothing");
                self.ear.sent(now.at);
            }
            Some(Doubt::NeverHeardItself) => {
                let topic = self.config.gateway.topics.probe();
                tracing::warn!(topic, "the daemon cannot hear itself: allow it to write and read this topic");
                self.status.problems.retain(|problem| !problem.starts_with(PROBE));
                self.status.problems.push(format!("{PROBE}{topic} does not come back: allow to write and read it"));
            }
        }
    }

    /// Sends a message to ourselves.
    pub(super) fn ask_for_proof(&mut self) {
        let topic = self.config.gateway.topics.probe();
        let probe = Outbound { topic, payload: "listening".into(), confirmed: true, ..Outbound::default() };
        if self.link.send(probe, Token::Probe) {
            self.ear.sent(self.clock.at());
        }
    }

    /// The broker confirms what we publish after it has processed what we acknowledged before. Where nothing is published
    /// for long, something is, so that the list of messages that may come again stays short.
    pub(super) fn settle_acknowledgements(&mut self) {
        if self.fence_is_out || self.journal.repeats.unsettled() < UNSETTLED {
            return;
        }
        let topic = self.config.gateway.topics.probe();
        let fence = Outbound { topic, payload: "settling".into(), confirmed: true, ..Outbound::default() };
        self.fence_is_out = self.link.send(fence, Token::Fence);
    }

    pub(super) fn message(&mut self, inbound: &Inbound, now: Now) {
        self.link.took(inbound);
        self.ear.heard(now.at);
        let Inbound { topic, payload, retained, repeated, receipt, reply_to } = inbound;
        self.receipts.extend(*receipt);
        if let Some(receipt) = receipt {
            let packet = (receipt.packet_id(), Repeats::checksum(topic, payload));
            if self.journal.repeats.is_repeat(packet, *repeated) {
                self.metrics.repeats += 1;
                return;
            }
        }
        if self.config.gateway.topics.is_probe(topic) {
            self.ear.heard_itself();
            self.status.problems.retain(|problem| !problem.starts_with(PROBE));
            return;
        }
        self.metrics.messages += 1;
        let topics = &self.config.gateway.topics;
        if let Some(verb) = topics.verb(topic) {
            // An empty one: somebody has deleted a retained message. A source's filter may cover commands, too.
            if !payload.is_empty() && self.config.gateway.commands {
                let is_for_us = topics.is_addressed(topic);
                match self.admit(verb, inbound, now.wall) {
                    Ok(Request { command, .. })
                        if !is_for_us && !operate::is_ours(self.config.model.share, &command) => {}
                    Ok(request) => self.command(request, payload.len(), reply_to.clone(), now),
                    Err(refusal) => self.replies.push(refusal),
                }
            }
        } else if (!topics.is_own(topic) || topics.is_saved(topic)) && !self.is_announcement(topic) {
            self.hear_home_assistant(topic, payload, *retained);
            let message = Message { topic, payload, retained: *retained };
            self.intake.take(message, &mut self.engine, now, &mut self.step, self.faults.inlet());
            self.metrics.faults += self.faults.settle();
        }
    }

    pub(super) fn taken(&mut self, token: Token, acknowledged: u64) {
        self.metrics.published += 1;
        if let Token::Reaction(ticket) = token {
            self.reacting.confirmed(ticket, self.clock.now());
        }
        self.settled(token, acknowledged);
    }

    /// The broker has said what it has to say to something.
    pub(super) fn settled(&mut self, token: Token, acknowledged: u64) {
        self.journal.repeats.processed(acknowledged);
        match token {
            Token::Letter(_) | Token::State(_) => self.journal.outbox.taken(token),
            Token::Discovery => self.discovery.taken(),
            Token::Probe => self.ear.taken(),
            Token::Fence => self.fence_is_out = false,
            Token::Answer(bytes) => self.replies.taken(bytes),
            Token::Passing | Token::Farewell | Token::Reaction(_) => {}
        }
    }

    pub(super) fn subscribed(&mut self, refused: Vec<(String, String)>) {
        self.journal.filters.confirmed();
        self.status.problems.retain(|problem| !problem.starts_with(SUBSCRIPTION));
        for (filter, reason) in refused {
            tracing::error!(filter, reason, "subscription refused");
            self.status.problems.push(format!("{SUBSCRIPTION}{filter}: {reason}"));
        }
    }

    pub(super) fn up(&mut self, now: Now) {
        self.metrics.connects += 1;
        tracing::info!(host = self.config.mqtt.host, port = self.config.mqtt.port, "connected and subscribed");
        self.end_gap(now);
        self.ear.connected(now.at);
        self.fence_is_out = false;
        self.forget_refusals();
        self.discovery.connected();
        self.journal.anomalies.connected();
        // The broker may have forgotten everything that is retained.
        self.published_status = None;
        self.due.status = now.at;
        let alarms: Vec<_> = self.engine.alarms().collect();
        self.journal.outbox.connected(alarms.into_iter());
    }

    pub(super) fn down(&mut self, reason: &str, now: Now) {
        if self.engine.link().is_up() {
            tracing::warn!(reason, "connection lost");
            self.gap_cause = format!("not connected to the broker: {reason}");
        } else {
            tracing::warn!(host = self.config.mqtt.host, port = self.config.mqtt.port, reason, "cannot connect");
        }
        if self.ear.disconnected(now.at) {
            let client_id = self.config.mqtt.client_id.as_str();
            tracing::warn!(client_id, "no connection lasts: another client may use the same client_id");
        }
        self.engine.handle(Input::LinkDown, now, &mut self.step);
        self.has_lost_its_place = self.config.gateway.standby.is_some();
        self.journal.outbox.disconnected();
        self.replies.disconnected();
        self.commands.disconnected();
        self.reacting.disconnected(self.clock.now());
    }
}
