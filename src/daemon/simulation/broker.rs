//! The simulated broker: one session for the daemon, retained topics, and a watcher who has seen everything.
//!
//! It keeps to MQTT 3.1.1, no more: it confirms when it likes, repeats with DUP what was not acknowledged, in order, may
//! lose the session, or everything.

use super::random::Random;
use crate::mqtt::double::{Sent, Wire};
use crate::outbox::Token;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Messages that a session has on their way at one time.
const WINDOW: usize = 20;

/// A message that was published by the plant, or by the daemon to itself.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Bytes,
}

/// A message of the plant as it was delivered.
#[derive(Debug, Clone)]
pub(super) struct Delivered {
    pub(super) message: Message,
    /// Its value; of a command none.
    pub(super) number: f64,
    /// When it was first and last sent to the daemon.
    pub(super) first: i64,
    pub(super) last: i64,
    /// Whether the session was lost before it was acknowledged: nobody knows whether it was evaluated.
    pub(super) lost: bool,
}

/// Something that the daemon has published.
#[derive(Debug, Clone)]
pub(super) struct Published {
    pub(super) at: i64,
    pub(super) topic: String,
    pub(super) payload: Bytes,
}

#[derive(Debug)]
struct Queued {
    message: Message,
    /// Where it stands among those delivered, if it is one of the plant's and was sent.
    number: Option<usize>,
    packet_id: Option<u16>,
    sent_now: bool,
}

#[derive(Debug, Default)]
pub(super) struct Broker {
    session: Option<VecDeque<Queued>>,
    next_packet_id: u16,
    /// Whether packet ids are used again as soon as they are free.
    lowest_ids: bool,
    pub(super) retained: BTreeMap<String, Bytes>,
    pub(super) published: Vec<Published>,
    /// Alarm and sequence number of each event that was published.
    pub(super) events: BTreeSet<(String, u64)>,
    pub(super) delivered: Vec<Delivered>,
    /// What it has taken and not confirmed yet, in order.
    unconfirmed: VecDeque<(Token, u64)>,
    /// Nothing is delivered on this connection.
    pub(super) deaf: bool,
    /// Nothing happens on this connection.
    pub(super) frozen: bool,
    pub(super) probe_refused: bool,
    /// Whether the daemon knows that it can hear itself. One that never could takes deafness for access rules, and one
    /// that could not twice in a row too: that is how it is meant.
    pub(super) heard_itself: bool,
    pub(super) repeats: usize,
    pub(super) disconnected: bool,
}

impl Broker {
    pub(super) fn new(lowest_ids: bool) -> Broker {
        Broker { lowest_ids, ..Broker::default() }
    }

    /// The session is gone, as after a restart without persistence.
    pub(super) fn lose_session(&mut self) {
        for queued in self.session.take().into_iter().flatten() {
            if let Some(number) = queued.number {
                self.delivered[number].lost = true;
            }
        }
    }

    /// The daemon connects. Returns whether its session was still there.
    pub(super) fn connect(&mut self) -> bool {
        self.unconfirmed.clear();
        self.deaf = false;
        self.frozen = false;
        let present = self.session.is_some();
        for queued in self.session.get_or_insert_default() {
            queued.sent_now = false;
        }
        present
    }

    /// The plant publishes. Without a session nobody takes note.
    pub(super) fn publish(&mut self, message: Message) {
        if let Some(session) = &mut self.session {
            session.push_back(Queued { message, number: None, packet_id: None, sent_now: false });
        }
    }

    fn free_id(&mut self) -> u16 {
        let used = |id: u16| self.session.iter().flatten().any(|queued| queued.packet_id == Some(id));
        if self.lowest_ids {
            return (1..).find(|id| !used(*id)).unwrap();
        }
        let mut id = self.next_packet_id;
        loop {
            id = if id >= 60 { 1 } else { id + 1 };
            if !used(id) {
                self.next_packet_id = id;
                return id;
            }
        }
    }

    /// Sends up to so many messages to the daemon.
    pub(super) fn deliver(&mut self, wire: &Wire, most: u64, now: i64) {
        if self.deaf || self.frozen {
            return;
        }
        for _ in 0..most {
            let Some(index) = self.session.iter().flatten().take(WINDOW).position(|queued| !queued.sent_now) else {
                return;
            };
            let id = self.session.as_ref().unwrap()[index].packet_id.unwrap_or_else(|| self.free_id());
            let queued = &mut self.session.as_mut().unwrap()[index];
            let repeated = queued.packet_id.replace(id).is_some();
            queued.sent_now = true;
            let message = queued.message.clone();
            if repeated {
                self.repeats += 1;
            }
            if !message.topic.ends_with("/probe") {
                match queued.number {
                    Some(number) => self.delivered[number].last = now,
                    None => {
                        queued.number = Some(self.delivered.len());
                        let number = std::str::from_utf8(&message.payload).unwrap().parse().unwrap_or(f64::NAN);
                        let message = message.clone();
                        self.delivered.push(Delivered { message, number, first: now, last: now, lost: false });
                    }
                }
            }
            self.heard_itself |= !repeated && message.topic.ends_with("/probe") && message.payload != "settling";
            wire.deliver(&message.topic, message.payload, false, repeated, Some(id));
        }
    }

    /// Takes up to so much of what the daemon has sent. `seen` is told of each message that is published.
    pub(super) fn take(&mut self, wire: &Wire, most: u64, now: i64, mut seen: impl FnMut(&Published, &Broker)) {
        if self.frozen {
            return;
        }
        for _ in 0..most {
            match wire.sent() {
                None => return,
                Some(Sent::Disconnect) => self.disconnected = true,
                Some(Sent::Acknowledge { packet_id }) => {
                    let session = self.session.as_mut().unwrap();
                    let place =
                        session.iter().position(|queued| queued.packet_id == Some(packet_id) && queued.sent_now);
                    session.remove(place.expect("only what was sent on this connection is acknowledged"));
                }
                Some(Sent::Publish { topic, payload, retain, confirm }) => {
                    self.unconfirmed.extend(confirm);
                    if topic.ends_with("/probe") {
                        if !self.probe_refused {
                            self.publish(Message { topic, payload });
                        }
                        continue;
                    }
                    if retain {
                        self.retained.insert(topic.clone(), payload.clone());
                    }
                    if let Some(alarm) = topic.strip_prefix("annunciator/gw/events/") {
                        let event: serde_json::Value = serde_json::from_slice(&payload).unwrap();
                        self.events.insert((alarm.to_owned(), event["seq"].as_u64().unwrap()));
                    }
                    let published = Published { at: now, topic, payload };
                    seen(&published, self);
                    self.published.push(published);
                }
            }
        }
    }

    /// Confirms up to so much of what it has taken.
    pub(super) fn confirm(&mut self, wire: &Wire, most: u64) {
        for _ in 0..if self.frozen { 0 } else { most } {
            let Some(token) = self.unconfirmed.pop_front() else { return };
            wire.confirm(token);
        }
    }

    /// Whether nothing is on its way.
    pub(super) fn is_quiet(&self) -> bool {
        self.unconfirmed.is_empty() && self.session.iter().flatten().next().is_none()
    }

    /// What the plant publishes next: a value that no other message has, or an operator's command.
    pub(super) fn invent(random: &mut Random, number: usize) -> Message {
        let thing = random.below(3);
        if random.one_in(12) {
            let (topic, level) = ("annunciator/gw/commands/acknowledge", ["hi", "lo"][usize::from(random.one_in(2))]);
            let payload = format!(r#"{{"alarm":"press-{thing}/pressure/{level}","by":"kim","comment":"{number}"}}"#);
            return Message { topic: topic.to_owned(), payload: payload.into() };
        }
        let topic = format!("things/press-{thing}/pressure");
        Message { topic, payload: format!("{}.{number:05}1", random.below(24)).into() }
    }
}
