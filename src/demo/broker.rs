//! The embedded broker: rumqttd on a port of this machine that nobody else can reach.
//!
//! It has no way to be shut down and cannot say which port it was given, so it lives until the process ends, and a free
//! port is found for it before.

use anyhow::{Context as _, bail};
use rumqttd::{ConnectionSettings, RouterConfig, ServerSettings};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

/// Where it listens: this machine only.
pub(super) const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Free ports that are tried: between the look and the start another program may take one.
const ATTEMPTS: usize = 5;
/// How often it is asked whether it listens, and for how long at most: 10 s.
const ASK: (Duration, usize) = (Duration::from_millis(10), 1_000);

/// The running broker.
#[derive(Debug)]
pub(super) struct Broker {
    port: u16,
    thread: JoinHandle<()>,
}

impl Broker {
    /// Starts it on this port, or on any that is free.
    pub(super) fn start(port: Option<u16>) -> anyhow::Result<Broker> {
        if let Some(port) = port {
            let taken = || format!("port {port} cannot be used: choose another one, or leave --port out");
            TcpListener::bind((HOST, port)).with_context(taken)?;
            return Broker::listen(port)?.with_context(taken);
        }
        for _ in 0..ATTEMPTS {
            let port = TcpListener::bind((HOST, 0)).and_then(|socket| socket.local_addr());
            let port = port.context("there is no free port for the broker")?.port();
            if let Some(broker) = Broker::listen(port)? {
                return Ok(broker);
            }
        }
        bail!("another program took every port that was free for the broker; try again, or choose one with --port")
    }

    /// None: the port was taken.
    fn listen(port: u16) -> anyhow::Result<Option<Broker>> {
        let address = SocketAddr::from((HOST, port));
        let mut broker = rumqttd::Broker::new(settings(address));
        let run = move || {
            // It logs what is wrong, and ends then.
            let _ = broker.start();
        };
        let thread = std::thread::Builder::new().name("broker".into()).spawn(run).context("cannot start the broker")?;
        let broker = Broker { port, thread };
        let (pause, times) = ASK;
        for _ in 0..times {
            if !broker.is_running() {
                return Ok(None);
            }
            if TcpStream::connect(address).is_ok() {
                return Ok(Some(broker));
            }
            std::thread::sleep(pause);
        }
        bail!("the broker does not listen on {address}")
    }

    /// Where it listens.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is still there.
    pub(super) fn is_running(&self) -> bool {
        !self.thread.is_finished()
    }
}

/// Enough for the demo and for a handful of people who watch it.
fn settings(listen: SocketAddr) -> rumqttd::Config {
    let connections = ConnectionSettings {
        connection_timeout_ms: 10_000,
        max_payload_size: 1 << 20,
        max_inflight_count: 100,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server =
        ServerSettings { name: "demo".to_owned(), listen, tls: None, next_connection_delay_ms: 1, connections };
    rumqttd::Config {
        router: RouterConfig {
            max_connections: 100,
            max_outgoing_packet_count: 200,
            max_segment_size: 1 << 20,
            max_segment_count: 10,
            ..RouterConfig::default()
        },
        v4: Some(HashMap::from([("demo".to_owned(), server)])),
        ..rumqttd::Config::default()
    }
}
