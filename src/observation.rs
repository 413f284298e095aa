//! Observation: up to which moment silence is evidence, and which times are gaps.
//!
//! A deadline that fires says "nothing else was published until now". That holds only if everything that was published
//! has been received: a broker that hangs, a cable that was pulled, a lost subscription, a process that did not run and
//! a queue at the broker all look like a quiet plant. This type decides what proves silence:
//!
//! - A *probe* is a message of the daemon to itself by way of the broker. The broker keeps its order, so a probe that is
//!   back proves that everything published before it was sent has been received.
//! - Any other message proves silence up to its receipt, as long as nothing has held up messages since the last probe.
//!   Acknowledgements that wait for a write hold them up, because the broker sends only so many messages ahead. So do a
//!   thread that does not run and a queue that is full.
//! - A *gap* is a time without observation. It begins with its cause and ends with it: when the subscriptions are
//!   acknowledged, when a stalled process runs again. Where acknowledgements were withheld for long, it ends when a probe
//!   that was sent afterwards is back. What was published in a gap may come after it, so its end proves nothing.
//!
//! Where access rules keep probes from coming back, the broker's acknowledgement of them has to do; that is a problem
//! which the caller reports. Rules are told from a long queue by this: brokers handle packets in order, so a queue that is
//! not empty answers acknowledgements with more messages before it acknowledges the probe behind them.
//!
//! The type is pure: it reads no clock and sends nothing. The caller tells the engine how far silence is proven
//! ([`Observation::proven`]), and of each gap that begins or ends.

mod record;

use crate::time::{Moment, Span};
use record::Record;
use std::collections::VecDeque;
use std::fmt;

/// Without any other reason a probe is sent this long after the last proof, so that a connection that delivers nothing is
/// found on a quiet plant, too.
const QUIET: Span = Span::from_secs(30);
/// The same where messages come and prove nothing: after a crash what is not proven is part of the gap, and states are
/// written this often.
const QUIET_IF_HELD_UP: Span = Span::from_secs(10);
/// The connection is given up if nothing has come for this long after a probe. Slow cellular links answer in a few seconds.
const PROBE_TIMEOUT: Span = Span::from_secs(10);
/// Probes that came back before, and that do not although other messages come, are not given up sooner.
const ECHO_TIMEOUT: Span = Span::from_secs(20);
/// Messages that are later than this are a problem.
const LATE: Span = Span::from_secs(30);
/// Probes follow each other at this distance at least: where deadlines pass all the time, one probe serves many.
const PROBE_PAUSE: Span = Span::from_millis(10);
/// Probes that are remembered: one for each [`PROBE_TIMEOUT`] within [`ECHO_TIMEOUT`], and some more.
const OUTSTANDING_PROBES: usize = 8;

/// A hold-up that is longer than this is a gap. Shorter ones only delay proof: what was late has come when the probe is
/// back.
pub const LONGEST_HOLD_UP: Span = Span::from_secs(3);
/// A probe's own acknowledgement, withheld for less than this, holds up nothing that matters.
const PROBE_HOLD_UP: Span = Span::from_millis(50);

/// A connection that lasts this long was not ended by another client with the same client id.
const LASTING_CONNECTION: Span = Span::from_secs(5);
/// So many shorter ones in a row are no accident.
const SUSPICIOUS_CONNECTIONS: u32 = 3;

/// What makes a probe this daemon's own, and tells it from earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce(u64);

impl Nonce {
    /// Bytes of a probe's payload.
    const DIGITS: usize = 16;

    /// The nonce that a payload says, if it says nothing else.
    pub fn parse(payload: &[u8]) -> Option<Nonce> {
        let text = std::str::from_utf8(payload).ok().filter(|text| text.len() == Nonce::DIGITS)?;
        let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        u64::from_str_radix(text, 16).ok().filter(|_| is_hex).map(Nonce)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:01$x}", self.0, Nonce::DIGITS)
    }
}

/// The reason for a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The daemon was not running.
    NotRunning,
    /// There was no connection to the broker.
    NotConnected,
    /// The process was stopped, or the machine had no time for it.
    Stalled,
    /// Acknowledgements waited for a write to the disk, and messages at the broker for them.
    AcknowledgementsWithheld,
    /// Evaluation did not keep up, so the socket was not read.
    NotReading,
    /// Evaluation did not keep up, and messages without acknowledgement were dropped.
    Overflow,
}

/// A gap that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Its first moment.
    pub since: Moment,
    /// Its last moment.
    pub until: Moment,
    /// What began it.
    pub cause: Cause,
}

/// What the caller has to do about a connection on which a probe is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// The broker delivers nothing: the connection has to be made anew.
    NothingDelivered,
    /// The broker takes probes and delivers other messages, but no probe comes back.
    NoEcho,
    /// The newest probe is late while other messages come: another one has to be sent.
    Late,
}

/// What a technician should know of observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// Probes do not come back: access rules keep them.
    NoEcho,
    /// Connections do not last.
    HardlyConnected {
        /// Connections in the last ten minutes.
        connections: u64,
    },
    /// Messages wait at the broker: more are published than are evaluated.
    Late {
        /// How long the oldest probe has been on its way.
        by: Span,
    },
    /// Most of the time is a gap although there is a connection.
    HardlyObserving {
        /// How much of the last minute was observed.
        observed: Span,
        /// How long that minute is; shorter after a start.
        of: Span,
        /// The reason for the latest gap.
        cause: Cause,
    },
}

/// How a message has to be acknowledged to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledgement {
    /// Not at all (QoS 0).
    None,
    /// After the turn that it is part of is on the disk (QoS 1).
    AfterWrite,
    /// The same, for a message on the daemon's own probe topic.
    OfProbe,
}

#[derive(Debug)]
struct Probe {
    nonce: Nonce,
    number: u64,
    sent: Moment,
    /// Whether the broker has acknowledged it, and whether nothing was in its queue then.
    acknowledged: Option<Queue>,
    /// How many hold-ups there were before it was sent.
    hold_ups: u64,
    /// How many messages had to be acknowledged before it was sent; none: some of them waited for that.
    messages: Option<u64>,
}

/// The broker's queue for the daemon when it acknowledged a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Queue {
    Empty,
    /// Nothing is known of it.
    Unknown,
}

/// Whether probes come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Echo {
    /// None has been sent for long enough to know.
    Unknown,
    /// They do.
    Works,
    /// They did, but on the previous connection one was acknowledged and did not come back.
    Missed,
    /// They do not. The broker's acknowledgement has to serve as proof.
    None,
}

#[derive(Debug)]
struct OpenGap {
    since: Moment,
    cause: Cause,
    /// The number of the first probe that can end it.
    ends_with: u64,
}

/// What is known about the daemon's observation of the plant.
#[derive(Debug)]
pub struct Observation {
    /// Silence is proven up to here.
    proven: Moment,
    /// When anything was last received.
    last_message: Moment,
    /// The receipt of the oldest message that waits for its acknowledgement.
    unacknowledged_since: Option<Moment>,
    /// Whether one of those that wait is not a probe.
    holds_up_others: bool,
    /// Counts messages that have to be acknowledged.
    messages: u64,
    /// Counts what has held up messages.
    hold_ups: u64,
    /// How many of these were before the newest probe that is back was sent.
    proven_hold_ups: u64,
    /// When acknowledgements were last withheld for longer than [`PROBE_HOLD_UP`], or nothing was read.
    held_up_until: Moment,
    outstanding: VecDeque<Probe>,
    salt: u64,
    next_probe: u64,
    last_sent: Moment,
    echo: Echo,
    connected_since: Option<Moment>,
    /// Whether the connection ends because this type has asked for that.
    is_reconnecting: bool,
    short_connections: u32,
    gap: Option<OpenGap>,
    /// The end of the latest gap.
    observed_since: Moment,
    record: Record,
}

impl Observation {
    /// The observation of a daemon that starts at `now` and has last observed at `until`; none: it never has. `salt` is
    /// a number that nobody can guess.
    pub fn new(now: Moment, until: Option<Moment>, salt: u64) -> Observation {
        let since = until.unwrap_or(now);
        Observation {
            proven: since,
            last_message: now,
            unacknowledged_since: None,
            holds_up_others: false,
            messages: 0,
            hold_ups: 0,
            proven_hold_ups: 0,
            held_up_until: Moment::BEGINNING,
            outstanding: VecDeque::new(),
            salt,
            next_probe: 0,
            last_sent: Moment::BEGINNING,
            echo: Echo::Unknown,
            connected_since: None,
            is_reconnecting: false,
            short_connections: 0,
            gap: Some(OpenGap { since, cause: Cause::NotRunning, ends_with: 0 }),
            observed_since: since,
            record: Record::new(now),
        }
    }

    /// Silence is proven up to this moment: no later deadline may fire.
    pub fn proven(&self) -> Moment {
        self.proven
    }

    /// Whether the subscriptions are acknowledged and the connection is there.
    pub fn is_connected(&self) -> bool {
        self.connected_since.is_some()
    }

    /// Whether there is a gap now.
    pub fn is_in_gap(&self) -> bool {
        self.gap.is_some()
    }

    /// Whether a probe is on its way.
    pub fn awaits_probe(&self) -> bool {
        !self.outstanding.is_empty()
    }

    /// The subscriptions are acknowledged. The gap that ends with that. Messages prove nothing before a probe is back,
    /// because a session brings what was published in the gap.
    pub fn connected(&mut self, now: Moment) -> Option<Gap> {
        self.connected_since = Some(now);
        self.is_reconnecting = false;
        self.outstanding.clear();
        self.forget_acknowledgements();
        self.hold_ups += 1;
        self.last_message = now;
        self.last_sent = Moment::BEGINNING;
        self.record.connected(now);
        self.proven = self.proven.max(now);
        self.end_gap(now)
    }

    /// The connection is lost, or could not be made. `silent_since`: when the broker was last heard, if it was silent
    /// before; `deadline`: the engine's next one. The beginning of the gap, if one begins.
    pub fn disconnected(
        &mut self,
        now: Moment,
        silent_since: Option<Moment>,
        deadline: Option<Moment>,
    ) -> Option<Moment> {
        // What was withheld until now may have kept values at the broker, and they may go with the session.
        let withheld = self.unacknowledged_since.filter(|since| now - *since > LONGEST_HOLD_UP);
        let noticed = silent_since.unwrap_or(now).min(withheld.unwrap_or(now)).min(now);
        let begun = self.open_gap(noticed, Cause::NotConnected, deadline);
        self.outstanding.clear();
        self.forget_acknowledgements();
        if let Some(since) = self.connected_since.take() {
            let is_short = now - since < LASTING_CONNECTION && !std::mem::take(&mut self.is_reconnecting);
            self.short_connections = if is_short { self.short_connections + 1 } else { 0 };
        }
        begun
    }

    /// Whether so many connections in a row were so short that another client with the same client id may be the reason.
    /// True once for each such row.
    pub fn has_become_suspicious(&mut self) -> bool {
        let is_suspicious = self.short_connections == SUSPICIOUS_CONNECTIONS;
        // One more, so that it is told once.
        self.short_connections += u32::from(is_suspicious);
        is_suspicious
    }

    /// A message was received.
    pub fn received(&mut self, at: Moment, acknowledgement: Acknowledgement) {
        self.last_message = self.last_message.max(at);
        if self.hold_ups == self.proven_hold_ups && self.gap.is_none() {
            self.proven = self.proven.max(at);
        }
        match acknowledgement {
            Acknowledgement::None => {}
            Acknowledgement::AfterWrite => {
                self.messages += 1;
                self.hold_ups += 1;
                self.holds_up_others = true;
                self.unacknowledged_since.get_or_insert(at);
            }
            Acknowledgement::OfProbe => {
                self.unacknowledged_since.get_or_insert(at);
            }
        }
    }

    /// Everything that was received has been acknowledged. The beginning of the gap, if one begins because that took long.
    pub fn acknowledged(&mut self, now: Moment, deadline: Option<Moment>) -> Option<Moment> {
        let since = self.unacknowledged_since.take()?;
        let held_up = now - since;
        if held_up > PROBE_HOLD_UP {
            self.held_up_until = now;
        }
        if std::mem::take(&mut self.holds_up_others) || held_up > PROBE_HOLD_UP {
            self.hold_ups += 1;
        }
        (held_up > LONGEST_HOLD_UP).then(|| self.open_gap(since, Cause::AcknowledgementsWithheld, deadline)).flatten()
    }

    /// Nothing was read since that moment, for the reason given, and is read again now. The gap that this was, if it was
    /// one.
    pub fn interrupted(&mut self, since: Moment, now: Moment, cause: Cause, deadline: Option<Moment>) -> Option<Gap> {
        self.hold_ups += 1;
        self.held_up_until = now;
        let is_gap = now - since > LONGEST_HOLD_UP || cause == Cause::Overflow;
        is_gap.then(|| self.open_gap(since, cause, deadline)).flatten()?;
        self.proven = self.proven.max(now);
        self.end_gap(now)
    }

    /// A message came on the probe topic. Messages of others are ignored. The gap that it ends, if there is one.
    pub fn probe_received(&mut self, nonce: Nonce, now: Moment) -> Option<Gap> {
        if nonce.0.wrapping_sub(self.salt) >= self.next_probe {
            return None;
        }
        self.echo = Echo::Works;
        // One of an earlier connection, or one that has been given up, proves nothing any more.
        let place = self.outstanding.iter().position(|probe| probe.nonce == nonce)?;
        self.proven_by(place, now)
    }

    /// The broker has acknowledged a probe. The gap that it ends, if that has to serve as proof.
    pub fn probe_acknowledged(&mut self, now: Moment) -> Option<Gap> {
        let place = self.outstanding.iter().position(|probe| probe.acknowledged.is_none())?;
        let probe = &mut self.outstanding[place];
        let queue = if probe.messages == Some(self.messages) { Queue::Empty } else { Queue::Unknown };
        probe.acknowledged = Some(queue);
        if self.echo != Echo::None {
            return None;
        }
        if queue == Queue::Empty || now - self.proven >= PROBE_TIMEOUT {
            return self.proven_by(place, now);
        }
        // The next one may find it empty.
        self.outstanding.drain(..=place);
        None
    }

    /// The broker has refused a probe, so none comes back. Its answer is an acknowledgement all the same.
    pub fn probe_refused(&mut self) {
        self.echo = Echo::None;
    }

    /// The probe at this place proves what was before it.
    fn proven_by(&mut self, place: usize, now: Moment) -> Option<Gap> {
        let probe = self.outstanding.drain(..=place).next_back()?;
        self.proven_hold_ups = self.proven_hold_ups.max(probe.hold_ups);
        self.proven = self.proven.max(probe.sent);
        let ends_gap = self.gap.as_ref().is_some_and(|gap| probe.number >= gap.ends_with);
        if ends_gap { self.end_gap(now) } else { None }
    }

    fn end_gap(&mut self, now: Moment) -> Option<Gap> {
        let OpenGap { since, cause, .. } = self.gap.take()?;
        self.observed_since = now;
        self.record.gap(since, now, cause);
        Some(Gap { since, until: now, cause })
    }

    /// From now on there is a gap. Its beginning, if there was none before: where silence matters (a probe is on its way,
    /// or a deadline has passed), what is not proven belongs to it.
    fn open_gap(&mut self, noticed: Moment, cause: Cause, deadline: Option<Moment>) -> Option<Moment> {
        let ends_with = self.next_probe;
        if let Some(gap) = &mut self.gap {
            gap.ends_with = ends_with;
            return None;
        }
        let matters = self.awaits_probe() || deadline.is_some_and(|deadline| deadline < noticed);
        let since = if matters { self.proven } else { noticed.max(self.proven) }.max(self.observed_since);
        self.gap = Some(OpenGap { since, cause, ends_with });
        Some(since)
    }

    fn forget_acknowledgements(&mut self) {
        self.unacknowledged_since = None;
        self.holds_up_others = false;
        self.proven_hold_ups = self.hold_ups;
    }

    /// When a probe has to be sent: a deadline has passed without proof, a gap waits for its end, or it has been quiet for
    /// long. None: one is on its way, or there is no connection.
    pub fn probe_due(&self, deadline: Option<Moment>) -> Option<Moment> {
        if self.awaits_probe() || self.connected_since.is_none() {
            return None;
        }
        let is_held_up = self.hold_ups != self.proven_hold_ups && deadline.is_some();
        let quiet = self.proven + if is_held_up { QUIET_IF_HELD_UP } else { QUIET };
        let due = match (&self.gap, deadline) {
            (Some(_), _) => Moment::BEGINNING,
            // A deadline is due when it has strictly passed.
            (None, Some(deadline)) if deadline >= self.proven => quiet.min(deadline + Span::from_micros(1)),
            (None, _) => quiet,
        };
        Some(due.max(self.last_sent + PROBE_PAUSE))
    }

    /// The nonce of the next probe.
    pub fn next_nonce(&self) -> Nonce {
        Nonce(self.salt.wrapping_add(self.next_probe))
    }

    /// The next probe was sent.
    pub fn probe_sent(&mut self, now: Moment) {
        if self.outstanding.len() >= OUTSTANDING_PROBES {
            self.outstanding.pop_front();
        }
        let (nonce, number, hold_ups) = (self.next_nonce(), self.next_probe, self.hold_ups);
        let messages = (!self.holds_up_others).then_some(self.messages);
        self.outstanding.push_back(Probe { nonce, number, sent: now, acknowledged: None, hold_ups, messages });
        self.next_probe += 1;
        self.last_sent = now;
    }

    /// No probe could be sent: it is tried again after a pause.
    pub fn probe_not_sent(&mut self, now: Moment) {
        self.last_sent = now;
    }

    /// Since when nothing but the broker has kept this probe: what was held up here is no sign of its rules, or its silence.
    fn awaited_since(&self, probe: &Probe) -> Moment {
        probe.sent.max(self.held_up_until)
    }

    /// When a probe that is on its way has to be looked for.
    pub fn doubt_due(&self) -> Option<Moment> {
        self.outstanding.back().filter(|_| !self.is_reconnecting).map(|probe| self.awaited_since(probe) + PROBE_TIMEOUT)
    }

    /// What has to be done about a probe that is missing, and the gap that ends with that.
    pub fn doubt(&mut self, now: Moment) -> (Option<Doubt>, Option<Gap>) {
        let Some(newest) = self.outstanding.back() else { return (None, None) };
        let is_held_up = self.unacknowledged_since.is_some_and(|since| now - since > PROBE_HOLD_UP);
        if is_held_up || now - self.awaited_since(newest) < PROBE_TIMEOUT || self.is_reconnecting {
            return (None, None);
        }
        let is_delivering = self.last_message > newest.sent;
        // A queue that was not empty would have brought something since.
        let is_empty = |queue: Queue| queue == Queue::Empty || !is_delivering;
        let acknowledged = self.outstanding.iter().rposition(|probe| probe.acknowledged.is_some_and(is_empty));
        let is_overdue =
            self.outstanding.front().is_some_and(|oldest| now - self.awaited_since(oldest) >= ECHO_TIMEOUT);
        let has_no_echo = match self.echo {
            Echo::Unknown | Echo::None => true,
            Echo::Missed => !is_delivering || is_overdue,
            Echo::Works => is_delivering && is_overdue,
        };
        match acknowledged.filter(|_| has_no_echo) {
            // A probe that comes back after all changes that.
            Some(place) => {
                self.echo = Echo::None;
                let gap = self.proven_by(place, now);
                self.outstanding.clear();
                (Some(Doubt::NoEcho), gap)
            }
            // Other messages are as good, where they prove anything.
            None if self.proven > newest.sent => {
                self.outstanding.clear();
                (None, None)
            }
            None if is_delivering => (Some(Doubt::Late), None),
            None => {
                if self.outstanding.iter().any(|probe| probe.acknowledged.is_some()) {
                    self.echo = Echo::Missed;
                }
                self.is_reconnecting = true;
                (Some(Doubt::NothingDelivered), None)
            }
        }
    }

    /// What a technician should know now.
    pub fn problems(&self, now: Moment) -> impl Iterator<Item = Problem> {
        let no_echo = (self.echo == Echo::None).then_some(Problem::NoEcho);
        let late = self.outstanding.front().map(|oldest| now - oldest.sent).filter(|by| *by >= LATE);
        let late = late.map(|by| Problem::Late { by });
        let open = self.gap.as_ref().map(|gap| (gap.since, gap.cause, self.is_connected()));
        no_echo.into_iter().chain(late).chain(self.record.problem(now, open))
    }
}

#[cfg(test)]
mod tests;
