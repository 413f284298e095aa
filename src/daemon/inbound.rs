//! Events of the link: messages, which are classified and evaluated, confirmations, and connections that come and go.

use super::Daemon;
use super::observer;
use crate::api::channel::{Announced, Channel};
use crate::api::commands::Request;
use crate::api::problem::ProblemKind;
use crate::domain::dedup::Dedup;
use crate::domain::observation::{Acknowledgement, Cause, PROBE_HOLD_UP};
use crate::domain::outbox::Token;
use crate::domain::time::{Moment, Now};
use crate::ingest::router::{Fault, Message, Remember};
use crate::io::mqtt::{Inbound, LinkEvent, Outbound, Received};

/// Messages that may come again and are kept in the list before the broker is asked how far it is: about 4 KiB on disk.
const UNSETTLED: usize = 512;
/// Refused subscriptions that the status and the log name one by one: a technician needs no more to see the rule behind
/// them.
const LISTED_REFUSALS: usize = 10;

impl Daemon {
    /// One thing that happened on the link.
    pub(super) fn receive_event(&mut self, Received { at, event, .. }: Received) {
        // A message that has waited since before the end of a gap is one of the gap, and counts from its end.
        let now = self.clock.now().moved_to(at.max(self.observation.observed_since()));
        match event {
            LinkEvent::Message(inbound) => self.message(&inbound, now),
            LinkEvent::Taken { token, acknowledged } => self.taken(token, acknowledged),
            LinkEvent::Refused { token, acknowledged, topic, reason } => {
                self.refused(token, acknowledged, &topic, &reason);
            }
            LinkEvent::Retained(payload) => {
                if self.persistence.takes_mark(&payload) {
                    tracing::warn!("an earlier run has published what its disk did not take: looks at that");
                    self.has_lost_its_place = true;
                }
            }
            LinkEvent::Up { session_present } => {
                self.durables.dedup.connected(session_present);
                self.up(now);
            }
            LinkEvent::Subscribed { refused } => self.subscribed(refused),
            LinkEvent::Down { reason, silent_since } => {
                self.down(&reason, silent_since, now);
            }
        }
    }

    /// The broker confirms what we publish after it has processed what we acknowledged before. Where nothing is published
    /// for long, something is, so that the list of messages that may come again stays short.
    pub(super) fn settle_acknowledgements(&mut self) {
        if self.fence_is_out || self.durables.dedup.unsettled() < UNSETTLED {
            return;
        }
        let topic = self.config.gateway.topics.probe();
        let fence = Outbound { topic, payload: "settling".into(), confirmed: true, ..Outbound::default() };
        self.fence_is_out = self.link.send(fence, Token::Fence);
    }

    pub(super) fn message(&mut self, inbound: &Inbound, now: Now) {
        self.link.took(inbound);
        let Inbound { topic, payload, retained, repeated, receipt, reply_to } = inbound;
        let is_probe = receipt.is_some() && self.config.gateway.topics.is_probe(topic);
        let needs_write = receipt.is_some() && !is_probe;
        self.observation
            .received(now.at, if needs_write { Acknowledgement::AfterWrite } else { Acknowledgement::None });
        self.engine.prove(self.observation.proven());
        match receipt {
            // Probes owe the disk nothing, so a slow one holds up none; but acknowledgements leave in order.
            Some(receipt) if is_probe && self.receipts.is_empty() => {
                if self.clock.at() - now.at > PROBE_HOLD_UP {
                    self.observation.held_up();
                }
                self.link.acknowledge(*receipt);
            }
            receipt => self.receipts.extend(*receipt),
        }
        if let Some(receipt) = receipt {
            let packet = (receipt.packet_id(), Dedup::checksum(topic, payload));
            if self.durables.dedup.is_repeat(packet, *repeated) {
                self.metrics.repeats += 1;
                return;
            }
        }
        if self.poison.is_skipped(inbound) {
            self.skip(topic);
            return;
        }
        let message = Message { topic, payload, retained: *retained };
        let Daemon { intake, engine, effects, faults, .. } = self;
        if intake.take_known(message, engine, now, effects, faults.inlet()) {
            self.metrics.messages += 1;
            self.metrics.faults += self.faults.settle();
            return;
        }
        let channel = self.classify(topic);
        self.metrics.messages += u64::from(channel != Channel::Probe);
        match channel {
            Channel::Probe => self.probe_received(payload, *retained, now),
            Channel::Command { verb, is_addressed } => {
                // An empty one: somebody has deleted a retained message. A source's filter may cover commands, too.
                if !payload.is_empty() && self.config.gateway.commands {
                    match self.admit(verb, inbound, now.wall) {
                        Ok(Request { command, .. }) if !is_addressed && !command.concerns(self.config.model.share) => {}
                        Ok(request) => self.command(request, payload.len(), reply_to.clone(), now),
                        Err(refusal) => self.replies.push(refusal),
                    }
                }
            }
            Channel::HomeAssistantStatus => {
                self.home_assistant_says(payload, *retained);
                self.evaluate_new(message, Remember::No, now);
            }
            Channel::Thing | Channel::Score => self.evaluate_new(message, Remember::Yes, now),
            Channel::Announcement | Channel::Own => {}
        }
    }

    /// A message that has brought the daemon to its end is acknowledged, and that is all.
    fn skip(&mut self, topic: &str) {
        let reason = format_args!("the daemon was handling this message when it ended, twice in a row: it is skipped");
        self.faults.inlet().push(Fault::new(topic, reason));
        self.metrics.faults += self.faults.settle();
        if let Some(problem) = self.poison.report(topic) {
            tracing::error!(topic, "{problem}");
            self.status.problems.add(ProblemKind::Message, problem);
        }
    }

    /// Evaluates a message on a topic that is not remembered.
    fn evaluate_new(&mut self, message: Message<'_>, remember: Remember, now: Now) {
        let Daemon { intake, engine, effects, faults, .. } = self;
        intake.take_new(message, remember, engine, now, effects, faults.inlet());
        self.metrics.faults += self.faults.settle();
    }

    /// The purpose of a topic.
    fn classify<'t>(&self, topic: &'t str) -> Channel<'t> {
        let gateway = &self.config.gateway;
        let announced = Announced {
            gateway: &gateway.shared_id,
            current: self.config.home_assistant.as_deref(),
            earlier: self.durables.prefixes.known(),
        };
        Channel::of(topic, &gateway.topics, announced)
    }

    pub(super) fn taken(&mut self, token: Token, acknowledged: u64) {
        self.metrics.published += 1;
        if let Token::Reaction(ticket) = token {
            self.notifier.confirmed(ticket, self.clock.now());
        }
        self.settled(token, acknowledged);
    }

    /// The broker has said what it has to say to something.
    pub(super) fn settled(&mut self, token: Token, acknowledged: u64) {
        self.durables.dedup.processed(acknowledged);
        match token {
            Token::OutboundEvent(_) | Token::State(_) => self.durables.outbox.taken(token),
            Token::Discovery => self.discovery.taken(),
            Token::Probe(number) => self.probe_acknowledged(number),
            Token::Fence => self.fence_is_out = false,
            Token::Answer(bytes) => self.replies.taken(bytes),
            Token::Passing | Token::FinalStatus | Token::Reaction(_) => {}
        }
    }

    pub(super) fn subscribed(&mut self, refused: Vec<(String, String)>) {
        self.durables.filters.confirmed();
        self.status.problems.remove(ProblemKind::Subscription);
        let more = refused.len().saturating_sub(LISTED_REFUSALS);
        for (filter, reason) in refused.into_iter().take(LISTED_REFUSALS) {
            tracing::error!(filter, reason, "subscription refused");
            self.status.problems.add(ProblemKind::Subscription, format!("{filter}: {reason}"));
        }
        if more > 0 {
            tracing::error!(more, "more subscriptions were refused");
            self.status.problems.add(ProblemKind::Subscription, format!("and {more} more: refused"));
        }
    }

    pub(super) fn up(&mut self, now: Now) {
        self.metrics.connects += 1;
        tracing::info!(host = self.config.mqtt.host, port = self.config.mqtt.port, "connected and subscribed");
        let gap = self.observation.connected(now.at);
        gap.into_iter().for_each(|gap| self.end_gap(gap));
        self.fence_is_out = false;
        self.forget_refusals();
        self.discovery.connected();
        self.durables.anomalies.connected();
        // The broker may have forgotten everything that is retained.
        self.published_status = None;
        self.due.status = now.at;
        let alarms: Vec<_> = self.engine.alarms().collect();
        self.durables.outbox.connected(alarms.into_iter());
    }

    pub(super) fn down(&mut self, reason: &str, silent_since: Option<Moment>, now: Now) {
        let was_connected = self.observation.is_connected();
        if was_connected {
            tracing::warn!(reason, "connection lost");
        } else {
            tracing::warn!(host = self.config.mqtt.host, port = self.config.mqtt.port, reason, "cannot connect");
        }
        let deadline = self.engine.next_deadline();
        let begun = self.observation.disconnected(now.at, silent_since, deadline);
        let cause = format!("{}: {reason}", observer::describe_cause(Cause::NotConnected));
        if was_connected && begun.is_none() {
            // A gap goes on for another reason.
            self.gap_cause = format!("{}; then {cause}", self.gap_cause);
        }
        self.begin_gap(begun, || cause);
        if self.observation.has_become_suspicious() {
            let client_id = self.config.mqtt.client_id.as_str();
            tracing::warn!(client_id, "no connection lasts: another client may use the same client_id");
        }
        if self.config.gateway.standby.is_some() {
            tracing::warn!("the connection is lost, and another instance may take over: looks around");
            self.has_lost_its_place = true;
        }
        self.durables.outbox.disconnected();
        self.replies.disconnected();
        self.commands.disconnected();
        self.notifier.disconnected(self.clock.now());
    }
}
