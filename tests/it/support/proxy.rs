//! A TCP proxy that does to a connection what cables, radios and routers do: it cuts, stalls, delays and corrupts.
//!
//! Each connection gets one fault of a script; when the script is at its end, connections are left in peace.

use super::free_port;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How many bytes a connection lives on after one of them was corrupted.
const AFTERMATH: usize = 8_000;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    ToBroker,
    FromBroker,
}

/// What happens to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// It ends, both ways, in the middle of whatever is on its way.
    Cut,
    /// This way nothing is passed on any more; the connection stays.
    Stall,
    /// This way nothing is read any more, so that whoever writes has to wait; the connection stays.
    Block,
    /// From now on each piece is late by this much.
    Delay(Duration),
    /// The byte at this position changes by these bits; if both sides go on with that, the connection ends a little later.
    Corrupt(u8),
}

/// A fault, and the position in the stream of one way at which it comes.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub way: Way,
    pub at: usize,
    pub harm: Harm,
}

#[derive(Debug, Default)]
struct Shared {
    script: Mutex<Vec<Fault>>,
    done: AtomicUsize,
    connections: AtomicUsize,
    ended: AtomicBool,
}

/// Stands between a client and a broker.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Passes on to `broker` on this machine; the first fault of the script is for the first connection.
    pub fn start(broker: u16, mut script: Vec<Fault>) -> Proxy {
        script.reverse();
        let shared = Arc::new(Shared { script: Mutex::new(script), ..Shared::default() });
        let listener = (0..10).find_map(|_| TcpListener::bind(("127.0.0.1", free_port())).ok()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let theirs = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if theirs.ended.load(Ordering::SeqCst) {
                    return;
                }
                // A broker that is not there looks like a connection that ends at once.
                let (Ok(client), Ok(broker)) = (client, TcpStream::connect(("127.0.0.1", broker))) else { continue };
                theirs.connections.fetch_add(1, Ordering::SeqCst);
                pass_on(client, broker, &theirs);
            }
        });
        Proxy { port, shared }
    }

    /// How many faults have happened.
    pub fn faults(&self) -> usize {
        self.shared.done.load(Ordering::SeqCst)
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// One more fault, for a further connection.
    pub fn add(&self, fault: Fault) {
        self.shared.script.lock().unwrap().insert(0, fault);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // So that the listening thread sees it.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn pass_on(client: TcpStream, broker: TcpStream, shared: &Arc<Shared>) {
    client.set_nodelay(true).unwrap();
    broker.set_nodelay(true).unwrap();
    let fault = shared.script.lock().unwrap().pop();
    for way in [Way::ToBroker, Way::FromBroker] {
        let (client, broker) = (client.try_clone().unwrap(), broker.try_clone().unwrap());
        let (from, to) = if way == Way::ToBroker { (client, broker) } else { (broker, client) };
        let shared = shared.clone();
        std::thread::spawn(move || {
            pump(&from, &to, fault.filter(|fault| fault.way == way), &shared);
            // Whoever is still there shall see the end.
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        });
    }
}

fn pump(mut from: &TcpStream, mut to: &TcpStream, mut fault: Option<Fault>, shared: &Shared) {
    let mut buffer = [0; 4096];
    let (mut passed, mut late, mut last) = (0, Duration::ZERO, usize::MAX);
    while let Ok(size) = from.read(&mut buffer) {
        if size == 0 {
            return;
        }
        let piece = &mut buffer[..size];
        if let Some(Fault { at, harm, .. }) = fault.filter(|fault| fault.at < passed + size) {
            fault = None;
            shared.done.fetch_add(1, Ordering::SeqCst);
            let here = at.saturating_sub(passed);
            match harm {
                Harm::Cut => {
                    let _ = to.write_all(&piece[..here]);
                    return;
                }
                Harm::Stall => {
                    let _ = to.write_all(&piece[..here]);
                    // Read on, so that only the end of the connection ends this.
                    while from.read(&mut buffer).is_ok_and(|size| size > 0) {}
                    return;
                }
                Harm::Block => {
                    while !shared.ended.load(Ordering::SeqCst) {
                        std::thread::park_timeout(Duration::from_millis(50));
                    }
                    return;
                }
                Harm::Delay(by) => late = by,
                Harm::Corrupt(bits) => {
                    piece[here] ^= bits;
                    last = passed + here + AFTERMATH;
                }
            }
        }
        passed += size;
        std::thread::park_timeout(late);
        if to.write_all(piece).is_err() || passed > last {
            return;
        }
    }
}
