//! Where the answers to commands go, and what the broker has to say to what we publish.

use super::Daemon;
use crate::api::commands::{self, Request};
use crate::api::problem::ProblemKind;
use crate::api::reply;
use crate::domain::outbox::Token;
use crate::domain::time::Stamp;
use crate::io::mqtt::{Inbound, Link, Outbound, ReplyTo};
use bytes::Bytes;
use serde_json::Value;
use std::cell::Cell;
use std::rc::Rc;

/// Topics that the broker refuses and that are named in the status; further ones are in the log only.
const NAMED: usize = 10;

/// Bytes of answers that the broker has not taken, up to which further questions are looked into: four pages.
const ROOM: usize = 1 << 20;
/// Bytes of answers that the broker has not taken; what is more is not answered. Refusals are small, and never so many
/// where somebody reads them.
const MOST: usize = 8 << 20;
/// Bytes of an answer besides its payload, about.
const OVERHEAD: usize = 256;

/// The answer to a command, and where it is waited for.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) payload: Vec<u8>,
    /// None: on the topic for everybody.
    pub(super) to: Option<ReplyTo>,
}

impl Reply {
    /// Bytes that it takes until the broker has it.
    fn bytes(&self) -> usize {
        let asker = self.to.as_ref().map_or(0, |to| to.topic.len() + to.correlation.as_ref().map_or(0, Bytes::len));
        self.payload.len() + asker + OVERHEAD
    }

    /// Sends it; `replies` is the topic for everybody.
    pub(super) fn send(mut self, link: &Link, replies: String, on_the_way: &OnTheWay) {
        let largest = link.largest_payload();
        if self.payload.len() > largest {
            self.payload = too_large(&self.payload, largest);
        }
        let bytes = self.bytes();
        let Reply { payload, to } = self;
        let (topic, correlation) = to.map_or((replies, None), |ReplyTo { topic, correlation }| (topic, correlation));
        let reply = Outbound { topic, payload: payload.into(), confirmed: true, correlation, ..Outbound::default() };
        if link.send(reply, Token::Answer(u32::try_from(bytes).unwrap_or(u32::MAX))) {
            on_the_way.0.set(on_the_way.0.get() + bytes);
        } else {
            tracing::debug!("the connection went before an answer could be sent");
        }
    }
}

/// What is said instead of an answer that the broker would not take.
fn too_large(payload: &[u8], largest: usize) -> Vec<u8> {
    #[derive(serde::Deserialize)]
    struct Named {
        #[serde(default)]
        request: Value,
    }
    let request = serde_json::from_slice(payload).map_or(Value::Null, |Named { request }| request);
    let bytes = payload.len();
    reply::refused(request, format!("the answer has {bytes} bytes, and the broker takes {largest} at most"))
}

/// Bytes of the answers that were handed to the link and that the broker has not taken.
#[derive(Debug, Clone, Default)]
pub(super) struct OnTheWay(Rc<Cell<usize>>);

/// Answers of this turn, and how many there are beyond them.
#[derive(Debug, Default)]
pub(super) struct Replies {
    list: Vec<Reply>,
    bytes: usize,
    on_the_way: OnTheWay,
    /// Answers that had no room.
    lost: u64,
}

impl Replies {
    /// Takes an answer, which leaves when what the turn decided is on disk.
    pub(super) fn push(&mut self, reply: Reply) {
        let bytes = reply.bytes();
        if self.bytes + bytes + self.on_the_way.0.get() > MOST {
            self.lost += 1;
            if self.lost.is_power_of_two() {
                tracing::warn!(
                    lost = self.lost,
                    "answers to commands are lost: more are asked for than the broker takes"
                );
            }
            return;
        }
        self.bytes += bytes;
        self.list.push(reply);
    }

    /// Whether a question may be looked into.
    pub(super) fn have_room(&self) -> bool {
        self.bytes + self.on_the_way.0.get() < ROOM
    }

    /// Those of this turn.
    pub(super) fn take(&mut self) -> Vec<Reply> {
        self.bytes = 0;
        std::mem::take(&mut self.list)
    }

    /// Who sends one beside the loop counts it here.
    pub(super) fn on_the_way(&self) -> OnTheWay {
        self.on_the_way.clone()
    }

    /// The broker has taken one.
    pub(super) fn taken(&self, bytes: u32) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.on_the_way.0.set(self.on_the_way.0.get().saturating_sub(bytes));
    }

    /// Those on the way went with the connection.
    pub(super) fn disconnected(&self) {
        self.on_the_way.0.set(0);
    }
}

impl Daemon {
    /// Reads a command, and decides whether it may be carried out.
    pub(super) fn admit(&self, verb: &str, inbound: &Inbound, now: Stamp) -> Result<Request, Reply> {
        let Inbound { payload, retained, reply_to, .. } = inbound;
        let gateway = &self.config.gateway;
        if let Some(to) = reply_to
            && let Err(error) = gateway.topics.may_answer_on(&to.topic)
        {
            return Err(Reply { payload: commands::refuse(payload, &error).render(), to: None });
        }
        let bounds = (gateway.command_max_age, gateway.max_shelve);
        commands::admit(verb, payload, *retained, now, bounds)
            .map_err(|refusal| Reply { payload: refusal.render(), to: reply_to.clone() })
    }

    /// Sends an answer.
    pub(super) fn answer(&self, reply: Reply) {
        reply.send(&self.link, self.config.gateway.topics.replies(), &self.replies.on_the_way());
    }

    /// The broker will not take something, however often it is sent. Whoever looks after its rules is told, once; what
    /// else there is to publish does not wait for it.
    pub(super) fn refused(&mut self, token: Token, acknowledged: u64, topic: &str, reason: &str) {
        self.metrics.refused += 1;
        if let Token::Reaction(ticket) = token {
            self.notifier.refused(ticket, reason, self.clock.now());
        }
        if matches!(token, Token::Probe(_)) {
            self.observation.probe_refused();
        }
        let problem = format!("{topic}: {reason}");
        if !self.status.problems.of(ProblemKind::Publication).any(|known| known == problem) {
            tracing::error!(topic, reason, "the broker refuses what is published");
            if self.status.problems.of(ProblemKind::Publication).count() < NAMED {
                self.status.problems.add(ProblemKind::Publication, problem);
            }
        }
        self.settled(token, acknowledged);
    }

    /// A new connection: the rules may have changed.
    pub(super) fn forget_refusals(&mut self) {
        self.status.problems.remove(ProblemKind::Publication);
    }
}
