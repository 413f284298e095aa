//! Observation: up to which moment silence is evidence, and which times are gaps.
//!
//! A deadline that fires says "nothing else was published until now". That holds only if everything that was published
//! has been received: a broker that hangs, a cable that was pulled, a lost subscription, a process that did not run and
//! a queue at the broker all look like a quiet plant. This type decides what proves silence:
//!
//! - A *probe* is a message of the daemon to itself by way of the broker. The broker keeps its order, so a probe that is
//!   back proves that everything published before it was sent has been received.
//! - Any other message proves silence up to its receipt, as long as no probe is on its way and nothing has held up messages
//!   since the last one. Acknowledgements that wait for a write hold them up, because the broker sends only so many
//!   messages ahead. So do a thread that does not run and a queue that is full.
//! - Where nothing at all came before a probe, or while it was on its way, broker or line may have stood still, and what
//!   comes then is in no order of time: such a probe proves that they move again, and the next one proves the rest.
//! - A *gap* is a time without observation. It begins with its cause and ends with it: when the subscriptions are
//!   acknowledged, when a stalled process runs again. Where acknowledgements were withheld for long, it ends when a probe
//!   that was sent afterwards is back. What was published in a gap may come after it, so its end proves nothing.
//!
//! Where access rules keep probes from coming back, the broker's acknowledgement of them has to do; that is a problem
//! which the caller reports. It proves something only if the broker's queue for the daemon was empty: brokers handle packets
//! in order, so a queue that is not empty answers acknowledgements with more messages before it acknowledges the probe
//! behind them. The same distinguishes access rules from a long queue.
//!
//! The type is pure: it reads no clock and sends nothing. The caller tells the engine how far silence is proven
//! ([`Observation::proven`]), and of each gap that begins or ends.

mod record;

use crate::domain::time::{Moment, Span};
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
/// The same after an acknowledgement that proved nothing, where probes do not come back: the queue takes a while to empty.
const PROBE_PAUSE_WITHOUT_ECHO: Span = Span::from_millis(250);
/// Probes on their way that are remembered, the oldest among them; one is sent in each [`PROBE_TIMEOUT`].
const OUTSTANDING_PROBES: usize = 8;
/// Nonces by which late probes are recognised as the daemon's own.
const OWN_NONCES: usize = 32;
/// A silence around a probe that is longer than this, and than twice the one around the probe before it, may be one of a
/// broker or a line that stood still. Brokers answer within milliseconds; a line on which every answer takes longer is
/// recognised by the second probe.
const STANDSTILL: Span = Span::from_millis(50);

/// A hold-up that is longer than this is a gap. Shorter ones only delay proof: what was late has come when the probe is
/// back.
pub const LONGEST_HOLD_UP: Span = Span::from_secs(3);
/// A probe that waited for longer than this before it was acknowledged has held up others.
pub const PROBE_HOLD_UP: Span = Span::from_millis(50);

/// A connection that lasts this long was not ended by another client with the same client id.
const LASTING_CONNECTION: Span = Span::from_secs(5);
/// So many shorter ones in a row are no accident.
const SUSPICIOUS_CONNECTIONS: u32 = 3;

/// A number that nobody can guess. It makes a probe this daemon's own, and different from earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce(u64);

impl Nonce {
    /// Bytes of a probe's payload.
    const DIGITS: usize = 16;

    /// The nonce of a random number.
    pub const fn new(random: u64) -> Nonce {
        Nonce(random)
    }

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
    /// Its reason.
    pub cause: Cause,
}

/// The consequence of a probe that is missing, which the caller has to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// The broker delivers nothing: the connection has to be made anew.
    NothingDelivered,
    /// The broker takes probes and delivers other messages, but no probe comes back.
    NoEcho,
    /// The newest probe is late while other messages come: another one has to be sent.
    ProbeLate,
}

/// A weakness of observation that a technician should know of.
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
    MessagesLate {
        /// The time for which proof has been awaited.
        by: Span,
    },
    /// Most of the time is a gap although there is a connection.
    HardlyObserving {
        /// The observed part of it.
        observed: Span,
        /// The last minute; less after a start.
        of: Span,
        /// The reason for the latest gap.
        cause: Cause,
    },
}

/// The acknowledgement that a message needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledgement {
    /// None (QoS 0), or one that leaves at once (probes).
    None,
    /// One that leaves after the turn of the message is on the disk (QoS 1).
    AfterWrite,
}

#[derive(Debug)]
struct Probe {
    nonce: Nonce,
    number: u64,
    sent: Moment,
    /// The broker's queue when it acknowledged the probe; none: it has not.
    acknowledged: Option<Queue>,
    /// Hold-ups before it was sent.
    hold_ups: u64,
    /// Messages before it was sent that had to be acknowledged; none: some of them waited for that.
    messages: Option<u64>,
    /// The longest time without any packet from just before it was sent until now.
    silence: Span,
}

/// The broker's queue for the daemon when it acknowledged a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Queue {
    Empty,
    /// Nothing is known of it.
    Unknown,
}

/// The fate of probes so far.
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

/// All that is known about the daemon's observation of the plant.
#[derive(Debug)]
pub struct Observation {
    /// Silence is proven up to here.
    proven: Moment,
    /// The receipt of the latest message.
    last_message: Moment,
    /// The receipt of the latest packet: a message, or the acknowledgement of a probe.
    last_packet: Moment,
    /// The receipt of the oldest message that waits for its acknowledgement.
    unacknowledged_since: Option<Moment>,
    /// Counts messages that have to be acknowledged.
    messages: u64,
    /// Counts hold-ups of messages.
    hold_ups: u64,
    /// Those of them before the newest probe that is back was sent.
    proven_hold_ups: u64,
    /// The end of the latest hold-up that was longer than [`PROBE_HOLD_UP`].
    held_up_until: Moment,
    outstanding: VecDeque<Probe>,
    /// The nonces of the latest probes, those of earlier connections among them.
    own_nonces: VecDeque<Nonce>,
    next_probe: u64,
    last_sent: Moment,
    /// The first probe since one came back, or since an acknowledgement proved something, was sent then.
    awaited_since: Option<Moment>,
    /// The silence around the latest probe that came back.
    usual_silence: Span,
    /// The latest acknowledgement proved nothing, although it had to.
    queue_is_unknown: bool,
    echo: Echo,
    connected_since: Option<Moment>,
    /// True while the connection is being ended because this type has asked for that.
    is_reconnecting: bool,
    short_connections: u32,
    gap: Option<OpenGap>,
    /// The end of the latest gap.
    observed_since: Moment,
    record: Record,
}

impl Observation {
    /// The observation of a daemon that starts at `now` and has last observed at `until`; none: it never has.
    pub fn new(now: Moment, until: Option<Moment>) -> Observation {
        let since = until.unwrap_or(now);
        Observation {
            proven: since,
            last_message: now,
            last_packet: now,
            unacknowledged_since: None,
            messages: 0,
            hold_ups: 0,
            proven_hold_ups: 0,
            held_up_until: Moment::BEGINNING,
            outstanding: VecDeque::new(),
            own_nonces: VecDeque::new(),
            next_probe: 0,
            last_sent: Moment::BEGINNING,
            awaited_since: None,
            usual_silence: Span::ZERO,
            queue_is_unknown: false,
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

    /// True from the acknowledgement of the subscriptions to the end of the connection.
    pub fn is_connected(&self) -> bool {
        self.connected_since.is_some()
    }

    /// True while there is a gap.
    pub fn is_in_gap(&self) -> bool {
        self.gap.is_some()
    }

    /// The end of the latest gap. A message that was received earlier and is evaluated now counts from here.
    pub fn observed_since(&self) -> Moment {
        self.observed_since
    }

    /// True while a probe is on its way.
    pub fn awaits_probe(&self) -> bool {
        !self.outstanding.is_empty()
    }

    /// The subscriptions are acknowledged. The gap that ends with that. Messages prove nothing before a probe is back,
    /// because a session brings what was published in the gap.
    pub fn connected(&mut self, now: Moment) -> Option<Gap> {
        self.connected_since = Some(now);
        self.is_reconnecting = false;
        self.forget_connection();
        self.hold_ups += 1;
        (self.last_message, self.last_packet) = (now, now);
        self.last_sent = Moment::BEGINNING;
        self.record.connected(now);
        self.proven = self.proven.max(now);
        self.end_gap(now)
    }

    /// The connection is lost, or could not be made. `silent_since`: the time of the last packet, if the broker was silent
    /// before or the socket was not read; `deadline`: the engine's next one. The beginning of the gap, if one begins.
    pub fn disconnected(
        &mut self,
        now: Moment,
        silent_since: Option<Moment>,
        deadline: Option<Moment>,
    ) -> Option<Moment> {
        // Values may have waited for acknowledgements that were withheld, and may go with the session.
        let withheld = self.unacknowledged_since.filter(|since| now - *since > LONGEST_HOLD_UP);
        let noticed = silent_since.unwrap_or(now).min(withheld.unwrap_or(now)).min(now);
        let begun = self.open_gap(noticed, Cause::NotConnected, deadline);
        self.forget_connection();
        if let Some(since) = self.connected_since.take() {
            let is_short = now - since < LASTING_CONNECTION && !std::mem::take(&mut self.is_reconnecting);
            self.short_connections = if is_short { self.short_connections + 1 } else { 0 };
        }
        begun
    }

    /// True, once for each row, if so many connections in a row were so short that another client with the same client id
    /// may be the reason.
    pub fn has_become_suspicious(&mut self) -> bool {
        let is_suspicious = self.short_connections == SUSPICIOUS_CONNECTIONS;
        // One more, so that it is told once.
        self.short_connections += u32::from(is_suspicious);
        is_suspicious
    }

    /// A message was received.
    pub fn received(&mut self, at: Moment, acknowledgement: Acknowledgement) {
        if self.outstanding.is_empty() && self.hold_ups == self.proven_hold_ups && self.gap.is_none() {
            self.proven = self.proven.max(at);
        }
        self.packet_received(at);
        self.last_message = self.last_message.max(at);
        match acknowledgement {
            Acknowledgement::None => {}
            Acknowledgement::AfterWrite => {
                self.messages += 1;
                self.hold_ups += 1;
                self.unacknowledged_since.get_or_insert(at);
            }
        }
    }

    fn packet_received(&mut self, at: Moment) {
        let silence = at - self.last_packet;
        for probe in &mut self.outstanding {
            probe.silence = probe.silence.max(silence);
        }
        self.last_packet = self.last_packet.max(at);
    }

    /// Messages may have waited for something: until a probe that is sent from now on is back, they prove nothing.
    pub fn held_up(&mut self) {
        self.hold_ups += 1;
    }

    /// Everything that was received has been acknowledged. The beginning of the gap, if one begins because that took long.
    pub fn acknowledged(&mut self, now: Moment, deadline: Option<Moment>) -> Option<Moment> {
        let since = self.unacknowledged_since.take()?;
        self.hold_ups += 1;
        let held_up = now - since;
        if held_up > PROBE_HOLD_UP {
            self.held_up_until = now;
        }
        let is_gap = held_up > LONGEST_HOLD_UP;
        is_gap.then(|| self.open_gap(since, Cause::AcknowledgementsWithheld, deadline)).flatten()
    }

    /// Nothing was read since that moment, for the reason given, and is read again now. The gap that this was, if it was
    /// one.
    pub fn interrupted(&mut self, since: Moment, now: Moment, cause: Cause, deadline: Option<Moment>) -> Option<Gap> {
        self.hold_ups += 1;
        self.held_up_until = now;
        let is_gap = now - since > LONGEST_HOLD_UP || cause == Cause::Overflow;
        let since = is_gap.then(|| self.open_gap(since, cause, deadline)).flatten()?;
        // It may lie in a gap that has ended.
        let until = now.max(since);
        self.proven = self.proven.max(until);
        self.end_gap(until)
    }

    /// A message came on the probe topic. Messages of others are ignored. The gap that it ends, if there is one.
    pub fn probe_received(&mut self, nonce: Nonce, now: Moment) -> Option<Gap> {
        if !self.own_nonces.contains(&nonce) {
            return None;
        }
        self.echo = Echo::Works;
        // One of an earlier connection, or one that has been given up, proves nothing any more.
        let place = self.outstanding.iter().position(|probe| probe.nonce == nonce)?;
        self.proven_by(place, now)
    }

    /// The broker has acknowledged the probe with this number. The gap that it ends, if that has to serve as proof.
    pub fn probe_acknowledged(&mut self, number: u64, now: Moment) -> Option<Gap> {
        self.packet_received(now);
        let place = self.outstanding.iter().position(|probe| probe.number == number)?;
        let probe = &mut self.outstanding[place];
        let queue = if probe.messages == Some(self.messages) { Queue::Empty } else { Queue::Unknown };
        probe.acknowledged = Some(queue);
        if self.echo != Echo::None {
            return None;
        }
        self.queue_is_unknown = queue == Queue::Unknown;
        if queue == Queue::Empty {
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

    /// The probe at this place is back, and proves what was published before it was sent.
    fn proven_by(&mut self, place: usize, now: Moment) -> Option<Gap> {
        let probe = self.outstanding.drain(..=place).next_back()?;
        // What is back is not late, also where it proves nothing.
        self.awaited_since = self.outstanding.front().map(|oldest| oldest.sent);
        let usual = std::mem::replace(&mut self.usual_silence, probe.silence);
        if probe.silence > usual + usual + STANDSTILL {
            return None;
        }
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

    fn forget_connection(&mut self) {
        self.outstanding.clear();
        self.awaited_since = None;
        self.usual_silence = Span::ZERO;
        self.queue_is_unknown = false;
        self.unacknowledged_since = None;
        self.proven_hold_ups = self.hold_ups;
    }

    /// The moment at which a probe has to be sent: a deadline has passed without proof, a gap waits for its end, or it has
    /// been quiet for long. None: one is on its way, or there is no connection.
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
        let pause = if self.queue_is_unknown { PROBE_PAUSE_WITHOUT_ECHO } else { PROBE_PAUSE };
        Some(due.max(self.last_sent + pause))
    }

    /// The number of the next probe, by which its acknowledgement is recognised.
    pub fn next_probe(&self) -> u64 {
        self.next_probe
    }

    /// The next probe was sent, with this nonce.
    pub fn probe_sent(&mut self, nonce: Nonce, now: Moment) {
        if self.outstanding.len() >= OUTSTANDING_PROBES {
            // The oldest is the first that may come back.
            self.outstanding.pop_back();
        }
        if self.own_nonces.len() >= OWN_NONCES {
            self.own_nonces.pop_front();
        }
        self.own_nonces.push_back(nonce);
        let Observation { next_probe: number, hold_ups, messages, .. } = *self;
        let messages = self.unacknowledged_since.is_none().then_some(messages);
        let probe = Probe { nonce, number, sent: now, acknowledged: None, hold_ups, messages, silence: Span::ZERO };
        self.outstanding.push_back(probe);
        self.awaited_since.get_or_insert(now);
        self.next_probe += 1;
        self.last_sent = now;
    }

    /// No probe could be sent: it is tried again after a pause.
    pub fn probe_not_sent(&mut self, now: Moment) {
        self.last_sent = now;
    }

    /// The moment at which a probe that is on its way is missing.
    pub fn overdue_at(&self) -> Option<Moment> {
        let newest = self.outstanding.back().filter(|_| !self.is_reconnecting)?;
        Some((self.awaited_from(newest) + PROBE_TIMEOUT).max(self.last_sent + PROBE_PAUSE))
    }

    /// The moment from which on nothing but the broker has kept this probe: a hold-up of the daemon's own is no sign of the
    /// broker's rules, nor of its silence.
    fn awaited_from(&self, probe: &Probe) -> Moment {
        probe.sent.max(self.held_up_until)
    }

    /// The consequence of a probe that is missing, and the gap that ends with that.
    pub fn overdue(&mut self, now: Moment) -> (Option<Overdue>, Option<Gap>) {
        let Some(newest) = self.outstanding.back() else { return (None, None) };
        let is_held_up = self.unacknowledged_since.is_some_and(|since| now - since > PROBE_HOLD_UP);
        if is_held_up || self.overdue_at().is_none_or(|due| now < due) {
            return (None, None);
        }
        let is_delivering = self.last_message > newest.sent;
        // A queue that was not empty would have brought something since.
        let is_empty = |queue: Queue| queue == Queue::Empty || !is_delivering;
        let acknowledged = self.outstanding.iter().rposition(|probe| probe.acknowledged.is_some_and(is_empty));
        let is_overdue = self.outstanding.front().is_some_and(|oldest| now - self.awaited_from(oldest) >= ECHO_TIMEOUT);
        let has_no_echo = match self.echo {
            Echo::Unknown | Echo::None => true,
            Echo::Missed => !is_delivering || is_overdue,
            Echo::Works => is_delivering && is_overdue,
        };
        match acknowledged.filter(|_| has_no_echo) {
            // A probe that comes back after all changes that.
            Some(place) => {
                self.echo = Echo::None;
                // Its acknowledgement came long ago, so this silence is none of the line.
                self.usual_silence = now - self.proven;
                let gap = self.proven_by(place, now);
                self.outstanding.clear();
                self.awaited_since = None;
                (Some(Overdue::NoEcho), gap)
            }
            None if is_delivering => (Some(Overdue::ProbeLate), None),
            None => {
                if self.outstanding.iter().any(|probe| probe.acknowledged.is_some()) {
                    self.echo = Echo::Missed;
                }
                self.is_reconnecting = true;
                (Some(Overdue::NothingDelivered), None)
            }
        }
    }

    /// All weaknesses of observation that a technician should know of now.
    pub fn problems(&self, now: Moment) -> impl Iterator<Item = Problem> {
        let no_echo = (self.echo == Echo::None).then_some(Problem::NoEcho);
        let late = self.awaited_since.map(|since| now - since).filter(|by| *by >= LATE);
        let late = late.map(|by| Problem::MessagesLate { by });
        let open = self.gap.as_ref().map(|gap| (gap.since, gap.cause, self.is_connected()));
        no_echo.into_iter().chain(late).chain(self.record.problem(now, open))
    }
}

#[cfg(test)]
mod tests;
