//! MQTT 3.1.1: the library's client of that version, in the words of `library`.

use super::library::{Broken, Connection, Filter, Happened, Limits, Requests};
use super::{
    Inbound, LIBRARY_WINDOW, MAX_INBOUND_PACKET, MAX_OUTBOUND_PACKET, Outbound, REQUESTS,
    route::{self, Pass},
};
use crate::config::MqttSettings;
use rumqttc::mqttbytes::Error as PacketError;
use rumqttc::{
    ConnectReturnCode, ConnectionError, Disconnect, Event, EventLoop, LastWill, MqttOptions, MqttState, NetworkOptions,
    Outgoing, Packet, PubAck, Publish, QoS, Request, StateError, Subscribe, SubscribeFilter, SubscribeReasonCode,
    Unsubscribe, valid_topic,
};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;

/// Both halves of a connection that is not made yet.
pub(super) fn open(settings: &MqttSettings, will: Outbound, is_kept: bool) -> (Rc<Queue>, Session) {
    let mut options = MqttOptions::new(&settings.client_id, route::address(settings), settings.port);
    options
        .set_keep_alive(settings.keep_alive.to_std())
        .set_clean_session(!is_kept)
        .set_manual_acks(true)
        .set_inflight(LIBRARY_WINDOW)
        .set_max_packet_size(usize::try_from(MAX_INBOUND_PACKET).unwrap_or(usize::MAX), MAX_OUTBOUND_PACKET)
        .set_last_will(LastWill::new(will.topic, will.payload, QoS::AtLeastOnce, will.retain));
    // Of its queue only the other end is needed, so that the library waits for it and not in vain.
    let mut connection = EventLoop::new(options, 1);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(settings.connect_timeout.to_std().as_secs());
    connection.set_network_options(network);
    let requests = Rc::new(Queue::default());
    let (keep_alive, patience) = (settings.keep_alive.to_std(), settings.connect_timeout.to_std());
    let session = Session {
        connection,
        requests: requests.clone(),
        keep_alive,
        patience,
        settings: settings.clone(),
        has_pass: false,
    };
    (requests, session)
}

/// What is to be sent. The library has a queue of its own, but writes to the socket after each message that it takes out;
/// here all that a turn has to say is one write, and so is the broker's answer.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: RefCell<VecDeque<Request>>,
    appeared: Notify,
}

impl Queue {
    fn put(&self, request: Request) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let has_room = waiting.len() < REQUESTS;
        if has_room {
            waiting.push_back(request);
            self.appeared.notify_one();
        }
        has_room
    }

    fn next(&self) -> Option<Request> {
        self.waiting.borrow_mut().pop_front()
    }

    fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }
}

impl Requests for Queue {
    fn publish(&self, outbound: Outbound) -> bool {
        let Outbound { topic, payload, confirmed, retain, correlation: _, expires: _ } = outbound;
        let mut publish = Publish::from_bytes(topic, quality(u8::from(confirmed)), payload);
        publish.retain = retain;
        valid_topic(&publish.topic) && self.put(Request::Publish(publish))
    }

    fn acknowledge(&self, packet_id: u16) -> bool {
        self.put(Request::PubAck(PubAck::new(packet_id)))
    }

    fn subscribe(&self, filters: &[Filter]) -> bool {
        let filters = filters.iter().map(|(filter, qos)| SubscribeFilter::new(filter.clone(), quality(*qos)));
        self.put(Request::Subscribe(Subscribe::new_many(filters)))
    }

    fn unsubscribe(&self, filter: &str) -> bool {
        self.put(Request::Unsubscribe(Unsubscribe::new(filter)))
    }

    fn disconnect(&self) -> bool {
        self.put(Request::Disconnect(Disconnect))
    }
}

fn quality(qos: u8) -> QoS {
    if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce }
}

/// The half that has to be polled.
pub(super) struct Session {
    connection: EventLoop,
    requests: Rc<Queue>,
    keep_alive: Duration,
    /// How long the broker may take nothing.
    patience: Duration,
    /// Where certificates and secrets are, which are read anew for each attempt to connect.
    settings: MqttSettings,
    /// Whether that has been done for this one.
    has_pass: bool,
}

impl Session {
    /// Writes what is waiting, as far as the library has room for it.
    async fn write(&mut self) -> Result<(), ConnectionError> {
        let EventLoop { network, state, .. } = &mut self.connection;
        let Some(network) = network else { return Ok(()) };
        let mut has_written = false;
        while state.collision.is_none()
            && state.inflight() < LIBRARY_WINDOW
            && let Some(request) = self.requests.next()
        {
            if let Some(packet) = state.handle_outgoing_packet(request)? {
                within(self.patience, network.write(packet)).await?;
                has_written = true;
            }
        }
        if has_written { within(self.patience, network.flush()).await } else { Ok(()) }
    }

    async fn next(&mut self) -> Result<Event, ConnectionError> {
        loop {
            if !self.requests.is_empty() {
                self.write().await?;
            }
            // A connection that is being made must not be given up. One that is there can be polled again at any time.
            let is_connected = self.connection.network.is_some();
            // It is kilobytes, for all that it takes to connect: they stay where they are.
            let mut event = pin!(self.connection.poll());
            tokio::select! {
                biased;
                event = &mut event => return event,
                () = self.requests.appeared.notified(), if is_connected => {}
            }
        }
    }
}

/// A step of writing, if the broker takes it in time.
async fn within(patience: Duration, step: impl Future<Output = Result<(), StateError>>) -> Result<(), ConnectionError> {
    match tokio::time::timeout(patience, step).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(ConnectionError::FlushTimeout),
    }
}

impl Connection for Session {
    fn ready(&mut self) -> Option<Result<Happened, Broken>> {
        self.connection.state.events.pop_front().map(|event| Ok(translate(event)))
    }

    async fn poll(&mut self) -> Result<Happened, Broken> {
        if !self.has_pass {
            let Pass { transport, credentials } = Pass::read_aside(&self.settings).await.map_err(Broken::no_pass)?;
            self.connection.mqtt_options.set_transport(transport);
            if let Some((username, password)) = credentials {
                self.connection.mqtt_options.set_credentials(username, password);
            }
            self.has_pass = true;
        }
        self.next().await.map(translate).map_err(|error| explain(&error).into())
    }

    fn reset(&mut self) {
        self.has_pass = false;
        self.connection.clean();
        self.connection.pending.clear();
        self.connection.state = MqttState::new(LIBRARY_WINDOW, true);
        self.requests.waiting.borrow_mut().clear();
    }

    fn keep_alive(&self) -> Duration {
        self.keep_alive
    }
}

fn translate(event: Event) -> Happened {
    match event {
        Event::Incoming(packet) => incoming(packet),
        Event::Outgoing(outgoing) => Happened::from(outgoing),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "packets that a client does not get, or that matter to no one")]
fn incoming(packet: Packet) -> Happened {
    match packet {
        Packet::ConnAck(answer) => Happened::Connected {
            session_present: answer.session_present,
            limits: Limits { packet_ids: LIBRARY_WINDOW, packet: MAX_OUTBOUND_PACKET },
        },
        Packet::SubAck(answer) => {
            let refused = |code| matches!(code, SubscribeReasonCode::Failure);
            let reason = "the broker refused the subscription (check its access rules)";
            let answers = answer.return_codes.into_iter().map(|code| refused(code).then(|| reason.to_owned()));
            Happened::Subscribed(answers.collect())
        }
        Packet::UnsubAck(_) => Happened::Unsubscribed,
        Packet::Publish(publish) => {
            let packet_id = (publish.qos != QoS::AtMostOnce).then_some(publish.pkid);
            let Publish { topic, payload, retain: retained, dup: repeated, .. } = publish;
            let inbound = Inbound { topic, payload, retained, repeated, receipt: None, reply_to: None };
            Happened::Message(inbound, packet_id)
        }
        Packet::PubAck(answer) => Happened::Confirmed(answer.pkid, None),
        Packet::PingResp => Happened::PingAnswered,
        _ => Happened::Other,
    }
}

impl From<Outgoing> for Happened {
    fn from(outgoing: Outgoing) -> Happened {
        match outgoing {
            Outgoing::Publish(packet_id) if packet_id != 0 => Happened::Sent(packet_id),
            Outgoing::PubAck(_) => Happened::Acknowledged,
            Outgoing::PingReq => Happened::PingSent,
            Outgoing::AwaitAck(packet_id) => Happened::Stuck(packet_id),
            Outgoing::Disconnect => Happened::Closed,
            Outgoing::Publish(_)
            | Outgoing::Subscribe(_)
            | Outgoing::Unsubscribe(_)
            | Outgoing::PubRec(_)
            | Outgoing::PubRel(_)
            | Outgoing::PubComp(_)
            | Outgoing::PingResp => Happened::Other,
        }
    }
}

/// The library's error in words for a technician.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library's own words serve for what is not said better here")]
pub(super) fn explain(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ConnectionRefused(code) => format!("the broker refused the connection: {}", refusal(*code)),
        ConnectionError::NetworkTimeout => "the broker did not answer in time".to_owned(),
        ConnectionError::FlushTimeout => "the broker takes nothing any more".to_owned(),
        ConnectionError::Io(error) => format!("{error}"),
        ConnectionError::MqttState(state) => match state {
            StateError::AwaitPingResp => "the broker does not answer any more".to_owned(),
            StateError::ConnectionAborted => "the broker closed the connection".to_owned(),
            StateError::Io(error) => error.to_string(),
            StateError::Deserialization(PacketError::Io(error)) => error.to_string(),
            StateError::Deserialization(error) => {
                format!("the broker sent what this client does not accept: {error}")
            }
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}

fn refusal(code: ConnectReturnCode) -> &'static str {
    match code {
        ConnectReturnCode::Success => "it says that all is well",
        ConnectReturnCode::RefusedProtocolVersion => "it does not speak MQTT 3.1.1",
        ConnectReturnCode::BadClientId => "it does not accept this client_id",
        ConnectReturnCode::ServiceUnavailable => "it is not available now",
        ConnectReturnCode::BadUserNamePassword => "bad user name or password",
        ConnectReturnCode::NotAuthorized => "not authorised (check user name, password and the broker's access rules)",
    }
}
