//! The demo: the three examples of alarms, alive, with nothing installed but this program.
//!
//! One process holds an embedded broker (`broker`), three simulated presses that play the examples in a loop
//! (`plant`), the real daemon with a store of its own, and a client that hears what every other client would hear
//! (`subscriber`) and shows it (`screen`). They know each other over MQTT only.

mod broker;
mod paint;
mod plant;
mod screen;
mod subscriber;

use crate::config::Config;
use crate::daemon::{self, Stop};
use crate::domain::time::Span;
use anyhow::{Context as _, bail};
use broker::{Broker, HOST};
use plant::{PACE, PRESSES, ROUND};
use rumqttc::{AsyncClient, QoS};
use screen::Screen;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use subscriber::Received;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

/// How long broker and daemon may take to begin.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long the daemon may take to end: longer than its own last status.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Names that are tried for its folder: demos that were killed leave theirs behind.
const FOLDERS: u32 = 100;

/// How to run the demo.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Where the broker listens; none: on any free port.
    pub port: Option<u16>,
    /// After which time it ends; none: when it is interrupted.
    pub duration: Option<Span>,
    /// Whether colours may be used.
    pub coloured: bool,
}

/// Runs the demo and shows it on `out`, until its time is over or a signal ends it.
///
/// # Errors
/// What kept it from starting, or from going on.
pub fn run(options: Options, out: impl Write) -> anyhow::Result<()> {
    let broker = Broker::start(options.port)?;
    let folder = TemporaryFolder::new()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let mut daemon = Daemon::default();
        let (client, events) = subscriber::open(broker.port());
        let screen = Screen::new(out, options.coloured);
        let mut demo = Demo { broker, client, events, screen, activations: 0 };
        let played = tokio::select! {
            played = demo.play(&mut daemon, folder.path(), options.duration) => played,
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
            _ = hang_up.recv() => Ok(()),
        };
        daemon.stop().await?;
        played?;
        demo.screen.show_end(demo.activations)?;
        Ok(())
    })
}

/// The broker, the presses and who looks at them.
struct Demo<W> {
    broker: Broker,
    client: AsyncClient,
    events: mpsc::Receiver<Received>,
    screen: Screen<W>,
    activations: u64,
}

impl<W: Write> Demo<W> {
    /// The whole of it, until the time is over or something fails.
    async fn play(&mut self, daemon: &mut Daemon, folder: &Path, duration: Option<Span>) -> anyhow::Result<()> {
        let port = self.broker.port();
        self.screen.welcome(&HOST.to_string(), port)?;
        self.wait_for(|received| matches!(received, Received::Subscribed))
            .await
            .context("the broker does not answer")?;
        daemon.start(plant::config(port, folder)?)?;
        tokio::select! {
            played = self.rounds(duration) => played,
            ended = daemon.ended() => Err(ended),
        }
    }

    /// Plays rounds until the time is over.
    async fn rounds(&mut self, duration: Option<Span>) -> anyhow::Result<()> {
        self.wait_for(|received| matches!(received, Received::Online))
            .await
            .context("the daemon did not begin to work")?;
        let end = async {
            match duration {
                Some(duration) => tokio::time::sleep(duration.to_std()).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(end);
        let mut ticks = tokio::time::interval(PACE.to_std());
        let mut seconds = (1..).flat_map(|round| (0..ROUND).map(move |second| (round, second)));
        loop {
            tokio::select! {
                biased;
                () = &mut end => return Ok(()),
                received = self.events.recv() => match received {
                    Some(Received::Value { press, value }) => self.screen.value(press, value)?,
                    Some(Received::Event(event)) => {
                        self.activations += u64::from(event.to == "activated");
                        self.screen.event(&event)?;
                    }
                    Some(Received::Subscribed | Received::Online) => {}
                    Some(Received::Lost(reason)) => bail!("the connection to the broker is lost: {reason}"),
                    None => bail!("the connection to the broker is lost"),
                },
                _ = ticks.tick() => match seconds.next() {
                    Some((round, second)) => self.tick(round, second)?,
                    None => return Ok(()),
                },
            }
        }
    }

    /// Lets the presses say what they say in this second.
    fn tick(&mut self, round: usize, second: usize) -> anyhow::Result<()> {
        if !self.broker.is_running() {
            bail!("the broker has ended");
        }
        if second == 0 {
            self.screen.round(round)?;
        }
        let payloads = PRESSES.map(|press| press.payload(second));
        self.screen.second(second, payloads.each_ref().map(Option::is_some))?;
        for (press, payload) in PRESSES.iter().zip(payloads) {
            if let Some(payload) = payload {
                let published = self.client.try_publish(press.topic(), QoS::AtLeastOnce, false, payload);
                published.context("the broker does not take values any more")?;
            }
        }
        Ok(())
    }

    /// Waits until something is received.
    async fn wait_for(&mut self, is_it: impl Fn(&Received) -> bool) -> anyhow::Result<()> {
        let wait = async {
            loop {
                match self.events.recv().await {
                    Some(received) if is_it(&received) => return Ok(()),
                    Some(Received::Lost(reason)) => bail!("the connection to the broker is lost: {reason}"),
                    Some(_) => {}
                    None => bail!("the connection to the broker is lost"),
                }
            }
        };
        tokio::time::timeout(START_LIMIT, wait).await.context("nothing was received in time")?
    }
}

/// The real daemon, in a thread of its own once it is started.
#[derive(Default)]
struct Daemon {
    stop: watch::Sender<bool>,
    result: Option<oneshot::Receiver<anyhow::Result<()>>>,
}

impl Daemon {
    fn start(&mut self, config: Config) -> anyhow::Result<()> {
        let handle = self.stop.subscribe();
        let (sender, result) = oneshot::channel();
        let run = move || {
            // Nobody listens any more if it did not end in time.
            let _ = sender.send(daemon::run(config, false, Stop::when(handle)).map(drop));
        };
        std::thread::Builder::new().name("daemon".into()).spawn(run).context("cannot start the daemon")?;
        self.result = Some(result);
        Ok(())
    }

    /// Waits until it ends without having been told to, and says why.
    async fn ended(&mut self) -> anyhow::Error {
        let Some(result) = &mut self.result else { return std::future::pending().await };
        let ended = result.await;
        self.result = None;
        match ended {
            Ok(Err(error)) => error.context("the daemon has failed"),
            Ok(Ok(())) | Err(_) => anyhow::anyhow!("the daemon has ended"),
        }
    }

    /// Ends it, if it runs.
    async fn stop(self) -> anyhow::Result<()> {
        let Some(result) = self.result else { return Ok(()) };
        self.stop.send_replace(true);
        match tokio::time::timeout(STOP_LIMIT, result).await {
            Ok(Ok(result)) => result.context("the daemon has failed"),
            Ok(Err(_)) => bail!("the daemon has ended badly"),
            Err(_) => bail!("the daemon did not end in time"),
        }
    }
}

/// A folder that goes when the demo does.
struct TemporaryFolder {
    path: PathBuf,
}

impl TemporaryFolder {
    fn new() -> anyhow::Result<TemporaryFolder> {
        let number = std::process::id();
        let paths = (0..FOLDERS).map(|n| std::env::temp_dir().join(format!("annunciator-demo-{number}-{n}")));
        for path in paths {
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(TemporaryFolder { path }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).context(format!("cannot create {} for the store", path.display())),
            }
        }
        bail!("cannot create a folder for the store: {} is full of old ones", std::env::temp_dir().display())
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "cannot remove the demo's store");
        }
    }
}
