//! The store on disk: two sled databases, and a write-ahead log in front of them.
//!
//! ```text
//!   commit ──▶ wal-N  (one frame, one fdatasync: this is the moment at which it counts)
//!                │   and the same changes in memory
//!                ▼ when the log is long enough: begin wal-N+1, and beside the commits
//!            snapshot a or b, in turn: the changes of the last two logs, sync, last log N
//! ```
//!
//! sled 0.34 does not promise to survive a power cut while it writes, and after some cuts it cannot be opened any more.
//! So it never has to: at any instant at most one of the two snapshots is being written, and the other one is closed, synced
//! and untouched. Whatever the cut does to the first, the second and the logs since its last log hold everything.
//!
//! | the power goes | what is there afterwards |
//! |---|---|
//! | while a frame is written | all frames before it; that commit was not confirmed to anybody |
//! | while a log is begun | the older log is whole; the new one has no frame that counts |
//! | while snapshot *b* is brought from last log N−2 to N | snapshot *a* at last log N−1, and the logs N and N+1; *b* is marked |
//! | after the sync, before the older log is removed | snapshot *b* at last log N and the log N+1; the older one is harmless |
//!
//! A snapshot that cannot be opened, that was being written (a mark beside it says so: it might open, and lack something), or
//! that lacks logs which are gone, is made anew from the other one.
//!
//! What no power cut does, a drive may: bits flip, files are cut, filled with zeros or gone. Then something may be lost, and
//! [`Opened::loss`] says what. Whole frames behind damage in a log are read (`logs`); the damaged log is kept as it is,
//! beside the store, and not gone on with. If no database can be used and the first log is gone, all of it is moved aside,
//! never deleted, and what the logs say begins a new store. Where the log ended when something was last published is noted
//! outside of the store (`confirmed`), so that an end that is missing is noticed, too.
//!
//! A log and the memory beside it are bounded by twice `LOG_BYTES`, as long as a snapshot can be written; there are four at most,
//! one of them only for its room.

pub(super) mod confirmed;
mod logs;
mod snapshots;

use super::history::ENTRIES;
use super::record::{self, OUTBOUND_EVENTS};
use super::small_bytes::SmallBytes;
use super::snapshot::Snapshot;
use super::snapshot::layers::{after, merged, newer_first};
use super::{Batch, Loss, Pair, Store, StoreError, private, wal};
use confirmed::{Confirmed, Noted};
use logs::{Logs, Lost};
use snapshots::{Side, Work, look};
use std::collections::BTreeMap;
use std::collections::btree_map::Range;
use std::fs::File;
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

/// The folder of the store in the state folder.
pub(super) const FOLDER: &str = "store";
/// How the names of stores begin that were moved aside.
const MOVED_ASIDE: &str = "store.damaged-";
/// The file whose lock keeps other processes out.
const LOCK: &str = "lock";
/// A log that is longer than this is worked into a snapshot. Long enough that most of what comes and goes (an event until the
/// broker has taken it) never reaches a snapshot, and that what changes often reaches it once; short enough to be read in a
/// tenth of a second at the start.
const LOG_BYTES: u64 = 8 << 20;
/// While it holds fewer pairs than this in memory, a log may become twice as long: most of what it says has gone again, and
/// to bring a snapshot up to date costs much the same after one log and after two.
const FEW: usize = 8_192;
/// With more pairs than this in one log the other snapshot follows at once: until it does, they are held in memory. Only a
/// turn that writes very many alarms at a time makes such a log.
const FOLLOWED_AT_ONCE: usize = 16_384;
/// Stores and logs that were moved aside are kept for a technician, but not more than this many.
const QUARANTINES: usize = 3;
/// The file beside a damaged log that says what is missing.
const WHAT_IS_MISSING: &str = "what-is-missing.txt";

type Changes = BTreeMap<SmallBytes, Option<SmallBytes>>;

/// The store in a folder.
#[derive(Debug)]
pub struct DiskStore {
    folder: PathBuf,
    /// Held for as long as the store is open: another process must not touch it.
    lock: File,
    wal: wal::Wal,
    /// What has changed since the newest last log, less what is being compacted.
    recent: Changes,
    /// What is being compacted.
    compacting: Arc<Changes>,
    /// The thread that does it.
    worker: Option<JoinHandle<Result<Option<Snapshot>, String>>>,
    /// The number of the log up to which it will be compacted.
    worker_last_log: u64,
    /// The snapshot with the newest last log, and that last log; none before the first.
    newest: Option<(Side, u64)>,
    /// The last log of the other snapshot; none: it does not exist.
    other: Option<u64>,
    /// What the newest snapshot has and the other one lacks.
    behind: Arc<Changes>,
    /// Whether that is all there is: the newest snapshot is the first one, and was made of it.
    behind_is_all: bool,
    /// Whether the thread copies the newest snapshot.
    is_copying: bool,
    /// The newest snapshot, if it is read now and then.
    reader: Option<Snapshot>,
    /// Whether anything was read since the last compaction began.
    was_read: bool,
    /// A log that is longer than this is worked into a snapshot.
    log_bytes: u64,
    /// The log may grow to here.
    rotate_at: u64,
    /// What mostly comes and goes while one log lasts, by the first byte of its keys.
    passing: [Passing; 2],
    /// A log that nobody needs any more: the next one is made of it.
    spare: Option<u64>,
    /// How far commits are confirmed.
    confirmed: Confirmed,
}

/// Keys that only rise: one above the last that there was when the log began was never in a snapshot.
#[derive(Debug)]
struct Passing {
    kind: u8,
    /// The last one when the log began, and the last one that there was since; none: nobody has looked.
    last: Option<(Vec<u8>, Vec<u8>)>,
}

/// A store, and what a person should know about how it was opened.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: DiskStore,
    /// What was lost and where the rest of it is, in words; none if nothing was.
    pub trouble: Option<String>,
    /// The same for those who go on with what is left.
    pub loss: Option<Loss>,
}

/// Why there is no store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// Another process has it.
    InUse(PathBuf),
    /// The file system does not let us.
    Io(StoreError),
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OpenError::InUse(path) => write!(
                f,
                "{} is in use by another annunciator: stop it, or give this one a state_dir of its own",
                path.display()
            ),
            OpenError::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> OpenError {
        OpenError::Io(error)
    }
}

impl DiskStore {
    /// Opens the store in `state_dir`, or an empty one where there is none or where it is damaged beyond use.
    ///
    /// # Errors
    /// [`OpenError::InUse`], or what the file system says.
    pub fn open(state_dir: &Path) -> Result<Opened, OpenError> {
        let folder = state_dir.join(FOLDER);
        private::create(state_dir).map_err(|error| failed("create", state_dir, error))?;
        private::create(&folder).map_err(|error| failed("create", &folder, error))?;
        let lock = lock(state_dir)?;
        private::keep(state_dir, &is_ours);
        set_aside_others(state_dir, &folder).map_err(|error| failed("move aside what is in", &folder, error))?;
        let confirmed = Confirmed::open(state_dir);
        let noted = confirmed.last();
        let (snapshots, damage) = look(&folder);
        let numbers = wal::list(&folder).map_err(|error| failed("read", &folder, error))?;
        let compacted = snapshots.first().map_or(0, |(_, last_log)| *last_log);
        let mut logs = Logs::read(&folder, &snapshots, &numbers)?;
        logs.compare(noted, compacted);
        let next_seq = noted.map_or(0, |noted| noted.next_seq);
        let is_beyond_use = snapshots.is_empty()
            && (numbers.first().is_some_and(|first| *first != 1) || (numbers.is_empty() && !damage.is_empty()));
        if is_beyond_use {
            return DiskStore::begin_anew(state_dir, folder, (lock, confirmed), logs, &damage, next_seq);
        }
        if !damage.is_empty() {
            tracing::warn!(damage, "a database cannot be used; the other one and the logs hold everything");
        }
        let (lost, rewritten, is_open) =
            (std::mem::take(&mut logs.lost), std::mem::take(&mut logs.rewritten), !logs.has_position);
        let mut store = DiskStore::assemble(folder, (lock, confirmed), &snapshots, logs)?;
        if lost.is_empty() {
            return Ok(Opened { store, trouble: None, loss: None });
        }
        let told = store.scan(record::LOST, record::LOST, 1)?;
        let told = told.first().and_then(|(_, value)| record::lost_until(value)).unwrap_or_default();
        let lost: Vec<Lost> = lost.into_iter().filter(|lost| !lost.shows_in_logs || lost.place > told).collect();
        if lost.is_empty() {
            tracing::info!("there is damage in a log that was told before");
            return Ok(Opened { store, trouble: None, loss: None });
        }
        let what: Vec<&str> = lost.iter().map(|lost| &*lost.what).collect();
        let what = what.join("; ");
        let until = lost.iter().filter(|lost| lost.shows_in_logs).map(|lost| lost.place).max();
        let mut trouble = format!(
            "{what}. What was committed there is lost; what was committed later is read. Alarms that it may have been \
             about are uncertain until they are judged again"
        );
        if lost.iter().any(|lost| lost.is_damage) {
            trouble.push_str(&match keep_damaged(state_dir, &store.folder, &lost, &what) {
                Ok(aside) => format!("; a copy of what is damaged is in {}", aside.display()),
                Err(error) => format!("; what is damaged could not be copied: {error}"),
            });
        }
        let told = until.map(|until| (record::LOST.to_vec(), record::put_lost_until(until)));
        let loss = Loss { what, is_beyond_use: false, is_open, next_seq, rewritten, told };
        Ok(Opened { store, trouble: Some(trouble), loss: Some(loss) })
    }

    /// Moves a store aside of which the beginning is missing, and begins a new one with what its logs say.
    fn begin_anew(
        state_dir: &Path,
        folder: PathBuf,
        locked: (File, Confirmed),
        logs: Logs,
        damage: &str,
        next_seq: u64,
    ) -> Result<Opened, OpenError> {
        let aside = quarantine(state_dir, &folder).map_err(|error| failed("move aside", &folder, error))?;
        private::create(&folder).map_err(|error| failed("create", &folder, error))?;
        let what = if damage.is_empty() { "logs are missing" } else { damage };
        let begun = if logs.frames == 0 { "an empty one was begun" } else { "one was begun with what its logs say" };
        let trouble = format!(
            "the store could not be read ({what}); it was moved to {} and {begun}: states, occurrence numbers and \
             undelivered events from before are in there",
            aside.display()
        );
        let what = what.to_owned();
        let Logs { recent, rewritten, has_position, .. } = logs;
        let mut store = DiskStore::assemble(folder, locked, &[], Logs::default())?;
        let entries: Vec<_> = recent.into_iter().filter(|(_, value)| value.is_some()).collect();
        if !entries.is_empty()
            && let Err(error) = store.commit(Batch { entries })
        {
            tracing::error!(%error, "what the logs say is not in the new store");
        }
        let loss = Loss { what, is_beyond_use: true, is_open: !has_position, next_seq, rewritten, told: None };
        Ok(Opened { store, trouble: Some(trouble), loss: Some(loss) })
    }

    /// The same store with logs of another length: short ones show quickly what becomes of them.
    #[must_use]
    pub fn with_logs_of(mut self, bytes: u64) -> DiskStore {
        self.log_bytes = bytes;
        self.rotate_at = self.wal.len().max(bytes);
        self
    }

    /// Moves a store away of which nobody knows what is in it, if there is one.
    pub(super) fn move_aside(state_dir: &Path) -> Result<(), StoreError> {
        let folder = state_dir.join(FOLDER);
        if folder.exists() {
            let aside = quarantine(state_dir, &folder).map_err(|error| failed("move aside", &folder, error))?;
            tracing::error!(aside = %aside.display(), "there is a store that could not be read at the start; it was moved");
        }
        Ok(())
    }

    /// Goes on with the last log.
    fn assemble(
        folder: PathBuf,
        (lock, confirmed): (File, Confirmed),
        snapshots: &[(Side, u64)],
        logs: Logs,
    ) -> Result<DiskStore, StoreError> {
        let newest = snapshots.first().copied();
        let compacted = newest.map_or(0, |(_, last_log)| last_log);
        let other = snapshots.get(1).map(|(_, last_log)| *last_log).filter(|_| logs.behind.is_some());
        let wal = match logs.last {
            Some((number, wal::End::At(end))) => wal::Wal::reopen(&folder, number, end)?,
            Some((number, wal::End::Nowhere)) => wal::Wal::create(&folder, number, None, logs.end_before)?,
            Some((number, wal::End::Next(end))) => wal::Wal::create(&folder, number + 1, None, end)?,
            None => wal::Wal::create(&folder, compacted + 1, None, 0)?,
        };
        Ok(DiskStore {
            folder,
            lock,
            log_bytes: LOG_BYTES,
            rotate_at: wal.len().max(LOG_BYTES),
            wal,
            recent: logs.recent,
            compacting: Arc::default(),
            worker: None,
            worker_last_log: 0,
            newest,
            other,
            behind: Arc::new(logs.behind.filter(|_| other.is_some()).unwrap_or_default()),
            behind_is_all: false,
            is_copying: false,
            reader: None,
            was_read: false,
            passing: [OUTBOUND_EVENTS, ENTRIES].map(|kind| Passing { kind, last: None }),
            spare: None,
            confirmed,
        })
    }

    /// Begins a new log, and works what has changed into the snapshot whose turn it is, beside the commits.
    fn rotate(&mut self) -> Result<(), StoreError> {
        let last_log = self.wal.number();
        self.wal = wal::Wal::create(&self.folder, last_log + 1, self.spare.take(), self.wal.len())?;
        self.rotate_at = self.log_bytes;
        self.compacting = Arc::new(std::mem::take(&mut self.recent));
        for (first, last) in self.passing.iter_mut().filter_map(|passing| passing.last.as_mut()) {
            first.clone_from(last);
        }
        self.work(last_log)
    }

    /// Brings the snapshot whose turn it is up to date, beside the commits.
    fn work(&mut self, last_log: u64) -> Result<(), StoreError> {
        self.is_copying = self.newest.is_some() && self.other.is_none() && !self.behind_is_all;
        if self.is_copying {
            self.read_from(None);
        }
        self.worker_last_log = last_log;
        let side = self.newest.map_or(Side::A, |(side, _)| side.other());
        let work = Work {
            store: self.folder.clone(),
            side,
            // A snapshot that does not exist is copied from the newest one.
            source: self.newest.filter(|_| self.is_copying).map(|(side, _)| side.folder(&self.folder)),
            exists: self.other.is_some(),
            behind: self.behind.clone(),
            changes: self.compacting.clone(),
            last_log,
            stays_open: std::mem::take(&mut self.was_read),
        };
        let spawned = std::thread::Builder::new().name("compact".into()).spawn(move || work.run());
        self.worker = Some(spawned.map_err(|error| StoreError::new("cannot start a thread", error))?);
        Ok(())
    }

    /// Takes note of a snapshot that has been compacted, if one has; waits for it if asked to.
    fn finish_compaction(&mut self, wait: bool) {
        if !wait && !self.worker.as_ref().is_some_and(JoinHandle::is_finished) {
            return;
        }
        let Some(worker) = self.worker.take() else { return };
        let result = worker.join().unwrap_or_else(|_| Err("the thread that did it has failed".to_owned()));
        let compacted = std::mem::take(&mut self.compacting);
        self.is_copying = false;
        match result {
            Ok(snapshot) => {
                // What is read next is read from the newer one. If it was read before, it is open already: to open it again
                // would hold up a write by a twentieth of a second.
                self.read_from(snapshot);
                self.behind_is_all = self.newest.is_none();
                let side = self.newest.map_or(Side::A, |(side, _)| side.other());
                self.other = self.newest.map(|(_, last_log)| last_log);
                self.newest = Some((side, self.worker_last_log));
                self.behind = compacted;
                self.remove_old_logs();
            }
            Err(reason) => {
                tracing::error!(
                    reason,
                    "a database could not be written; the logs hold everything, and it is tried again"
                );
                let mut changes = Arc::unwrap_or_clone(compacted);
                changes.append(&mut self.recent);
                self.recent = changes;
                self.other = None;
                self.behind = Arc::default();
                self.behind_is_all = false;
                self.rotate_at = self.wal.len() + self.log_bytes;
            }
        }
    }

    /// What is read is read from this snapshot.
    fn read_from(&mut self, snapshot: Option<Snapshot>) {
        if let Some(earlier) = std::mem::replace(&mut self.reader, snapshot) {
            earlier.close();
        }
    }

    /// Logs stay until both snapshots have what they say; and one of them longer.
    fn remove_old_logs(&mut self) {
        let Some(other) = self.other else { return };
        let mut old = wal::list(&self.folder).unwrap_or_default();
        old.retain(|number| *number <= other);
        let is_usual = |number: &u64| {
            wal::path(&self.folder, *number).metadata().is_ok_and(|about| about.len() < 3 * self.log_bytes)
        };
        self.spare = old.iter().copied().rfind(is_usual);
        for number in old.into_iter().filter(|number| Some(*number) != self.spare) {
            if let Err(error) = std::fs::remove_file(wal::path(&self.folder, number)) {
                tracing::warn!(%error, number, "cannot remove an old log");
            }
        }
    }
}

impl Store for DiskStore {
    fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.finish_compaction(false);
        if self.behind.len() > FOLLOWED_AT_ONCE
            && self.worker.is_none()
            && let Some((_, last_log)) = self.newest
            && let Err(error) = self.work(last_log)
        {
            tracing::warn!(%error, "the other database follows later");
        }
        for place in 0..self.passing.len() {
            let Passing { kind, ref last } = self.passing[place];
            if last.is_none()
                && let Ok(mut pairs) = self.scan_back(&[kind], &[kind + 1], 1)
            {
                let last = pairs.pop().map_or(vec![kind], |(key, _)| key);
                self.passing[place].last = Some((last.clone(), last));
            }
        }
        self.wal.append(&batch)?;
        for (key, value) in batch.entries {
            self.remember(key, value);
        }
        let rotate_at = if self.recent.len() < FEW { self.rotate_at + self.log_bytes } else { self.rotate_at };
        if self.wal.len() >= rotate_at && self.worker.is_none() {
            // The batch is safe, whatever comes of this.
            if let Err(error) = self.rotate() {
                tracing::error!(%error, "the log cannot be rotated; it goes on growing, and it is tried again");
                self.rotate_at = self.wal.len() + self.log_bytes;
            }
        }
        Ok(())
    }

    fn confirm(&mut self, next_seq: u64, is_durable: bool) -> bool {
        let noted = Noted { log: self.wal.number(), end: self.wal.len(), next_seq, is_durable };
        self.confirmed.note(noted, false)
    }

    fn reads_at_once(&self) -> bool {
        !self.is_copying || self.worker.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn scan(&mut self, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        let range = (Bound::Included(from.to_vec()), after(prefix));
        self.open_reader()?;
        let stored = self.reader.as_ref().map(|snapshot| snapshot.range(range.clone())).into_iter().flatten();
        let changes = newer_first(within(&self.recent, &range), within(&self.compacting, &range), Ord::cmp);
        merged(stored, changes, Ord::cmp).take(limit).collect()
    }

    fn scan_back(&mut self, prefix: &[u8], before: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        let range = (Bound::Included(prefix.to_vec()), Bound::Excluded(before.to_vec()));
        if prefix >= before {
            return Ok(Vec::new());
        }
        self.open_reader()?;
        let backwards = |a: &[u8], b: &[u8]| b.cmp(a);
        let stored =
            self.reader.as_ref().map(|snapshot| snapshot.range_back(prefix, before, limit)).into_iter().flatten();
        let (recent, compacting) = (within(&self.recent, &range).rev(), within(&self.compacting, &range).rev());
        merged(stored, newer_first(recent, compacting, backwards), backwards).take(limit).collect()
    }
}

impl DiskStore {
    /// Notes a change that is in the log. What came and went while the log lasts is never written to a snapshot.
    fn remember(&mut self, key: SmallBytes, value: Option<SmallBytes>) {
        let passing = self.passing.iter_mut().find(|passing| key.first() == Some(&passing.kind));
        if let Some(Passing { last: Some((first, last)), .. }) = passing {
            if value.is_some() {
                if *key > **last {
                    last.clear();
                    last.extend_from_slice(&key);
                }
            } else if *key > **first && self.recent.remove(&*key).is_some() {
                return;
            }
        }
        self.recent.insert(key, value);
    }

    /// The newest snapshot can be read while the other one is compacted; not while that one is copied from it.
    fn open_reader(&mut self) -> Result<(), StoreError> {
        self.finish_compaction(self.is_copying);
        self.was_read = true;
        if let (None, Some((side, _))) = (&self.reader, self.newest) {
            let snapshot = Snapshot::open(&side.folder(&self.folder));
            self.reader = Some(snapshot.map_err(|error| StoreError::new("cannot read the store", error))?);
        }
        Ok(())
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        if let Some(last) = self.confirmed.last().filter(|_| self.confirmed.is_ours()) {
            let noted = Noted { log: self.wal.number(), end: self.wal.len(), ..last };
            self.confirmed.note(noted, true);
        }
        self.finish_compaction(true);
        self.read_from(None);
        // A process that is being started right now may have inherited the file for a moment, and the lock with it.
        if let Err(error) = rustix::fs::flock(&self.lock, rustix::fs::FlockOperation::Unlock) {
            tracing::debug!(%error, "the lock goes with the process");
        }
    }
}

fn within<'a>(
    changes: &'a Changes,
    (from, to): &(Bound<Vec<u8>>, Bound<Vec<u8>>),
) -> Range<'a, SmallBytes, Option<SmallBytes>> {
    changes.range::<[u8], _>((from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice)))
}

/// Takes the lock that keeps other processes out.
fn lock(state_dir: &Path) -> Result<File, OpenError> {
    let path = state_dir.join(LOCK);
    if path.exists() && !path.is_file() {
        return Err(failed("open", &path, std::io::Error::other("it is no file")).into());
    }
    let lock = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .mode(private::FILE)
        .open(&path)
        .map_err(|error| failed("open", &path, error))?;
    match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse(state_dir.to_owned())),
        Err(error) => Err(failed("lock", &path, error.into()).into()),
    }
}

/// Whether a file or folder in the state folder is the store's.
fn is_ours(name: &str) -> bool {
    [FOLDER, LOCK, confirmed::NAME].contains(&name) || name.starts_with(MOVED_ASIDE)
}

/// Stores that were moved aside, oldest first.
pub(super) fn moved_aside(state_dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(state_dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(MOVED_ASIDE)))
        .collect();
    found.sort();
    found
}

/// Whether there is a store in a state folder, and whether something was published from one there.
pub(super) fn is_there(state_dir: &Path) -> (bool, bool) {
    (state_dir.join(FOLDER).exists(), state_dir.join(confirmed::NAME).exists())
}

/// Whether a process has the store open.
pub(super) fn is_in_use(state_dir: &Path) -> std::io::Result<bool> {
    let path = state_dir.join(LOCK);
    if path.exists() && !path.is_file() {
        return Err(std::io::Error::other(format!("{} is no file", path.display())));
    }
    let lock = File::open(state_dir.join(LOCK))?;
    match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Moves a store away, and lets go of the oldest of those that were moved before.
fn quarantine(state_dir: &Path, folder: &Path) -> std::io::Result<PathBuf> {
    let aside = place_aside(state_dir)?;
    std::fs::rename(folder, &aside)?;
    Ok(aside)
}

/// Copies the logs that are damaged, and says beside them what is missing.
fn keep_damaged(state_dir: &Path, folder: &Path, lost: &[Lost], what: &str) -> std::io::Result<PathBuf> {
    let aside = place_aside(state_dir)?;
    private::create(&aside)?;
    let mut logs: Vec<u64> = lost.iter().map(|lost| lost.place.0).collect();
    logs.dedup();
    for path in logs.into_iter().map(|log| wal::path(folder, log)).filter(|path| path.exists()) {
        std::fs::copy(&path, aside.join(path.file_name().unwrap_or_default()))?;
    }
    std::fs::write(aside.join(WHAT_IS_MISSING), format!("{what}\n"))?;
    Ok(aside)
}

/// What a copy of damaged logs says is missing; none: all of a store was moved there.
pub(super) fn what_is_missing(aside: &Path) -> Option<String> {
    std::fs::read_to_string(aside.join(WHAT_IS_MISSING)).ok().map(|text| text.trim_end().to_owned())
}

/// Moves away what is in the folder of the store and is neither a file nor a folder: reading from a pipe never ends.
fn set_aside_others(state_dir: &Path, folder: &Path) -> std::io::Result<()> {
    let others = private::others(folder)?;
    if others.is_empty() {
        return Ok(());
    }
    let aside = place_aside(state_dir)?;
    private::create(&aside)?;
    for path in others {
        tracing::error!(path = %path.display(), aside = %aside.display(), "is not the store's, and was moved");
        std::fs::rename(&path, aside.join(path.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

fn place_aside(state_dir: &Path) -> std::io::Result<PathBuf> {
    let old = moved_aside(state_dir);
    for path in old.iter().take((old.len() + 1).saturating_sub(QUARANTINES)) {
        std::fs::remove_dir_all(path)?;
    }
    Ok(state_dir.join(format!("{MOVED_ASIDE}{:020}", crate::io::clock::wall().as_micros())))
}

fn failed(what: &str, path: &Path, error: std::io::Error) -> StoreError {
    StoreError::new(format!("cannot {what} {}", path.display()), error)
}

#[cfg(test)]
mod tests;
