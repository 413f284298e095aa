//! Scorers on disk: what the past has left in them, without the values of their last segments, which are samples.

use super::prefix;
use crate::api::topics::encode;
use crate::domain::anomaly::scorer::ScorerMemory;
use crate::domain::anomaly::season::SeasonMemory;
use crate::domain::anomaly::segment::CutterMemory;
use crate::domain::anomaly::stream::StreamMemory;
use crate::domain::time::Stamp;
use crate::io::store::record::{frame, unframe};
use crate::io::store::{Batch, Store, StoreError};
use serde::{Deserialize, Serialize};

type TailRecord = Vec<(u32, Vec<f64>)>;

#[derive(Serialize, Deserialize)]
struct ScorerRecord {
    at: i64,
    streams: Vec<StreamRecord>,
    cutters: Vec<(Option<i64>, Option<i64>)>,
    tail: TailRecord,
    held: Option<(f64, i64)>,
}

#[derive(Serialize, Deserialize)]
struct StreamRecord {
    expected: Option<f64>,
    days: Vec<Vec<f64>>,
    present: (u32, f64, f64),
    recent: Vec<f64>,
    tails: Vec<TailRecord>,
}

/// The key of a thing's scorer when it had seen the past that this revision was built from.
pub fn trained_key(name: &str, revision: u64, thing: &str) -> Vec<u8> {
    [prefix(name).as_slice(), b"s", &revision.to_be_bytes(), encode(thing).as_bytes()].concat()
}

/// The key of a thing's scorer as it was not long ago.
pub fn running_key(name: &str, thing: &str) -> Vec<u8> {
    [prefix(name).as_slice(), b"r", encode(thing).as_bytes()].concat()
}

/// Adds a scorer to a batch.
pub fn put_scorer(batch: &mut Batch, key: Vec<u8>, memory: &ScorerMemory) {
    batch.put(key, frame(&record(memory)));
}

/// Reads a scorer; none if there is none that can be read.
///
/// # Errors
/// Why it cannot be read.
pub fn get_scorer(store: &mut dyn Store, key: &[u8]) -> Result<Option<ScorerMemory>, StoreError> {
    let pairs = store.scan(key, key, 1)?;
    let found = pairs.first().filter(|(found, _)| found == key);
    Ok(found.and_then(|(_, value)| unframe::<ScorerRecord>(value).ok()).and_then(memory))
}

fn record(memory: &ScorerMemory) -> ScorerRecord {
    let micros = |stamp: Stamp| stamp.as_micros();
    let stream = |stream: &StreamMemory| StreamRecord {
        expected: stream.expected,
        days: stream.season.days.clone(),
        present: (super::narrow(stream.season.present.0), stream.season.present.1, stream.season.present.2),
        recent: stream.recent.clone(),
        tails: stream.tails.iter().map(|blocks| narrowed(blocks)).collect(),
    };
    ScorerRecord {
        at: memory.at.as_micros(),
        streams: memory.streams.iter().map(stream).collect(),
        cutters: memory.cutters.iter().map(|cutter| (cutter.due.map(micros), cutter.broken_at.map(micros))).collect(),
        tail: narrowed(&memory.tail),
        held: memory.held.map(|(score, until)| (score, until.as_micros())),
    }
}

fn narrowed(blocks: &[(usize, Vec<f64>)]) -> TailRecord {
    blocks.iter().map(|(count, kept)| (super::narrow(*count), kept.clone())).collect()
}

fn memory(record: ScorerRecord) -> Option<ScorerMemory> {
    let widened = |blocks: TailRecord| -> Option<Vec<(usize, Vec<f64>)>> {
        blocks.into_iter().map(|(count, kept)| Some((usize::try_from(count).ok()?, kept))).collect()
    };
    let stream = |record: StreamRecord| {
        let present = (usize::try_from(record.present.0).ok()?, record.present.1, record.present.2);
        Some(StreamMemory {
            expected: record.expected,
            season: SeasonMemory { days: record.days, present },
            recent: record.recent,
            tails: record.tails.into_iter().map(widened).collect::<Option<_>>()?,
        })
    };
    let stamp = Stamp::from_micros;
    Some(ScorerMemory {
        at: stamp(record.at),
        streams: record.streams.into_iter().map(stream).collect::<Option<_>>()?,
        cutters: record
            .cutters
            .into_iter()
            .map(|(due, broken_at)| CutterMemory { due: due.map(stamp), broken_at: broken_at.map(stamp) })
            .collect(),
        tail: widened(record.tail)?,
        held: record.held.map(|(score, until)| (score, stamp(until))),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::io::store::models) fn is_the_same_after_being_kept(scorer: &ScorerMemory) {
        let bytes = frame(&record(scorer));
        let read = unframe::<ScorerRecord>(&bytes).ok().and_then(memory);
        assert_eq!(read.as_ref(), Some(scorer));
        assert!(bytes.len() < 65_536, "{} bytes", bytes.len());
    }
}
