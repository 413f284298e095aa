//! What the logs say that the snapshots lack, and what of it is missing.
//!
//! Whole frames are read wherever they are. Each gap before, between or behind them is a [`Lost`], unless it is the torn
//! frame of a commit that was not confirmed, which nothing tells from the end of a log, and which is none.

use super::confirmed::Noted;
use super::{Changes, Side};
use crate::io::store::record::{self, LASTING, POSITION};
use crate::io::store::wal::{self, End, Piece, Read};
use crate::io::store::{Batch, StoreError};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

/// Something that was committed and is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lost {
    /// The log, and the first byte in it.
    pub(super) place: (u64, u64),
    /// What is missing, in words.
    pub(super) what: String,
    /// Whether the logs themselves show it. Otherwise it shows in what was noted beside them, until that is noted anew.
    pub(super) shows_in_logs: bool,
    /// Whether a file is damaged. Otherwise the disk has said in time that it does not take something.
    pub(super) is_damage: bool,
}

/// What the logs say.
#[derive(Debug, Default)]
pub(super) struct Logs {
    /// What the newest snapshot has and the other one lacks; none: that is not known any more.
    pub(super) behind: Option<Changes>,
    /// What the newest snapshot lacks.
    pub(super) recent: Changes,
    /// The last log that the newest snapshot lacks, and where it can be gone on with.
    pub(super) last: Option<(u64, End)>,
    /// Where the log before that one ended; 0: there is none.
    pub(super) end_before: u64,
    /// What is missing, in the order of the logs.
    pub(super) lost: Vec<Lost>,
    /// The alarms of which a whole frame behind all that is missing has the lasting part.
    pub(super) rewritten: BTreeSet<u32>,
    /// Whether such a frame says where the numbers of events stand.
    pub(super) has_position: bool,
    /// Whole frames that the newest snapshot lacks.
    pub(super) frames: usize,
}

/// What one log says of [`Logs::rewritten`] and [`Logs::has_position`].
#[derive(Default)]
struct Tail {
    rewritten: BTreeSet<u32>,
    has_position: bool,
    is_behind_a_gap: bool,
}

impl Tail {
    fn take(&mut self, batch: &Batch) {
        for (key, value) in &batch.entries {
            self.has_position |= **key == *POSITION;
            if key.first() == Some(&LASTING) && value.is_some() {
                self.rewritten.extend(record::handle_of(key));
            }
        }
    }
}

impl Logs {
    /// Reads the logs that one of the snapshots lacks. `snapshots` are those that can be used, the newest one first.
    pub(super) fn read(folder: &Path, snapshots: &[(Side, u64)], numbers: &[u64]) -> Result<Logs, StoreError> {
        let compacted = snapshots.first().map_or(0, |(_, last_log)| *last_log);
        let other = snapshots.get(1).map(|(_, last_log)| *last_log);
        let mut logs = Logs { behind: Some(Changes::new()), ..Logs::default() };
        // The other snapshot can follow only if the logs that it lacks are there.
        if other.is_some_and(|other| (other + 1..=compacted).any(|number| !numbers.contains(&number))) {
            logs.behind = None;
        }
        let mut before = (compacted, 0);
        for number in numbers.iter().copied().filter(|number| other.is_none_or(|other| *number > other)) {
            if number <= compacted {
                let Read { end, .. } = logs.read_behind(folder, number)?;
                before = (number, end.place());
                continue;
            }
            if number != before.0 + 1 {
                let missing = before.0 + 1..=number - 1;
                let what = format!("the logs {} to {} are missing", missing.start(), missing.end());
                logs.lose(Lost { place: (*missing.start(), 0), what, shows_in_logs: true, is_damage: true });
            }
            let mut tail = Tail::default();
            let Read { end, end_before } = wal::read(folder, number, &mut |piece| match piece {
                Piece::Batch(batch) => {
                    logs.frames += 1;
                    tail.take(&batch);
                    logs.recent.extend(batch.entries);
                }
                Piece::Lost(span) => {
                    tail = Tail { is_behind_a_gap: true, ..Tail::default() };
                    logs.lost.push(lost_span(number, &span));
                }
            })?;
            if let Some(end) = end_before
                && before.0 + 1 == number
                && before.1 > 0
                && before.1 < end
            {
                let place = logs.lost.iter().position(|lost| lost.place.0 == number).unwrap_or(logs.lost.len());
                logs.lost.insert(place, lost_span(before.0, &(before.1..end)));
                tail.is_behind_a_gap = true;
            }
            logs.follow(tail);
            logs.end_before = if before.0 + 1 == number { before.1 } else { 0 };
            before = (number, end.place());
            logs.last = Some((number, end));
        }
        Ok(logs)
    }

    /// Reads a log that only the other snapshot lacks. Nothing is lost with it: that snapshot can be made of the newest one.
    fn read_behind(&mut self, folder: &Path, number: u64) -> Result<Read, StoreError> {
        wal::read(folder, number, &mut |piece| match (piece, &mut self.behind) {
            (Piece::Batch(batch), Some(behind)) => behind.extend(batch.entries),
            (Piece::Batch(_), None) => {}
            (Piece::Lost(_), behind) => *behind = None,
        })
    }

    /// Takes note of something that is missing behind all that was read.
    fn lose(&mut self, lost: Lost) {
        self.lost.push(lost);
        self.follow(Tail { is_behind_a_gap: true, ..Tail::default() });
    }

    fn follow(&mut self, tail: Tail) {
        if tail.is_behind_a_gap {
            self.rewritten.clear();
            self.has_position = false;
        }
        self.rewritten.extend(tail.rewritten);
        self.has_position |= tail.has_position;
    }

    /// Compares what is there with what was noted beside the store. `compacted`: the newest snapshot has all logs up to this one.
    pub(super) fn compare(&mut self, noted: Option<Noted>, compacted: u64) {
        let Some(Noted { log, end, is_durable, .. }) = noted else { return };
        let found = self.last.map_or((compacted, u64::MAX), |(number, end)| (number, end.place()));
        let found = if found.0 == 0 { (0, 0) } else { found };
        if (log, end) > found {
            let what = match found {
                (0, _) => "the logs are missing, and there is no database".to_owned(),
                (number, end_found) if number == log => lost_span(log, &(end_found..end)).what,
                (number, _) => format!("the logs after {number} are missing, up to {log}"),
            };
            self.lose(Lost { place: found, what, shows_in_logs: false, is_damage: true });
        }
        if !is_durable {
            let what = "the disk refused what had happened before the program ended".to_owned();
            self.lose(Lost { place: found, what, shows_in_logs: false, is_damage: false });
        }
    }
}

fn lost_span(log: u64, span: &Range<u64>) -> Lost {
    let name = wal::path(Path::new(""), log);
    let what = format!("bytes {} to {} of {} cannot be read", span.start, span.end, name.display());
    Lost { place: (log, span.start), what, shows_in_logs: true, is_damage: true }
}
