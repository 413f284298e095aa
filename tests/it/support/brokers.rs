//! Brokers that are not mosquitto: a NATS server and a RabbitMQ, as Debian has them, each with MQTT on a random port.

use super::{free_port, until};
use rustix::process::{Pid, Signal, kill_process_group};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A kind of broker, and how it is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Nats,
    RabbitMq,
}

/// The kinds that are tried: with `tests/run --slow` also the one that takes its time to start.
pub fn kinds() -> Vec<Kind> {
    let are_all_wanted = std::env::var_os("ANNUNCIATOR_BROKERS").is_some();
    if are_all_wanted { vec![Kind::Nats, Kind::RabbitMq] } else { vec![Kind::Nats] }
}

/// One that runs.
pub struct OtherBroker {
    pub port: u16,
    kind: Kind,
    folder: TempDir,
    process: Option<Child>,
}

impl OtherBroker {
    pub fn start(kind: Kind) -> OtherBroker {
        let mut broker = OtherBroker { port: free_port(), kind, folder: tempfile::tempdir().unwrap(), process: None };
        broker.launch();
        broker
    }

    fn launch(&mut self) {
        let folder = self.folder.path().to_str().unwrap();
        let port = self.port;
        let write = |name: &str, text: &str| std::fs::write(self.folder.path().join(name), text).unwrap();
        let mut command = match self.kind {
            Kind::Nats => {
                let (client, store) = (free_port(), format!("{folder}/store"));
                write(
                    "nats.conf",
                    &format!(
                        "listen: \"127.0.0.1:{client}\"\nserver_name: test\njetstream {{ store_dir: \"{store}\" }}\n\
                         mqtt {{ host: \"127.0.0.1\", port: {port} }}\n"
                    ),
                );
                let mut command = Command::new("/usr/sbin/nats-server");
                command.arg("-c").arg(format!("{folder}/nats.conf"));
                command
            }
            Kind::RabbitMq => {
                write(
                    "rabbitmq.conf",
                    &format!(
                        "listeners.tcp = none\nmqtt.listeners.tcp.1 = 127.0.0.1:{port}\nmqtt.allow_anonymous = true\n"
                    ),
                );
                write("plugins", "[rabbitmq_mqtt].\n");
                let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
                command
                    .env("HOME", folder)
                    .env("RABBITMQ_NODENAME", format!("test{port}@localhost"))
                    .env("RABBITMQ_CONFIG_FILE", format!("{folder}/rabbitmq.conf"))
                    .env("RABBITMQ_ENABLED_PLUGINS_FILE", format!("{folder}/plugins"))
                    .env("RABBITMQ_MNESIA_BASE", format!("{folder}/data"))
                    .env("RABBITMQ_LOG_BASE", format!("{folder}/log"))
                    .env("RABBITMQ_DIST_PORT", free_port().to_string())
                    .env("ERL_EPMD_PORT", free_port().to_string())
                    .env("ERL_EPMD_ADDRESS", "127.0.0.1");
                command
            }
        };
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("out")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        // It has children of its own.
        self.process = Some(command.process_group(0).spawn().expect("tests/run installs it"));
        until("the broker", || TcpStream::connect(("127.0.0.1", self.port)).ok());
    }

    fn signal(&self, signal: Signal) {
        let group = self.process.as_ref().and_then(|process| Pid::from_raw(i32::try_from(process.id()).ok()?));
        kill_process_group(group.unwrap(), signal).unwrap();
    }

    /// Ends it as a power cut would, or as an administrator would, and starts it again.
    pub fn restart(&mut self, is_clean: bool) {
        self.signal(if is_clean { Signal::TERM } else { Signal::KILL });
        let mut process = self.process.take().unwrap();
        until("the broker's end", || process.try_wait().unwrap());
        until("the port to be free", || std::net::TcpListener::bind(("127.0.0.1", self.port)).ok());
        self.launch();
    }
}

impl Drop for OtherBroker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("out")).unwrap_or_default();
            eprintln!("the broker's log:\n{log}");
        }
        if let Some(mut process) = self.process.take() {
            let group = i32::try_from(process.id()).ok().and_then(Pid::from_raw).unwrap();
            let _ = kill_process_group(group, Signal::KILL);
            let _ = process.wait();
        }
    }
}
