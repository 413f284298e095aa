//! What the daemon is compared with: the same library that subscribes to the same messages, acknowledges and counts them,
//! and does nothing else. This program itself, started with other arguments.

use crate::stage::Process;
use anyhow::{Context as _, Result};
use rumqttc::{AsyncClient, Event, MqttOptions, NetworkOptions, Packet, QoS};

/// The argument that makes this program a bare subscriber.
pub(crate) const MODE: &str = "bare-subscriber";

/// Starts one where otherwise the daemon is.
pub(crate) fn start(port: u16, qos: u8) -> Result<Process> {
    let program = std::env::current_exe()?;
    Process::subject(&program.to_string_lossy(), &[MODE, &port.to_string(), &qos.to_string()])
}

/// Is one: on `bare/ask` it says how many messages it has counted.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let [port, qos] = arguments else { anyhow::bail!("port and quality of service") };
    let mut options = MqttOptions::new("bare", "127.0.0.1", port.parse()?);
    options.set_max_packet_size(1 << 20, 1 << 20).set_clean_session(true).set_inflight(1_024);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(count(options, if qos == "0" { QoS::AtMostOnce } else { QoS::AtLeastOnce }))
}

async fn count(options: MqttOptions, qos: QoS) -> Result<()> {
    let (client, mut connection) = AsyncClient::new(options, 70_000);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    connection.set_network_options(network);
    client.try_subscribe("plant/#", qos).context("subscribe")?;
    client.try_subscribe("bare/ask", QoS::AtLeastOnce).context("subscribe")?;
    let (mut counted, mut answers) = (0_u64, 0);
    loop {
        let is_asked = match connection.poll().await? {
            Event::Incoming(Packet::Publish(publish)) if publish.topic == "bare/ask" => true,
            Event::Incoming(Packet::Publish(_)) => {
                counted += 1;
                false
            }
            Event::Incoming(Packet::SubAck(_)) => {
                answers += 1;
                answers == 2
            }
            Event::Incoming(_) | Event::Outgoing(_) => false,
        };
        if is_asked {
            client.try_publish("bare/answer", QoS::AtMostOnce, false, counted.to_string()).context("answer")?;
        }
    }
}
