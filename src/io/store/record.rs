//! Which pairs are in the store, and how they look as bytes.
//!
//! | key | value |
//! |---|---|
//! | `l` | up to where damage of the logs was told to a person |
//! | `m` | where sequence numbers, the outbox and the time line stand |
//! | `a` handle | the lasting part of an alarm |
//! | `s` handle | the part that changes with values; in a snapshot many lie in one pair: see `snapshot::pages` |
//! | `w` handle block | samples of its window |
//! | `o` number | a message for the broker |
//! | `f`, `h`, `v`, `c`, `x` | the history: see [`super::history`] |
//! | `b` | the subscriptions that the broker's session may have |
//! | `g` | the prefixes under which alarms may have been announced to Home Assistant |
//! | `i` block | messages that were evaluated and that the broker may send again |
//! | `d` number, `r` alarm reaction | what reactions have to deliver, and when: [`reactions`] |
//!
//! Handles, blocks and numbers are big-endian, so that the order of keys is theirs. Each value is a frame: a version, a
//! checksum, and the record in postcard encoding. A frame whose checksum is wrong costs that record and nothing else; an
//! older version is read as it was; a newer one is refused, because to go on without it would lose what it says.
//!
//! The records mirror the engine's types on purpose: those may change with the program, these only with a new version.

mod alarms;
pub(super) mod codes;
pub mod reactions;

use super::{Batch, SmallBytes, Store, StoreError};
use crate::daemon::{PACKETS_PER_BLOCK, Packet, PacketChanges};
use crate::domain::engine::{AlarmMemory, Changes, Memory, SAMPLES_PER_BLOCK, WindowMemory};
use crate::domain::model::{CutText, Value};
use crate::domain::outbox::{OutboundEvent, PAGE_BYTES};
use crate::domain::time::{Moment, Span, Stamp};
use crate::io::clock::Anchor;
use alarms::{AlarmRecord, SamplesRecord, SoftRecord, samples_of};
use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Deserializer, Serialize};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;

/// The version that is written.
const VERSION: u8 = 1;
/// Version and checksum.
const HEADER: usize = 5;

/// Pairs that are read from the store at once: what an earlier release wrote may have a text of 256 KiB in each.
const PAGE: usize = 256;

/// Where the counters and the time line stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The gateway that wrote it.
    pub gateway: String,
    /// The number of the next event.
    pub next_seq: u64,
    /// The number of the next message for the broker.
    pub next_outbound_event: u64,
    /// The numbers of the entries of the history.
    pub history: Range<u64>,
    /// The time line.
    pub anchor: Anchor,
    /// Up to where it was observed.
    pub observed_until: Moment,
    /// Whether the next event has to say that others may be missing before it.
    pub seq_gap: bool,
}

/// Everything that was stored.
#[derive(Debug, Default)]
pub struct Recovered {
    /// None: the store is new.
    pub position: Option<Position>,
    /// The alarms.
    pub alarms: Vec<Memory>,
    /// Packet ids and checksums of messages that were evaluated and that the broker may send again.
    pub packets: Vec<Packet>,
    /// The number of the first of them.
    pub first_packet: u64,
    /// Records that could not be read.
    pub damaged: usize,
    /// Keys of what belongs to no alarm: removed ones have left it behind in earlier releases.
    pub obsolete: Vec<SmallBytes>,
    /// Handles from this one on were never given to an alarm.
    pub free_handle: u32,
}

#[derive(Serialize, Deserialize)]
struct PositionRecord {
    gateway: String,
    next_seq: u64,
    next_outbound_event: u64,
    history: (u64, u64),
    at: i64,
    wall: i64,
    boot_id: String,
    uptime: i64,
    observed_until: i64,
    #[serde(default, deserialize_with = "if_there")]
    seq_gap: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) enum ValueRecord {
    Number(f64),
    Boolean(bool),
    Text(String),
    /// A text that was cut: what is shown of it, and its length and hash.
    Cut(String, u64, u64),
}

#[derive(Serialize, Deserialize)]
struct PacketsRecord {
    first: u64,
    packets: Vec<Packet>,
}

#[derive(Serialize, Deserialize)]
struct OutboundEventRecord<'a> {
    topic: &'a str,
    #[serde(with = "serde_bytes")]
    payload: &'a [u8],
    retain: bool,
}

thread_local! {
    /// Where frames are made: postcard does not know beforehand how long they become.
    static DESK: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}
/// What a desk may have room for when it is left.
const DESK_BYTES: usize = 64 << 10;

/// A frame in the making.
struct Draft(Vec<u8>);

impl Flavor for Draft {
    type Output = Vec<u8>;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.0)
    }
}

pub(super) fn frame(record: &impl Serialize) -> SmallBytes {
    framed(VERSION, record)
}

/// A frame of another version: what is in it is no record.
pub(super) fn framed(version: u8, content: &impl Serialize) -> SmallBytes {
    let mut desk = DESK.take();
    desk.clear();
    desk.extend_from_slice(&[version, 0, 0, 0, 0]);
    // A record that cannot be written is one that cannot be read.
    let mut desk = postcard::serialize_with_flavor(content, Draft(desk)).unwrap_or_else(|_| vec![version; HEADER]);
    let (header, body) = desk.split_at_mut(HEADER);
    header[1..].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
    let frame = SmallBytes::from(desk.as_slice());
    desk.shrink_to(DESK_BYTES);
    DESK.set(desk);
    frame
}

/// Why a frame was not read.
pub(super) enum Unreadable {
    Damaged,
    Newer(u8),
}

pub(super) fn unframe<'a, T: Deserialize<'a>>(frame: &'a [u8]) -> Result<T, Unreadable> {
    let (version, body) = opened(frame).ok_or(Unreadable::Damaged)?;
    if version > VERSION {
        return Err(Unreadable::Newer(version));
    }
    postcard::from_bytes(body).map_err(|_| Unreadable::Damaged)
}

/// The version of a frame and what is in it; none: it is damaged.
pub(super) fn opened(frame: &[u8]) -> Option<(u8, &[u8])> {
    let (header, body) = frame.split_at_checked(HEADER)?;
    let (version, checksum) = header.split_first()?;
    (crc32fast::hash(body).to_le_bytes() == checksum).then_some((*version, body))
}

/// The first byte of the keys of messages for the broker. Their numbers only rise: a key above all that there were was
/// never there before.
pub(super) const OUTBOUND_EVENTS: u8 = b'o';
/// The first byte of the keys of what changes with values.
pub(super) const SOFT: u8 = b's';
/// The first byte of the keys of the lasting parts of alarms.
pub(super) const LASTING: u8 = b'a';
/// The first byte of the keys of samples.
const SAMPLES: u8 = b'w';
/// Where the counters and the time line stand.
pub(super) const POSITION: &[u8] = b"m";
/// Up to where damage of the logs was told.
pub(super) const LOST: &[u8] = b"l";
/// The prefixes under which alarms may have been announced to Home Assistant.
pub(crate) const DISCOVERY: &[u8] = b"g";
/// The subscriptions that the broker's session may have.
pub(crate) const FILTERS: &[u8] = b"b";

pub(super) fn key(kind: u8, handle: u32) -> SmallBytes {
    let [a, b, c, d] = handle.to_be_bytes();
    SmallBytes::from([kind, a, b, c, d])
}

fn block_key(handle: u32, block: u64) -> Vec<u8> {
    let mut key = key(SAMPLES, handle).to_vec();
    key.extend_from_slice(&block.to_be_bytes());
    key
}

pub(super) fn numbered_key(kind: u8, number: u64) -> SmallBytes {
    let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
    SmallBytes::from([kind, a, b, c, d, e, f, g, h])
}

fn outbound_event_key(number: u64) -> SmallBytes {
    numbered_key(OUTBOUND_EVENTS, number)
}

/// Adds where everything stands.
pub fn put_position(batch: &mut Batch, position: &Position) {
    let Position { gateway, next_seq, next_outbound_event, history, anchor, observed_until, seq_gap } = position;
    let record = PositionRecord {
        gateway: gateway.clone(),
        next_seq: *next_seq,
        next_outbound_event: *next_outbound_event,
        history: (history.start, history.end),
        at: anchor.at.as_micros(),
        wall: anchor.wall.as_micros(),
        boot_id: anchor.boot_id.clone(),
        uptime: anchor.uptime.as_micros(),
        observed_until: observed_until.as_micros(),
        seq_gap: *seq_gap,
    };
    batch.put(POSITION.to_vec(), frame(&record));
}

/// The value that says up to which log and byte in it damage was told.
pub(super) fn put_lost_until(place: (u64, u64)) -> Vec<u8> {
    frame(&place).to_vec()
}

/// What that value says; none: it is damaged, and the damage is told again.
pub(super) fn lost_until(value: &[u8]) -> Option<(u64, u64)> {
    unframe(value).ok()
}

/// Adds which messages were evaluated and may come again.
pub(crate) fn put_packets(batch: &mut Batch, changes: &PacketChanges) {
    let PacketChanges { obsolete, first, packets } = changes;
    for block in obsolete.start / PACKETS_PER_BLOCK..obsolete.end / PACKETS_PER_BLOCK {
        batch.delete(numbered_key(b'i', block));
    }
    for (first, packets) in blocks(*first, packets, PACKETS_PER_BLOCK) {
        batch.put(
            numbered_key(b'i', first / PACKETS_PER_BLOCK),
            frame(&PacketsRecord { first, packets: packets.to_vec() }),
        );
    }
}

/// A numbered list, cut where blocks of `size` end; each piece with the number of its first element.
fn blocks<T>(first: u64, list: &[T], size: u64) -> impl Iterator<Item = (u64, &[T])> {
    let (mut number, mut rest) = (first, list);
    std::iter::from_fn(move || {
        let room = usize::try_from(size - number % size).unwrap_or(usize::MAX).min(rest.len());
        let (block, after) = rest.split_at(room);
        let piece = (!block.is_empty()).then_some((number, block));
        number += block.len() as u64;
        rest = after;
        piece
    })
}

/// Adds what has changed of alarms.
pub fn put_changes(batch: &mut Batch, changes: &Changes) {
    for alarm in &changes.alarms {
        batch.put(key(LASTING, alarm.handle), frame(&AlarmRecord::from(alarm)));
    }
    for soft in &changes.soft {
        batch.put(key(SOFT, soft.handle), frame(&SoftRecord::from(soft)));
    }
    for window in &changes.windows {
        put_window(batch, window);
    }
}

fn put_window(batch: &mut Batch, window: &WindowMemory) {
    let WindowMemory { handle, stored_from, held_from, first, samples } = window;
    for block in stored_from / SAMPLES_PER_BLOCK..held_from / SAMPLES_PER_BLOCK {
        batch.delete(block_key(*handle, block));
    }
    for (first, samples) in blocks(*first, samples, SAMPLES_PER_BLOCK) {
        let samples = samples.iter().map(|sample| (sample.at.as_micros(), sample.value)).collect();
        batch.put(block_key(*handle, first / SAMPLES_PER_BLOCK), frame(&SamplesRecord { first, samples }));
    }
}

/// Removes an alarm that is not configured any more.
pub fn delete_alarm(batch: &mut Batch, memory: &AlarmMemory) {
    batch.delete(key(LASTING, memory.handle));
    batch.delete(key(SOFT, memory.handle));
}

/// Adds a message for the broker.
pub fn put_outbound_event(batch: &mut Batch, number: u64, outbound_event: &OutboundEvent) {
    let OutboundEvent { topic, payload, retain } = outbound_event;
    let record = OutboundEventRecord { topic, payload, retain: *retain };
    batch.put(outbound_event_key(number), frame(&record));
}

/// Removes a message that the broker has taken.
pub fn delete_outbound_event(batch: &mut Batch, number: u64) {
    batch.delete(outbound_event_key(number));
}

/// Messages for the broker from this number on, `limit` at most, and no more than fit into a page's bytes. A damaged one is
/// skipped. None: there are no more.
///
/// # Errors
/// Why the store cannot be read.
pub fn outbound_events(
    store: &mut dyn Store,
    from: u64,
    limit: usize,
) -> Result<Vec<(u64, OutboundEvent)>, StoreError> {
    /// Pairs that are read at once: what an earlier release wrote may have a text of 256 KiB in each.
    const PIECE: usize = 64;
    let (mut outbound_events, mut bytes, mut from) = (Vec::new(), 0, outbound_event_key(from).to_vec());
    while outbound_events.len() < limit && bytes < PAGE_BYTES {
        let piece = store.scan(&[OUTBOUND_EVENTS], &from, PIECE.min(limit - outbound_events.len()))?;
        let Some((last, _)) = piece.last() else { break };
        from.clone_from(last);
        from.push(0);
        for (key, value) in &piece {
            let number = key.get(1..).and_then(|tail| tail.try_into().ok()).map(u64::from_be_bytes);
            if let (Some(number), Ok(OutboundEventRecord { topic, payload, retain })) = (number, unframe(value)) {
                let outbound_event = OutboundEvent { topic: topic.into(), payload: payload.to_vec().into(), retain };
                bytes += outbound_event.bytes();
                outbound_events.push((number, outbound_event));
            }
        }
    }
    Ok(outbound_events)
}

/// Adds a list of texts under one key.
pub(crate) fn put_texts(batch: &mut Batch, key: &[u8], texts: &[String]) {
    batch.put(key.to_vec(), frame(&texts));
}

/// A list of texts under one key. A damaged one is as good as none: what it named stays at the broker.
///
/// # Errors
/// Why the store cannot be read, or that a newer release wrote it.
pub(crate) fn texts(store: &mut dyn Store, key: &[u8]) -> Result<Vec<String>, StoreError> {
    let mut texts = None;
    for (_, value) in store.scan(key, key, 1)? {
        texts = readable(&value, &mut 0)?;
    }
    Ok(texts.unwrap_or_default())
}

/// Reads everything but the messages.
///
/// # Errors
/// Why the store cannot be read, or that a newer release wrote it.
pub fn recover(store: &mut dyn Store) -> Result<Recovered, StoreError> {
    let mut recovered = Recovered::default();
    let mut damaged = 0;
    for (_, value) in store.scan(POSITION, POSITION, 1)? {
        recovered.position = readable::<PositionRecord>(&value, &mut damaged)?.map(Position::from);
    }
    for_each(store, b"i", |_, value| {
        if let Some(PacketsRecord { first, packets }) = readable(value, &mut damaged)? {
            // What stands before a damaged block is of no use: the list is known to its end or not at all.
            if first != recovered.first_packet + recovered.packets.len() as u64 {
                (recovered.first_packet, recovered.packets) = (first, Vec::new());
            }
            recovered.packets.extend(packets);
        }
        Ok(())
    })?;
    let mut soft: BTreeMap<u32, SoftRecord> = BTreeMap::new();
    for_each(store, &[SOFT], |key, value| {
        if let (Some(handle), Some(record)) = (handle_of(key), readable(value, &mut damaged)?) {
            soft.insert(handle, record);
        }
        Ok(())
    })?;
    let mut windows: BTreeMap<u32, Vec<SamplesRecord>> = BTreeMap::new();
    for_each(store, &[SAMPLES], |key, value| {
        if let (Some(handle), Some(record)) = (handle_of(key), readable(value, &mut damaged)?) {
            windows.entry(handle).or_default().push(record);
        }
        Ok(())
    })?;
    for_each(store, &[LASTING], |key, value| {
        if let (Some(handle), Some(record)) = (handle_of(key), readable::<AlarmRecord<'_>>(value, &mut damaged)?)
            && let Some(alarm) = record.into_memory(handle)
        {
            let soft = soft.remove(&handle).map(|record| record.into_memory(handle));
            let blocks = windows.remove(&handle).unwrap_or_default();
            let held = soft.as_ref().map_or(0..0, |soft| soft.samples.clone());
            let is_left = |block: &&SamplesRecord| {
                block.first >= held.end || block.first + block.samples.len() as u64 <= held.start
            };
            let left = blocks.iter().filter(is_left).map(|block| block.first / SAMPLES_PER_BLOCK);
            recovered.obsolete.extend(left.map(|block| SmallBytes::from(&*block_key(handle, block))));
            recovered.free_handle = recovered.free_handle.max(handle.saturating_add(1));
            let samples = soft.as_ref().and_then(|soft| samples_of(soft, &blocks)).unwrap_or_default();
            recovered.alarms.push(Memory { alarm, soft, samples });
        }
        Ok(())
    })?;
    // Nothing is done with what belongs to a damaged record: it may be mended by the next change of the alarm.
    if damaged == 0 {
        for (handle, blocks) in &windows {
            recovered.obsolete.extend(blocks.iter().map(|block| {
                let block = block.first / SAMPLES_PER_BLOCK;
                SmallBytes::from(&*block_key(*handle, block))
            }));
        }
        recovered.obsolete.extend(soft.keys().map(|handle| key(SOFT, *handle)));
    }
    let left = soft.keys().chain(windows.keys()).max().map_or(0, |handle| handle.saturating_add(1));
    recovered.free_handle = recovered.free_handle.max(left);
    recovered.damaged = damaged;
    Ok(recovered)
}

/// The keys of all samples that are stored for these alarms.
///
/// # Errors
/// Why the store cannot be read.
pub fn samples_of_alarms(store: &mut dyn Store, handles: &[u32]) -> Result<Vec<SmallBytes>, StoreError> {
    let mut keys = Vec::new();
    for handle in handles {
        for_each(store, &key(SAMPLES, *handle), |key, _| {
            keys.push(SmallBytes::from(key));
            Ok(())
        })?;
    }
    Ok(keys)
}

/// The record, or none if it is damaged.
pub(super) fn readable<'a, T: Deserialize<'a>>(value: &'a [u8], damaged: &mut usize) -> Result<Option<T>, StoreError> {
    match unframe(value) {
        Ok(record) => Ok(Some(record)),
        Err(Unreadable::Damaged) => {
            *damaged += 1;
            Ok(None)
        }
        Err(Unreadable::Newer(version)) => Err(StoreError::new(
            "cannot use the store",
            format!(
                "a newer annunciator wrote it (record version {version}, this one reads up to {VERSION}): \
                 install that release, or move the folder away"
            ),
        )),
    }
}

pub(super) fn for_each(
    store: &mut dyn Store,
    prefix: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut from = prefix.to_vec();
    loop {
        let page = store.scan(prefix, &from, PAGE)?;
        for (key, value) in &page {
            visit(key, value)?;
        }
        match page.last() {
            Some((last, _)) if page.len() == PAGE => {
                from.clone_from(last);
                from.push(0);
            }
            _ => return Ok(()),
        }
    }
}

pub(super) fn handle_of(key: &[u8]) -> Option<u32> {
    key.get(1..5).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes)
}

impl From<PositionRecord> for Position {
    fn from(record: PositionRecord) -> Position {
        let PositionRecord { gateway, next_seq, next_outbound_event, history, at, wall, boot_id, uptime, .. } = record;
        let history = history.0..history.1;
        let anchor = Anchor {
            at: Moment::from_micros(at),
            wall: Stamp::from_micros(wall),
            boot_id,
            uptime: Span::from_micros(uptime),
        };
        let observed_until = Moment::from_micros(record.observed_until);
        Position { gateway, next_seq, next_outbound_event, history, anchor, observed_until, seq_gap: record.seq_gap }
    }
}

impl From<&Value> for ValueRecord {
    fn from(value: &Value) -> ValueRecord {
        match value {
            Value::Number(number) => ValueRecord::Number(*number),
            Value::Boolean(boolean) => ValueRecord::Boolean(*boolean),
            Value::Text(text) => match text.cut() {
                None => ValueRecord::Text(text.to_string()),
                Some(CutText { shown, length, hash }) => ValueRecord::Cut(shown.to_string(), *length, *hash),
            },
        }
    }
}

impl From<ValueRecord> for Value {
    fn from(record: ValueRecord) -> Value {
        match record {
            ValueRecord::Number(number) => Value::Number(number),
            ValueRecord::Boolean(boolean) => Value::Boolean(boolean),
            ValueRecord::Text(text) => Value::Text(text.into()),
            ValueRecord::Cut(shown, length, hash) => Value::Text(CutText { shown: shown.into(), length, hash }.into()),
        }
    }
}

/// A field that was appended to a record: one that was written before ends where it would begin.
pub(super) fn if_there<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(reader: D) -> Result<T, D::Error> {
    // The checksum was right, so the end is all that can be wrong.
    Ok(T::deserialize(reader).unwrap_or_default())
}
