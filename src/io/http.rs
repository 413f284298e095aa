//! A window for monitoring: figures for Prometheus and the daemon's health, over plain HTTP.
//!
//! It has a thread of its own and looks at a [`Board`], on which the loop puts a snapshot once a second; it never sees the
//! engine and the loop never waits for it. So whatever clients do, alarms go on, and when the loop stands still there is
//! somebody left to say so. Each connection is for one request and has a limit in time; there are few at once.

mod answer;

use crate::api::openmetrics::Snapshot;
use crate::domain::time::{Moment, Span};
use crate::io::clock::ClockHandle;
use answer::Names;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Connections at one time: a Prometheus or two, a probe, a person. Who comes when there are so many takes the place of the
/// one that has been there longest: requests take milliseconds, so that is one that wants to be slow.
const CONNECTIONS: usize = 16;
/// How long a connection may last, however slow its client is. A scrape takes milliseconds; Prometheus gives up after 10 s.
const LIMIT: Duration = Duration::from_secs(10);
/// How long a client may take for the head of its request.
const HEAD: Duration = Duration::from_secs(5);
/// Bytes of the longest head that is read.
const HEAD_BYTES: usize = 8 * 1_024;
/// When the address is not there yet (a network that comes up later), it is tried again this often.
const RETRY: Duration = Duration::from_secs(5);
/// After an error of the listener itself (no file descriptors left), it rests this long.
const PAUSE: Duration = Duration::from_secs(1);

/// Where the loop shows what everybody may see.
#[derive(Debug, Default)]
pub struct Board {
    shown: Mutex<Shown>,
}

#[derive(Debug, Default, Clone)]
struct Shown {
    snapshot: Option<Arc<Snapshot>>,
    /// Why nobody can look at it.
    trouble: Option<String>,
}

impl Board {
    /// Replaces the snapshot.
    pub fn show(&self, snapshot: Snapshot) {
        self.change(|shown| shown.snapshot = Some(Arc::new(snapshot)));
    }

    /// Why nobody can look at it, if that is so.
    pub fn trouble(&self) -> Option<String> {
        self.read().trouble
    }

    fn read(&self) -> Shown {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut self.shown.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The listener; it ends when this is dropped.
#[derive(Debug)]
pub struct Listener {
    _running: watch::Sender<()>,
}

/// Starts to listen. What keeps it from that is told on the board: alarms are more important than their statistics.
pub fn start(address: SocketAddr, board: Arc<Board>, clock: ClockHandle) -> Listener {
    let (running, stop) = watch::channel(());
    let shown = board.clone();
    let thread = std::thread::Builder::new().name("http".to_owned()).spawn(move || {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(until_dropped(stop, listen(address, shown, clock))),
            Err(error) => shown.change(|shown| shown.trouble = Some(format!("cannot start: {error}"))),
        }
    });
    if let Err(error) = thread {
        board.change(|shown| shown.trouble = Some(format!("cannot start its thread: {error}")));
    }
    Listener { _running: running }
}

async fn until_dropped(mut stop: watch::Receiver<()>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        // The sender sends nothing; it goes.
        _ = stop.changed() => {}
    }
}

async fn listen(address: SocketAddr, board: Arc<Board>, clock: ClockHandle) {
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) => {
                let trouble = format!("cannot listen on {address}: {error}; it is tried again");
                if board.trouble().is_none() {
                    tracing::error!(trouble, "no figures and no health over HTTP");
                }
                board.change(|shown| shown.trouble = Some(trouble));
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    board.change(|shown| shown.trouble = None);
    tracing::info!(%address, "figures and health over HTTP");
    let names = Names::of(address);
    let mut served: VecDeque<JoinHandle<()>> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                served.retain(|connection| !connection.is_finished());
                if served.len() >= CONNECTIONS
                    && let Some(oldest) = served.pop_front()
                {
                    oldest.abort();
                }
                let board = board.clone();
                served.push_back(tokio::spawn(async move { serve(stream, &board, names, clock).await }));
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// One request.
async fn serve(stream: TcpStream, board: &Board, names: Names, clock: ClockHandle) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(async |request| {
                let snapshot = board.read().snapshot;
                Ok::<_, Infallible>(answer::to(&request, names, snapshot.as_deref(), clock.at()))
            }),
        );
    match tokio::time::timeout(LIMIT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a request was no request"),
        Err(_) => tracing::debug!("a client was too slow"),
    }
}

/// How long ago the loop has turned.
fn since_turn(snapshot: Option<&Snapshot>, now: Moment) -> Option<Span> {
    snapshot.map(|snapshot| now - snapshot.figures.now.at)
}
