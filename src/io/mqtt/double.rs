//! A connection that a test plays: the same [`Link`], and in place of the network a [`Peer`] in the test's hand.
//!
//! It does what [`super::poll`] does for a connection's bookkeeping, and nothing of MQTT: what is sent comes out of
//! [`Peer::sent`], what is received goes in by [`Peer::deliver`].

use super::library::{Filter, Limits, Requests};
use super::{INBOUND_MESSAGES, Inbound, Link, LinkEvent, Listener, Outbound, Receipt, Received};
use crate::domain::outbox::Token;
use crate::io::clock::Clock;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use tokio::sync::{Notify, mpsc};

/// A connection on which everything fits.
const LIMITS: Limits = Limits { packet_ids: u16::MAX, packet: usize::MAX };

/// What the link has asked for.
#[derive(Debug)]
enum Asked {
    Publish(Outbound),
    Acknowledge(u16),
    Disconnect,
}

/// Keeps what was asked for until the peer takes it.
#[derive(Debug, Default)]
struct Queue {
    asked: RefCell<VecDeque<Asked>>,
    /// Told of each request.
    news: Notify,
}

impl Queue {
    fn put(&self, asked: Asked) -> bool {
        self.asked.borrow_mut().push_back(asked);
        self.news.notify_one();
        true
    }
}

impl Requests for Queue {
    fn publish(&self, outbound: Outbound) -> bool {
        self.put(Asked::Publish(outbound))
    }

    fn acknowledge(&self, packet_id: u16) -> bool {
        self.put(Asked::Acknowledge(packet_id))
    }

    /// The peer says at each connect what became of the subscriptions.
    fn subscribe(&self, _: &[Filter]) -> bool {
        true
    }

    fn unsubscribe(&self, _: &str) -> bool {
        true
    }

    fn disconnect(&self) -> bool {
        self.put(Asked::Disconnect)
    }
}

/// The end of a connection that a test holds.
#[derive(Debug)]
pub(crate) struct Peer {
    link: Link,
    queue: Rc<Queue>,
    events: Option<mpsc::Sender<Received>>,
    is_up: Cell<bool>,
}

/// What the daemon has handed to its connection.
#[derive(Debug)]
pub(crate) enum Sent {
    /// A message; with QoS 1 it has a token, and the number of acknowledgements that were sent before it.
    Publish { topic: String, payload: Bytes, retain: bool, confirm: Option<(Token, u64)> },
    /// An acknowledgement.
    Acknowledge { packet_id: u16 },
    /// The end of the connection.
    Disconnect,
}

/// Both ends of a connection that is down.
pub(crate) fn connection(clock: Rc<Clock>) -> ((Link, Listener), Peer) {
    let (events, received) = mpsc::channel(INBOUND_MESSAGES);
    let queue = Rc::new(Queue::default());
    let link = Link::new(queue.clone(), events.downgrade(), clock);
    let listener = Listener::new(received, link.shared.clone());
    ((link.clone(), listener), Peer { link, queue, events: Some(events), is_up: Cell::new(false) })
}

impl Peer {
    fn tell(&self, event: LinkEvent) {
        // A daemon that has ended hears nothing.
        let _ = self.events.as_ref().is_some_and(|events| events.try_send(self.link.received(event)).is_ok());
    }

    /// The connection was closed on purpose and will not come back.
    pub(crate) fn hang_up(&mut self) {
        self.events = None;
    }

    pub(crate) fn is_up(&self) -> bool {
        self.is_up.get()
    }

    /// The connection is there, and these subscriptions were refused.
    pub(crate) fn connect(&self, session_present: bool, refused: Vec<(String, String)>) {
        self.is_up.set(true);
        self.link.shared.borrow_mut().connected(session_present, LIMITS);
        self.tell(LinkEvent::Up { session_present });
        self.tell(LinkEvent::Subscribed { refused });
    }

    /// The connection is lost with all that was on its way.
    pub(crate) fn lose(&self, reason: &str) {
        self.is_up.set(false);
        self.link.shared.borrow_mut().disconnected();
        self.queue.asked.borrow_mut().clear();
        self.tell(LinkEvent::Down { reason: reason.to_owned(), silent_since: None });
    }

    /// Waits until the daemon has handed over something, or wants a new connection.
    pub(crate) async fn news(&self) {
        tokio::select! {
            biased;
            () = self.queue.news.notified() => {}
            () = self.link.restart.notified() => {}
        }
    }

    /// The daemon's request for a new connection, with its reason.
    pub(crate) fn wants_restart(&self) -> Option<String> {
        self.link.shared.borrow_mut().restart.take()
    }

    /// A message for the daemon, with a packet id if it has QoS 1.
    pub(crate) fn deliver(&self, topic: &str, payload: Bytes, retained: bool, repeated: bool, packet_id: Option<u16>) {
        let generation = self.link.shared.borrow().generation;
        let receipt = packet_id.map(|packet_id| Receipt { generation, packet_id });
        self.link.shared.borrow_mut().queued_bytes += payload.len() + topic.len();
        let topic = topic.to_owned();
        self.tell(LinkEvent::Message(Inbound { topic, payload, retained, repeated, receipt, reply_to: None }));
    }

    /// The broker has taken a message.
    pub(crate) fn confirm(&self, (token, acknowledged): (Token, u64)) {
        self.tell(LinkEvent::Taken { token, acknowledged });
    }

    /// The next thing that the daemon has handed over.
    pub(crate) fn sent(&self) -> Option<Sent> {
        let asked = self.queue.asked.borrow_mut().pop_front()?;
        let mut shared = self.link.shared.borrow_mut();
        Some(match asked {
            Asked::Publish(Outbound { topic, payload, retain, confirmed, .. }) => {
                let confirm = confirmed.then(|| {
                    /// Each message is answered before the next one leaves, as far as packet ids are concerned.
                    const PACKET_ID: u16 = 1;
                    shared.sent(PACKET_ID);
                    let flight = shared.answered(PACKET_ID, true).expect("each publish has its token");
                    (flight.token, flight.acknowledged)
                });
                Sent::Publish { topic, payload, retain, confirm }
            }
            Asked::Acknowledge(packet_id) => {
                shared.acknowledged += 1;
                Sent::Acknowledge { packet_id }
            }
            Asked::Disconnect => Sent::Disconnect,
        })
    }
}
