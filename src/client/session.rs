//! The client's connection: one attempt, a thread that polls it, and what it hears in a queue.
//!
//! It does not reconnect: a person who waits for an answer wants to know that the line is gone.

use super::Trouble;
use crate::config::MqttSettings;
use crate::domain::time::Span;
use crate::io::mqtt::route::{self, Pass};
use rumqttc::{
    Client, ConnectReturnCode, Connection, ConnectionError, Event, MqttOptions, Outgoing, Packet, QoS, StateError,
    SubscribeFilter, SubscribeReasonCode,
};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// What may wait to be looked at. Who does not look for longer loses the connection, and is told so.
const WAITING: usize = 10_000;
/// Requests to the library that may wait: a command and a subscription at a time.
const REQUESTS: usize = 16;
/// Bytes of the largest packet: a thousand alarms whose values are texts, and all that the protocol allows.
const MAX_PACKET: usize = 268_435_455 + 5;
/// Often enough for a person to be told soon that the line is dead.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long the broker is given to hear that we leave.
const DISCONNECT_LIMIT: Duration = Duration::from_millis(500);

/// A message of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub topic: String,
    /// What it says.
    pub payload: bytes::Bytes,
    /// Whether it was kept by the broker for those who come later.
    pub retained: bool,
}

/// Something that came over the connection.
#[derive(Debug)]
pub(super) enum Received {
    /// The answer to a subscription: for each filter whether it is granted.
    Subscribed(Vec<bool>),
    Message(Message),
    /// The end, and why.
    Lost(String),
}

/// The connection.
pub(super) struct Session {
    client: Client,
    events: Receiver<Received>,
    broker: String,
    name: String,
    is_connected: bool,
}

impl Session {
    /// Begins to connect.
    pub(super) fn start(settings: &MqttSettings, limit: Span) -> Result<Session, Trouble> {
        let name = format!("{}-cli-{:08x}", settings.client_id, RandomState::new().hash_one(0) & 0xffff_ffff);
        let (client, mut connection) = Client::new(options(settings, &name).map_err(Trouble::Settings)?, REQUESTS);
        let mut network = rumqttc::NetworkOptions::new();
        network.set_tcp_nodelay(true);
        // The library takes whole seconds only; who waits for us has the finer bound.
        network.set_connection_timeout(limit.to_std().as_secs().saturating_add(1));
        connection.eventloop.set_network_options(network);
        let (sender, events) = sync_channel(WAITING);
        let thread = std::thread::Builder::new().name("broker".to_owned());
        thread.spawn(move || poll(connection, &sender)).map_err(|error| Trouble::Settings(error.to_string()))?;
        let broker = format!("{}:{}", settings.host, settings.port);
        Ok(Session { client, events, broker, name, is_connected: false })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn broker(&self) -> String {
        self.broker.clone()
    }

    pub(super) fn subscribe(&self, filters: &[String]) -> Result<(), Trouble> {
        let filters = filters.iter().map(|filter| SubscribeFilter::new(filter.clone(), QoS::AtLeastOnce));
        self.client.try_subscribe_many(filters).map_err(|error| self.lost(&error.to_string()))
    }

    pub(super) fn publish(&self, topic: &str, payload: String) -> Result<(), Trouble> {
        let published = self.client.try_publish(topic, QoS::AtLeastOnce, false, payload);
        published.map_err(|error| self.lost(&error.to_string()))
    }

    /// What comes next, if it comes in time.
    pub(super) fn receive_event(&mut self, wait: Duration) -> Option<Received> {
        let received = match self.events.recv_timeout(wait) {
            Ok(received) => received,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => return None,
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => Received::Lost("it has ended".to_owned()),
        };
        self.is_connected |= matches!(received, Received::Subscribed(_));
        Some(received)
    }

    pub(super) fn unreachable(&self, reason: &str) -> Trouble {
        Trouble::Unreachable { broker: self.broker(), reason: reason.to_owned() }
    }

    pub(super) fn lost(&self, reason: &str) -> Trouble {
        if !self.is_connected {
            return self.unreachable(reason);
        }
        Trouble::Lost { broker: self.broker(), reason: reason.to_owned() }
    }
}

impl Drop for Session {
    /// A broker that receives a DISCONNECT logs no error.
    fn drop(&mut self) {
        if self.is_connected && self.client.try_disconnect().is_ok() {
            while !matches!(self.events.recv_timeout(DISCONNECT_LIMIT), Ok(Received::Lost(_)) | Err(_)) {}
        }
    }
}

fn options(settings: &MqttSettings, name: &str) -> Result<MqttOptions, String> {
    let Pass { transport, credentials } = Pass::read(settings)?;
    let mut options = MqttOptions::new(name, route::address(settings), settings.port);
    options
        .set_transport(transport)
        .set_keep_alive(KEEP_ALIVE)
        .set_clean_session(true)
        .set_max_packet_size(MAX_PACKET, MAX_PACKET);
    if let Some((username, password)) = credentials {
        options.set_credentials(username, password);
    }
    Ok(options)
}

/// Polls the connection until it breaks or nobody listens any more.
fn poll(mut connection: Connection, sender: &SyncSender<Received>) {
    for event in connection.iter() {
        let received = match event {
            Ok(Event::Incoming(Packet::SubAck(answer))) => {
                let is_granted = |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
                Received::Subscribed(answer.return_codes.iter().map(is_granted).collect())
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                Received::Message(Message { topic: publish.topic, payload: publish.payload, retained: publish.retain })
            }
            Ok(Event::Outgoing(Outgoing::Disconnect)) => Received::Lost("it was closed".to_owned()),
            Ok(_) => continue,
            Err(error) => Received::Lost(explain(&error)),
        };
        let is_over = matches!(received, Received::Lost(_));
        if sender.send(received).is_err() || is_over {
            return;
        }
    }
}

/// The library's error in words for an operator.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library's own words serve for what is not said better here")]
fn explain(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
        ) => "it refuses this user name and password (NotAuthorized)".to_owned(),
        ConnectionError::ConnectionRefused(code) => format!("it refuses the connection: {code:?}"),
        ConnectionError::NetworkTimeout => "it did not answer in time".to_owned(),
        ConnectionError::Io(error) | ConnectionError::MqttState(StateError::Io(error)) => error.to_string(),
        ConnectionError::MqttState(StateError::AwaitPingResp) => "it does not answer any more".to_owned(),
        ConnectionError::MqttState(StateError::ConnectionAborted) => "it has closed the connection".to_owned(),
        other => other.to_string(),
    }
}
