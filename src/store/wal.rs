//! The write-ahead log: batches as they were committed, one after the other, each synced.
//!
//! A file is a header and frames. A frame is its length, a checksum over the log's number, the frame's place and its
//! bytes, and the batch. Reading stops at the first frame that is not whole: after a power cut the last one may be torn,
//! and it belongs to a commit that nobody was told of.
//!
//! Why each instant is safe: a frame counts when `fdatasync` has returned, and nothing before it is ever written again. A
//! new log counts when its header and its folder are synced, before the first frame goes in.

use super::{Batch, StoreError};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Says what the file is, and in which format.
const MAGIC: [u8; 8] = *b"ANNWAL\x00\x01";
/// Magic and number.
const HEADER: u64 = 16;
/// Length and checksum of a frame.
const FRAME: usize = 8;
/// Bytes that a frame may claim to have; more is damage.
const MAX_FRAME: u32 = 1 << 30;

/// A log that is written.
#[derive(Debug)]
pub(super) struct Wal {
    file: File,
    number: u64,
    /// Where the next frame goes.
    end: u64,
    path: PathBuf,
}

/// The file of a log.
pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("wal-{number:020}"))
}

/// The logs in a folder, by number.
pub(super) fn list(folder: &Path) -> std::io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number: Option<u64> = name.to_string_lossy().strip_prefix("wal-").and_then(|number| number.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

impl Wal {
    /// Begins a log. When this returns it is there after a power cut.
    pub(super) fn create(folder: &Path, number: u64) -> Result<Wal, StoreError> {
        let path = path(folder, number);
        let attempt = || {
            let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
            file.write_all_at(&MAGIC, 0)?;
            file.write_all_at(&number.to_le_bytes(), MAGIC.len() as u64)?;
            file.sync_all()?;
            File::open(folder)?.sync_all()?;
            Ok(file)
        };
        match attempt() {
            Ok(file) => Ok(Wal { file, number, end: HEADER, path }),
            Err(error) => Err(failed("begin", &path, error)),
        }
    }

    /// Goes on with a log behind its last whole frame.
    pub(super) fn reopen(folder: &Path, number: u64, end: u64) -> Result<Wal, StoreError> {
        let path = path(folder, number);
        let file = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .and_then(|file| {
                file.set_len(end)?;
                file.sync_all()?;
                Ok(file)
            })
            .map_err(|error| failed("open", &path, error))?;
        Ok(Wal { file, number, end, path })
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> u64 {
        self.end
    }

    /// Writes a batch. When this returns it is there after a power cut.
    pub(super) fn append(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let body = postcard::to_allocvec(&batch.entries).unwrap_or_default();
        let length = u32::try_from(body.len())
            .ok()
            .filter(|length| *length <= MAX_FRAME)
            .ok_or_else(|| StoreError::new("cannot write to the log", "so much at once is not possible"))?;
        let mut frame = Vec::with_capacity(FRAME + body.len());
        frame.extend_from_slice(&length.to_le_bytes());
        frame.extend_from_slice(&checksum(self.number, self.end, &body).to_le_bytes());
        frame.extend_from_slice(&body);
        let written = self.file.write_all_at(&frame, self.end).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // What may be there of the frame must not be taken for a commit later. If even this fails, the next frame
            // goes over it, and until then the checksum speaks.
            let _ = self.file.set_len(self.end).and_then(|()| self.file.sync_data());
            return Err(failed("write to", &self.path, error));
        }
        self.end += frame.len() as u64;
        Ok(())
    }
}

/// Reads a log: its batches in order, and where the last whole frame ends. None: there is not even a whole header.
pub(super) fn read(folder: &Path, number: u64, visit: &mut dyn FnMut(Batch)) -> Result<Option<u64>, StoreError> {
    let path = path(folder, number);
    let mut bytes = Vec::new();
    File::open(&path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .map_err(|error| failed("read", &path, error))?;
    let Some((header, mut rest)) = bytes.split_at_checked(16) else { return Ok(None) };
    if header[..8] != MAGIC || header[8..] != number.to_le_bytes() {
        return Ok(None);
    }
    let mut end = HEADER;
    while let Some((body, after)) = whole_frame(number, end, rest) {
        // As slices: byte by byte, megabytes would take their time at each start.
        let Ok(entries) = postcard::from_bytes::<Vec<(&[u8], Option<&[u8]>)>>(body) else { break };
        let entries = entries.into_iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect();
        visit(Batch { entries });
        end += (FRAME + body.len()) as u64;
        rest = after;
    }
    Ok(Some(end))
}

/// The first frame of `bytes` and what follows it, if it is whole.
fn whole_frame(number: u64, place: u64, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (body, after) = rest.split_at_checked(length)?;
    (checksum(number, place, body) == u32::from_le_bytes(*sum)).then_some((body, after))
}

fn checksum(number: u64, place: u64, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(&place.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

fn failed(what: &str, path: &Path, error: std::io::Error) -> StoreError {
    StoreError::new(format!("cannot {what} {}", path.display()), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(n: u8) -> Batch {
        Batch { entries: vec![(vec![n], Some(vec![n; usize::from(n)])), (vec![0], None)] }
    }

    fn read_all(folder: &Path) -> (Vec<Batch>, Option<u64>) {
        let mut batches = Vec::new();
        let end = read(folder, 7, &mut |batch| batches.push(batch)).unwrap();
        (batches, end)
    }

    #[test]
    fn every_torn_tail_ends_before_the_frame_that_it_tears() {
        let folder = tempfile::tempdir().unwrap();
        let mut wal = Wal::create(folder.path(), 7).unwrap();
        let ends: Vec<u64> = (1..=4)
            .map(|n| {
                wal.append(&batch(n)).unwrap();
                wal.len()
            })
            .collect();
        let whole = std::fs::read(path(folder.path(), 7)).unwrap();
        for cut in 0..=whole.len() {
            for garbage in [&b""[..], &[0; 40], &[0xff; 40]] {
                let torn = [&whole[..cut], garbage].concat();
                // Garbage may happen to be what was to be written.
                let good = torn.iter().zip(&whole).take_while(|(a, b)| a == b).count() as u64;
                std::fs::write(path(folder.path(), 7), torn).unwrap();
                let (batches, end) = read_all(folder.path());
                let survived = ends.iter().filter(|end| **end <= good).count();
                assert_eq!(batches.len(), survived, "cut at {cut}");
                if let Some(end) = end {
                    assert!(end <= good);
                    let mut wal = Wal::reopen(folder.path(), 7, end).unwrap();
                    wal.append(&batch(9)).unwrap();
                    assert_eq!(read_all(folder.path()).0.len(), survived + 1);
                }
            }
        }
    }

    #[test]
    fn a_frame_of_another_log_or_place_is_damage() {
        let folder = tempfile::tempdir().unwrap();
        let mut wal = Wal::create(folder.path(), 7).unwrap();
        wal.append(&batch(1)).unwrap();
        let bytes = std::fs::read(path(folder.path(), 7)).unwrap();
        let twice = [&bytes[..], &bytes[16..]].concat();
        std::fs::write(path(folder.path(), 7), twice).unwrap();
        assert_eq!(read_all(folder.path()).0.len(), 1);
        std::fs::rename(path(folder.path(), 7), path(folder.path(), 8)).unwrap();
        assert_eq!(read(folder.path(), 8, &mut |_| ()).unwrap(), None);
    }
}
