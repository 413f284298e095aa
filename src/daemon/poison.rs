//! Poison messages: after an unclean end, each large message is noted on disk before it is handled, and one that was
//! being handled at two ends in a row is skipped.
//!
//! A message that ends the daemon is not acknowledged, so the broker sends it again, for ever; a retained one comes at
//! each connection. In the first seconds after an unclean end a turn handles one large message at most, and its hash is
//! on disk before. If the process ends then, the next one knows which message it was.
//!
//! The notes are in a small file of their own in the state folder, which does not depend on the store.

use crate::domain::text::clip;
use crate::domain::time::{Moment, Span};
use crate::io::mqtt::Inbound;
use ring::digest::{Context, SHA256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Name of the file in the state folder.
const FILE: &str = "suspects";
/// Maximum size of a message (topic and payload) that is not noted, in bytes: it is too small to do harm.
const LARGE: usize = 4 << 10;
/// Duration of the watch after an unclean end. Retained and repeated messages come within seconds.
const WATCH: Span = Span::from_secs(30);
/// Number of ends in a row after which the message that was being handled is skipped.
const ENDS: u32 = 2;
/// Maximum number of messages that are skipped: with more, the oldest is tried again.
const SKIPPED: usize = 32;
/// Hexadecimal digits of a hash: 128 bits.
const HASH: usize = 32;

/// Messages that may have ended the daemon, and the notes of them on disk.
#[derive(Debug, Default)]
pub(super) struct PoisonMessages {
    /// The state folder; `None` if the file cannot be written, so that nothing is noted.
    folder: Option<PathBuf>,
    /// End of the watch, during which large messages are noted; `None` if there is no watch.
    watch_until: Option<Moment>,
    /// Hash of the message that was being handled at the last end, and the number of ends in a row.
    last: Option<(String, u32)>,
    /// Hashes of messages that are skipped, the latest last.
    skipped: Vec<String>,
    /// True if this turn handles a message that was noted.
    has_mark: bool,
    /// Topics of messages that were skipped, with the number of skipped messages.
    reported: BTreeMap<String, u64>,
}

/// A note that has to be on disk before its message is handled.
#[derive(Debug)]
pub(super) struct Mark {
    folder: PathBuf,
    text: String,
}

impl Mark {
    /// Writes the note on another thread and waits for it. An error is logged, and the message is handled all the same.
    pub(super) async fn write(self) {
        let written = tokio::task::spawn_blocking(move || write(&self.folder, &self.text)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "cannot write down which message is handled");
        }
    }
}

impl PoisonMessages {
    /// Reads the notes of the last run, and begins those of this one.
    pub(super) fn open(state_dir: &Path, now: Moment) -> PoisonMessages {
        let found = fs::read_to_string(state_dir.join(FILE)).unwrap_or_default();
        let mut poison = PoisonMessages { folder: Some(state_dir.to_owned()), ..PoisonMessages::default() };
        for line in found.lines() {
            match line.split(' ').collect::<Vec<&str>>().as_slice() {
                ["running"] => poison.watch_until = Some(now + WATCH),
                ["skipped", hash] => poison.skipped.push((*hash).to_owned()),
                ["handling", hash, ends] => {
                    let ends = ends.parse::<u32>().unwrap_or(0).saturating_add(1);
                    poison.last = Some(((*hash).to_owned(), ends));
                }
                _ => {}
            }
        }
        if let Some((hash, _)) = poison.last.take_if(|(_, ends)| *ends >= ENDS) {
            poison.skipped.push(hash);
            let too_many = poison.skipped.len().saturating_sub(SKIPPED);
            poison.skipped.drain(..too_many);
        }
        if poison.watch_until.is_some() {
            tracing::warn!(
                "the last run has not ended cleanly: large messages are written down before they are handled"
            );
        }
        if let Err(error) = write(state_dir, &poison.text(true, None)) {
            tracing::warn!(%error, "cannot write down that the daemon runs");
            poison.folder = None;
        }
        poison
    }

    /// The note to write before this message is handled; `None` if it needs none.
    pub(super) fn mark(&mut self, message: &Inbound, now: Moment) -> Option<Mark> {
        let until = self.watch_until?;
        if now >= until {
            self.watch_until = None;
            return None;
        }
        if size(message) <= LARGE || self.is_skipped(message) {
            return None;
        }
        let hash = hash(message);
        let before = self.last.as_ref().filter(|(last, _)| *last == hash).map_or(0, |(_, ends)| *ends);
        self.has_mark = true;
        Some(Mark { folder: self.folder.clone()?, text: self.text(true, Some((&hash, before))) })
    }

    /// True if the turn has to end with the message that was noted.
    pub(super) fn have_mark(&self) -> bool {
        self.has_mark
    }

    /// Removes the note of the message, because its turn is completed.
    pub(super) fn turn_completed(&mut self) {
        if std::mem::take(&mut self.has_mark)
            && let Some(folder) = &self.folder
            && let Err(error) = fs::write(folder.join(FILE), self.text(true, None))
        {
            tracing::warn!(%error, "cannot write down that a message was handled");
        }
    }

    /// True if the message must not be handled.
    pub(super) fn is_skipped(&self, message: &Inbound) -> bool {
        !self.skipped.is_empty() && size(message) > LARGE && self.skipped.contains(&hash(message))
    }

    /// Counts a skipped message. Returns the problem to report if it is the first on this topic.
    pub(super) fn report(&mut self, topic: &str) -> Option<String> {
        let topic = clip(topic, 128).into_owned();
        let problem = format!(
            "{topic} is skipped: the daemon was handling it when it ended, twice in a row; \
             if it is harmless, stop the daemon and remove {FILE} from the state folder"
        );
        let count = self.reported.entry(topic).or_default();
        *count += 1;
        (*count == 1 && self.reported.len() <= SKIPPED).then_some(problem)
    }

    /// Notes a clean end. The file is removed unless it has messages to skip.
    pub(super) fn end(&mut self) {
        let Some(folder) = self.folder.take() else { return };
        let file = folder.join(FILE);
        let ended =
            if self.skipped.is_empty() { fs::remove_file(file) } else { write(&folder, &self.text(false, None)) };
        if let Err(error) = ended {
            tracing::warn!(%error, "cannot write down that the daemon has ended");
        }
    }

    fn text(&self, is_running: bool, handling: Option<(&str, u32)>) -> String {
        let mut text = String::new();
        let mut line = |line: std::fmt::Arguments<'_>| {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "{line}");
        };
        if is_running {
            line(format_args!("running"));
        }
        self.skipped.iter().for_each(|hash| line(format_args!("skipped {hash}")));
        if let Some((hash, ends)) = handling {
            line(format_args!("handling {hash} {ends}"));
        }
        text
    }
}

fn size(message: &Inbound) -> usize {
    message.topic.len() + message.payload.len()
}

fn hash(message: &Inbound) -> String {
    let mut context = Context::new(&SHA256);
    context.update(message.topic.as_bytes());
    context.update(&[0]);
    context.update(&message.payload);
    let mut hash: String = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    hash.truncate(HASH);
    hash
}

/// Replaces the file so that a power cut leaves the old one or the new one.
fn write(folder: &Path, text: &str) -> std::io::Result<()> {
    let draft = folder.join(format!("{FILE}.new"));
    let mut file = File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, folder.join(FILE))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(outbound_event: &str) -> Inbound {
        Inbound {
            topic: "t".to_owned(),
            payload: outbound_event.repeat(5_000).into(),
            retained: true,
            repeated: false,
            receipt: None,
            reply_to: None,
        }
    }

    fn at(secs: i64) -> Moment {
        Moment::from_micros(secs * 1_000_000)
    }

    /// A run that handles these messages and ends with the last of them; true for each that it skips.
    fn ends_with(folder: &Path, outbound_events: &[&str]) -> Vec<bool> {
        let mut poison = PoisonMessages::open(folder, at(0));
        let mut skipped = Vec::new();
        for outbound_event in outbound_events {
            poison.turn_completed();
            skipped.push(poison.is_skipped(&message(outbound_event)));
            if let Some(Mark { folder, text }) = poison.mark(&message(outbound_event), at(1)) {
                write(&folder, &text).unwrap();
            }
        }
        skipped
    }

    #[test]
    fn a_message_that_was_being_handled_at_two_ends_in_a_row_is_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let run = |outbound_events: &[&str]| ends_with(folder.path(), outbound_events);
        assert_eq!(run(&["a", "b"]), [false, false], "the first end: nobody knows of what");
        assert_eq!(run(&["a", "b"]), [false, false], "the second: it was b");
        assert_eq!(run(&["a", "b"]), [false, false], "the third: it was b again");
        assert_eq!(run(&["a", "b", "c"]), [false, true, false], "and not any more");
        assert_eq!(run(&["c", "b", "a"]), [false, true, false], "c once, and now it was a");
        assert_eq!(run(&["b", "c"]), [true, false], "c not twice in a row");
        PoisonMessages::open(folder.path(), at(0)).end();
        let mut clean = PoisonMessages::open(folder.path(), at(0));
        assert!(clean.is_skipped(&message("b")), "it does harm after a clean start, too");
        assert!(clean.mark(&message("a"), at(1)).is_none(), "nothing is written after a clean end");
    }

    #[test]
    fn what_is_small_or_comes_late_is_not_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let _killed = PoisonMessages::open(folder.path(), at(0));
        let mut poison = PoisonMessages::open(folder.path(), at(100));
        let small = Inbound { payload: "x".repeat(4_000).into(), ..message("x") };
        assert!(poison.mark(&small, at(101)).is_none());
        assert!(poison.mark(&message("x"), at(129)).is_some());
        assert!(poison.mark(&message("x"), at(130)).is_none());
        poison.end();
        assert!(!folder.path().join(FILE).exists(), "a clean end leaves nothing");
    }

    #[test]
    fn a_file_that_is_no_such_file_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), b"\xff\x00handling\nhandling\nskipped\nrunning x\n").unwrap();
        let poison = PoisonMessages::open(folder.path(), at(0));
        assert!(poison.skipped.is_empty() && poison.watch_until.is_none());
        let nowhere = PoisonMessages::open(Path::new("/proc/nowhere"), at(0));
        assert!(nowhere.folder.is_none());
    }
}
