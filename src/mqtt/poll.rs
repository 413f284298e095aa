//! The task that polls the connection and does nothing else.

use super::{Heard, INBOUND_BYTES, INBOUND_MESSAGES, Inbound, Link, LinkEvent, Receipt, Shared};
use crate::time::Moment;
use rumqttc::{
    ConnectionError, Event, EventLoop, Outgoing, Packet, Publish, QoS, SubAck, SubscribeFilter, SubscribeReasonCode,
};
use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;
use tokio::sync::mpsc;

/// Filters in one SUBSCRIBE: some brokers limit its size.
const FILTERS_PER_PACKET: usize = 64;
/// How long evaluation may hold up the reading of the socket. Longer than this and the broker would think us dead.
const PATIENCE: Duration = Duration::from_secs(3);
/// Messages that are held back until the broker has answered the subscription; with more it is not waited for.
const EARLY_MESSAGES: usize = INBOUND_MESSAGES / 2;
/// How long the broker may take to answer a subscription, or to send the next message before it does.
const SUBSCRIBE_LIMIT: Duration = Duration::from_secs(20);
/// A connection that has lasted this long was a good one: the next attempt after it comes quickly.
const LASTING: Duration = Duration::from_secs(5);
/// As long as the broker can be reached, pauses do not grow beyond a second.
const FAILURES_OF_A_BROKER_THAT_IS_THERE: u32 = 2;
/// The first pause before connecting again; it doubles with each failure.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause: after a night without network the daemon is back within half a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

pub(super) struct Poller {
    connection: EventLoop,
    link: Link,
    events: mpsc::Sender<Heard>,
    filters: Vec<(String, u8)>,
    /// Filters of the SUBSCRIBE packets that wait for their SUBACK, in order.
    unanswered: VecDeque<Vec<String>>,
    refused: Vec<(String, String)>,
    /// Messages that came before all subscriptions were answered: they are later than the end of the gap.
    early: Vec<Publish>,
    early_bytes: usize,
    /// When the broker has to have answered the subscriptions.
    answer_by: tokio::time::Instant,
    connected_at: Option<tokio::time::Instant>,
    /// Whether the end of the gap was announced on this connection.
    announced: bool,
    session_present: bool,
    /// When the broker last sent anything.
    last_heard: Moment,
    unanswered_ping: bool,
    failures: u32,
}

impl Poller {
    pub(super) fn new(
        connection: EventLoop,
        link: Link,
        events: mpsc::Sender<Heard>,
        filters: Vec<(String, u8)>,
    ) -> Poller {
        Poller {
            connection,
            link,
            events,
            filters,
            unanswered: VecDeque::new(),
            refused: Vec::new(),
            early: Vec::new(),
            early_bytes: 0,
            answer_by: tokio::time::Instant::now(),
            connected_at: None,
            announced: false,
            session_present: false,
            last_heard: Moment::default(),
            unanswered_ping: false,
            failures: 0,
        }
    }

    pub(super) async fn run(mut self) {
        let link = self.link.clone();
        loop {
            let waiting = !self.unanswered.is_empty() && !self.announced;
            // A poll that is given up half-way is one of a connection that is given up too.
            let polled = tokio::select! {
                polled = self.connection.poll() => polled.map_err(|error| explain(&error)),
                () = tokio::time::sleep_until(self.answer_by), if waiting => {
                    Err("the broker did not answer the subscription".to_owned())
                }
                () = link.restart.notified() => {
                    Err(self.shared(|shared| shared.restart.take()).unwrap_or_default())
                }
            };
            let outcome = match polled {
                Ok(event) => self.handle(event).await,
                Err(reason) => Err(reason),
            };
            let Err(reason) = outcome else { continue };
            if self.shared(|shared| shared.closing) || !self.broken(reason).await {
                return;
            }
        }
    }

    fn shared<T>(&self, look: impl FnOnce(&mut Shared) -> T) -> T {
        look(&mut self.link.shared.borrow_mut())
    }

    async fn handle(&mut self, event: Event) -> Result<(), String> {
        if matches!(event, Event::Incoming(_)) {
            self.last_heard = self.link.clock.at();
        }
        match event {
            Event::Incoming(Packet::ConnAck(answer)) => {
                self.session_present = answer.session_present;
                self.connected().await
            }
            Event::Incoming(Packet::SubAck(answer)) => self.answered(&answer).await,
            Event::Incoming(Packet::Publish(publish)) if !self.announced => {
                self.early_bytes += publish.payload.len() + publish.topic.len();
                self.early.push(publish);
                // A broker with much to send may send all of it before its answer. Whoever is sent so much is heard.
                if self.early.len() >= EARLY_MESSAGES || self.early_bytes > INBOUND_BYTES / 2 {
                    return self.up().await;
                }
                // What comes proves that the broker is there; on a slow line the answer is behind it.
                self.answer_by = tokio::time::Instant::now() + SUBSCRIBE_LIMIT;
                Ok(())
            }
            Event::Incoming(Packet::Publish(publish)) => self.pass_on(publish).await,
            Event::Incoming(Packet::PubAck(ack)) => match self.shared(|shared| shared.in_flight.remove(&ack.pkid)) {
                Some((token, acknowledged)) => self.tell(LinkEvent::Taken { token, acknowledged }).await,
                None => Ok(()),
            },
            Event::Outgoing(Outgoing::Publish(packet_id)) if packet_id != 0 => {
                self.shared(|shared| {
                    if let Some(token) = shared.submitted.pop_front() {
                        shared.in_flight.insert(packet_id, (token, shared.acknowledged));
                    }
                });
                Ok(())
            }
            Event::Outgoing(Outgoing::PubAck(_)) => {
                self.shared(|shared| shared.acknowledged += 1);
                Ok(())
            }
            // The library has used a packet id twice and has put the second message where the next collision would
            // overwrite it. Our window is far smaller than its own, so this is a broker that forgets to confirm.
            Event::Outgoing(Outgoing::AwaitAck(id)) => Err(format!("the broker never confirmed packet {id}")),
            Event::Outgoing(Outgoing::Disconnect) => Err("closed".to_owned()),
            Event::Outgoing(Outgoing::PingReq) => {
                self.unanswered_ping = true;
                Ok(())
            }
            Event::Incoming(Packet::PingResp) => {
                self.unanswered_ping = false;
                Ok(())
            }
            Event::Incoming(_) | Event::Outgoing(_) => Ok(()),
        }
    }

    /// Subscribes, at every connection: the broker may have lost the session, and the filters may have changed.
    async fn connected(&mut self) -> Result<(), String> {
        self.answer_by = tokio::time::Instant::now() + SUBSCRIBE_LIMIT;
        self.connected_at = Some(tokio::time::Instant::now());
        self.shared(|shared| shared.is_up = true);
        for chunk in self.filters.chunks(FILTERS_PER_PACKET) {
            let filters = chunk.iter().map(|(filter, qos)| {
                let qos = if *qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
                SubscribeFilter::new(filter.clone(), qos)
            });
            self.link.client.try_subscribe_many(filters).map_err(|error| format!("cannot subscribe: {error}"))?;
            self.unanswered.push_back(chunk.iter().map(|(filter, _)| filter.clone()).collect());
        }
        if self.unanswered.is_empty() { self.up().await } else { Ok(()) }
    }

    async fn answered(&mut self, answer: &SubAck) -> Result<(), String> {
        let filters = self.unanswered.pop_front().unwrap_or_default();
        for (filter, code) in filters.into_iter().zip(&answer.return_codes) {
            if *code == SubscribeReasonCode::Failure {
                self.refused.push((filter, "the broker refused the subscription (check its access rules)".to_owned()));
            }
        }
        if !self.unanswered.is_empty() {
            return Ok(());
        }
        if !self.announced {
            self.up().await?;
        }
        let refused = std::mem::take(&mut self.refused);
        self.tell(LinkEvent::Subscribed { refused }).await
    }

    /// The gap ends here, before any message.
    async fn up(&mut self) -> Result<(), String> {
        self.announced = true;
        self.early_bytes = 0;
        self.tell(LinkEvent::Up { session_present: self.session_present }).await?;
        for publish in std::mem::take(&mut self.early) {
            self.pass_on(publish).await?;
        }
        Ok(())
    }

    async fn pass_on(&mut self, publish: Publish) -> Result<(), String> {
        let generation = self.shared(|shared| shared.generation);
        let receipt = (publish.qos != QoS::AtMostOnce).then_some(Receipt { generation, packet_id: publish.pkid });
        let size = publish.payload.len() + publish.topic.len();
        let Publish { topic, payload, retain: retained, dup: repeated, .. } = publish;
        let inbound = Inbound { topic, payload, retained, repeated, receipt };
        if self.shared(|shared| shared.queued_bytes) + size > INBOUND_BYTES && !self.wait_for_room(size).await {
            return self.overflow(receipt.is_some());
        }
        self.shared(|shared| shared.queued_bytes += size);
        match self.events.try_send(self.heard(LinkEvent::Message(inbound))) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(event)) => match self.events.send_timeout(event, PATIENCE).await {
                Ok(()) => Ok(()),
                Err(_) => {
                    self.shared(|shared| shared.queued_bytes = shared.queued_bytes.saturating_sub(size));
                    self.overflow(receipt.is_some())
                }
            },
            Err(mpsc::error::TrySendError::Closed(_)) => Err("closed".to_owned()),
        }
    }

    async fn wait_for_room(&self, size: usize) -> bool {
        let room = async {
            while self.shared(|shared| shared.queued_bytes > 0 && shared.queued_bytes + size > INBOUND_BYTES) {
                self.link.room.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, room).await.is_ok()
    }

    /// A message for which there is no room. One that the broker keeps comes again on a new connection; another is lost
    /// and counted.
    fn overflow(&self, kept_by_broker: bool) -> Result<(), String> {
        if kept_by_broker {
            return Err("evaluation did not keep up; the broker keeps what was not evaluated".to_owned());
        }
        self.shared(|shared| shared.overflow += 1);
        Ok(())
    }

    async fn tell(&self, event: LinkEvent) -> Result<(), String> {
        self.events.send(self.heard(event)).await.map_err(|_| "closed".to_owned())
    }

    fn heard(&self, event: LinkEvent) -> Heard {
        Heard { at: self.link.clock.at(), event }
    }

    /// Forgets everything of the connection that broke, says so, and waits a while. False: nobody listens any more.
    async fn broken(&mut self, reason: String) -> bool {
        self.shared(|shared| {
            shared.generation += 1;
            shared.is_up = false;
            shared.submitted.clear();
            shared.in_flight.clear();
            shared.acknowledged = 0;
        });
        self.connection.clean();
        self.connection.pending.clear();
        self.connection.state.events.clear();
        self.connection.state.collision = None;
        self.unanswered.clear();
        self.refused.clear();
        self.early.clear();
        // A line that keeps breaking is tried again soon, but not at once: what breaks it may be what we send.
        if let Some(since) = self.connected_at.take() {
            self.failures =
                if since.elapsed() >= LASTING { 0 } else { self.failures.min(FAILURES_OF_A_BROKER_THAT_IS_THERE) };
        }
        self.early_bytes = 0;
        self.announced = false;
        let silent_since = std::mem::take(&mut self.unanswered_ping).then_some(self.last_heard);
        if self.tell(LinkEvent::Down { reason, silent_since }).await.is_err() {
            return false;
        }
        tokio::time::sleep(pause(self.failures)).await;
        self.failures = self.failures.saturating_add(1);
        true
    }
}

/// Doubles with each failure, and lies anywhere in the upper half: a thousand gateways must not come back at once.
fn pause(failures: u32) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
    let random = u32::try_from(RandomState::new().hash_one(failures) & 0xffff).unwrap_or(0);
    longest / 2 + longest / 2 * random / 0xffff
}

/// The library's error in words for a technician.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library's own words serve for what is not said better here")]
fn explain(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ConnectionRefused(code) => format!("the broker refused the connection: {code:?}"),
        ConnectionError::NetworkTimeout => "the broker did not answer in time".to_owned(),
        ConnectionError::Io(error) => format!("{error}"),
        ConnectionError::MqttState(state) => match state {
            rumqttc::StateError::AwaitPingResp => "the broker does not answer any more".to_owned(),
            rumqttc::StateError::ConnectionAborted => "the broker closed the connection".to_owned(),
            rumqttc::StateError::Io(error) => error.to_string(),
            rumqttc::StateError::Deserialization(rumqttc::mqttbytes::Error::Io(error)) => error.to_string(),
            rumqttc::StateError::Deserialization(error) => {
                format!("the broker sent what this client does not accept: {error}")
            }
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}
