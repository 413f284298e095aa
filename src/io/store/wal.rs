//! The write-ahead log: batches as they were committed, one after the other, each synced.
//!
//! A file is a header and frames, each of which begins with a sector of the drive. A frame is its length, a checksum over
//! the log's number, the frame's place and its bytes, the batch, and zeros up to the next sector. The header says where the
//! log before this one ended.
//!
//! A frame that is not whole is one of two things. Behind the last whole frame it is a torn tail: the power went while it
//! was written, and nobody was told of that commit. Before a later whole frame of the same log it is damage: a frame is
//! begun when the one before it is on disk. Damage is reported as a [`Piece::Lost`], and the later frames are read.
//!
//! Why each instant is safe: a frame counts when `fdatasync` has returned, and no sector before it is ever written again. A
//! new log counts when its header and its folder are synced, before the first frame goes in. It may be made of a log that
//! nobody needs any more: what is still in there carries another number, so it is no frame of the new one.
//!
//! Flash wears by what is written to it. Through the page cache a commit would be four kilobytes or more, and a new length
//! of the file a few more in the journal of the file system; so the log goes around the cache where the file system allows
//! it, and into room that it has already. An alarm's change is a sector or two.

use super::{Batch, SmallBytes, StoreError, private};
use postcard::ser_flavors::Flavor;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Says what the file is, and in which format.
const MAGIC: [u8; 8] = *b"ANNWAL\x00\x02";
/// A log whose frames follow one another closely. It is read, and not gone on with.
const MAGIC_WITHOUT_SECTORS: [u8; 8] = *b"ANNWAL\x00\x01";
/// Magic and number: all that releases up to 0.1.0 wrote, and all that they read.
const HEADER: usize = 16;
/// The header with the end of the log before, and a checksum over all of it. It is in the first sector, too.
const WHOLE_HEADER: usize = 28;
/// What a drive writes as a whole, and the least that it takes around the cache. Drives with larger sectors refuse; their
/// logs go through the cache.
const SECTOR: usize = 512;
/// Length and checksum of a frame.
const FRAME: usize = 8;
/// Bytes that a frame may claim to have; more is damage.
const MAX_FRAME: u32 = 1 << 30;
/// Bytes that are summed up in one log at most while a later whole frame is looked for: hundreds of times the largest log,
/// some seconds. Only bytes that were made to look like frames need so many.
const SEARCHED_BYTES: u64 = 4 << 30;

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
    ///
    /// `end_before` is the end of the log with the number before, 0 if there is none or it is not known.
    pub(super) fn create(folder: &Path, number: u64, spare: Option<u64>, end_before: u64) -> Result<Wal, StoreError> {
        let path = path(folder, number);
        let attempt = || {
            if let Some(spare) = spare {
                std::fs::rename(self::path(folder, spare), &path)?;
            }
            let options = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(spare.is_none())
                .mode(private::FILE)
                .clone();
            let file = LogFile::open(&options, &path)?;
            let mut sheet = Sheet::default();
            sheet.clear(WHOLE_HEADER);
            sheet.add(&header(number, end_before));
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
    /// There is not even a whole header, and nothing was ever committed to it.
    Nowhere,
    /// Behind its last whole frame.
    At(u64),
    /// In the next log: it is of an older format, or damaged. It ends here.
    Next(u64),
}

impl End {
    /// The place behind the last whole frame.
    pub(super) fn place(self) -> u64 {
        match self {
            End::Nowhere => 0,
            End::At(place) | End::Next(place) => place,
        }
    }
}

/// One thing that a log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// A batch that was committed.
    Batch(Batch),
    /// These bytes held batches that were committed, and cannot be read.
    Lost(Range<u64>),
}

/// What reading a log has found besides its pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Read {
    /// Where it can be gone on with.
    pub(super) end: End,
    /// Where the log before this one ended; none: it does not say.
    pub(super) end_before: Option<u64>,
}

/// Reads a log: its pieces in order.
pub(super) fn read(folder: &Path, number: u64, visit: &mut dyn FnMut(Piece)) -> Result<Read, StoreError> {
    let path = path(folder, number);
    let mut bytes = Vec::new();
    File::open(&path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .map_err(|error| failed("read", &path, error))?;
    let (magic, rest) = bytes.split_at(bytes.len().min(MAGIC.len()));
    let is_ours = rest.get(..8) == Some(&number.to_le_bytes());
    if is_ours && magic == MAGIC_WITHOUT_SECTORS {
        return Ok(read_closely(number, &bytes, visit));
    }
    let has_header = is_ours && magic == MAGIC;
    let said = bytes.get(..WHOLE_HEADER).filter(|_| has_header);
    let end_before = said.and_then(|said| said.get(HEADER..HEADER + 8)?.try_into().ok()).map(u64::from_le_bytes);
    let end_before = end_before.filter(|end| *end > 0 && said == Some(&header(number, *end)));
    let (mut end, mut has_frames, mut is_damaged) = (SECTOR, false, !has_header);
    let mut budget = SEARCHED_BYTES;
    loop {
        while let Some((batch, length)) = batch_at(number, end, &bytes) {
            has_frames = true;
            visit(Piece::Batch(batch));
            end += sectors(FRAME + length);
        }
        match later_frame(number, end + SECTOR, &bytes, &mut budget) {
            Some(place) => {
                is_damaged = true;
                visit(Piece::Lost(end as u64..place as u64));
                end = place;
            }
            None => break,
        }
    }
    let is_empty = !has_header && !has_frames;
    // A log is begun with its header, and goes into the room of another one, which has a header, too.
    if is_empty && bytes.len() > SECTOR && bytes.iter().take(SECTOR).all(|byte| *byte == 0) {
        visit(Piece::Lost(0..bytes.len() as u64));
        return Ok(Read { end: End::Next(0), end_before });
    }
    if !has_header && has_frames {
        tracing::warn!(path = %path.display(), "the header of a log is damaged; what the log says is read all the same");
    }
    let end = match end as u64 {
        _ if is_empty => End::Nowhere,
        end if is_damaged => End::Next(end),
        end => End::At(end),
    };
    Ok(Read { end, end_before })
}

/// Reads a log of the older format, whose frames follow one another without sectors.
fn read_closely(number: u64, bytes: &[u8], visit: &mut dyn FnMut(Piece)) -> Read {
    let mut end = HEADER;
    loop {
        while let Some((batch, length)) = batch_at(number, end, bytes) {
            visit(Piece::Batch(batch));
            end += FRAME + length;
        }
        // The length of the damaged one leads to the next, if it is not what is damaged.
        let mut place = end;
        let later = loop {
            let Some(length) = bytes.get(place..).and_then(|rest| rest.first_chunk::<4>()) else { break None };
            place = place.saturating_add(FRAME).saturating_add(u32::from_le_bytes(*length) as usize);
            if whole_frame(number, place, bytes).is_some() {
                break Some(place);
            }
        };
        let Some(later) = later else { break };
        visit(Piece::Lost(end as u64..later as u64));
        end = later;
    }
    Read { end: End::Next(end as u64), end_before: None }
}

/// The batch of the whole frame at this place, and how many bytes it has there.
fn batch_at(number: u64, place: usize, bytes: &[u8]) -> Option<(Batch, usize)> {
    let body = whole_frame(number, place, bytes)?;
    // As slices: byte by byte, megabytes would take their time at each start.
    let entries = postcard::from_bytes::<Vec<(&[u8], Option<&[u8]>)>>(body).ok()?;
    let entries = entries.into_iter().map(|(key, value)| (key.into(), value.map(SmallBytes::from))).collect();
    Some((Batch { entries }, body.len()))
}

/// The first whole frame from this place on. The budget bounds the bytes that are summed up for it.
fn later_frame(number: u64, from: usize, bytes: &[u8], budget: &mut u64) -> Option<usize> {
    (from..bytes.len()).step_by(SECTOR).find(|place| {
        let Some(rest) = bytes.get(*place..) else { return false };
        let Some(length) = rest.first_chunk::<4>() else { return false };
        let end = FRAME.saturating_add(u32::from_le_bytes(*length) as usize);
        // A batch has at least its number of entries, and the rest of its last sector is empty.
        if end <= FRAME || end > rest.len() {
            return false;
        }
        if rest.get(end..sectors(end)).is_none_or(|padding| padding.iter().any(|byte| *byte != 0)) {
            return false;
        }
        *budget = budget.saturating_sub(end as u64);
        *budget > 0 && batch_at(number, *place, bytes).is_some()
    })
}

/// The header of a log.
fn header(number: u64, end_before: u64) -> [u8; WHOLE_HEADER] {
    let mut header = [0; WHOLE_HEADER];
    let (said, sum) = header.split_at_mut(WHOLE_HEADER - 4);
    for (place, bytes) in [MAGIC, number.to_le_bytes(), end_before.to_le_bytes()].into_iter().enumerate() {
        said[8 * place..8 * (place + 1)].copy_from_slice(&bytes);
    }
    sum.copy_from_slice(&crc32fast::hash(said).to_le_bytes());
    header
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
        let found = read(folder, 7, &mut |piece| match piece {
            Piece::Batch(batch) => batches.push(batch),
            Piece::Lost(span) => panic!("{span:?} are lost"),
        });
        (batches, found.unwrap().end)
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
        let mut wal = Wal::create(folder.path(), 7, None, 0).unwrap();
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
        let mut wal = Wal::create(folder.path(), 7, None, 0).unwrap();
        wal.append(&batch(1)).unwrap();
        let bytes = std::fs::read(path(folder.path(), 7)).unwrap();
        let twice = [&bytes[..], &bytes[SECTOR..]].concat();
        std::fs::write(path(folder.path(), 7), twice).unwrap();
        assert_eq!(read_all(folder.path()).0.len(), 1);
        std::fs::rename(path(folder.path(), 7), path(folder.path(), 8)).unwrap();
        assert_eq!(read(folder.path(), 8, &mut |_| ()).unwrap().end, End::Nowhere);
    }

    #[test]
    fn a_log_in_the_room_of_an_older_one_has_nothing_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut older = Wal::create(folder.path(), 4, None, 0).unwrap();
        (1..=6).for_each(|n| older.append(&batch(n)).unwrap());
        let length = std::fs::metadata(path(folder.path(), 4)).unwrap().len();
        let mut wal = Wal::create(folder.path(), 7, Some(4), 0).unwrap();
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
        let bytes = closely(7, &batches);
        std::fs::write(path(folder.path(), 7), &bytes).unwrap();
        assert_eq!(read_all(folder.path()), (batches.to_vec(), End::Next(bytes.len() as u64)));
    }

    /// The pieces of a log whose bytes are these.
    fn pieces(folder: &Path, bytes: &[u8]) -> (Vec<Piece>, Read) {
        std::fs::write(path(folder, 7), bytes).unwrap();
        let mut pieces = Vec::new();
        let found = read(folder, 7, &mut |piece| pieces.push(piece)).unwrap();
        (pieces, found)
    }

    #[test]
    fn damage_before_a_whole_frame_is_told_wherever_it_is_and_costs_that_frame_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut wal = Wal::create(folder.path(), 7, None, 0).unwrap();
        // One of them has several sectors.
        let batches: Vec<Batch> = [1, 2, 250, 3, 4]
            .map(|n| Batch {
                entries: (0..n / 50 + 1).map(|key| ([n, key].into(), Some(vec![n; usize::from(n)].into()))).collect(),
            })
            .to_vec();
        let begins: Vec<u64> = batches
            .iter()
            .map(|batch| {
                let at = wal.len();
                wal.append(batch).unwrap();
                at
            })
            .collect();
        let end = wal.len();
        drop(wal);
        let whole = std::fs::read(path(folder.path(), 7)).unwrap();
        let frame_of = |place: u64| begins.iter().rposition(|begin| *begin <= place);
        for place in 0..whole.len() {
            for width in [1, 4_096] {
                let mut bytes = whole.clone();
                for byte in bytes.iter_mut().skip(place).take(width) {
                    *byte ^= 0x10;
                }
                let last_place = (place + width).min(whole.len()) - 1;
                let (pieces, found) = pieces(folder.path(), &bytes);
                let spoilt = |n: &usize| {
                    let body = postcard::to_allocvec(&batches[*n].entries).unwrap().len() + FRAME;
                    let (from, to) = (begins[*n], begins[*n] + body as u64);
                    (place as u64) < to && last_place as u64 >= from
                };
                let intact: Vec<&Batch> = (0..batches.len()).filter(|n| !spoilt(n)).map(|n| &batches[n]).collect();
                let read: Vec<&Batch> = pieces
                    .iter()
                    .filter_map(|piece| match piece {
                        Piece::Batch(batch) => Some(batch),
                        Piece::Lost(_) => None,
                    })
                    .collect();
                assert_eq!(read, intact, "{width} bytes at {place}");
                let lost: Vec<&Range<u64>> = pieces
                    .iter()
                    .filter_map(|piece| match piece {
                        Piece::Lost(lost) => Some(lost),
                        Piece::Batch(_) => None,
                    })
                    .collect();
                let first = (0..batches.len()).find(spoilt);
                let follows = first.is_some_and(|first| (first..batches.len()).any(|n| !spoilt(&n)));
                if follows {
                    assert_eq!(lost.len(), 1, "{width} bytes at {place}");
                    assert_eq!(Some(lost[0].start), first.map(|first| begins[first]));
                    assert_eq!(found.end, End::Next(end));
                } else {
                    assert_eq!(
                        lost,
                        Vec::<&Range<u64>>::new(),
                        "{width} bytes at {place} (frame {:?})",
                        frame_of(place as u64)
                    );
                }
            }
        }
        for lost in [vec![0; whole.len()], vec![0; SECTOR + 1]] {
            let length = lost.len() as u64;
            assert_eq!(pieces(folder.path(), &lost).0, [Piece::Lost(0..length)], "nothing is left of it");
        }
        assert_eq!(pieces(folder.path(), &[0; 40]), (vec![], Read { end: End::Nowhere, end_before: None }));
    }

    #[test]
    fn a_log_says_where_the_one_before_it_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        drop(Wal::create(folder.path(), 7, None, 4_096).unwrap());
        let bytes = std::fs::read(path(folder.path(), 7)).unwrap();
        assert_eq!(pieces(folder.path(), &bytes).1, Read { end: End::At(512), end_before: Some(4_096) });
        let old = [&bytes[..HEADER], &[0; SECTOR - HEADER]].concat();
        assert_eq!(pieces(folder.path(), &old).1, Read { end: End::At(512), end_before: None }, "as 0.1.0 wrote it");
    }
}
