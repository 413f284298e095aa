//! One of the two sled databases that the store rests on.
//!
//! A snapshot is only ever open while it is brought up to date or read. It carries the number of the log up to which it holds
//! everything (its *last log*). sled 0.34 needs some manners:
//!
//! - Its `flush` is not an fsync on Linux (it is `sync_file_range`, which neither waits for the drive nor writes
//!   metadata). So after the flush the database file is synced through a handle of our own: an fsync is per inode,
//!   whoever holds it.
//! - A snapshot that was being written when the power went keeps it from opening: such leftovers are removed before.
//! - A damaged database may keep it busy for ever: opening has a time limit.
//! - A pair costs it some microseconds, however short it is: what is short and changes often lies in [`pages`], many pairs
//!   in one. Nobody sees that from outside.

pub(crate) mod backwards;
pub(crate) mod layers;
mod pages;

use self::backwards::backwards;
use super::history::KEYS as HISTORY;
use super::{Pair, StoreError, private};
use pages::{Content, Page};
use std::fs::File;
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

/// sled's page cache while a snapshot is open, in bytes as they are on disk: in memory they are several times as many. Its
/// default would be a gigabyte.
const CACHE_BYTES: u64 = 512 << 10;
/// A large snapshot on a slow card is open long before this.
const OPEN_LIMIT: Duration = Duration::from_secs(30);
/// How long sled may take to let go of a database, on a machine that is busy.
const RELEASE_LIMIT: Duration = Duration::from_secs(10);
/// How often it is asked.
const PAUSE: Duration = Duration::from_millis(5);
/// Changes that sled is given at once. It keeps what a batch touches in memory until all of it is applied: with 100,000
/// alarms in one batch that would be a gigabyte.
const AT_ONCE: usize = 256;
/// Fewer changes if they have so many bytes: about as many as short ones have, with room to spare.
const BYTES_AT_ONCE: usize = 64 << 10;
/// After so many of those it writes what it has. Whatever it still has to write it keeps, several times as large.
const UNWRITTEN: usize = 8;
/// sled empties a segment of its file that is mostly out of use only where it writes a leaf anew, and moves one leaf for
/// one: pages make it write few leaves, and large ones. So for each segment by which the file has grown it is given the
/// occasion to move so many, more than most of those hold. Measured: with half as many the file goes on growing for long,
/// with twice as many a fifth more is written.
const MOVED_PER_SEGMENT: u64 = 256;
/// A segment of sled's file, as large as it is if nobody says otherwise.
const SEGMENT_BYTES: u64 = 512 << 10;
/// After so many changes of one pair sled writes a leaf anew.
const CHANGES_PER_LEAF: u64 = 11;
/// A tree with nothing in it but a pair that changes.
const OCCASION: &[u8] = b"occasion";
/// The key of the last log. No record begins with this byte.
const LAST_LOG: &[u8] = &[0];

/// An open snapshot.
#[derive(Debug)]
pub(super) struct Snapshot {
    db: sled::Db,
    folder: PathBuf,
}

impl Snapshot {
    /// Opens the snapshot, or creates an empty one. The error says why it cannot be used.
    pub(super) fn open(folder: &Path) -> Result<Snapshot, String> {
        let (sender, receiver) = mpsc::channel();
        let path = folder.to_owned();
        std::thread::Builder::new()
            .name("open-snapshot".into())
            .spawn(move || {
                // Whoever waits may have given up.
                let _ = sender.send(open(&path));
            })
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        match receiver.recv_timeout(OPEN_LIMIT) {
            Ok(result) => result,
            Err(mpsc::RecvTimeoutError::Timeout) => Err(format!("it was not open after {} s", OPEN_LIMIT.as_secs())),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err("opening it failed badly".to_owned()),
        }
    }

    /// Closes it. sled panics where the drive refuses the last sync; whoever has compacted it before has lost nothing.
    pub(super) fn close(self) {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(self))).is_err() {
            tracing::error!("a database could not be closed as it should; it is looked at when it is opened again");
        }
    }

    /// The number of the log up to which it holds everything; none: it was never compacted.
    pub(super) fn last_log(&self) -> Option<u64> {
        let last_log = self.db.get(LAST_LOG).ok().flatten()?;
        last_log.as_ref().try_into().ok().map(u64::from_be_bytes)
    }

    /// Looks at every pair that alarms depend on, so that damage shows now and not in the middle of one. The history is
    /// not among them: it may be large, and damage in it shows when it is asked.
    pub(super) fn verify(&self) -> Result<(), String> {
        let before = HISTORY.iter().map(|outbound_event| Bound::Excluded(vec![*outbound_event]));
        let behind = HISTORY.iter().map(|outbound_event| Bound::Included(vec![*outbound_event + 1]));
        let parts = std::iter::once(Bound::Unbounded).chain(behind).zip(before.chain([Bound::Unbounded]));
        let mut pairs = parts.flat_map(|part| self.db.range(part));
        pairs.try_for_each(|pair| pair.map(|_| ())).map_err(|error| error.to_string())
    }

    /// Applies changes, in the order of their keys. They count when the snapshot is compacted.
    pub(super) fn apply<'a>(&self, changes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> Result<(), String> {
        let before = self.db.size_on_disk().map_err(|error| error.to_string())?;
        let mut changes = changes.peekable();
        let mut writer = Writer::new(&self.db);
        let mut last = None;
        while let Some((key, value)) = changes.peek().copied() {
            let Some(page) = Page::of(key) else {
                writer.write(key, value)?;
                changes.next();
                continue;
            };
            // What the writer still holds cannot be read: all changes of a page come together.
            debug_assert!(last < Some(page), "changes are not in order");
            last = Some(page);
            let stored: Vec<_> = self.db.range(page.keys()).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
            let mut content = Content::new();
            for (key, value) in &stored {
                if content.add(key, value).is_err() {
                    tracing::error!(
                        ?page,
                        "records of alarms could not be read; those of them that change are written"
                    );
                }
                // What is left is written as a page.
                writer.write(key, None)?;
            }
            while let Some((key, value)) = changes.next_if(|(key, _)| Page::of(key) == Some(page)) {
                content.set(key, value);
            }
            if let Some(packed) = content.packed() {
                writer.write(&page.key(), Some(&packed))?;
            }
        }
        writer.finish()?;
        // A snapshot that is being made has nothing to empty.
        if self.last_log().is_some() {
            self.tidy(before).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Gives sled occasion to empty segments, if its file was smaller before.
    fn tidy(&self, before: u64) -> sled::Result<()> {
        // Only what is written counts as mostly empty.
        self.db.flush()?;
        let grown = self.db.size_on_disk()?.saturating_sub(before).div_ceil(SEGMENT_BYTES);
        if grown > 0 {
            let tree = self.db.open_tree(OCCASION)?;
            // The same value again would be no change.
            for number in 0..grown * MOVED_PER_SEGMENT * CHANGES_PER_LEAF {
                tree.insert(OCCASION, &number.to_be_bytes())?;
            }
        }
        Ok(())
    }

    /// Takes over all that another snapshot has, as it lies there.
    pub(super) fn copy(&self, source: &Snapshot) -> Result<(), String> {
        let mut writer = Writer::new(&self.db);
        for pair in source.db.range::<&[u8], _>(..) {
            let (key, value) = pair.map_err(|error| error.to_string())?;
            if key != LAST_LOG {
                writer.write(&key, Some(&value))?;
            }
        }
        writer.finish()
    }

    /// Puts the last log on. When this returns all that was applied is there after a power cut. The last log comes last, when
    /// everything below it is on disk, so that none can be there without what it stands for.
    pub(super) fn complete_at(&self, last_log: u64) -> Result<(), String> {
        self.sync()?;
        self.db.insert(LAST_LOG, &last_log.to_be_bytes()).map_err(|error| error.to_string())?;
        self.sync()
    }

    fn sync(&self) -> Result<(), String> {
        self.db.flush().map_err(|error| error.to_string())?;
        sync_below(&self.folder)
            .and_then(|()| self.folder.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all()))
            .map_err(|error| error.to_string())
    }

    /// Pairs with keys in `range`.
    pub(super) fn range(
        &self,
        range: (Bound<Vec<u8>>, Bound<Vec<u8>>),
    ) -> impl Iterator<Item = Result<Pair, StoreError>> + use<> {
        let begin = match &range.0 {
            Bound::Included(key) | Bound::Excluded(key) => Bound::Included(pages::begin(key)),
            Bound::Unbounded => Bound::Unbounded,
        };
        let mut stored = self.db.range((begin, range.1.clone()));
        let mut page = Vec::new().into_iter();
        let pairs = std::iter::from_fn(move || {
            loop {
                if let Some(pair) = page.next() {
                    return Some(Ok(pair));
                }
                match stored.next()? {
                    Err(error) => return Some(Err(StoreError::new("cannot read the store", error))),
                    Ok((key, value)) => match pages::unpacked(&key, &value) {
                        Some(pairs) => page = pairs.into_iter(),
                        None => return Some(Ok((key.to_vec(), value.to_vec()))),
                    },
                }
            }
        });
        pairs.filter(move |pair| pair.as_ref().map_or(true, |(key, _)| key != LAST_LOG && range.contains(key)))
    }

    /// Pairs with keys from `prefix` on, before `before`, the last one first; mostly so many as `wanted`.
    pub(super) fn range_back(
        &self,
        prefix: &[u8],
        before: &[u8],
        wanted: usize,
    ) -> impl Iterator<Item = Result<Pair, StoreError>> + use<'_> {
        backwards(prefix.to_vec(), before.to_vec(), wanted, |range, most| self.range(range).take(most).collect())
    }
}

/// What writes to sled, in portions.
struct Writer<'a> {
    db: &'a sled::Db,
    batch: sled::Batch,
    /// Pairs in the batch, and their bytes.
    pairs: usize,
    bytes: usize,
    /// Batches that were applied.
    applied: usize,
}

impl Writer<'_> {
    fn new(db: &sled::Db) -> Writer<'_> {
        Writer { db, batch: sled::Batch::default(), pairs: 0, bytes: 0, applied: 0 }
    }

    fn write(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        match value {
            Some(value) => self.batch.insert(key, value),
            None => self.batch.remove(key),
        }
        self.pairs += 1;
        self.bytes += key.len() + value.map_or(0, <[u8]>::len);
        if self.pairs < AT_ONCE && self.bytes < BYTES_AT_ONCE {
            return Ok(());
        }
        self.finish()?;
        (self.pairs, self.bytes) = (0, 0);
        self.applied += 1;
        if self.applied.is_multiple_of(UNWRITTEN) {
            self.db.flush().map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Applies what is in the batch.
    fn finish(&mut self) -> Result<(), String> {
        self.db.apply_batch(std::mem::take(&mut self.batch)).map_err(|error| error.to_string())
    }
}

/// Syncs all files in a folder and the folder itself. sled keeps what is large in a folder of its own.
fn sync_below(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_below(&path)?;
        } else {
            File::open(&path)?.sync_all()?;
        }
    }
    File::open(folder)?.sync_all()
}

fn open(folder: &Path) -> Result<Snapshot, String> {
    let io = |error: std::io::Error| error.to_string();
    private::create(folder).map_err(io)?;
    for path in snapshots(folder).map_err(io)? {
        if path.extension().is_some_and(|extension| extension == "generating") {
            std::fs::remove_file(&path).map_err(io)?;
        }
    }
    let config = sled::Config::new()
        .path(folder)
        .cache_capacity(CACHE_BYTES)
        // It is open for one update, or for reading, and flushed by hand; otherwise nothing may move in it.
        .flush_every_ms(None)
        .mode(sled::Mode::LowSpace);
    let db = match open_when_free(&config) {
        Ok(db) => db,
        Err(first) => {
            // A snapshot only shortens the start. What it says wrongly, sled can read from its own log.
            for path in snapshots(folder).map_err(io)? {
                std::fs::remove_file(&path).map_err(io)?;
            }
            open_when_free(&config).map_err(|_| first.to_string())?
        }
    };
    Ok(Snapshot { db, folder: folder.to_owned() })
}

/// sled's threads let go of a database some time after it was closed. Other processes are kept out by a lock of our own,
/// so whoever has this one is about to lose it.
fn open_when_free(config: &sled::Config) -> sled::Result<sled::Db> {
    for _ in 0..RELEASE_LIMIT.as_millis() / PAUSE.as_millis() {
        match config.open() {
            Err(error) if error.to_string().contains("could not acquire lock") => std::thread::sleep(PAUSE),
            opened => return opened,
        }
    }
    config.open()
}

fn snapshots(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("snap.")) {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
