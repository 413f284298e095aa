//! The simulated broker: one session for the daemon, retained topics, and a watcher who has seen everything.
//!
//! It keeps to MQTT 3.1.1, no more: it has a window of messages that were not acknowledged and a queue behind it, needs
//! its time for each direction, confirms late, repeats with DUP what was not acknowledged, in order, may lose the
//! session, or everything, and lets another client take the client id.
//!
//! For each message it knows the moment at which a client that withholds no acknowledgement would have received it: the
//! publication, and the time that the line and the window need by themselves. The account judges by that moment, so the
//! daemon's own delays are no excuse.

use super::ideal::Ideal;
use super::outages::Outages;
use super::random::Random;
use super::record;
use crate::domain::outbox::Token;
use crate::io::mqtt::double::{Peer, Sent};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

/// The topic on which the daemon sends messages to itself.
pub(super) const PROBE: &str = "annunciator/gw/probe";
/// A topic of a property that no alarm watches.
pub(super) const UNWATCHED: &str = "things/press-0/temperature";
/// The payloads of earlier probes that somebody may publish once more.
const REMEMBERED_PROBES: usize = 4;

/// A message that was published by the plant, an operator, somebody on the probe topic, or the daemon to itself.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Bytes,
}

/// A message of the plant or of an operator that has reached the daemon.
#[derive(Debug, Clone)]
pub(super) struct Delivered {
    pub(super) message: Message,
    /// Its value; of a command none.
    pub(super) number: f64,
    /// When a client that withholds nothing would have received it, and would have received it after the last reconnect
    /// before it was acknowledged.
    pub(super) unhindered: i64,
    pub(super) unhindered_again: i64,
    /// When it reached the daemon for the first and for the last time.
    pub(super) first: i64,
    pub(super) last: i64,
    /// Whether the session was lost before it was acknowledged: it is not known whether it was evaluated.
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
    published: i64,
    retained: bool,
    unhindered: Option<i64>,
    unhindered_again: i64,
    /// Its place among those delivered, if it is of interest there and has arrived.
    number: Option<usize>,
    packet_id: Option<u16>,
    /// Whether it was sent on this connection.
    is_sent: bool,
    /// When it arrived on this connection.
    arrived: Option<i64>,
}

impl Queued {
    fn is_probe(&self) -> bool {
        self.message.topic == PROBE
    }
}

/// The sequence number in an event or a state. They are many, and this is all that is asked of them on their way.
pub(super) fn sequence_number(payload: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(payload).unwrap();
    let (_, rest) = text.split_once("\"seq\":")?;
    let digits = rest.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

/// What is on its way to the daemon.
#[derive(Debug)]
enum Down {
    Message { packet_id: u16, repeated: bool },
    Confirmation(Token, u64),
}

/// The properties of the broker and of the line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    /// Messages that may be without acknowledgement at one time.
    pub(super) window: usize,
    /// The time in each direction.
    pub(super) latency: i64,
    /// Whether packet ids are used again as soon as they are free.
    pub(super) lowest_ids: bool,
    /// Whether an access rule keeps what is published on the probe topic: it is confirmed and not delivered.
    pub(super) is_probe_denied: bool,
}

#[derive(Debug)]
pub(super) struct Broker {
    pub(super) line: Line,
    session: Option<VecDeque<Queued>>,
    is_connected: bool,
    next_packet_id: u16,
    ideal: Ideal,
    up: VecDeque<(i64, Sent)>,
    down: VecDeque<(i64, Down)>,
    pub(super) retained: BTreeMap<String, Bytes>,
    pub(super) published: Vec<Published>,
    /// Alarm and sequence number of each event that was published.
    pub(super) events: BTreeSet<(String, u64)>,
    pub(super) delivered: Vec<Delivered>,
    /// Nothing is delivered on this connection.
    pub(super) withholds: bool,
    /// Nothing happens on this connection.
    pub(super) frozen: bool,
    /// Nothing happens until then.
    busy_until: i64,
    /// Whether the subscription to the probe topic was refused on this connection.
    pub(super) probe_refused: bool,
    /// Whether the daemon has received one of its probes on this connection. One that never could takes withholding for
    /// access rules, and one that could not twice in a row too: that is how it is meant.
    pub(super) has_seen_probe: bool,
    /// Whether the broker's confirmations have to do as proof, because rules have kept probes and none has come since.
    trusts_confirmations: bool,
    /// The daemon's probes since it started, and the last ones of all times.
    own_probes: BTreeSet<Bytes>,
    probes: VecDeque<Bytes>,
    pub(super) repeats: usize,
    /// Whether the daemon has ended the connection, and whether that has arrived.
    is_closing: bool,
    pub(super) disconnected: bool,
}

impl Broker {
    pub(super) fn new(line: Line) -> Broker {
        Broker {
            line,
            session: None,
            is_connected: false,
            next_packet_id: 0,
            ideal: Ideal::new(line.window, line.latency),
            up: VecDeque::new(),
            down: VecDeque::new(),
            retained: BTreeMap::new(),
            published: Vec::new(),
            events: BTreeSet::new(),
            delivered: Vec::new(),
            withholds: false,
            frozen: false,
            busy_until: 0,
            probe_refused: false,
            has_seen_probe: false,
            trusts_confirmations: false,
            own_probes: BTreeSet::new(),
            probes: VecDeque::new(),
            repeats: 0,
            is_closing: false,
            disconnected: false,
        }
    }

    /// The session is gone, as after a restart without persistence, or after a client with a clean session.
    pub(super) fn lose_session(&mut self) {
        for queued in self.session.take().into_iter().flatten() {
            if let Some(number) = queued.number {
                self.delivered[number].lost = true;
            }
        }
    }

    /// Another client has had the session for a while. It took so many messages and acknowledged the first of them.
    pub(super) fn plunder(&mut self, taken: usize, acknowledged: usize) -> usize {
        for index in 0..taken.min(self.session.iter().flatten().count()) {
            let id = self.packet_id(index);
            self.session.as_mut().unwrap()[index].packet_id = Some(id);
        }
        let lost: Vec<Queued> = match &mut self.session {
            Some(session) => session.drain(..acknowledged.min(taken).min(session.len())).collect(),
            None => Vec::new(),
        };
        for number in lost.iter().filter_map(|queued| queued.number) {
            self.delivered[number].lost = true;
        }
        lost.len()
    }

    /// The connection is gone. `arrived`: of what the daemon had sent so many messages reached the broker. What was
    /// withheld until now belongs to the outages.
    pub(super) fn disconnect(&mut self, arrived: usize, now: i64, outages: &mut Outages) -> Vec<Published> {
        let mut seen = Vec::new();
        for _ in 0..arrived.min(self.up.len()) {
            let (_, sent) = self.up.pop_front().unwrap();
            seen.extend(self.receive(sent, now));
        }
        self.is_connected = false;
        self.up.clear();
        self.down.clear();
        for queued in self.session.iter_mut().flatten() {
            queued.is_sent = false;
            if let Some(arrived) = queued.arrived.take() {
                outages.withheld(arrived, now, queued.is_probe());
            }
        }
        seen
    }

    /// The daemon starts: it has sent nothing to itself.
    pub(super) fn daemon_starts(&mut self) {
        self.own_probes.clear();
        self.trusts_confirmations = false;
        self.has_seen_probe = false;
    }

    /// So many messages of the daemon are on their way.
    pub(super) fn on_their_way(&self) -> usize {
        self.up.len()
    }

    /// The daemon connects. Returns whether its session was still there.
    pub(super) fn connect(&mut self, now: i64) -> bool {
        self.withholds = false;
        self.frozen = false;
        self.is_connected = true;
        self.has_seen_probe = false;
        let present = self.session.is_some();
        self.session.get_or_insert_default();
        if let Some(payload) = self.retained.get(PROBE).filter(|_| !self.probe_refused) {
            let message = Message { topic: PROBE.to_owned(), payload: payload.clone() };
            self.enqueue(message, true, now);
        }
        self.ideal.restart(now);
        for queued in self.session.iter_mut().flatten() {
            let unhindered = self.ideal.next(now);
            queued.unhindered.get_or_insert(unhindered);
            queued.unhindered_again = unhindered;
        }
        present
    }

    /// Somebody publishes. Without a session the broker does not keep it.
    pub(super) fn publish(&mut self, message: Message, retain: bool, now: i64) {
        if retain {
            self.retained.insert(message.topic.clone(), message.payload.clone());
        }
        if message.topic == PROBE && self.probe_refused {
            return;
        }
        if self.session.is_some() {
            self.enqueue(message, false, now);
        }
    }

    fn enqueue(&mut self, message: Message, retained: bool, now: i64) {
        let unhindered = self.is_connected.then(|| self.ideal.next(now));
        self.session.get_or_insert_default().push_back(Queued {
            message,
            published: now,
            retained,
            unhindered,
            unhindered_again: unhindered.unwrap_or(i64::MAX),
            number: None,
            packet_id: None,
            is_sent: false,
            arrived: None,
        });
    }

    /// The broker does nothing until then, at least. What has left it before is on the line.
    pub(super) fn is_busy(&mut self, now: i64, until: i64) {
        let until = self.busy_until.max(until);
        self.busy_until = until;
        self.ideal.hold(until);
        let latency = self.line.latency;
        self.move_unhindered(now + latency..until + latency, |queued| !queued.is_sent);
    }

    /// The daemon's process did not run for a while: what would have arrived meanwhile arrived at its end.
    pub(super) fn stalled(&mut self, from: i64, to: i64) {
        self.move_unhindered(from..to, |_| true);
    }

    fn move_unhindered(&mut self, span: Range<i64>, is_concerned: fn(&Queued) -> bool) {
        for queued in self.session.iter_mut().flatten().filter(|queued| is_concerned(queued)) {
            for moment in queued.unhindered.iter_mut().chain([&mut queued.unhindered_again]) {
                if span.contains(moment) {
                    *moment = span.end;
                }
            }
        }
    }

    fn packet_id(&mut self, index: usize) -> u16 {
        match self.session.as_ref().unwrap()[index].packet_id {
            Some(id) => id,
            None => self.free_id(),
        }
    }

    fn free_id(&mut self) -> u16 {
        let used = |id: u16| self.session.iter().flatten().any(|queued| queued.packet_id == Some(id));
        if self.line.lowest_ids {
            return (1..).find(|id| !used(*id)).unwrap();
        }
        let mut id = self.next_packet_id;
        loop {
            // More ids than any window has messages, and few enough to be used again soon.
            id = if id >= 150 { 1 } else { id + 1 };
            if !used(id) {
                self.next_packet_id = id;
                return id;
            }
        }
    }

    /// Does all that can be done now. `seen` is told of each message that the daemon publishes, as it arrives.
    pub(super) fn work(
        &mut self,
        peer: &Peer,
        now: i64,
        outages: &mut Outages,
        mut seen: impl FnMut(&Published, &Broker),
    ) {
        loop {
            let mut has_worked = false;
            while let Some(sent) = peer.sent() {
                if let Sent::Acknowledge { packet_id } = &sent {
                    let is_it = |queued: &&mut Queued| queued.packet_id == Some(*packet_id) && queued.is_sent;
                    let queued = self
                        .session
                        .iter_mut()
                        .flatten()
                        .find(is_it)
                        .expect("only what was sent on this connection is acknowledged");
                    let arrived = queued.arrived.take().expect("it has arrived");
                    outages.withheld(arrived, now, queued.is_probe());
                }
                if !self.is_closing {
                    // Behind a DISCONNECT nothing leaves.
                    self.is_closing = matches!(sent, Sent::Disconnect);
                    self.up.push_back((now + self.line.latency, sent));
                }
            }
            if self.frozen || now < self.busy_until {
                return;
            }
            while self.up.front().is_some_and(|(due, _)| *due <= now) {
                let (_, sent) = self.up.pop_front().unwrap();
                has_worked = true;
                if let Some(published) = self.receive(sent, now) {
                    seen(&published, self);
                    self.published.push(published);
                }
            }
            self.fill_window(now);
            outages.proof_waits(self.has_backlog() || !self.brings_probes_back(), now);
            while self.down.front().is_some_and(|(due, _)| *due <= now) {
                let (_, down) = self.down.pop_front().unwrap();
                has_worked = true;
                match down {
                    Down::Message { packet_id, repeated } => self.arrive(peer, packet_id, repeated, now, outages),
                    Down::Confirmation(token, acknowledged) => peer.confirm((token, acknowledged)),
                }
            }
            if !has_worked {
                return;
            }
        }
    }

    /// When there is something to do again, if the daemon does nothing before.
    pub(super) fn next_due(&self) -> i64 {
        if self.frozen {
            return i64::MAX;
        }
        let due = [self.up.front().map(|(due, _)| *due), self.down.front().map(|(due, _)| *due)];
        let waits = self.session.iter().flatten().take(self.line.window).any(|queued| !queued.is_sent);
        let next = due.into_iter().flatten().min().unwrap_or(i64::MAX);
        let next = if waits && self.is_connected && !self.withholds { next.min(self.busy_until) } else { next };
        if next == i64::MAX { next } else { next.max(self.busy_until) }
    }

    /// Whether the daemon can receive its probes on this connection.
    fn brings_probes_back(&self) -> bool {
        !self.line.is_probe_denied && !self.probe_refused
    }

    /// Whether something waits for room in the window.
    fn has_backlog(&self) -> bool {
        self.session.as_ref().and_then(|session| session.back()).is_some_and(|last| !last.is_sent)
    }

    /// Sends what has room in the window.
    fn fill_window(&mut self, now: i64) {
        if self.withholds || !self.is_connected {
            return;
        }
        let room = self.session.iter().flatten().take(self.line.window);
        let waiting: Vec<usize> = room.enumerate().filter(|(_, queued)| !queued.is_sent).map(|(at, _)| at).collect();
        for index in waiting {
            let packet_id = self.packet_id(index);
            let queued = &mut self.session.as_mut().unwrap()[index];
            let repeated = queued.packet_id.replace(packet_id).is_some();
            queued.is_sent = true;
            self.repeats += usize::from(repeated);
            if repeated {
                record::count("a message is sent again");
            }
            if queued.retained {
                record::count("a retained message on the probe topic is sent");
            }
            self.down.push_back((now + self.line.latency, Down::Message { packet_id, repeated }));
        }
    }

    /// A message reaches the daemon.
    fn arrive(&mut self, peer: &Peer, packet_id: u16, repeated: bool, now: i64, outages: &mut Outages) {
        self.trusts_confirmations |= !self.brings_probes_back();
        let trusts_confirmations = self.trusts_confirmations;
        let place = self.session.as_ref().unwrap().iter().position(|queued| queued.packet_id == Some(packet_id));
        let queued = &mut self.session.as_mut().unwrap()[place.expect("what is on its way is in the session")];
        queued.arrived = Some(now);
        let (message, published, retained) = (queued.message.clone(), queued.published, queued.retained);
        // What has come could come.
        let (mut unhindered, mut unhindered_again) =
            (queued.unhindered.unwrap_or(now).min(now), queued.unhindered_again.min(now));
        if trusts_confirmations {
            // These overtake what waits for room, so no more can be asked for.
            (unhindered, unhindered_again) = (now, now);
        }
        if message.topic == PROBE {
            let is_own = !retained && self.own_probes.contains(&message.payload);
            self.has_seen_probe |= !repeated && is_own;
            self.trusts_confirmations &= !is_own;
            if is_own && !repeated {
                outages.probe_returned(published, now);
            }
        } else if message.topic == UNWATCHED {
            record::count("a message that cannot be used arrives");
        } else if let Some(number) = queued.number {
            let delivered = &mut self.delivered[number];
            (delivered.last, delivered.unhindered_again) = (now, unhindered_again);
        } else {
            queued.number = Some(self.delivered.len());
            let number = std::str::from_utf8(&message.payload).unwrap().parse().unwrap_or(f64::NAN);
            let message = message.clone();
            let (first, last, lost) = (now, now, false);
            self.delivered.push(Delivered { message, number, unhindered, unhindered_again, first, last, lost });
        }
        record::line(|| format!("{now} arrives: {packet_id} {} {:?}", message.topic, message.payload));
        peer.deliver(&message.topic, message.payload, retained, repeated, Some(packet_id));
    }

    /// Something of the daemon has arrived.
    fn receive(&mut self, sent: Sent, now: i64) -> Option<Published> {
        match sent {
            Sent::Disconnect => self.disconnected = true,
            Sent::Acknowledge { packet_id } => {
                let session = self.session.as_mut().unwrap();
                let place = session.iter().position(|queued| queued.packet_id == Some(packet_id));
                session.remove(place.expect("only what is in the session is acknowledged"));
            }
            Sent::Publish { topic, payload, retain, confirm } => {
                let down = confirm.map(|(token, acknowledged)| Down::Confirmation(token, acknowledged));
                self.down.extend(down.map(|down| (now + self.line.latency, down)));
                if topic == PROBE {
                    // A fence uses the topic, too, and only its confirmation matters.
                    if payload != "settling" {
                        self.own_probes.insert(payload.clone());
                        self.probes.push_back(payload.clone());
                    }
                    if self.probes.len() > REMEMBERED_PROBES {
                        self.probes.pop_front();
                    }
                    if !self.line.is_probe_denied {
                        self.publish(Message { topic, payload }, false, now);
                    }
                    return None;
                }
                if retain {
                    self.retained.insert(topic.clone(), payload.clone());
                }
                if let Some(alarm) = topic.strip_prefix("annunciator/gw/events/") {
                    self.events.insert((alarm.to_owned(), sequence_number(&payload).unwrap()));
                }
                return Some(Published { at: now, topic, payload });
            }
        }
        None
    }

    /// Whether something of the plant has not been acknowledged.
    pub(super) fn has_plant_messages(&self) -> bool {
        self.session.iter().flatten().any(|queued| !queued.is_probe())
    }

    /// Whether nothing is on its way, and nothing waits.
    pub(super) fn is_quiet(&self) -> bool {
        self.up.is_empty() && self.down.is_empty() && self.session.iter().flatten().next().is_none()
    }

    /// What somebody else publishes on the probe topic: a word, the word of earlier versions, or a probe of the past.
    pub(super) fn foreign_probe(&self, random: &mut Random) -> Message {
        let earlier = self.probes.iter().rev().nth(1).cloned();
        let payload = match random.below(3) {
            0 => Bytes::from_static(b"hello"),
            1 => Bytes::from_static(b"listening"),
            _ => earlier.unwrap_or_default(),
        };
        Message { topic: PROBE.to_owned(), payload }
    }
}
