//! The sending end of the link, and what it shares with the task that polls.

use super::library::{Broken, Limits, Requests};
use super::subscriptions::{Ask, Subscriptions};
use super::{Inbound, LinkEvent, Outbound, REQUESTS, Receipt, Received};
use crate::domain::outbox::Token;
use crate::domain::time::Moment;
use crate::io::clock::Clock;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use tokio::sync::{Notify, mpsc};

/// Something that was sent and has to be confirmed.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) token: Token,
    pub(super) topic: String,
    /// Bytes of its packet.
    size: usize,
    /// How many were sent before it.
    pub(super) number: u64,
    /// Acknowledgements that were sent before it.
    pub(super) acknowledged: u64,
}

/// Something that was handed over.
#[derive(Debug)]
struct Submitted {
    token: Token,
    topic: String,
    size: usize,
}

/// A time in which the socket was not read, because evaluation did not keep up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interruption {
    /// Its beginning.
    pub since: Moment,
    /// Its end.
    pub until: Moment,
    /// Whether messages without acknowledgement were dropped.
    pub has_lost: bool,
}

/// What both ends of the link look at. They run in one thread.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Counts connections.
    pub(super) generation: u64,
    /// The latest of them of which the reader of events knows that it is up.
    pub(super) known_generation: Option<u64>,
    /// Whether there is one now.
    is_connected: bool,
    pub(super) subscriptions: Subscriptions,
    /// Messages that wait for room in the window, in order.
    waiting: VecDeque<(Outbound, Token)>,
    /// Messages that were handed over and have no packet id yet, in order.
    submitted: VecDeque<Submitted>,
    /// Messages by packet id.
    in_flight: BTreeMap<u16, Flight>,
    /// Messages with a packet id that were sent on this connection.
    sent: u64,
    /// Messages that may be in flight at one time.
    window: usize,
    /// Bytes of the largest packet that the broker says it takes.
    largest: usize,
    /// Bytes of the smallest packet that a broker did not take, although it had not said so. This is not forgotten with
    /// the connection: states are sent again at every connect, and would break each one.
    too_large: Option<usize>,
    /// Bytes of the largest packet that a broker has taken.
    largest_taken: usize,
    /// Acknowledgements that were sent on this connection.
    pub(super) acknowledged: u64,
    /// Payload bytes that wait for evaluation.
    pub(super) queued_bytes: usize,
    /// Messages with QoS 0 that were dropped because evaluation did not keep up.
    pub(super) overflow: u64,
    /// The time in which the socket was not read, until the reader of events asks for it.
    interruption: Option<Interruption>,
    /// Which certificate, key or secret cannot be used, if that is why there is no connection.
    pub(super) no_pass: Option<String>,
    /// Whether the connection is being closed on purpose.
    pub(super) closing: bool,
    /// Why the connection has to be made anew, if somebody asked for that.
    pub(super) restart: Option<String>,
}

impl Shared {
    /// A new connection.
    pub(super) fn connected(&mut self, session_present: bool, limits: Limits) {
        self.is_connected = true;
        self.no_pass = None;
        // Packet ids go around. With half of them in flight, none that is in use comes again, although subscriptions use
        // some, too, and brokers confirm those before messages that were sent earlier.
        self.window = usize::from(limits.packet_ids / 2).max(1);
        self.largest = limits.packet;
        self.subscriptions.connected(session_present);
    }

    /// Forgets everything of the connection that broke.
    pub(super) fn disconnected(&mut self) {
        self.generation += 1;
        self.is_connected = false;
        self.waiting.clear();
        self.submitted.clear();
        self.in_flight.clear();
        self.acknowledged = 0;
        self.sent = 0;
        self.interruption = None;
        self.subscriptions.disconnected();
    }

    /// The oldest message that was handed over has left.
    pub(super) fn sent(&mut self, packet_id: u16) {
        if let Some(Submitted { token, topic, size }) = self.submitted.pop_front() {
            let flight = Flight { token, topic, size, number: self.sent, acknowledged: self.acknowledged };
            self.sent += 1;
            self.in_flight.insert(packet_id, flight);
        }
    }

    /// The broker has answered the message with this packet id.
    pub(super) fn answered(&mut self, packet_id: u16, is_taken: bool) -> Option<Flight> {
        let flight = self.in_flight.remove(&packet_id)?;
        if is_taken {
            self.largest_taken = self.largest_taken.max(flight.size);
        }
        Some(flight)
    }

    /// The message that waits longest for an answer was too large.
    pub(super) fn oldest_is_too_large(&mut self) -> Option<Flight> {
        let (packet_id, flight) = self.in_flight.iter().min_by_key(|(_, flight)| flight.number)?;
        // If larger ones were taken, something else is the matter.
        if flight.size > self.largest_taken {
            self.too_large = Some(self.too_large.map_or(flight.size, |size| size.min(flight.size)));
        }
        let packet_id = *packet_id;
        self.answered(packet_id, false)
    }

    /// The socket was not read in this time.
    pub(super) fn interrupted(&mut self, Interruption { since, until, has_lost }: Interruption) {
        let interruption = self.interruption.get_or_insert(Interruption { since, until, has_lost });
        interruption.until = until;
        interruption.has_lost |= has_lost;
    }

    fn takes(&self, size: usize) -> bool {
        size <= self.largest && self.too_large.is_none_or(|too_large| size < too_large)
    }

    fn is_up(&self) -> bool {
        self.is_connected && self.known_generation == Some(self.generation)
    }

    fn has_room(&self) -> bool {
        self.submitted.len() + self.in_flight.len() < self.window
    }
}

/// The sending end.
#[derive(Debug, Clone)]
pub struct Link {
    requests: Rc<dyn Requests>,
    events: mpsc::WeakSender<Received>,
    pub(super) clock: Rc<Clock>,
    pub(super) shared: Rc<RefCell<Shared>>,
    pub(super) room: Rc<Notify>,
    pub(super) restart: Rc<Notify>,
}

impl Link {
    pub(super) fn new(requests: Rc<dyn Requests>, events: mpsc::WeakSender<Received>, clock: Rc<Clock>) -> Link {
        Link { requests, events, clock, shared: Rc::default(), room: Rc::default(), restart: Rc::default() }
    }

    /// Sends something, if the link is up. False: it was not handed over, and nothing will come of it.
    pub fn send(&self, outbound: Outbound, token: Token) -> bool {
        let mut shared = self.shared.borrow_mut();
        if !shared.is_up() {
            return false;
        }
        let size = outbound.packet_size();
        if !shared.takes(size) {
            // Handed over, it would break this connection and each one after it.
            let reason = format!("its {size} bytes are more than the broker takes");
            let (topic, acknowledged) = (outbound.topic, shared.acknowledged);
            drop(shared);
            return self.tell(LinkEvent::Refused { token, acknowledged, topic, reason });
        }
        if !outbound.confirmed {
            return self.requests.publish(outbound);
        }
        if shared.waiting.is_empty() && shared.has_room() {
            return self.hand_over(&mut shared, outbound, token);
        }
        let is_taken = shared.waiting.len() < REQUESTS;
        if is_taken {
            shared.waiting.push_back((outbound, token));
        }
        is_taken
    }

    /// Bytes of the largest payload that the broker takes, as far as that is known; with room for a topic.
    pub(crate) fn largest_payload(&self) -> usize {
        /// Topic, properties and all that varies.
        const REST: usize = 1_024;
        let shared = self.shared.borrow();
        let largest = shared.too_large.map_or(shared.largest, |too_large| shared.largest.min(too_large));
        largest.saturating_sub(REST).max(REST)
    }

    /// The time in which the socket was not read since the last call, if there was one.
    pub fn take_interruption(&self) -> Option<Interruption> {
        self.shared.borrow_mut().interruption.take()
    }

    /// Tells the reader of events something that did not come from the broker, if there is room.
    fn tell(&self, event: LinkEvent) -> bool {
        let received = self.received(event);
        self.events.upgrade().is_some_and(|events| events.try_send(received).is_ok())
    }

    pub(super) fn received(&self, event: LinkEvent) -> Received {
        Received { at: self.clock.at(), event, generation: self.shared.borrow().generation }
    }

    fn hand_over(&self, shared: &mut Shared, outbound: Outbound, token: Token) -> bool {
        let (topic, size) = (outbound.topic.clone(), outbound.packet_size());
        let is_taken = self.requests.publish(outbound);
        if is_taken {
            shared.submitted.push_back(Submitted { token, topic, size });
        }
        is_taken
    }

    /// Hands over what has waited for room.
    pub(super) fn send_waiting(&self) -> Result<(), Broken> {
        let mut shared = self.shared.borrow_mut();
        while shared.has_room()
            && let Some((outbound, token)) = shared.waiting.pop_front()
        {
            if !self.hand_over(&mut shared, outbound, token) {
                return Err("there is no room for requests".into());
            }
        }
        Ok(())
    }

    /// From now on the broker has to send what fits these filters (with this quality of service), and nothing else. On a
    /// connection that is up it is asked for the differences, and [`LinkEvent::Subscribed`] comes when it has answered
    /// all of it, at once if there are none; otherwise this is what the next connection subscribes.
    ///
    /// The broker's session remembers subscriptions for longer than this process lives. Whoever may run with other
    /// filters next time keeps these on disk before calling this, together with the earlier ones until `Subscribed`
    /// comes, and hands them to [`Link::unsubscribe_earlier`] after the restart.
    pub fn subscribe(&self, filters: Vec<(String, u8)>) {
        let mut shared = self.shared.borrow_mut();
        let is_connected = shared.is_connected;
        shared.subscriptions.want(filters, is_connected);
        let is_settled = is_connected && shared.subscriptions.is_settled();
        let refused = shared.subscriptions.refused();
        drop(shared);
        if is_settled {
            if !self.tell(LinkEvent::Subscribed { refused }) {
                tracing::debug!("the queue is full; nothing has changed anyway");
            }
        } else if let Err(broken) = self.ask() {
            self.reconnect(&broken.reason);
        }
    }

    /// Subscribes once more with some of the filters, so that the broker sends again what is retained there. Without a
    /// connection there is nothing to do: the next one begins with that.
    pub(crate) fn subscribe_again(&self, filters: &[(String, u8)]) {
        let mut shared = self.shared.borrow_mut();
        if !shared.is_connected {
            return;
        }
        shared.subscriptions.again(filters);
        drop(shared);
        if let Err(broken) = self.ask() {
            self.reconnect(&broken.reason);
        }
    }

    /// Filters that an earlier run may have left in the broker's session. Those that are not wanted any more are
    /// unsubscribed at the next connect, so this is to be called right after [`super::connect`].
    pub fn unsubscribe_earlier(&self, filters: impl IntoIterator<Item = String>) {
        self.shared.borrow_mut().subscriptions.inherit(filters);
    }

    /// Asks the broker for what can be asked now.
    pub(super) fn ask(&self) -> Result<(), Broken> {
        while let Some(ask) = self.next_ask() {
            self.request(&ask)?;
        }
        Ok(())
    }

    fn request(&self, ask: &Ask) -> Result<(), Broken> {
        let is_taken = match ask {
            Ask::Subscribe(filters) => self.requests.subscribe(filters),
            Ask::Unsubscribe(filter) => self.requests.unsubscribe(filter),
        };
        if is_taken { Ok(()) } else { Err("cannot subscribe: there is no room for requests".into()) }
    }

    /// Begins to look at a topic.
    pub(super) fn look(&self, topic: &str) -> Result<(), Broken> {
        let ask = self.shared.borrow_mut().subscriptions.look(topic);
        self.request(&ask)
    }

    /// Sends the word that comes back behind what is retained.
    pub(super) fn say(&self, word: Outbound) -> Result<(), Broken> {
        if self.requests.publish(word) { Ok(()) } else { Err("there is no room for requests".into()) }
    }

    /// The look is over: everything else is asked for.
    pub(super) fn looked(&self) -> Result<(), Broken> {
        self.shared.borrow_mut().subscriptions.looked();
        self.ask()
    }

    fn next_ask(&self) -> Option<Ask> {
        self.shared.borrow_mut().subscriptions.next()
    }

    /// Acknowledges a message, if the connection on which it came still exists.
    pub fn acknowledge(&self, receipt: Receipt) {
        let is_current = receipt.generation == self.shared.borrow().generation;
        if is_current && !self.requests.acknowledge(receipt.packet_id) {
            tracing::error!("no room for an acknowledgement; the broker will send the message again");
        }
    }

    /// Says that a message was taken out of the queue.
    pub fn took(&self, inbound: &Inbound) {
        let mut shared = self.shared.borrow_mut();
        shared.queued_bytes = shared.queued_bytes.saturating_sub(inbound.payload.len() + inbound.topic.len());
        drop(shared);
        self.room.notify_one();
    }

    /// Messages that were dropped because evaluation did not keep up.
    pub fn overflow(&self) -> u64 {
        self.shared.borrow().overflow
    }

    /// Whether the broker can be reached. Nothing can be sent on a connection before its [`LinkEvent::Up`] was received.
    pub fn is_up(&self) -> bool {
        self.shared.borrow().is_up()
    }

    /// Which certificate, key or secret cannot be used, if that is why there is no connection. It is tried again.
    pub fn no_pass(&self) -> Option<String> {
        self.shared.borrow().no_pass.clone()
    }

    /// Asks for a new connection, because this one does not do what it should.
    pub fn reconnect(&self, reason: &str) {
        self.shared.borrow_mut().restart = Some(reason.to_owned());
        self.restart.notify_one();
    }

    /// Ends the connection for good: a DISCONNECT, so that the last will stays in its envelope.
    pub fn close(&self) {
        let mut shared = self.shared.borrow_mut();
        shared.closing = true;
        // The DISCONNECT comes after all that was to be sent. If that does not leave, nor does the DISCONNECT, and the
        // last will says what could not be said.
        while let Some((outbound, token)) = shared.waiting.pop_front() {
            self.hand_over(&mut shared, outbound, token);
        }
        drop(shared);
        if !self.requests.disconnect() {
            tracing::debug!("the connection was gone before it was closed");
        }
    }
}

impl Outbound {
    /// Bytes of the packet at most.
    fn packet_size(&self) -> usize {
        /// Fixed header, packet id and the lengths of all that varies, properties included.
        const REST: usize = 32;
        self.topic.len() + self.payload.len() + self.correlation.as_ref().map_or(0, bytes::Bytes::len) + REST
    }
}
