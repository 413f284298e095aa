//! The write-ahead log: batches as they were committed, one after the other, each synced.
//!
//! A file is a header and frames, each of which begins with a sector of the drive. A frame is its length, a checksum over
//! the log's number, the frame's place and its bytes, the batch, and zeros up to the next sector. Reading stops at the
//! first frame that is not whole: after a power cut the last one may be torn, and it belongs to a commit that nobody was
//! told of.
//!
//! Why each instant is safe: a frame counts when `fdatasync` has returned, and no sector before it is ever written again. A
//! new log counts when its header and its folder are synced, before the first frame goes in. It may be made of a log that
//! nobody needs any more: what is still in there carries another number, so it is no frame of the new one.
//!
//! Flash wears by what is written to it. Through the page cache a commit would be four kilobytes or more, and a new length
//! of the file a few more in the journal of the file system; so the log goes around the cache where the file system allows
//! it, and into room that it has already. An alarm's change is a sector or two.

use super::{Batch, Short, StoreError};
use postcard::ser_flavors::Flavor;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Says what the file is, and in which format.
const MAGIC: [u8; 8] = *b"ANNWAL\x00\x02";
/// A log whose frames follow one another closely. It is read, and not gone on with.
const MAGIC_WITHOUT_SECTORS: [u8; 8] = *b"ANNWAL\x00\x01";
/// Magic and number.
const HEADER: usize = 16;
/// What a drive writes as a whole, and the least that it takes around the cache. Drives with larger sectors refuse; their
/// logs go through the cache.
const SECTOR: usize = 512;
/// Length and checksum of a frame.
const FRAME: usize = 8;
/// Bytes that a frame may claim to have; more is damage.
const MAX_FRAME: u32 = 1 << 30;

/// Memory that is kept for the next batch; more than this only for one that is unusually large.
const KEPT_MEMORY: usize = 256 << 10;
/// Bytes that an entry has in a frame at most, besides its key and its value.
const BESIDES: usize = 11;

/// A log that is written.
#[derive(Debug)]
pub(super) struct Wal {
    file: LogFile,
    sheet: Sheet,
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
    /// Begins a log; in the room of an older one that is not needed any more, if there is one. When this returns it is
    /// there after a power cut.
    pub(super) fn create(folder: &Path, number: u64, spare: Option<u64>) -> Result<Wal, StoreError> {
        let path = path(folder, number);
        let attempt = || {
            if let Some(spare) = spare {
                std::fs::rename(self::path(folder, spare), &path)?;
            }
            let options = File::options().read(true).write(true).create(true).truncate(spare.is_none()).clone();
            let file = LogFile::open(&options, &path)?;
            let mut sheet = Sheet::default();
            sheet.clear(HEADER);
            sheet.add(&MAGIC);
            sheet.add(&number.to_le_bytes());
            file.write(sheet.sectors(), 0)?;
            file.file.sync_all()?;
            File::open(folder)?.sync_all()?;
            Ok((file, sheet))
        };
        match attempt() {
            Ok((file, sheet)) => Ok(Wal { file, sheet, number, end: SECTOR as u64, path }),
            Err(error) => Err(failed("begin", &path, error)),
        }
    }

    /// Goes on with a log behind its last whole frame.
    pub(super) fn reopen(folder: &Path, number: u64, end: u64) -> Result<Wal, StoreError> {
        let path = path(folder, number);
        let file = LogFile::open(File::options().read(true).write(true), &path)
            .and_then(|file| {
                file.file.set_len(end)?;
                file.file.sync_all()?;
                Ok(file)
            })
            .map_err(|error| failed("open", &path, error))?;
        Ok(Wal { file, sheet: Sheet::default(), number, end, path })
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
        self.sheet.clear(FRAME + BESIDES * (batch.entries.len() + 1) + usize::try_from(batch.bytes()).unwrap_or(0));
        self.sheet.add(&[0; FRAME]);
        let too_much = || StoreError::new("cannot write to the log", "so much at once is not possible");
        postcard::serialize_with_flavor(&batch.entries, Writer(&mut self.sheet)).map_err(|_| too_much())?;
        let (head, body) = self.sheet.bytes().split_at_mut(FRAME);
        let length = u32::try_from(body.len()).ok().filter(|length| *length <= MAX_FRAME).ok_or_else(too_much)?;
        let sum = checksum(self.number, self.end, body);
        let (first, second) = head.split_at_mut(FRAME / 2);
        first.copy_from_slice(&length.to_le_bytes());
        second.copy_from_slice(&sum.to_le_bytes());
        let sectors = self.sheet.sectors();
        let written = self.file.write(sectors, self.end).and_then(|()| self.file.file.sync_data());
        if let Err(error) = written {
            // What may be there of the frame must not be taken for a commit later. If even this fails, the next frame
            // goes over it, and until then the checksum speaks.
            let _ = self.file.file.set_len(self.end).and_then(|()| self.file.file.sync_data());
            return Err(failed("write to", &self.path, error));
        }
        self.end += sectors.len() as u64;
        Ok(())
    }
}

/// Bytes of the sectors that so many bytes need.
fn sectors(bytes: usize) -> usize {
    bytes.next_multiple_of(SECTOR)
}

/// A file that is written in whole sectors, around the cache of the system if that is possible.
#[derive(Debug)]
struct LogFile {
    file: File,
    /// The same file through the cache.
    cached: File,
}

impl LogFile {
    fn open(options: &OpenOptions, path: &Path) -> std::io::Result<LogFile> {
        let cached = options.open(path)?;
        let around = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).unwrap_or(0);
        // It is there now, and must not be emptied again.
        let file = match File::options().read(true).write(true).custom_flags(around).open(path) {
            Ok(file) => file,
            Err(_) => cached.try_clone()?,
        };
        Ok(LogFile { file, cached })
    }

    fn write(&self, sectors: &[u8], place: u64) -> std::io::Result<()> {
        match self.file.write_all_at(sectors, place) {
            Err(error) if error.kind() == ErrorKind::InvalidInput => self.cached.write_all_at(sectors, place),
            written => written,
        }
    }
}

/// Bytes that are about to be written. Around the cache the drive reads from our memory itself, and it wants that to begin
/// with a multiple of a sector, too.
#[derive(Debug, Default)]
struct Sheet {
    memory: Vec<u8>,
    begin: usize,
}

impl Sheet {
    /// Makes room for so many bytes. With more than these it may move, and then it goes through the cache.
    fn clear(&mut self, bytes: usize) {
        self.memory.clear();
        self.memory.shrink_to(KEPT_MEMORY);
        self.memory.reserve(SECTOR + sectors(bytes));
        self.begin = self.memory.as_ptr().align_offset(SECTOR);
        self.memory.resize(self.begin, 0);
    }

    fn add(&mut self, bytes: &[u8]) {
        self.memory.extend_from_slice(bytes);
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.begin..]
    }

    /// What was added, and zeros up to the next sector.
    fn sectors(&mut self) -> &[u8] {
        self.memory.resize(self.begin + sectors(self.memory.len() - self.begin), 0);
        &self.memory[self.begin..]
    }
}

/// A sheet that is written to by postcard.
struct Writer<'a>(&'a mut Sheet);

impl Flavor for Writer<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.memory.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.add(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Where a log that was read can be gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// There is not even a whole header.
    Nowhere,
    /// Behind its last whole frame.
    At(u64),
    /// In the next log: it is of an older format.
    Next,
}

/// Reads a log: its batches in order.
pub(super) fn read(folder: &Path, number: u64, visit: &mut dyn FnMut(Batch)) -> Result<End, StoreError> {
    let path = path(folder, number);
    let mut bytes = Vec::new();
    File::open(&path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .map_err(|error| failed("read", &path, error))?;
    let Some((header, _)) = bytes.split_at_checked(HEADER) else { return Ok(End::Nowhere) };
    let (magic, said) = header.split_at(MAGIC.len());
    if said != number.to_le_bytes() || (magic != MAGIC && magic != MAGIC_WITHOUT_SECTORS) {
        return Ok(End::Nowhere);
    }
    let has_sectors = magic == MAGIC;
    let place_after = |bytes: usize| if has_sectors { sectors(bytes) } else { bytes };
    let mut end = place_after(HEADER);
    while let Some(body) = whole_frame(number, end, &bytes) {
        // As slices: byte by byte, megabytes would take their time at each start.
        let Ok(entries) = postcard::from_bytes::<Vec<(&[u8], Option<&[u8]>)>>(body) else { break };
        let entries = entries.into_iter().map(|(key, value)| (key.into(), value.map(Short::from))).collect();
        visit(Batch { entries });
        end += place_after(FRAME + body.len());
    }
    Ok(if has_sectors { End::At(end as u64) } else { End::Next })
}

/// What the frame at this place holds, if it is whole.
fn whole_frame(number: u64, place: usize, bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.get(place..)?.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let body = rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    (checksum(number, place as u64, body) == u32::from_le_bytes(*sum)).then_some(body)
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
        Batch { entries: vec![([n].into(), Some(vec![n; usize::from(n)].into())), ([0].into(), None)] }
    }

    fn read_all(folder: &Path) -> (Vec<Batch>, End) {
        let mut batches = Vec::new();
        let end = read(folder, 7, &mut |batch| batches.push(batch)).unwrap();
        (batches, end)
    }

    /// A log of the older format: the same frames, one right behind the other.
    fn closely(number: u64, batches: &[Batch]) -> Vec<u8> {
        let mut bytes = [&MAGIC_WITHOUT_SECTORS[..], &number.to_le_bytes()].concat();
        for batch in batches {
            let body = postcard::to_allocvec(&batch.entries).unwrap();
            let sum = checksum(number, bytes.len() as u64, &body);
            bytes.extend([&u32::try_from(body.len()).unwrap().to_le_bytes()[..], &sum.to_le_bytes(), &body].concat());
        }
        bytes
    }

    #[test]
    fn every_torn_tail_ends_before_the_frame_that_it_tears() {
        let folder = tempfile::tempdir().unwrap();
        let mut wal = Wal::create(folder.path(), 7, None).unwrap();
        // Where each frame ends, less the zeros behind it.
        let ends: Vec<u64> = (1..=4)
            .map(|n| {
                let begin = wal.len();
                wal.append(&batch(n)).unwrap();
                begin + (FRAME + postcard::to_allocvec(&batch(n).entries).unwrap().len()) as u64
            })
            .collect();
        let whole = std::fs::read(path(folder.path(), 7)).unwrap();
        let cuts = (0..=whole.len()).filter(|cut| cut % SECTOR < 40 || cut % SECTOR > SECTOR - 3);
        for cut in cuts {
            for garbage in [&b""[..], &[0; 40], &[0xff; 40]] {
                let torn = [&whole[..cut], garbage].concat();
                // Garbage may happen to be what was to be written.
                let good = torn.iter().zip(&whole).take_while(|(a, b)| a == b).count() as u64;
                std::fs::write(path(folder.path(), 7), torn).unwrap();
                let (batches, end) = read_all(folder.path());
                let survived = ends.iter().filter(|end| **end <= good).count();
                assert_eq!(batches.len(), survived, "cut at {cut}");
                if let End::At(end) = end {
                    assert_eq!(end, (survived as u64 + 1) * SECTOR as u64);
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
        let mut wal = Wal::create(folder.path(), 7, None).unwrap();
        wal.append(&batch(1)).unwrap();
        let bytes = std::fs::read(path(folder.path(), 7)).unwrap();
        let twice = [&bytes[..], &bytes[SECTOR..]].concat();
        std::fs::write(path(folder.path(), 7), twice).unwrap();
        assert_eq!(read_all(folder.path()).0.len(), 1);
        std::fs::rename(path(folder.path(), 7), path(folder.path(), 8)).unwrap();
        assert_eq!(read(folder.path(), 8, &mut |_| ()).unwrap(), End::Nowhere);
    }

    #[test]
    fn a_log_in_the_room_of_an_older_one_has_nothing_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut older = Wal::create(folder.path(), 4, None).unwrap();
        (1..=6).for_each(|n| older.append(&batch(n)).unwrap());
        let length = std::fs::metadata(path(folder.path(), 4)).unwrap().len();
        let mut wal = Wal::create(folder.path(), 7, Some(4)).unwrap();
        assert_eq!(list(folder.path()).unwrap(), [7]);
        assert_eq!(read_all(folder.path()), (vec![], End::At(SECTOR as u64)));
        for n in 1..=3 {
            wal.append(&batch(10 + n)).unwrap();
            assert_eq!(read_all(folder.path()).0.len(), usize::from(n), "and not what is behind it");
        }
        assert_eq!(std::fs::metadata(path(folder.path(), 7)).unwrap().len(), length, "it has not grown");
        let mut wal = Wal::reopen(folder.path(), 7, wal.len()).unwrap();
        wal.append(&batch(14)).unwrap();
        assert_eq!(read_all(folder.path()).0.last(), Some(&batch(14)));
    }

    #[test]
    fn a_log_of_the_older_format_is_read_and_not_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let batches = [batch(1), batch(2), batch(200)];
        std::fs::write(path(folder.path(), 7), closely(7, &batches)).unwrap();
        assert_eq!(read_all(folder.path()), (batches.to_vec(), End::Next));
    }
}
