//! The connection to the broker, MQTT 3.1.1 or 5: everything that knows rumqttc.
//!
//! [`connect`] starts a task that does nothing but poll the connection, and returns two ends: a [`Link`] to send by and
//! a [`Listener`] to [`LinkEvent`]s. Which version is spoken is known to `v3` and `v5` only; what both have in common is
//! described in `library`. What the library leaves to its users is done here, once for both:
//!
//! - It forgets what is in flight when the broker has lost the session, and replays it in an order of its own when it
//!   has not. So nothing is left to it: at every break its state is thrown away, and the outbox sends again.
//! - Events of a dead connection surface after the next CONNACK, a packet id that collided blocks for ever: both go with
//!   that state, and what belongs to an earlier connection is recognised by a generation number.
//! - A full window holds back acknowledgements, too: here there is a window of our own, half as large as the library's.
//! - It reconnects at once: here there is a backoff with jitter.
//! - A dead peer can hold up a write for as long as the system likes: each step has a bound.
//! - It ignores refused subscriptions, and messages that the broker refused: they are reported.
//!
//! Messages are acknowledged when the caller says so, after the turn that they were part of is on disk.

#[cfg(test)]
pub(crate) mod double;
mod library;
mod link;
mod listener;
mod look;
mod poll;
mod reason;
pub(crate) mod route;
mod subscriptions;
pub(crate) mod tls;
mod v3;
mod v5;
pub(crate) mod visit;

pub use link::{Interruption, Link};
pub use listener::Listener;
use look::Look;

use crate::config::{MqttSettings, Protocol};
use crate::domain::outbox::Token;
use crate::domain::time::{Moment, Span};
use crate::io::clock::Clock;
use bytes::Bytes;
use poll::Poller;
use std::rc::Rc;
use tokio::sync::mpsc;

/// Messages that may wait for evaluation. A turn takes them all, so this is some hundred milliseconds at full speed.
const INBOUND_MESSAGES: usize = 16_384;
/// Payload bytes that may wait for evaluation, together.
const INBOUND_BYTES: usize = 32 << 20;
/// Requests to the library: acknowledgements of all messages that a broker may send ahead (65,535), and our window. As
/// many messages may wait for room in the window, because the answers to a flood of commands are as many.
const REQUESTS: usize = 70_000;
/// Bytes of the largest packet that is accepted: all that the protocol allows. To refuse one breaks the connection, and
/// the broker would send it again for ever; what is too large to be read (`max_payload`) is a fault and acknowledged. Who
/// must not be sent so much limits it at the broker (mosquitto: `message_size_limit`).
const MAX_INBOUND_PACKET: u32 = 268_435_455 + 5;
/// Bytes of the largest packet that is sent: an event repeats a text value, JSON may make six bytes of one.
const MAX_OUTBOUND_PACKET: usize = 128 << 20;
/// The library's own window: so many packet ids it uses, one after the other and around again. With MQTT 5 each costs
/// 216 bytes, and the library's default of 65,535 would be 14 MB.
const LIBRARY_WINDOW: u16 = 1_024;

/// A message as it came.
#[derive(Debug, Clone)]
pub struct Inbound {
    /// Where it was published.
    pub topic: String,
    /// What it says.
    pub payload: Bytes,
    /// Whether the broker replayed it at subscription.
    pub retained: bool,
    /// Whether the broker marks it as sent before (DUP).
    pub repeated: bool,
    /// With what to acknowledge it; none: it needs no acknowledgement.
    pub receipt: Option<Receipt>,
    /// Where the sender waits for an answer (MQTT 5). Nobody has looked at the topic yet.
    pub reply_to: Option<ReplyTo>,
}

/// Where an answer is waited for, and what has to be on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyTo {
    /// The response topic, as the sender gave it.
    pub topic: String,
    /// The sender's mark, to be sent back as it is.
    pub correlation: Option<Bytes>,
}

/// The right to acknowledge one message on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    generation: u64,
    packet_id: u16,
}

impl Receipt {
    /// The packet id of the message.
    pub fn packet_id(self) -> u16 {
        self.packet_id
    }
}

/// Something that happened on the link, and when.
#[derive(Debug)]
pub struct Received {
    /// When it was received.
    pub at: Moment,
    /// What it was.
    pub event: LinkEvent,
    /// On which connection.
    generation: u64,
}

/// What happens on the link, in order.
#[derive(Debug)]
pub enum LinkEvent {
    /// What was retained on the topic of [`Terms::looks_at`]. Nothing else of this connection was told before.
    Retained(Bytes),
    /// From now on the broker can be heard: it has answered all subscriptions, or sends without having answered.
    Up {
        /// Whether it still had our session: it repeats what was not acknowledged.
        session_present: bool,
    },
    /// The broker has answered all that was asked for since the connect, or since [`Link::subscribe`]: its session has
    /// what is wanted, less what it refused, and nothing else.
    Subscribed {
        /// All that it refused, with the reasons.
        refused: Vec<(String, String)>,
    },
    /// The connection is lost, or could not be made.
    Down {
        /// Why, in words.
        reason: String,
        /// The time of the broker's last packet, if it has not answered since, or if the socket was not read; none: it was
        /// there until now.
        silent_since: Option<Moment>,
    },
    /// A message.
    Message(Inbound),
    /// The broker has taken what was sent.
    Taken {
        /// With this token.
        token: Token,
        /// So many acknowledgements of this connection were sent before it: the broker has processed them, too.
        acknowledged: u64,
    },
    /// The broker will not take what was sent, however often it is sent (MQTT 5; a broker of version 3.1.1 says nothing).
    Refused {
        /// With this token.
        token: Token,
        /// As for [`LinkEvent::Taken`].
        acknowledged: u64,
        /// Where it was to go.
        topic: String,
        /// Why, in words.
        reason: String,
    },
}

/// What has to be sent.
#[derive(Debug, Clone, Default)]
pub struct Outbound {
    /// Where to.
    pub topic: String,
    /// What.
    pub payload: Bytes,
    /// Whether the broker has to confirm it (QoS 1).
    pub confirmed: bool,
    /// Whether it keeps it.
    pub retain: bool,
    /// The mark of the request that this answers. MQTT 3.1.1 has no place for it.
    pub correlation: Option<Bytes>,
    /// After this time the broker has to forget it. With MQTT 3.1.1 it never does.
    pub expires: Option<Span>,
}

/// How long a connection and what the broker keeps of it are to last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Whether the broker keeps the session, and messages for it, while there is no connection.
    pub is_kept: bool,
    /// Whether it is made anew when it breaks. Otherwise [`LinkEvent::Down`] is the last that is heard of it.
    pub comes_back: bool,
    /// A topic of ours at which the first connection looks before it tells anything: [`LinkEvent::Retained`] comes if
    /// something is retained there.
    pub looks_at: Option<String>,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms { is_kept: true, comes_back: true, looks_at: None }
    }
}

/// Starts to connect, and goes on until the process ends. Must be called inside a `LocalSet`. Certificates, keys and the
/// password are read for each attempt; what cannot be read makes it fail, like a broker that is away.
pub fn connect(
    settings: &MqttSettings,
    filters: Vec<(String, u8)>,
    will: Outbound,
    clock: Rc<Clock>,
    terms: Terms,
) -> (Link, Listener) {
    let (events, queue) = mpsc::channel(INBOUND_MESSAGES);
    let longest_connect = settings.connect_timeout.to_std();
    let look = terms.looks_at.map(|topic| Look::new(topic, clock.random()));
    let link = match settings.protocol {
        Protocol::V3 => {
            let (requests, connection) = v3::open(settings, will, terms.is_kept);
            let link = Link::new(requests, events.downgrade(), clock);
            let poller = Poller::new(connection, link.clone(), events, longest_connect, terms.comes_back);
            tokio::task::spawn_local(poller.looking(look).run());
            link
        }
        Protocol::V5 => {
            let (requests, connection) = v5::open(settings, will, terms.is_kept);
            let link = Link::new(Rc::new(requests), events.downgrade(), clock);
            let poller = Poller::new(connection, link.clone(), events, longest_connect, terms.comes_back);
            tokio::task::spawn_local(poller.looking(look).run());
            link
        }
    };
    link.subscribe(filters);
    let listener = Listener::new(queue, link.shared.clone());
    (link, listener)
}
