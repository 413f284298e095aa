//! The simulated machine: its clocks, and its disk.

use super::outages::Interval;
use super::random::Random;
use crate::domain::time::{Span, Stamp};
use crate::io::clock::Machine;
use crate::io::store::keeper::Job;
use crate::io::store::{Batch, Pair, Store, StoreError};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Receiver;

/// Clocks on the run time's virtual time.
#[derive(Debug)]
pub(super) struct Clocks {
    begun: tokio::time::Instant,
    /// What the wall clock shows beyond the virtual time, in microseconds.
    pub(super) wall_ahead: Cell<i64>,
    /// Counts boots.
    pub(super) boot: Cell<u32>,
    booted: Cell<i64>,
}

impl Clocks {
    pub(super) fn new() -> Rc<Clocks> {
        Rc::new(Clocks {
            begun: tokio::time::Instant::now(),
            wall_ahead: Cell::new(1_700_000_000_000_000),
            boot: Cell::new(0),
            booted: Cell::new(0),
        })
    }

    /// Microseconds since the world began.
    pub(super) fn now(&self) -> i64 {
        i64::try_from((tokio::time::Instant::now() - self.begun).as_micros()).unwrap()
    }

    pub(super) fn reboot(&self) {
        self.boot.set(self.boot.get() + 1);
        self.booted.set(self.now());
    }
}

/// The clocks as one run of the daemon sees them.
#[derive(Debug)]
pub(super) struct Seen(pub(super) Rc<Clocks>);

impl Machine for Seen {
    fn monotonic(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn wall(&self) -> Stamp {
        Stamp::from_micros(self.0.now() + self.0.wall_ahead.get())
    }

    fn uptime(&self) -> Span {
        Span::from_micros(self.0.now() - self.0.booted.get())
    }

    fn boot_id(&self) -> String {
        format!("boot-{}", self.0.boot.get())
    }

    fn random(&self) -> u64 {
        u64::try_from(self.0.now()).unwrap() << 16
    }
}

/// A disk: what is on it for good.
#[derive(Debug, Default)]
pub(super) struct Disk {
    durable: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) fails: bool,
    /// Whether it has refused something and has taken nothing since.
    pub(super) refused: bool,
    pub(super) commits: u64,
    pub(super) failures: u64,
    /// Milliseconds that its next jobs take.
    pub(super) slow: VecDeque<u64>,
    /// When the present job began.
    busy_since: Option<i64>,
    /// The jobs that took a while.
    pub(super) busy: Vec<Interval>,
}

impl Disk {
    fn apply(&mut self, batch: &Batch) {
        for (key, value) in &batch.entries {
            match value {
                Some(value) => self.durable.insert(key.to_vec(), value.to_vec()),
                None => self.durable.remove(&**key),
            };
        }
    }

    /// Messages for the broker that it keeps.
    pub(super) fn outbound_events(&self) -> usize {
        self.durable.range(b"o".to_vec()..b"p".to_vec()).count()
    }

    /// The present job has ended, or the machine has lost its power.
    pub(super) fn is_done(&mut self, now: i64) {
        self.busy.extend(self.busy_since.take().map(|since| (since, now)));
    }

    /// Whether a message for the broker says this, word for word: one byte follows its payload.
    pub(super) fn holds_event(&self, payload: &[u8]) -> bool {
        let outbound_events = self.durable.range(b"o".to_vec()..b"p".to_vec());
        outbound_events.into_iter().any(|(_, value)| value[..value.len() - 1].ends_with(payload))
    }
}

/// The disk as one run of the daemon sees it.
#[derive(Debug, Clone)]
pub(super) struct Mounted(pub(super) Arc<Mutex<Disk>>);

impl Store for Mounted {
    fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
        let mut disk = self.0.lock().unwrap();
        if disk.fails {
            disk.failures += 1;
            disk.refused = true;
            return Err(StoreError { attempt: "cannot write".into(), reason: "simulated".into() });
        }
        disk.commits += 1;
        disk.refused = false;
        disk.apply(&batch);
        Ok(())
    }

    fn scan(&mut self, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        let disk = self.0.lock().unwrap();
        let pairs = disk.durable.range(from.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        Ok(pairs.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn scan_back(&mut self, prefix: &[u8], before: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        let disk = self.0.lock().unwrap();
        let pairs = disk.durable.range(..before.to_vec()).rev().take_while(|(key, _)| key.starts_with(prefix));
        Ok(pairs.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

/// What the disk is doing. A crash leaves it done or not done.
pub(super) type Pending = Rc<RefCell<Option<Job>>>;

/// Does what the keeper asks, as slowly as chance has it.
pub(super) async fn serve(
    disk: Arc<Mutex<Disk>>,
    mut jobs: Receiver<Job>,
    pending: Pending,
    random: Rc<RefCell<Random>>,
    clocks: Rc<Clocks>,
) {
    while let Some(job) = jobs.recv().await {
        *pending.borrow_mut() = Some(job);
        let slow = disk.lock().unwrap().slow.pop_front();
        let pause = slow.unwrap_or_else(|| {
            let mut random = random.borrow_mut();
            let slowest = [0, 0, 0, 0, 0, 0, 0, 0, 40, 40, 40, 1_500];
            let slowest = slowest[usize::try_from(random.below(12)).unwrap()];
            random.below(slowest + 1)
        });
        if pause > 0 {
            disk.lock().unwrap().busy_since = Some(clocks.now());
            tokio::time::sleep(Duration::from_millis(pause)).await;
            disk.lock().unwrap().is_done(clocks.now());
        }
        if let Some(job) = pending.take() {
            job(&mut Mounted(disk.clone()));
        }
    }
}
