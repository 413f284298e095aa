//! What is heard over MQTT: the values of the presses, and the daemon's events and status, as any client hears them.

use super::broker::HOST;
use super::plant::{BASE, Press, VALUES};
use rumqttc::{AsyncClient, EventLoop, MqttOptions, Packet, Publish, QoS, SubscribeFilter};
use serde::Deserialize;
use std::time::Duration;
use tokio::sync::mpsc;

/// Messages that may wait to be shown: more than the demo makes in a minute.
const WAITING: usize = 1_000;
/// Requests to the library that may wait: the values of some rounds.
const REQUESTS: usize = 100;
/// As long as a person may look at a demo whose broker is stuck.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Something that was heard.
#[derive(Debug)]
pub(super) enum Received {
    /// The broker listens to us, and we to it.
    Subscribed,
    /// The daemon is there.
    Online,
    /// A press has said something.
    Value {
        /// Its place among the presses.
        press: usize,
        /// What.
        value: f64,
    },
    /// The daemon has said something.
    Event(Event),
    /// The connection is lost, for this reason.
    Lost(String),
}

/// What the screen tells of an event.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    pub(super) alarm: String,
    #[serde(rename = "type")]
    pub(super) alarm_type: String,
    pub(super) to: String,
    pub(super) cause: String,
    pub(super) value: Option<f64>,
    pub(super) average: Option<f64>,
    pub(super) by: Option<String>,
}

/// Connects to the broker on this port; what the presses say is published by the same client.
pub(super) fn open(port: u16) -> (AsyncClient, mpsc::Receiver<Received>) {
    let mut options = MqttOptions::new("annunciator-demo-presses", HOST.to_string(), port);
    options.set_keep_alive(KEEP_ALIVE);
    let (client, connection) = AsyncClient::new(options, REQUESTS);
    let (events, queue) = mpsc::channel(WAITING);
    tokio::spawn(listen(client.clone(), connection, events));
    (client, queue)
}

/// Polls the connection, and nothing else, until it breaks or nobody listens any more.
async fn listen(client: AsyncClient, mut connection: EventLoop, events: mpsc::Sender<Received>) {
    loop {
        let said = match connection.poll().await {
            Ok(rumqttc::Event::Incoming(Packet::ConnAck(_))) => subscribe(&client).err().map(Received::Lost),
            Ok(rumqttc::Event::Incoming(Packet::SubAck(_))) => Some(Received::Subscribed),
            Ok(rumqttc::Event::Incoming(Packet::Publish(publish))) => understand(&publish),
            Ok(_) => None,
            Err(error) => Some(Received::Lost(error.to_string())),
        };
        let Some(said) = said else { continue };
        let is_over = matches!(said, Received::Lost(_));
        if events.send(said).await.is_err() || is_over {
            return;
        }
    }
}

fn subscribe(client: &AsyncClient) -> Result<(), String> {
    let filters = [VALUES.to_owned(), format!("{BASE}/events/#"), format!("{BASE}/status")];
    let filters = filters.map(|filter| SubscribeFilter::new(filter, QoS::AtLeastOnce));
    client.try_subscribe_many(filters).map_err(|error| error.to_string())
}

/// None: nothing that is shown.
fn understand(publish: &Publish) -> Option<Received> {
    #[derive(Deserialize)]
    struct Status {
        state: String,
    }
    let Publish { topic, payload, .. } = publish;
    if let Some(press) = Press::of_topic(topic) {
        let value = serde_json::from_slice(payload).ok()?;
        return Some(Received::Value { press, value });
    }
    let own = topic.strip_prefix(BASE)?;
    if own == "/status" {
        let status: Status = serde_json::from_slice(payload).ok()?;
        (status.state == "online").then_some(Received::Online)
    } else {
        serde_json::from_slice(payload).ok().map(Received::Event)
    }
}
