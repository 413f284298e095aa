//! Where the answers to commands go, and what the broker has to say to what we publish.

use super::Daemon;
use crate::mqtt::{Inbound, Link, Outbound, ReplyTo};
use crate::outbox::Token;
use crate::time::Stamp;
use crate::wire::command::{self, Request};

/// Topics that the broker refuses and that are named in the status; further ones are in the log only.
const NAMED: usize = 10;
/// Problems of this kind begin with these words.
const REFUSED: &str = "publish to ";

/// The answer to a command, and where it is waited for.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) payload: Vec<u8>,
    /// None: on the topic for everybody.
    pub(super) to: Option<ReplyTo>,
}

impl Reply {
    /// Sends it; `replies` is the topic for everybody.
    pub(super) fn send(self, link: &Link, replies: String) {
        let Reply { payload, to } = self;
        let (topic, correlation) = to.map_or((replies, None), |ReplyTo { topic, correlation }| (topic, correlation));
        let reply = Outbound { topic, payload: payload.into(), confirmed: true, correlation, ..Outbound::default() };
        if !link.send(reply, Token::Passing) {
            tracing::debug!("the connection went before an answer could be sent");
        }
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
            return Err(Reply { payload: command::refuse(payload, error).render(), to: None });
        }
        command::check_age(payload, now, gateway.command_max_age)
            .and_then(|()| command::parse(verb, payload, *retained, gateway.max_shelve))
            .map_err(|refusal| Reply { payload: refusal.render(), to: reply_to.clone() })
    }

    /// Sends an answer.
    pub(super) fn answer(&self, reply: Reply) {
        reply.send(&self.link, self.config.gateway.topics.replies());
    }

    /// The broker will not take something, however often it is sent. Whoever looks after its rules is told, once; what
    /// else there is to publish does not wait for it.
    pub(super) fn refused(&mut self, token: Token, acknowledged: u64, topic: &str, reason: &str) {
        self.metrics.refused += 1;
        if let Token::Reaction(ticket) = token {
            self.reacting.refused(ticket, reason, self.clock.now());
        }
        if token == Token::Probe {
            self.observation.probe_refused();
        }
        let problem = format!("{REFUSED}{topic}: {reason}");
        if !self.status.problems.contains(&problem) {
            tracing::error!(topic, reason, "the broker refuses what is published");
            if self.status.problems.iter().filter(|known| known.starts_with(REFUSED)).count() < NAMED {
                self.status.problems.push(problem);
            }
        }
        self.settled(token, acknowledged);
    }

    /// A new connection: the rules may have changed.
    pub(super) fn forget_refusals(&mut self) {
        self.status.problems.retain(|problem| !problem.starts_with(REFUSED));
    }
}
