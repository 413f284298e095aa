//! Observation at work: probes leave and come back, gaps begin and end, and the engine's deadlines fire as far as silence is
//! proven. The decisions are in [`crate::domain::observation`].

use super::Daemon;
use super::stall::Stall;
use crate::api::problem::ProblemKind;
use crate::api::status;
use crate::domain::engine::{Input, Link};
use crate::domain::observation::{Cause, Gap, Nonce, Overdue, Problem};
use crate::domain::outbox::Token;
use crate::domain::time::{Moment, Now, Span};
use crate::io::mqtt::{Interruption, Outbound, Received};

/// Problems of observation are looked for this often.
const PROBLEMS_PAUSE: Span = Span::from_secs(1);

/// Times in problems are rounded to this, so that the status is not published every second.
const ROUNDED_TO: Span = Span::from_secs(10);

fn rounded(span: Span) -> Span {
    Span::from_micros(span.as_micros() / ROUNDED_TO.as_micros() * ROUNDED_TO.as_micros())
}

/// A time in which the socket was not read. Messages that were received after it are late.
#[derive(Debug)]
pub(super) enum Delay {
    Stall(Stall),
    NotRead(Interruption),
}

impl Delay {
    /// True if a message that was received at this moment is late.
    fn has_delayed(&mut self, received: Moment) -> bool {
        match self {
            Delay::Stall(stall) => stall.has_delayed(received),
            Delay::NotRead(interruption) => received > interruption.since,
        }
    }
}

/// The reason for a gap, in words.
pub(super) fn describe_cause(cause: Cause) -> &'static str {
    match cause {
        Cause::NotRunning => "the daemon was not running",
        Cause::NotConnected => "not connected to the broker",
        Cause::Stalled => "the daemon was stopped, or the machine had no time for it",
        Cause::AcknowledgementsWithheld => {
            "the disk was slow: messages waited at the broker for acknowledgements, which wait for the disk"
        }
        Cause::NotReading => "evaluation did not keep up, and the connection was not read",
        Cause::Overflow => "evaluation did not keep up, and messages were dropped",
    }
}

impl Daemon {
    /// Looks for times in which the socket was not read. They stay until the first message after them comes, or until the
    /// queue is empty. Returned: since when the process may not have run.
    pub(super) fn look_for_delays(&mut self) -> Option<Moment> {
        let stalls = self.stalls.take();
        let stalled_since = stalls.front().map(|stall| stall.since);
        self.delays.extend(stalls.into_iter().map(Delay::Stall));
        self.delays.extend(self.link.take_interruption().map(Delay::NotRead));
        stalled_since
    }

    /// Takes one event of the link, after the gaps that it has come behind.
    pub(super) fn receive(&mut self, received: Received) {
        while let Some(delay) = self.delays.front_mut()
            && delay.has_delayed(received.at)
        {
            self.interrupt(received.at);
        }
        self.receive_event(received);
    }

    /// The queue is empty: what is received from here on is late.
    pub(super) fn interrupt_all(&mut self) {
        let now = self.clock.at();
        while !self.delays.is_empty() {
            self.interrupt(now);
        }
    }

    /// Messages that are received from here on are late because of the first delay.
    fn interrupt(&mut self, resumed: Moment) {
        let (since, until, cause) = match self.delays.pop_front() {
            None => return,
            Some(Delay::Stall(stall)) => (stall.since, stall.until.min(resumed), Cause::Stalled),
            Some(Delay::NotRead(Interruption { since, until, has_lost })) => {
                (since, until, if has_lost { Cause::Overflow } else { Cause::NotReading })
            }
        };
        let deadline = self.engine.next_deadline();
        if let Some(gap) = self.observation.interrupted(since, until, cause, deadline) {
            self.begin_gap(Some(gap.since), || describe_cause(cause).to_owned());
            self.end_gap(gap);
        }
    }

    /// The messages of this turn have been acknowledged.
    pub(super) fn messages_acknowledged(&mut self) {
        let deadline = self.engine.next_deadline();
        let begun = self.observation.acknowledged(self.clock.at(), deadline);
        if begun.is_none() {
            return;
        }
        self.look_for_delays();
        let is_stall = self.delays.iter().any(|delay| matches!(delay, Delay::Stall(_)));
        let cause = if is_stall { Cause::Stalled } else { Cause::AcknowledgementsWithheld };
        self.begin_gap(begun, || describe_cause(cause).to_owned());
    }

    /// From this moment on nothing was observed, if there is one.
    pub(super) fn begin_gap(&mut self, since: Option<Moment>, cause: impl FnOnce() -> String) {
        let Some(since) = since else { return };
        self.engine.prove(self.observation.proven());
        self.engine.handle(Input::LinkDown, self.clock.now().moved_to(since), &mut self.effects);
        self.gap_cause = cause();
    }

    /// Observation goes on.
    pub(super) fn end_gap(&mut self, Gap { until, .. }: Gap) {
        let now = self.clock.now().moved_to(until);
        if let Link::Down { since } = self.engine.link() {
            let length = now.at - since;
            let cause = std::mem::take(&mut self.gap_cause);
            tracing::info!(seconds = length.as_secs_f64(), cause, "gap in observation has ended");
            self.status.last_gap = Some(status::Gap { from: now.stamp(since), to: now.wall, length, cause });
        }
        self.engine.prove(self.observation.proven());
        self.engine.handle(Input::LinkUp, now, &mut self.effects);
    }

    /// Lets the engine's time go on to where silence is proven, and asks for proof where it is needed.
    pub(super) fn advance(&mut self) {
        let now = self.clock.now();
        if self.engine.link().is_up() {
            let proven = self.observation.proven();
            self.engine.prove(proven);
            self.engine.handle(Input::Tick, now.moved_to(proven), &mut self.effects);
        } else if self.engine.next_wake().is_some_and(|wake| wake < now.at) {
            // In a gap no observe-time ends, but a shelving does.
            self.engine.handle(Input::Tick, now, &mut self.effects);
        }
        self.probe_if_due();
        if !self.can_speak() {
            return;
        }
        let (overdue, gap) = self.observation.overdue(now.at);
        gap.into_iter().for_each(|gap| self.end_gap(gap));
        match overdue {
            None => {}
            Some(Overdue::ProbeLate) => self.send_probe(),
            Some(Overdue::NothingDelivered) => {
                tracing::error!(
                    "the broker delivers nothing, not even what the daemon sends to itself; connecting anew"
                );
                self.link.reconnect("the broker delivered nothing");
            }
            Some(Overdue::NoEcho) => {
                let topic = self.config.gateway.topics.probe();
                tracing::warn!(
                    topic,
                    "the daemon does not receive its own messages: allow it to write and read this topic"
                );
            }
        }
    }

    /// Sends a probe if one is due.
    pub(super) fn probe_if_due(&mut self) {
        let deadline = self.pending_deadline();
        if self.can_speak() && self.observation.probe_due(deadline).is_some_and(|due| due <= self.clock.at()) {
            self.send_probe();
        }
    }

    /// The next deadline that waits for proof.
    pub(super) fn pending_deadline(&mut self) -> Option<Moment> {
        if self.engine.link().is_up() { self.engine.next_wake() } else { None }
    }

    /// Sends a message to ourselves.
    pub(super) fn send_probe(&mut self) {
        let topic = self.config.gateway.topics.probe();
        let nonce = Nonce::new(self.clock.random());
        let payload = nonce.to_string().into();
        let probe = Outbound { topic, payload, confirmed: true, ..Outbound::default() };
        let now = self.clock.at();
        if self.link.send(probe, Token::Probe(self.observation.next_probe())) {
            self.observation.probe_sent(nonce, now);
        } else {
            self.observation.probe_not_sent(now);
        }
    }

    /// A message came on the probe topic. A retained one, or one of somebody else, is none of ours.
    pub(super) fn probe_received(&mut self, payload: &[u8], retained: bool, now: Now) {
        let nonce = Nonce::parse(payload).filter(|_| !retained);
        let gap = nonce.and_then(|nonce| self.observation.probe_received(nonce, now.at));
        gap.into_iter().for_each(|gap| self.end_gap(gap));
    }

    /// The broker has acknowledged a probe, or has refused it.
    pub(super) fn probe_acknowledged(&mut self, number: u64) {
        let gap = self.observation.probe_acknowledged(number, self.clock.at());
        gap.into_iter().for_each(|gap| self.end_gap(gap));
    }

    /// Lists the problems of observation among those of the gateway.
    pub(super) fn list_observation_problems(&mut self, now: Now) {
        if now.at < self.due.observation {
            return;
        }
        self.due.observation = now.at + PROBLEMS_PAUSE;
        let problems = &mut self.status.problems;
        let kinds = [ProblemKind::Probe, ProblemKind::Connection, ProblemKind::Observation];
        kinds.into_iter().for_each(|kind| problems.remove(kind));
        let (topic, client_id) = (self.config.gateway.topics.probe(), &self.config.mqtt.client_id);
        for problem in self.observation.problems(now.at) {
            match problem {
                Problem::NoEcho => {
                    problems.add(ProblemKind::Probe, format!("{topic} does not come back: allow to write and read it"))
                }
                Problem::MessagesLate { by } => problems.add(
                    ProblemKind::Observation,
                    format!("messages come more than {} late: more are published than are evaluated", rounded(by)),
                ),
                Problem::HardlyConnected { connections } => problems.add(
                    ProblemKind::Connection,
                    format!(
                        "{connections} connections in 10 min; does another client use the client_id {client_id:?}?"
                    ),
                ),
                Problem::HardlyObserving { observed, of, cause } => problems.add(
                    ProblemKind::Observation,
                    format!("about {} of the last {}: {}", rounded(observed), rounded(of), describe_cause(cause)),
                ),
            }
        }
    }
}
