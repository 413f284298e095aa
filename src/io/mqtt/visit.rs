//! A short visit to the broker, to see whether it lets us in and what it lets us do. For `check --online`.
//!
//! It has a name and a session of its own, so the daemon that may be running is not thrown out. What it publishes is
//! empty and not retained: whoever listens takes no notice.

use super::route::{self, Pass};
use crate::config::MqttSettings;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, SubscribeReasonCode};
use std::collections::BTreeSet;
use std::time::Duration;

/// What the broker should send back comes at once, or is not allowed.
const GRACE: Duration = Duration::from_secs(3);
/// Requests to the library at one time.
const REQUESTS: usize = 4_096;
/// Payloads are empty, but what others publish on our topics is not.
const MAX_PACKET: usize = 16 << 20;

/// What came of the visit.
#[derive(Debug, Default)]
pub(crate) struct Visit {
    /// Filters to which the broker refused a subscription.
    pub(crate) refused: Vec<String>,
    /// Topics on which what was published did not come back.
    pub(crate) unheard: Vec<String>,
}

/// Connects, subscribes to all `filters`, publishes to all `topics` and listens for what comes back.
///
/// # Errors
/// Why there was no visit.
pub(crate) async fn visit(
    settings: &MqttSettings,
    filters: &[(String, u8)],
    topics: &[String],
) -> Result<Visit, String> {
    let name = format!("{}-check", settings.client_id);
    let Pass { transport, credentials } = Pass::read(settings)?;
    let mut options = MqttOptions::new(name, route::address(settings), settings.port);
    options.set_clean_session(true).set_keep_alive(settings.keep_alive.to_std()).set_transport(transport);
    options.set_max_packet_size(MAX_PACKET, MAX_PACKET);
    if let Some((username, password)) = credentials {
        options.set_credentials(username, password);
    }
    let (client, mut connection) = AsyncClient::new(options, REQUESTS);
    let limit = settings.connect_timeout.to_std();
    let connected =
        tokio::time::timeout(limit, wait_for(&mut connection, |packet| matches!(packet, Packet::ConnAck(_))));
    connected.await.map_err(|_| format!("no answer within {}", settings.connect_timeout))??;
    let mut visit = Visit::default();
    let own = topics.iter().map(|topic| (topic.clone(), 1));
    for (filter, qos) in filters.iter().cloned().chain(own) {
        let qos = if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        client.try_subscribe(&filter, qos).map_err(|error| error.to_string())?;
        let mut granted = false;
        let answered = wait_for(&mut connection, |packet| {
            let Packet::SubAck(answer) = packet else { return false };
            granted = !answer.return_codes.contains(&SubscribeReasonCode::Failure);
            true
        });
        tokio::time::timeout(limit, answered)
            .await
            .map_err(|_| format!("no answer to a subscription to {filter}"))??;
        if !granted {
            visit.refused.push(filter);
        }
    }
    for topic in topics {
        client.try_publish(topic, QoS::AtLeastOnce, false, Vec::new()).map_err(|error| error.to_string())?;
    }
    let mut missing: BTreeSet<&str> = topics.iter().map(String::as_str).collect();
    let received = tokio::time::timeout(
        GRACE,
        wait_for(&mut connection, |packet| {
            if let Packet::Publish(publish) = packet {
                missing.remove(publish.topic.as_str());
            }
            missing.is_empty()
        }),
    )
    .await;
    // A broker that forbids to publish may say so by closing the connection.
    if !topics.is_empty() && !matches!(received, Ok(Ok(()))) {
        visit.unheard = topics.iter().filter(|topic| missing.contains(topic.as_str())).cloned().collect();
    }
    if client.try_disconnect().is_ok() {
        // Its end is an error of the library's, and as good as an answer.
        let _ = tokio::time::timeout(GRACE, wait_for(&mut connection, |_| false)).await;
    }
    Ok(visit)
}

/// Polls until a packet fits.
async fn wait_for(connection: &mut EventLoop, mut fits: impl FnMut(&Packet) -> bool) -> Result<(), String> {
    loop {
        match connection.poll().await {
            Ok(Event::Incoming(packet)) if fits(&packet) => return Ok(()),
            Ok(Event::Incoming(_) | Event::Outgoing(_)) => {}
            Err(error) => return Err(super::v3::explain(&error)),
        }
    }
}
