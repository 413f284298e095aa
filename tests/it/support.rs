//! Real parts for the tests: a mosquitto on a random port, the daemon as a process, a client that watches.

pub mod brokers;
pub mod operator;
pub mod protocol;
pub mod proxy;
pub mod servers;
pub mod tmpfs;
pub mod traffic;

pub(crate) use protocol::for_both_versions;
pub use protocol::{Address, Protocol};
use rumqttc::{Client, Connection, Event, MqttOptions, Packet, QoS, TlsConfiguration, Transport};
use serde_json::Value;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a test waits for something that should come at once. Long, because the machine may be busy; it is only
/// reached when the thing does not come.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test. `tests/arm` puts one in its place that runs on an emulated processor.
pub const PROGRAM: &str = match option_env!("ANNUNCIATOR_PROGRAM") {
    Some(program) => program,
    None => env!("CARGO_BIN_EXE_annunciator"),
};

/// A port that was free a moment ago, and that nobody else in this process was given. It lies below the range from which
/// the system takes ports for outgoing connections, so a broker that is stopped for a while finds it free again.
pub fn free_port() -> u16 {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let start = usize::try_from(std::process::id()).unwrap() * 131;
    loop {
        let step = start + COUNT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(10_000 + step % 22_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Tries until it works, as often as the scheduler lets us.
pub fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// What the program prints when it succeeds.
pub fn program(args: &[&str]) -> String {
    let output = Command::new(PROGRAM).args(args).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What `check --state` says to people of a daemon that has ended; it finds nothing that needs them.
pub fn check_state(daemon: &Daemon) -> String {
    let mut command = Command::new(PROGRAM);
    let output = command.args(["check", "--state", "--config"]).arg(daemon.config_file()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// A mosquitto of our own.
pub struct Broker {
    pub port: u16,
    folder: TempDir,
    settings: String,
    process: Option<Child>,
}

impl Broker {
    /// A broker for everybody, without persistence.
    pub fn start() -> Broker {
        Broker::with("allow_anonymous true\n")
    }

    /// A broker with these lines of configuration. `FOLDER` in them is a folder of its own.
    pub fn with(settings: &str) -> Broker {
        Broker::configured(&format!("listener PORT 127.0.0.1\n{settings}"))
    }

    /// A broker with a whole configuration; also `PORT` in it is its own.
    pub fn configured(settings: &str) -> Broker {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings.replace("FOLDER", folder.path().to_str().unwrap());
        let mut broker = Broker { port: 0, folder, settings, process: None };
        // Somebody else may take the port between our look and mosquitto's.
        for _ in 0..10 {
            broker.port = free_port();
            if broker.try_restart() {
                return broker;
            }
        }
        panic!("mosquitto does not start; is it installed?\n{}", broker.log());
    }

    fn try_restart(&mut self) -> bool {
        let file = self.folder.path().join("mosquitto.conf");
        let settings = self.settings.replace("PORT", &self.port.to_string());
        let conf = format!("log_type all\nuser root\n{settings}");
        std::fs::write(&file, conf).unwrap();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut command = Command::new(mosquitto());
        command.arg("-c").arg(&file).stdout(Stdio::from(log.try_clone().unwrap())).stderr(Stdio::from(log));
        let mut process = command.spawn().expect("mosquitto is installed");
        let up = until("mosquitto", || {
            if process.try_wait().unwrap().is_some() {
                return Some(false);
            }
            TcpStream::connect(("127.0.0.1", self.port)).is_ok().then_some(true)
        });
        self.process = Some(process);
        up
    }

    /// Starts it again on the same port.
    pub fn restart(&mut self) {
        self.stop();
        until("mosquitto's old port", || self.try_restart().then_some(()));
    }

    /// Ends it as a power cut would.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Ends it cleanly: with persistence it remembers sessions and what they have not taken.
    pub fn terminate(&mut self) {
        let mut process = self.process.take().unwrap();
        send_signal(&process, rustix::process::Signal::TERM);
        until("mosquitto's end", || process.try_wait().unwrap());
    }

    /// SIGSTOP: the connections stay, but nobody is there.
    pub fn freeze(&self) {
        send_signal(self.process.as_ref().unwrap(), rustix::process::Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        send_signal(self.process.as_ref().unwrap(), rustix::process::Signal::CONT);
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("the end of the broker's log:\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        self.stop();
    }
}

/// Debian puts it where users' paths do not look.
fn mosquitto() -> &'static str {
    if Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" }
}

/// A message that the watcher has seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub topic: String,
    pub payload: Vec<u8>,
    pub retained: bool,
}

impl Seen {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or(Value::Null)
    }
}

/// A client that publishes, and sees everything that is published.
pub struct Watcher {
    client: Client,
    seen: Receiver<Seen>,
    /// Everything seen so far.
    pub all: Vec<Seen>,
    /// How much of it `next` has looked at.
    looked_at: usize,
}

impl Watcher {
    /// Connects and subscribes; returns when the subscription is acknowledged.
    pub fn connect(port: u16) -> Watcher {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let id = format!("watcher-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut options = MqttOptions::new(id, "127.0.0.1", port);
        options.set_max_packet_size(1 << 24, 1 << 24).set_clean_session(true).set_inflight(500);
        Watcher::with(options)
    }

    /// One that sees this topic only: not every broker sends what is retained to who subscribes to more.
    pub fn on(port: u16, topic: &str) -> Watcher {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let id = format!("watcher-on-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut options = MqttOptions::new(id, "127.0.0.1", port);
        options.set_clean_session(true);
        Watcher::subscribing(options, topic)
    }

    /// A client whose session the broker keeps: it takes up where an earlier one with this name has ended.
    pub fn resume(port: u16, name: &str) -> Watcher {
        let mut options = MqttOptions::new(name, "127.0.0.1", port);
        options.set_max_packet_size(1 << 24, 1 << 24).set_clean_session(false).set_inflight(500);
        Watcher::with(options)
    }

    /// A client that logs in over TLS; it sees what this user may see.
    pub fn log_in(port: u16, user: &str, password: &str, ca: &Path) -> Watcher {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let id = format!("{user}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut options = MqttOptions::new(id, "localhost", port);
        let tls = TlsConfiguration::Simple { ca: std::fs::read(ca).unwrap(), alpn: None, client_auth: None };
        options.set_transport(Transport::tls_with_config(tls)).set_credentials(user, password);
        options.set_max_packet_size(1 << 24, 1 << 24).set_clean_session(true).set_inflight(500);
        Watcher::with(options)
    }

    fn with(options: MqttOptions) -> Watcher {
        Watcher::subscribing(options, "#")
    }

    fn subscribing(options: MqttOptions, filter: &str) -> Watcher {
        let (client, connection) = Client::new(options, 100_000);
        let (sender, seen) = channel();
        let (ready, subscribed) = channel();
        std::thread::spawn(move || watch(connection, &sender, &ready));
        client.subscribe(filter, QoS::AtLeastOnce).unwrap();
        subscribed.recv_timeout(PATIENCE).expect("the subscription is acknowledged");
        Watcher { client, seen, all: Vec::new(), looked_at: 0 }
    }

    pub fn publish(&self, topic: &str, payload: impl AsRef<[u8]>) {
        self.client.publish(topic, QoS::AtLeastOnce, false, payload.as_ref()).unwrap();
    }

    pub fn publish_with(&self, topic: &str, payload: &str, qos: QoS, retain: bool) {
        self.client.publish(topic, qos, retain, payload).unwrap();
    }

    /// A value of a property, in the topics that `config` below uses.
    pub fn value(&self, thing: &str, property: &str, payload: &str) {
        self.publish(&format!("things/{thing}/properties/{property}"), payload);
    }

    /// The next message that fits, from where the last call stopped. As long as others come, a busy machine is at work.
    pub fn next(&mut self, what: &str, mut fits: impl FnMut(&Seen) -> bool) -> Seen {
        let last = Instant::now() + PATIENCE * 4;
        let mut deadline = Instant::now() + PATIENCE;
        loop {
            while self.looked_at < self.all.len() {
                self.looked_at += 1;
                if fits(&self.all[self.looked_at - 1]) {
                    return self.all[self.looked_at - 1].clone();
                }
            }
            match self.seen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(seen) => {
                    self.all.push(seen);
                    deadline = last.min(Instant::now() + PATIENCE);
                }
                Err(RecvTimeoutError::Timeout) => panic!("waited for {what}; seen:\n{}", self.transcript()),
                Err(RecvTimeoutError::Disconnected) => panic!("the watcher has ended before {what}"),
            }
        }
    }

    /// The next live message on a topic below `annunciator/gw/`.
    pub fn next_on(&mut self, topic: &str) -> Value {
        let topic = format!("annunciator/gw/{topic}");
        self.next(&topic, |seen| seen.topic == topic).json()
    }

    /// The next event of an alarm.
    pub fn event(&mut self, alarm: &str) -> Value {
        self.next_on(&format!("events/{alarm}"))
    }

    /// The next status with this state.
    pub fn status(&mut self, state: &str) -> Value {
        self.next(&format!("status {state}"), |seen| {
            seen.topic == "annunciator/gw/status" && seen.json()["state"] == state
        })
        .json()
    }

    /// Everything that came until a message of our own went round: nothing that was published before is missing.
    pub fn settle(&mut self) {
        let mark = format!("{:?}", Instant::now());
        self.publish("mark", &mark);
        self.next("our own mark", |seen| seen.topic == "mark" && seen.payload == mark.as_bytes());
    }

    /// The next call of `next` begins with what was seen first.
    pub fn looked_back(&mut self) {
        self.looked_at = 0;
    }

    /// Takes what has come without waiting for more.
    pub fn drain(&mut self) {
        self.all.extend(self.seen.try_iter());
    }

    /// All events seen so far, in order.
    pub fn events(&self) -> Vec<Value> {
        self.all.iter().filter(|seen| seen.topic.contains("/events/")).map(Seen::json).collect()
    }

    /// How many there are. Some tests look very often.
    pub fn event_count(&self) -> usize {
        self.all.iter().filter(|seen| seen.topic.contains("/events/")).count()
    }

    pub fn transcript(&self) -> String {
        self.all.iter().map(|seen| format!("{} {}\n", seen.topic, String::from_utf8_lossy(&seen.payload))).collect()
    }
}

fn watch(mut connection: Connection, seen: &std::sync::mpsc::Sender<Seen>, ready: &std::sync::mpsc::Sender<()>) {
    let mut is_ready = false;
    for event in connection.iter() {
        let sent = match event {
            Ok(Event::Incoming(Packet::SubAck(_))) => {
                is_ready = true;
                ready.send(()).is_ok()
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let (topic, payload, retained) = (publish.topic, publish.payload.to_vec(), publish.retain);
                seen.send(Seen { topic, payload, retained }).is_ok()
            }
            Ok(_) => true,
            // The broker may still be starting; whoever waits for us has a bound.
            Err(error) => {
                if is_ready {
                    eprintln!("the watcher's connection has ended: {error}");
                }
                !is_ready
            }
        };
        if !sent {
            return;
        }
    }
}

/// The daemon as a process, with a store of its own.
pub struct Daemon {
    folder: TempDir,
    process: Option<Child>,
}

impl Daemon {
    /// Writes the configuration and starts it. `alarms` follows the sections for gateway, broker and one source.
    pub fn start(address: impl Into<Address>, alarms: &str) -> Daemon {
        Daemon::with(&config(address, alarms))
    }

    /// Starts it with a whole configuration; `STATE` in it is its state folder.
    pub fn with(config: &str) -> Daemon {
        let mut daemon = Daemon::prepare(config);
        daemon.launch();
        daemon
    }

    /// Writes the configuration only.
    pub fn prepare(config: &str) -> Daemon {
        let daemon = Daemon { folder: tempfile::tempdir().unwrap(), process: None };
        daemon.configure(config);
        daemon
    }

    /// Replaces the configuration; the next launch reads it.
    pub fn configure(&self, config: &str) {
        let text = config.replace("STATE", self.state_dir().to_str().unwrap());
        std::fs::write(self.config_file(), text).unwrap();
    }

    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("annunciator.toml")
    }

    pub fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn launch(&mut self) {
        self.launch_by(Command::new(PROGRAM));
    }

    /// Starts it by a command that becomes the daemon.
    pub fn launch_by(&mut self, mut command: Command) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        command.arg("run").arg("--config").arg(self.config_file()).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::from(log));
        self.process = Some(command.spawn().unwrap());
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// SIGTERM, and the exit code.
    pub fn stop(&mut self) -> i32 {
        let mut process = self.process.take().unwrap();
        send_signal(&process, rustix::process::Signal::TERM);
        let status = until("the daemon's end", || process.try_wait().unwrap());
        status.code().unwrap_or(-1)
    }

    /// SIGSTOP.
    pub fn freeze(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    /// Any signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        send_signal(self.process.as_ref().unwrap(), signal);
    }

    /// Waits until it has ended by itself, and gives its exit code.
    pub fn wait(&mut self) -> i32 {
        let mut process = self.process.take().unwrap();
        until("the daemon's end", || process.try_wait().unwrap()).code().unwrap_or(-1)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

fn send_signal(process: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(process.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}

/// A configuration with one source, for the gateway `gw`.
pub fn config(address: impl Into<Address>, alarms: &str) -> String {
    let Address { port, protocol } = address.into();
    let version = match protocol {
        Protocol::V3 => "",
        Protocol::V5 => "protocol = \"5\"\n",
    };
    format!(
        "[gateway]\nid = \"gw\"\nstate_dir = \"STATE\"\n\n\
         [mqtt]\nurl = \"mqtt://127.0.0.1:{port}\"\n{version}\n\
         [[source]]\ntopic = \"things/{{thing}}/properties/{{property}}\"\n\n{alarms}"
    )
}

/// A standard alarm on `press-1/pressure` above 15.
pub const HI: &str = "[[alarm]]\nthing = \"press-1\"\nproperty = \"pressure\"\nlevel = \"hi\"\ntype = \"standard\"\n\
                      operator = \">\"\nlimit = 15\n";
