//! How far commits were confirmed: a file beside the store that says where the log ended when something was last published.
//!
//! A log cannot tell a frame that was torn while it was written from one that was confirmed and is gone: both are just not
//! there. This file can. It is overwritten in place after a commit of which the broker is told, before it is told, and it
//! is not synced: it survives the end of the process, and after a power cut it may be some seconds old, which is harmless.
//! Something that the disk has refused is noted, too, and synced: a full disk still takes what replaces a block. So the next
//! start knows that more was published than the store holds.
//!
//! It lies outside of the store's folder, and goes on to say what it said when that is moved aside, truncated or removed.

use crate::io::store::private;
use std::fs::File;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

/// The file in the state folder.
pub(in crate::io::store) const NAME: &str = "confirmed";
/// Says what the file is, and in which format.
const MAGIC: [u8; 8] = *b"ANNCNF\x00\x01";
/// Magic, log, end, number, whether it is durable, checksum.
const BYTES: usize = 37;
/// The file's length from the beginning: a block, so that it never needs another one.
const BLOCK: usize = 4_096;

/// What was last noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Noted {
    /// The number of the log that was written, and where its last confirmed frame ended.
    pub(super) log: u64,
    pub(super) end: u64,
    /// The number of the next event then.
    pub(super) next_seq: u64,
    /// Whether all that was published was in the store.
    pub(super) is_durable: bool,
}

/// The file.
#[derive(Debug)]
pub(super) struct Confirmed {
    file: Option<File>,
    last: Option<Noted>,
    /// Whether this process has noted something.
    is_ours: bool,
}

impl Confirmed {
    /// Opens the file, or makes one. Without it the store works, and what is lost at its end is not noticed.
    pub(super) fn open(state_dir: &Path) -> Confirmed {
        let path = state_dir.join(NAME);
        let attempt = || {
            if path.exists() && !path.is_file() {
                return Err(std::io::Error::other("it is no file"));
            }
            let file =
                File::options().read(true).write(true).create(true).truncate(false).mode(private::FILE).open(&path)?;
            let mut bytes = [0; BYTES];
            let last = file.read_exact_at(&mut bytes, 0).ok().and_then(|()| read(&bytes));
            if file.metadata()?.len() < BLOCK as u64 {
                file.write_all_at(&[0; BLOCK], 0)?;
                if let Some(last) = last {
                    file.write_all_at(&written(last), 0)?;
                }
                file.sync_all()?;
            }
            Ok((file, last))
        };
        match attempt() {
            Ok((file, last)) => Confirmed { file: Some(file), last, is_ours: false },
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "damage at the end of the log will not be noticed");
                Confirmed { file: None, last: None, is_ours: false }
            }
        }
    }

    /// What was noted last, by this process or an earlier one.
    pub(super) fn last(&self) -> Option<Noted> {
        self.last
    }

    /// Whether this process has noted something: before that, the note of an earlier one has to stay.
    pub(super) fn is_ours(&self) -> bool {
        self.is_ours
    }

    /// Notes how far commits are confirmed. What was refused, and what is refused no more, is on disk when this returns.
    /// False: the disk has not taken it.
    pub(super) fn note(&mut self, noted: Noted, is_last: bool) -> bool {
        let was_durable = self.last.is_none_or(|last| last.is_durable);
        if self.is_ours && self.last == Some(noted) && !is_last {
            return true;
        }
        let Some(file) = &self.file else { return false };
        let done = file
            .write_all_at(&written(noted), 0)
            .and_then(|()| if was_durable && noted.is_durable && !is_last { Ok(()) } else { file.sync_data() });
        if let Err(error) = done {
            tracing::warn!(%error, "cannot note how far commits are confirmed");
            return false;
        }
        (self.last, self.is_ours) = (Some(noted), true);
        true
    }
}

fn written(noted: Noted) -> [u8; BYTES] {
    let Noted { log, end, next_seq, is_durable } = noted;
    let mut bytes = [0; BYTES];
    let (said, sum) = bytes.split_at_mut(BYTES - 4);
    for (place, field) in [MAGIC, log.to_le_bytes(), end.to_le_bytes(), next_seq.to_le_bytes()].into_iter().enumerate()
    {
        said[8 * place..8 * (place + 1)].copy_from_slice(&field);
    }
    said[32] = u8::from(is_durable);
    sum.copy_from_slice(&crc32fast::hash(said).to_le_bytes());
    bytes
}

/// What the file says; none: nothing was ever noted, or it is damaged.
fn read(bytes: &[u8; BYTES]) -> Option<Noted> {
    let field = |place: usize| bytes.get(8 * place..8 * (place + 1))?.try_into().ok().map(u64::from_le_bytes);
    let noted = Noted { log: field(1)?, end: field(2)?, next_seq: field(3)?, is_durable: bytes[32] != 0 };
    (written(noted) == *bytes).then_some(noted)
}
