//! The stage: a broker on core 0 with the load, the daemon or what it is compared with on core 1, and ears that follow.

use crate::line::Line;
use crate::load::Stretch;
use crate::{load, meters};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Everything that loads the machine for the sake of the measurement.
const CORE_OF_LOAD: &str = "0";
/// What is measured.
const CORE_OF_SUBJECT: &str = "1";
/// How long anything may take that has to come: a million messages on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(300);
/// Processor time in half a second of somebody who has nothing to do.
const AT_REST: Duration = Duration::from_millis(20);
/// Where states are kept: on the disk of the build, because the folder for temporary files may be in memory.
const DISK: &str = env!("CARGO_TARGET_TMPDIR");

/// The daemon of the same build, or the one that is given instead.
pub(crate) fn program() -> String {
    std::env::var("ANNUNCIATOR_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_annunciator").to_owned())
}

/// This process and its threads keep to their core from now on.
pub(crate) fn keep_to_core() -> Result<()> {
    let pid = std::process::id().to_string();
    let status = Command::new("taskset").args(["-a", "-p", "-c", CORE_OF_LOAD, &pid]).stdout(Stdio::null()).status();
    if !status.context("taskset (util-linux) is missing")?.success() {
        bail!("two cores are needed");
    }
    Ok(())
}

/// Tries until it works.
pub(crate) fn until<T>(what: &str, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if let Some(done) = attempt()? {
            return Ok(done);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    bail!("waited {PATIENCE:?} for {what}")
}

/// A process that ends with us.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Result<Process> {
        let started = command.stdin(Stdio::null()).spawn();
        started.map(Process).with_context(|| format!("cannot start {}", command.get_program().display()))
    }

    /// Starts a program on the core of what is measured.
    pub(crate) fn subject(program: &str, arguments: &[&str]) -> Result<Process> {
        Process::start(on_core(CORE_OF_SUBJECT, program).args(arguments).stdout(Stdio::null()))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Asks it to end and waits until it has.
    pub(crate) fn terminate(&mut self) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.wait()
    }

    pub(crate) fn wait(&mut self) -> Result<()> {
        until("a process to end", || Ok(self.0.try_wait()?)).map(|_| ())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn on_core(core: &str, program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core, program]);
    command
}

/// Where mosquitto says who subscribes, and nothing else.
const LOG: &str = "log";

/// A mosquitto on a random port that keeps nothing and holds back nothing.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) port: u16,
    _process: Process,
    folder: TempDir,
}

impl Broker {
    pub(crate) fn start() -> Result<Broker> {
        let folder = tempfile::tempdir()?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let file = folder.path().join("mosquitto.conf");
        let settings = "allow_anonymous true\npersistence false\nlog_dest stderr\nlog_type subscribe\nsys_interval 0\nset_tcp_nodelay true\n\
                        max_inflight_messages 1000\nmax_queued_messages 0\nmax_queued_bytes 0\n";
        std::fs::write(&file, format!("listener {port} 127.0.0.1\n{settings}"))?;
        // Debian puts it where users' paths do not look.
        let program = if Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" };
        let log = std::fs::File::create(folder.path().join(LOG))?;
        let process =
            Process::start(on_core(CORE_OF_LOAD, program).arg("-c").arg(&file).stdout(Stdio::null()).stderr(log))?;
        until("mosquitto", || Ok(TcpStream::connect(("127.0.0.1", port)).ok()))?;
        Ok(Broker { port, _process: process, folder })
    }

    /// Waits until somebody has subscribed to this.
    pub(crate) fn until_subscribed(&self, filter: &str) -> Result<()> {
        let log = self.folder.path().join(LOG);
        until("a subscription", || Ok(std::fs::read_to_string(&log)?.contains(&format!(" {filter}\n")).then_some(())))
    }
}

/// The daemon, with a state folder on the disk.
#[derive(Debug)]
pub(crate) struct Daemon {
    folder: TempDir,
    process: Option<Process>,
    /// Variables of its environment.
    environment: Vec<(&'static str, PathBuf)>,
}

impl Daemon {
    /// Writes its configuration: `gateway` are lines of that section, `alarms` follow the rest.
    pub(crate) fn prepare(port: u16, qos: u8, gateway: &str, alarms: &str) -> Result<Daemon> {
        let folder = tempfile::tempdir_in(DISK)?;
        let state = folder.path().join("state");
        let source = |kind: &str, value: &str| {
            format!("[[source]]\ntopic = \"plant/{kind}/{{thing}}/{{property}}\"\nqos = {qos}\n{value}\n")
        };
        let text = format!(
            "[gateway]\nid = \"bench\"\nstate_dir = \"{}\"\nmetrics_interval = \"1s\"\n{gateway}\n\
             [mqtt]\nurl = \"mqtt://127.0.0.1:{port}\"\n{}{}\n{alarms}",
            state.display(),
            source("json", "value = \"/value\""),
            source("plain", ""),
        );
        std::fs::write(folder.path().join("annunciator.toml"), text)?;
        Ok(Daemon { folder, process: None, environment: Vec::new() })
    }

    /// From the next launch on it has this variable.
    pub(crate) fn set(&mut self, name: &'static str, value: &Path) {
        self.environment.push((name, value.to_owned()));
    }

    /// Starts it; `notify` is where it reports that it is ready.
    pub(crate) fn launch(&mut self, notify: Option<&Path>) -> Result<()> {
        let log = std::fs::File::create(self.folder.path().join("log"))?;
        let mut command = on_core(CORE_OF_SUBJECT, &program());
        // As in systemd/annunciator.service.
        command.env("MALLOC_TRIM_THRESHOLD_", "131072");
        command.arg("run").arg("--config").arg(self.folder.path().join("annunciator.toml"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(notify) = notify {
            command.env("NOTIFY_SOCKET", notify);
        }
        self.process = Some(Process::start(command.stdout(Stdio::null()).stderr(log))?);
        Ok(())
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        Ok(self.process.as_ref().context("it was not started")?.id())
    }

    /// As a power cut would end it.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    pub(crate) fn stop(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.terminate())
    }

    pub(crate) fn processor_time(&self) -> Result<Duration> {
        meters::processor_time(self.pid()?)
    }

    /// Waits until it has nothing to do: a database may be written beside everything else.
    pub(crate) fn until_at_rest(&self) -> Result<()> {
        let mut last = (Instant::now(), self.processor_time()?);
        until("the daemon to be at rest", || {
            let spent = self.processor_time()?;
            if spent > last.1 + AT_REST {
                last = (Instant::now(), spent);
            }
            Ok((last.0.elapsed() > Duration::from_millis(500)).then_some(()))
        })
    }

    pub(crate) fn memory(&self) -> Result<u64> {
        meters::memory(self.pid()?)
    }

    pub(crate) fn written(&self) -> Result<u64> {
        meters::written(self.pid()?)
    }

    /// A place in its folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// What was heard of the daemon.
#[derive(Debug, Default)]
struct Received {
    metrics: Value,
    online: u64,
    gaps: Vec<String>,
    stretch: Option<Stretch>,
    /// From the time at which a value was to be sent to its event, or to the value itself.
    delays: Vec<Duration>,
    /// Events of the thing that is called `last`, answers to commands, or of whatever is measured in the daemon's place.
    marks: u64,
    answer: u64,
    events: u64,
}

/// Somebody who subscribes to what the daemon says.
#[derive(Debug)]
pub(crate) struct Ears(Arc<Mutex<Received>>);

impl Ears {
    /// Listens to these topics.
    pub(crate) fn listen(port: u16, filters: &[&str]) -> Result<Ears> {
        let mut line = Line::connect(port, "ears")?;
        for filter in filters {
            line.subscribe(filter, 0)?;
        }
        let heard = Arc::new(Mutex::new(Received::default()));
        let ears = Ears(heard.clone());
        std::thread::spawn(move || {
            while let Ok((topic, payload)) = line.message() {
                let now = Instant::now();
                heard.lock().unwrap_or_else(PoisonError::into_inner).take(topic, payload, now);
            }
        });
        Ok(ears)
    }

    fn look<T>(&self, what: impl FnOnce(&mut Received) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until the daemon says that it is there.
    pub(crate) fn until_online(&self) -> Result<()> {
        until("the daemon", || Ok(self.look(|heard| std::mem::take(&mut heard.online) > 0).then_some(())))
    }

    /// The last metrics.
    pub(crate) fn metrics(&self) -> Value {
        self.look(|heard| heard.metrics.clone())
    }

    /// Waits until metrics say this.
    pub(crate) fn until_metrics(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
        let found = until(what, || Ok(self.look(|heard| is_so(&heard.metrics).then(|| heard.metrics.clone()))));
        found.with_context(|| format!("the last metrics: {}", self.look(|heard| heard.metrics.to_string())))
    }

    /// Waits until this many values were evaluated, and everything that came of them is with the broker.
    pub(crate) fn until_settled(&self, messages: u64) -> Result<Value> {
        self.until_metrics("all values to be evaluated", |metrics| {
            metrics["messages"].as_u64() >= Some(messages) && metrics["outbox"].as_u64() == Some(0)
        })
    }

    /// From now on delays are measured in this stretch.
    pub(crate) fn measure(&self, stretch: Stretch) {
        self.look(|heard| {
            heard.stretch = Some(stretch);
            heard.delays.clear();
        });
    }

    pub(crate) fn take_delays(&self) -> Vec<Duration> {
        self.look(|heard| std::mem::take(&mut heard.delays))
    }

    /// Waits for the mark that was sent behind everything else.
    pub(crate) fn until_mark(&self, count: u64) -> Result<Instant> {
        until("the mark", || Ok((self.marks() >= count).then(Instant::now)))
    }

    /// How many marks and answers came.
    pub(crate) fn marks(&self) -> u64 {
        self.look(|heard| heard.marks)
    }

    /// What was answered.
    pub(crate) fn answer(&self) -> u64 {
        self.look(|heard| heard.answer)
    }

    /// How many events came.
    pub(crate) fn events(&self) -> u64 {
        self.look(|heard| heard.events)
    }

    /// The gaps that the daemon has reported.
    pub(crate) fn gaps(&self) -> Vec<String> {
        self.look(|heard| heard.gaps.clone())
    }
}

impl Received {
    fn take(&mut self, topic: &str, payload: &[u8], now: Instant) {
        self.events += u64::from(topic.contains("/events/"));
        if topic.ends_with("/metrics") {
            self.metrics = serde_json::from_slice(payload).unwrap_or_default();
        } else if topic.ends_with("/status") {
            let status: Value = serde_json::from_slice(payload).unwrap_or_default();
            self.online += u64::from(status["state"] == "online");
            if let Some(gap) = status.get("last_gap").map(Value::to_string)
                && self.gaps.last() != Some(&gap)
            {
                self.gaps.push(gap);
            }
        } else if topic == "bare/answer" {
            self.marks += 1;
            self.answer = std::str::from_utf8(payload).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        } else if topic.contains("/events/last/") || topic.ends_with("/replies") {
            self.marks += 1;
        } else if let Some(stretch) = self.stretch
            && let Some(due) = value_in(payload).and_then(load::number_of).and_then(|number| stretch.time_of(number))
        {
            self.delays.push(now.saturating_duration_since(due));
        }
    }
}

/// The value in an event, or in a payload of the load.
fn value_in(payload: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(payload).ok()?;
    let number = text.split_once("\"value\":").map_or(text, |(_, rest)| rest).trim_start();
    let end = number.find([',', '}']).unwrap_or(number.len());
    number[..end].parse().ok()
}
