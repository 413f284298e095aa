//! The history while the daemon runs: what the next write adds to it, and what leaves because it is too old or too much.
//!
//! While the disk refuses, entries wait in memory. How they look on disk is in [`crate::io::store::history`].

use super::durable::{Durable, Write};
use crate::domain::engine::Effects;
use crate::domain::history::{DeliveryOutcome, DeliveryReport, Entry};
use crate::domain::model::{AlarmFacts, AlarmId};
use crate::domain::time::{Moment, Span, Stamp};
use crate::io::store::Batch;
use crate::io::store::history::{self, Binding, BlockIndex, Names, Old, Shelved, Single};
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// Entries that wait in memory while the disk refuses; of more than these the oldest are not remembered.
const WAITING: usize = 10_000;
/// Bytes of these entries: about 100 each, with the longest texts some thousand.
const WAITING_BYTES: usize = 16 << 20;
/// Old entries whose age is known at one time; so many leave with one write at most.
pub(super) const PAGE: usize = 1_024;
/// Whether the oldest entry is too old is looked at this often.
const LOOK: Span = Span::from_secs(600);

/// How much is remembered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retention {
    /// For how long.
    pub(super) span: Span,
    /// How many entries.
    pub(super) max: usize,
}

/// What became of a delivery, before it is known what its alarm is called.
#[derive(Debug)]
pub(super) struct EndedDelivery {
    pub(super) alarm: AlarmId,
    pub(super) at: Stamp,
    pub(super) occurrence: u64,
    pub(super) reaction: Arc<str>,
    pub(super) delivery: Arc<str>,
    pub(super) outcome: DeliveryOutcome,
    pub(super) attempt: u32,
    pub(super) said: Arc<str>,
}

#[derive(Debug)]
pub(super) struct HistoryLog {
    names: Arc<Names>,
    /// The names of each alarm that has entries, the present one last: an anomaly alarm has one for each severity.
    named: HashMap<AlarmId, Vec<u32>>,
    /// Names that are not on disk yet.
    new_names: Vec<u32>,
    waiting: VecDeque<Single>,
    /// Bytes of those.
    waiting_bytes: usize,
    /// Entries that are on disk and not bound, as far as they were written by this process.
    unbound: VecDeque<Single>,
    /// The block index that is being filled.
    block_index: BlockIndex,
    next: u64,
    /// The oldest entries on disk, as far as they are known.
    old: VecDeque<Old>,
    /// The numbers of the entries on disk.
    stored: Range<u64>,
    /// Nothing of the entries before this number is on disk any more.
    cleared: u64,
    /// How those on disk are kept.
    shelved: Shelved,
    look_at: Moment,
    /// The time of the write that goes on.
    written_at: Moment,
    /// The first entry that it does not bind, and the block index after it; none before it is on disk.
    bound: Option<(u64, BlockIndex)>,
    pub(super) retention: Retention,
}

impl HistoryLog {
    /// A history of which the entries `stored` are on disk.
    pub(super) fn restore(
        names: Names,
        stored: Range<u64>,
        shelved: Shelved,
        retention: Retention,
        now: Moment,
    ) -> HistoryLog {
        let mut named: HashMap<AlarmId, Vec<u32>> = HashMap::new();
        for (number, facts) in &names {
            named.entry(facts.id.clone()).or_default().push(*number);
        }
        HistoryLog {
            names: Arc::new(names),
            named,
            new_names: Vec::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            unbound: VecDeque::new(),
            block_index: BlockIndex::default(),
            next: stored.end,
            old: VecDeque::new(),
            cleared: stored.start,
            stored,
            shelved,
            look_at: now,
            written_at: now,
            bound: None,
            retention,
        }
    }

    /// All names that there are, for a search.
    pub(super) fn names(&self) -> Arc<Names> {
        self.names.clone()
    }

    /// The numbers of the entries that are on disk.
    pub(super) fn on_disk(&self) -> Range<u64> {
        self.stored.clone()
    }

    /// The numbers of the entries that are on disk after the next write.
    pub(super) fn range(&self, now: Moment) -> Range<u64> {
        self.left_after(now)..self.next
    }

    /// The first entry that is left by a write now.
    fn left_after(&self, now: Moment) -> u64 {
        let last = self.leaving(now).checked_sub(1).and_then(|last| self.old.get(last));
        last.map_or(self.stored.start, |last| last.number + 1)
    }

    /// Takes what has happened.
    pub(super) fn take(&mut self, effects: &mut Effects, at: Moment) {
        let shelvings = std::mem::take(&mut effects.shelvings);
        let mut shelvings = shelvings.into_iter().peekable();
        if self.retention.max == 0 {
            return;
        }
        for (place, event) in effects.events.iter().enumerate() {
            while let Some(shelving) = shelvings.next_if(|shelving| shelving.place <= place) {
                self.add(&Entry::Shelving(shelving), at);
            }
            self.add(&Entry::Event(event.clone()), at);
        }
        shelvings.for_each(|shelving| self.add(&Entry::Shelving(shelving), at));
    }

    /// Takes what became of a delivery, if its alarm has been heard of.
    pub(super) fn take_delivery(&mut self, ended: EndedDelivery, at: Moment) {
        let EndedDelivery { alarm, at: stamp, occurrence, reaction, delivery, outcome, attempt, said } = ended;
        let present = self.named.get(&alarm).and_then(|numbers| numbers.last());
        let alarm = present.and_then(|number| self.names.get(number)).cloned();
        if let Some(alarm) = alarm.filter(|_| self.retention.max > 0) {
            let report = DeliveryReport { alarm, at: stamp, occurrence, reaction, delivery, outcome, attempt, said };
            self.add(&Entry::Delivery(report), at);
        }
    }

    fn add(&mut self, entry: &Entry, at: Moment) {
        let name = self.name_of(entry.alarm());
        let single = history::single(self.next, name, at, entry);
        self.waiting_bytes += single.value.len();
        self.waiting.push_back(single);
        self.next += 1;
        while self.waiting.len() > WAITING || self.waiting_bytes > WAITING_BYTES {
            let Some(oldest) = self.waiting.pop_front() else { break };
            self.waiting_bytes -= oldest.value.len();
        }
    }

    fn name_of(&mut self, alarm: &Arc<AlarmFacts>) -> u32 {
        let numbers = self.named.entry(alarm.id.clone()).or_default();
        let known = |number: &u32| self.names.get(number).is_some_and(|known| known == alarm);
        if let Some(place) = numbers.iter().rposition(known) {
            let number = numbers.remove(place);
            numbers.push(number);
            return number;
        }
        let number = self.names.last_key_value().map_or(0, |(last, _)| last.saturating_add(1));
        Arc::make_mut(&mut self.names).insert(number, alarm.clone());
        numbers.push(number);
        self.new_names.push(number);
        number
    }

    /// Whether something is to leave, as far as is known.
    pub(super) fn wants_to_forget(&self, now: Moment) -> bool {
        self.leaving(now) > 0
    }

    /// From which entry on the caller should load old ones, because some may have to leave.
    pub(super) fn wants(&mut self, now: Moment) -> Option<u64> {
        self.rest(now);
        let excess = self.range_len().saturating_sub(self.retention.max);
        if self.stored.is_empty() || !self.old.is_empty() || (excess == 0 && now < self.look_at) {
            return None;
        }
        // Of what is too much and bound only the numbers matter: nothing has to be read.
        let bound = self.shelved.bound.min(self.stored.end);
        let is_not_old = Moment::from_micros(i64::MAX);
        let numbers = (self.stored.start..bound).take(excess.min(PAGE));
        self.old.extend(numbers.map(|number| Old { number, name: u32::MAX, at: is_not_old }));
        if !self.old.is_empty() {
            return None;
        }
        self.look_at = now + LOOK;
        Some(self.stored.start)
    }

    /// Takes old entries that were loaded because it wanted them.
    pub(super) fn load(&mut self, old: Vec<Old>) {
        // What is not there need not leave.
        self.stored.start = old.first().map_or(self.stored.end, |first| first.number);
        self.old.extend(old);
    }

    /// What the oldest entries were found to be is not needed any more: nothing of them is too old.
    pub(super) fn rest(&mut self, now: Moment) {
        if self.leaving(now) == 0 {
            self.old.clear();
        }
    }

    fn range_len(&self) -> usize {
        usize::try_from(self.next - self.stored.start).unwrap_or(usize::MAX)
    }

    /// How many of the old entries are to leave.
    fn leaving(&self, now: Moment) -> usize {
        let too_many = self.range_len().saturating_sub(self.retention.max);
        let oldest = now - self.retention.span;
        self.old.iter().enumerate().take_while(|(place, old)| *place < too_many || old.at < oldest).count()
    }

    /// Adds to a write what has happened and what leaves.
    fn put(&self, batch: &mut Batch, now: Moment) {
        for number in &self.new_names {
            if let Some(facts) = self.names.get(number) {
                history::put_name(batch, *number, facts);
            }
        }
        self.waiting.iter().for_each(|entry| history::put_entry(batch, entry));
        let leaving = self.leaving(now);
        if leaving > 0 {
            let gone = self.cleared..self.left_after(now);
            history::delete(batch, gone, self.old.iter().take(leaving), self.shelved);
        }
    }

    /// What a write now should bind, of the entries that are on disk already. If nothing comes of it, what is handed out is
    /// read from the store another time.
    pub(super) fn binding(&mut self, now: Moment) -> Binding {
        let kept = self.left_after(now)..self.stored.end;
        let bindable = history::bindable(kept.end);
        let count = self.unbound.partition_point(|single| single.number < bindable);
        Binding {
            shelved: self.shelved,
            kept,
            singles: self.unbound.drain(..count).collect(),
            block_index: std::mem::take(&mut self.block_index),
        }
    }

    /// That write is on disk. `now` is the same as it was for the write, `bound` and `block_index` are what came of the binding.
    fn stored(&mut self, now: Moment, bound: u64, block_index: BlockIndex) {
        let left_after = self.left_after(now);
        if left_after > self.stored.start {
            self.cleared = left_after;
        }
        self.stored.start = left_after;
        self.shelved.bound = bound;
        self.block_index = block_index;
        self.old.retain(|old| old.number >= self.stored.start);
        self.stored.end = self.next;
        self.unbound.append(&mut self.waiting);
        self.waiting_bytes = 0;
        self.new_names.clear();
    }
}

impl HistoryLog {
    /// Takes the result of the binding that the write has carried out.
    pub(super) fn take_bound(&mut self, bound: u64, block_index: BlockIndex) {
        self.bound = Some((bound, block_index));
    }
}

impl Durable for HistoryLog {
    /// Entries come with events, and are put with them.
    fn must_be_written(&self) -> bool {
        false
    }

    fn put(&mut self, write: &mut Write) {
        self.written_at = write.now.at;
        HistoryLog::put(self, &mut write.batch, write.now.at);
    }

    fn stored(&mut self) {
        if let Some((bound, block_index)) = self.bound.take() {
            HistoryLog::stored(self, self.written_at, bound, block_index);
        }
    }

    fn failed(&mut self) {}
}

#[cfg(test)]
mod tests;
