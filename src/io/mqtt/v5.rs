//! MQTT 5: the library's client of that version, in the words of `library`.

use super::library::{Broken, Connection, Filter, Happened, Limits, Requests};
use super::{
    Inbound, LIBRARY_WINDOW, MAX_INBOUND_PACKET, MAX_OUTBOUND_PACKET, Outbound, REQUESTS, ReplyTo, reason,
    route::{self, Pass},
};
use crate::config::MqttSettings;
use bytes::Bytes;
use rumqttc::v5::mqttbytes::v5::{ConnAck, LastWill, Packet, Publish, PublishProperties};
use rumqttc::v5::mqttbytes::{Error as PacketError, QoS};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, MqttState, StateError};
use rumqttc::{NetworkOptions, v5::mqttbytes::v5::Filter as SubscribeFilter};
use std::time::Duration;

/// Messages with QoS 1 that the broker may send ahead of our acknowledgements. They come after a write to disk, so this
/// divided by the time of a write is what can be received in a second: on a card that takes 200 ms still 20,000. It is
/// what one turn takes at most; what would come beyond it had to wait for the next turn anyway.
const RECEIVE_MAXIMUM: u16 = 4_096;

/// Both halves of a connection that is not made yet.
pub(super) fn open(settings: &MqttSettings, will: Outbound, is_kept: bool) -> (AsyncClient, Session) {
    let mut options = MqttOptions::new(&settings.client_id, route::address(settings), settings.port);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    let session_expiry = if is_kept { settings.session_expiry.to_std().as_secs() } else { 0 };
    // No topic aliases: the library reports a message before it has put the topic in its place.
    options
        .set_network_options(network)
        .set_connection_timeout(settings.connect_timeout.to_std().as_secs())
        .set_keep_alive(settings.keep_alive.to_std())
        .set_clean_start(!is_kept)
        .set_session_expiry_interval(Some(u32::try_from(session_expiry).unwrap_or(u32::MAX)))
        .set_manual_acks(true)
        .set_outgoing_inflight_upper_limit(LIBRARY_WINDOW)
        .set_receive_maximum(Some(RECEIVE_MAXIMUM))
        .set_max_packet_size(Some(MAX_INBOUND_PACKET))
        .set_last_will(LastWill::new(will.topic, will.payload, QoS::AtLeastOnce, will.retain, None));
    let (client, connection) = AsyncClient::new(options.clone(), REQUESTS);
    let settings = settings.clone();
    (client, Session { connection, options, settings, has_pass: false, is_accepted: false, failure: None })
}

impl Requests for AsyncClient {
    fn publish(&self, outbound: Outbound) -> bool {
        let Outbound { topic, payload, confirmed, retain, correlation, expires } = outbound;
        let qos = quality(u8::from(confirmed));
        if correlation.is_none() && expires.is_none() {
            return self.try_publish(topic, qos, retain, payload).is_ok();
        }
        let properties = PublishProperties {
            correlation_data: correlation,
            message_expiry_interval: expires.map(|span| u32::try_from(span.to_std().as_secs()).unwrap_or(u32::MAX)),
            ..PublishProperties::default()
        };
        self.try_publish_with_properties(topic, qos, retain, payload, properties).is_ok()
    }

    fn acknowledge(&self, packet_id: u16) -> bool {
        let mut publish = Publish::new("", QoS::AtLeastOnce, Bytes::new(), None);
        publish.pkid = packet_id;
        self.try_ack(&publish).is_ok()
    }

    fn subscribe(&self, filters: &[Filter]) -> bool {
        let filters = filters.iter().map(|(filter, qos)| SubscribeFilter::new(filter.clone(), quality(*qos)));
        self.try_subscribe_many(filters).is_ok()
    }

    fn unsubscribe(&self, filter: &str) -> bool {
        self.try_unsubscribe(filter).is_ok()
    }

    fn disconnect(&self) -> bool {
        self.try_disconnect().is_ok()
    }
}

fn quality(qos: u8) -> QoS {
    if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce }
}

/// The half that has to be polled.
pub(super) struct Session {
    connection: EventLoop,
    /// As they were given: the library changes its own when the broker sets other terms, and would keep to them.
    options: MqttOptions,
    /// Where certificates and secrets are, which are read anew for each attempt to connect.
    settings: MqttSettings,
    /// Whether that has been done for this one.
    has_pass: bool,
    /// Whether the broker has accepted the connection.
    is_accepted: bool,
    /// Why the connection is no more, while not all of what came before that has been told.
    failure: Option<Broken>,
}

impl Connection for Session {
    fn ready(&mut self) -> Option<Result<Happened, Broken>> {
        let event = self.connection.state.events.pop_front()?;
        Some(self.translate(event))
    }

    async fn poll(&mut self) -> Result<Happened, Broken> {
        if !self.has_pass {
            let Pass { transport, credentials } = Pass::read_aside(&self.settings).await.map_err(Broken::no_pass)?;
            self.connection.options.set_transport(transport);
            if let Some((username, password)) = credentials {
                self.connection.options.set_credentials(username, password);
            }
            self.has_pass = true;
        }
        if self.failure.is_none() {
            match self.connection.poll().await {
                Ok(event) => return self.translate(event),
                Err(error) => self.failure = Some(self.explain(&error)),
            }
        }
        // A confirmation that came before the failure has not been told yet.
        match self.ready() {
            Some(ready) => ready,
            None => Err(self.failure.take().unwrap_or_else(|| "it is not known why".into())),
        }
    }

    fn reset(&mut self) {
        self.is_accepted = false;
        self.failure = None;
        self.has_pass = false;
        self.connection.clean();
        self.connection.pending.clear();
        self.connection.options = self.options.clone();
        // Packet ids, too, begin anew: the next broker may allow fewer, and the library would count on beyond them.
        self.connection.state = MqttState::new(LIBRARY_WINDOW, true);
    }

    fn keep_alive(&self) -> Duration {
        self.connection.options.keep_alive()
    }
}

impl Session {
    fn translate(&mut self, event: Event) -> Result<Happened, Broken> {
        match event {
            Event::Incoming(Packet::ConnAck(answer)) => self.connected(&answer),
            Event::Incoming(packet) => Ok(incoming(packet)),
            Event::Outgoing(outgoing) => Ok(Happened::from(outgoing)),
        }
    }

    fn explain(&self, error: &ConnectionError) -> Broken {
        // A broker that knows older versions only refuses by an answer that the library cannot read.
        if !self.is_accepted && matches!(error, ConnectionError::MqttState(StateError::ConnectionAborted)) {
            return "the broker closed the connection before it had accepted it (does it speak MQTT 5?)".into();
        }
        explain(error)
    }

    /// Looks at the broker's terms.
    fn connected(&mut self, answer: &ConnAck) -> Result<Happened, Broken> {
        self.is_accepted = true;
        let terms = answer.properties.as_ref();
        if terms.is_some_and(|terms| terms.retain_available == Some(0)) {
            return Err("the broker keeps no retained messages, and the states of alarms have to be retained".into());
        }
        if terms.is_some_and(|terms| terms.max_qos == Some(0)) {
            return Err("the broker offers QoS 0 only, and events have to be confirmed (QoS 1)".into());
        }
        // Zero would mean none; the library takes it for a PINGREQ without a pause.
        if self.connection.options.keep_alive().is_zero() {
            self.connection.options.set_keep_alive(self.options.keep_alive());
        }
        let packet_ids = terms.and_then(|terms| terms.receive_max).unwrap_or(LIBRARY_WINDOW).min(LIBRARY_WINDOW);
        if packet_ids == 0 {
            return Err("the broker allows no message on its way (receive maximum 0)".into());
        }
        let allowed = terms.and_then(|terms| terms.max_packet_size).and_then(|bytes| usize::try_from(bytes).ok());
        let packet = allowed.unwrap_or(MAX_OUTBOUND_PACKET).min(MAX_OUTBOUND_PACKET);
        Ok(Happened::Connected { session_present: answer.session_present, limits: Limits { packet_ids, packet } })
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "packets that a client does not get, or that matter to no one")]
fn incoming(packet: Packet) -> Happened {
    match packet {
        Packet::SubAck(answer) => {
            let said = answer.properties.and_then(|properties| properties.reason_string);
            let refusal = |code| reason::of_subscription(code).map(|reason| with(reason, said.as_deref()));
            Happened::Subscribed(answer.return_codes.into_iter().map(refusal).collect())
        }
        Packet::UnsubAck(_) => Happened::Unsubscribed,
        Packet::Publish(publish) => {
            let packet_id = (publish.qos != QoS::AtMostOnce).then_some(publish.pkid);
            let Publish { topic, payload, retain: retained, dup: repeated, properties, .. } = publish;
            // A topic is UTF-8 by the protocol. One that is not fits no source, but its message has to be acknowledged.
            let topic = String::from_utf8_lossy(&topic).into_owned();
            let reply_to = properties.and_then(|properties| {
                let PublishProperties { response_topic, correlation_data: correlation, .. } = properties;
                response_topic.map(|topic| ReplyTo { topic, correlation })
            });
            let inbound = Inbound { topic, payload, retained, repeated, receipt: None, reply_to };
            Happened::Message(inbound, packet_id)
        }
        Packet::PubAck(answer) => {
            let said = answer.properties.and_then(|properties| properties.reason_string);
            let refusal = reason::of_message(answer.reason).map(|reason| with(reason, said.as_deref()));
            Happened::Confirmed(answer.pkid, refusal)
        }
        Packet::PingResp(_) => Happened::PingAnswered,
        _ => Happened::Other,
    }
}

/// A reason, and what the broker has to say about it.
fn with(reason: &str, said: Option<&str>) -> String {
    said.map_or_else(|| reason.to_owned(), |said| format!("{reason}: {said}"))
}

/// The library's error in words for a technician.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library's own words serve for what is not said better here")]
fn explain(error: &ConnectionError) -> Broken {
    /// What mosquitto answers to a message over its `message_size_limit`, although PUBACK has no such code.
    const PACKET_TOO_LARGE: u8 = 149;
    let reason = match error {
        ConnectionError::ConnectionRefused(code) => {
            format!("the broker refused the connection: {}", reason::of_connect(*code))
        }
        ConnectionError::Timeout(_) => "the broker did not answer in time".to_owned(),
        ConnectionError::Io(error) => format!("{error}"),
        ConnectionError::MqttState(state) => match state {
            StateError::AwaitPingResp => "the broker does not answer any more".to_owned(),
            StateError::ConnectionAborted => "the broker closed the connection".to_owned(),
            StateError::ServerDisconnect { reason_code, reason_string } => {
                let why = with(reason::of_disconnect(*reason_code), reason_string.as_deref());
                format!("the broker closed the connection: {why}")
            }
            StateError::Io(error) | StateError::Deserialization(PacketError::Io(error)) => error.to_string(),
            StateError::Deserialization(PacketError::InvalidConnectReturnCode(PACKET_TOO_LARGE)) => {
                return Broken { oldest_is_too_large: true, ..Broken::from("larger than the broker takes") };
            }
            StateError::Deserialization(error) => {
                format!("the broker sent what this client does not accept: {error}")
            }
            other => other.to_string(),
        },
        other => other.to_string(),
    };
    reason.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::v5::mqttbytes::v5::{DisconnectReasonCode, PubAckReason, SubscribeReasonCode};

    #[test]
    fn a_refusal_says_why_and_success_says_nothing() {
        assert_eq!(reason::of_message(PubAckReason::Success), None);
        assert_eq!(reason::of_message(PubAckReason::NoMatchingSubscribers), None, "nobody listens, but it was taken");
        assert!(reason::of_message(PubAckReason::NotAuthorized).is_some_and(|reason| reason.contains("authorised")));
        assert_eq!(reason::of_subscription(SubscribeReasonCode::Success(QoS::AtLeastOnce)), None);
        assert_eq!(with("not authorised", Some("ask Kim")), "not authorised: ask Kim");
        let state =
            StateError::ServerDisconnect { reason_code: DisconnectReasonCode::SessionTakenOver, reason_string: None };
        let Broken { reason, .. } = explain(&ConnectionError::MqttState(state));
        assert!(reason.contains("session taken over: another client uses the same client_id"), "{reason}");
    }
}
