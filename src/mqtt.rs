//! The connection to the broker, MQTT 3.1.1: everything that knows rumqttc.
//!
//! [`connect`] starts a task that does nothing but poll the connection, and returns two ends: a [`Link`] to send by and
//! a queue of [`LinkEvent`]s. What the library leaves to its users is done here:
//!
//! - It forgets what is in flight when the broker has lost the session, and replays it in an order of its own when it
//!   has not. So nothing is left to it: at every break its queues are emptied, and the outbox sends again.
//! - Events of a dead connection surface after the next CONNACK, a packet id that collided blocks for ever: both are
//!   cleared at every break, and what belongs to an earlier connection is recognised by a generation number.
//! - It reconnects at once: here there is a backoff with jitter.
//! - It ignores refused subscriptions: they are reported.
//!
//! Messages are acknowledged when the caller says so, after the turn that they were part of is on disk.

mod poll;
pub(crate) mod tls;

use crate::clock::Clock;
use crate::config::MqttSettings;
use crate::outbox::Token;
use crate::time::Moment;
use bytes::Bytes;
use rumqttc::{AsyncClient, LastWill, MqttOptions, Publish, QoS, Transport};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use tokio::sync::{Notify, mpsc};

/// Messages that may wait for evaluation. A turn takes them all, so this is some hundred milliseconds at full speed.
const INBOUND_MESSAGES: usize = 16_384;
/// Payload bytes that may wait for evaluation, together.
const INBOUND_BYTES: usize = 32 << 20;
/// Requests to the library: acknowledgements of all messages that a broker may send ahead (65,535), and our window.
const REQUESTS: usize = 70_000;
/// Bytes of the largest packet that is accepted: all that the protocol allows. To refuse one breaks the connection, and
/// the broker would send it again for ever; what is too large to be read (`max_payload`) is a fault and acknowledged. Who
/// must not be sent so much limits it at the broker (mosquitto: `message_size_limit`).
const MAX_INBOUND_PACKET: usize = 268_435_455 + 5;
/// Bytes of the largest packet that is sent: an event repeats a text value, JSON may make six bytes of one.
const MAX_OUTBOUND_PACKET: usize = 128 << 20;
/// The library's own window. It must never be full, because a full one holds back acknowledgements too.
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
}

/// The right to acknowledge one message on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    generation: u64,
    packet_id: u16,
}

/// Something that happened on the link, and when.
#[derive(Debug)]
pub struct Heard {
    /// When it was received.
    pub at: Moment,
    /// What it was.
    pub event: LinkEvent,
}

/// What happens on the link, in order.
#[derive(Debug)]
pub enum LinkEvent {
    /// From now on the broker can be heard: it has answered all subscriptions, or sends without having answered.
    Up {
        /// Whether it still had our session: it repeats what was not acknowledged.
        session_present: bool,
    },
    /// The broker has answered all subscriptions.
    Subscribed {
        /// Those that it refused, with the reason.
        refused: Vec<(String, String)>,
    },
    /// The connection is lost, or could not be made.
    Down {
        /// Why, in words.
        reason: String,
        /// When the broker was last heard, if it had not answered since; none: it was there until now.
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
}

/// What has to be sent.
#[derive(Debug, Clone)]
pub struct Outbound {
    /// Where to.
    pub topic: String,
    /// What.
    pub payload: Bytes,
    /// Whether the broker has to confirm it (QoS 1).
    pub confirmed: bool,
    /// Whether it keeps it.
    pub retain: bool,
}

/// What both ends of the link look at. They run in one thread.
#[derive(Debug, Default)]
struct Shared {
    /// Counts connections.
    generation: u64,
    is_up: bool,
    /// Tokens of publishes that were handed over and have no packet id yet, in order.
    submitted: VecDeque<Token>,
    /// Tokens by packet id, with the number of acknowledgements that were sent before.
    in_flight: BTreeMap<u16, (Token, u64)>,
    /// Acknowledgements that were sent on this connection.
    acknowledged: u64,
    /// Payload bytes that wait for evaluation.
    queued_bytes: usize,
    /// Messages with QoS 0 that were dropped because evaluation did not keep up.
    overflow: u64,
    /// Whether the connection is being closed on purpose.
    closing: bool,
    /// Why the connection has to be made anew, if somebody asked for that.
    restart: Option<String>,
}

/// The sending end.
#[derive(Debug, Clone)]
pub struct Link {
    client: AsyncClient,
    clock: Rc<Clock>,
    shared: Rc<RefCell<Shared>>,
    room: Rc<Notify>,
    restart: Rc<Notify>,
}

/// Starts to connect, and goes on until the process ends. Must be called inside a `LocalSet`.
///
/// # Errors
/// What is wrong with certificates or secrets, in words.
pub fn connect(
    settings: &MqttSettings,
    filters: Vec<(String, u8)>,
    will: Outbound,
    clock: Rc<Clock>,
) -> Result<(Link, mpsc::Receiver<Heard>), String> {
    let mut options = MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    options
        .set_keep_alive(settings.keep_alive.to_std())
        .set_clean_session(false)
        .set_manual_acks(true)
        .set_inflight(LIBRARY_WINDOW)
        .set_max_packet_size(MAX_INBOUND_PACKET, MAX_OUTBOUND_PACKET)
        .set_last_will(LastWill::new(will.topic, will.payload, QoS::AtLeastOnce, will.retain));
    if let Some(tls) = &settings.tls {
        options.set_transport(Transport::tls_with_config(tls::configuration(tls)?));
    }
    if let Some(credentials) = &settings.credentials {
        let password = credentials.password.as_ref().map_or(Ok(String::new()), crate::config::Secret::read)?;
        options.set_credentials(&credentials.username, password);
    }
    let (client, mut connection) = AsyncClient::new(options, REQUESTS);
    let mut network = rumqttc::NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(u64::try_from(settings.connect_timeout.as_micros() / 1_000_000).unwrap_or(15));
    connection.set_network_options(network);
    let (events, queue) = mpsc::channel(INBOUND_MESSAGES);
    let link = Link { client, clock, shared: Rc::default(), room: Rc::default(), restart: Rc::default() };
    tokio::task::spawn_local(poll::Poller::new(connection, link.clone(), events, filters).run());
    Ok((link, queue))
}

impl Receipt {
    /// The packet id of the message.
    pub fn packet_id(self) -> u16 {
        self.packet_id
    }
}

impl Link {
    /// Sends something, if the link is up. False: it was not handed over, and nothing will come of it.
    pub fn send(&self, outbound: Outbound, token: Token) -> bool {
        let mut shared = self.shared.borrow_mut();
        if !shared.is_up {
            return false;
        }
        let Outbound { topic, payload, confirmed, retain } = outbound;
        let qos = if confirmed { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        let handed_over = self.client.try_publish(topic, qos, retain, payload).is_ok();
        if handed_over && confirmed {
            shared.submitted.push_back(token);
        }
        handed_over
    }

    /// Acknowledges a message, if the connection on which it came still exists.
    pub fn acknowledge(&self, receipt: Receipt) {
        let shared = self.shared.borrow();
        if receipt.generation != shared.generation {
            return;
        }
        let mut publish = Publish::new("", QoS::AtLeastOnce, Bytes::new());
        publish.pkid = receipt.packet_id;
        if self.client.try_ack(&publish).is_err() {
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

    /// Whether the broker can be reached.
    pub fn is_up(&self) -> bool {
        self.shared.borrow().is_up
    }

    /// Asks for a new connection, because this one does not do what it should.
    pub fn reconnect(&self, reason: &str) {
        self.shared.borrow_mut().restart = Some(reason.to_owned());
        self.restart.notify_one();
    }

    /// Ends the connection for good: a DISCONNECT, so that the last will stays in its envelope.
    pub fn close(&self) {
        self.shared.borrow_mut().closing = true;
        if self.client.try_disconnect().is_err() {
            tracing::debug!("the connection was gone before it was closed");
        }
    }
}
