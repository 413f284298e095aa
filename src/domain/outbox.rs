//! What has to reach the broker: in which order, how much at once, what when there is too much.
//!
//! Two kinds of things leave. *Outbound events* are events, and the deletion of retained topics: each is on disk before it gets
//! here and stays there until the broker has taken it (PUBACK); they leave in order, and after a lost connection all
//! that were not taken leave again, byte for byte. *States* are the retained topics of alarms: only the newest of each
//! alarm matters, so a newer one takes the place of one that waits, and nothing of them is on disk, because all of them
//! are published again after every connect. They leave in *rounds*: all that wait, and then, after a rest that is the
//! longer the more there were, all that wait by then. Where a thousand alarms flap, each event still leaves, but of the
//! states only those that somebody could read.
//!
//! It decides; it sends nothing and reads no disk. What it does not hold in memory the caller loads for it.

use crate::domain::engine::AlarmIx;
use crate::domain::notify::delivery::Ticket;
use crate::domain::time::{Moment, Span};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Outbound events held in memory, some megabytes. What waits beyond is on disk only and is loaded when there is room.
const HELD: usize = 4_096;
/// Bytes of the outbound events held in memory that are on disk, too. An event has about 500; with the longest names and texts it
/// has some ten thousand.
const HELD_BYTES: usize = 8 << 20;
/// Bytes of the outbound events in memory, those included that the disk refused. What is more is dropped, the oldest first: a
/// hundred thousand events of usual length.
const MEMORY_BYTES: usize = 64 << 20;
/// Outbound events that are loaded at once, and the bytes that they may have.
pub const PAGE: usize = 1_024;
/// Bytes after which no further outbound event is loaded at once.
pub const PAGE_BYTES: usize = HELD_BYTES / 4;
/// Messages with QoS 1 that wait for the broker's PUBACK at one time: what a turn decides at thousands of events a second.
/// Brokers allow 20 (mosquitto's default for the other direction), 100 (AWS IoT Core) or 65,535; more than this brings
/// nothing, and a full window in the client library would hold back the acknowledgements of what we receive.
pub const WINDOW: usize = 96;

/// For each state of a round so long a rest follows, so that no more than 2,000 of them leave in a second.
const REST_EACH: Span = Span::from_micros(500);
/// No rest is longer: a person does not see the difference, and a state is never older than that.
const LONGEST_REST: Span = Span::from_millis(500);

/// A message that must not be lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundEvent {
    /// Where it goes.
    pub topic: Arc<str>,
    /// What it says.
    pub payload: Bytes,
    /// Whether the broker keeps it.
    pub retain: bool,
}

impl OutboundEvent {
    /// Bytes of its texts.
    pub(crate) fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len()
    }
}

/// What was handed to the link, to be recognised when the broker has taken it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// The outbound event with this number.
    OutboundEvent(u64),
    /// The state of this alarm.
    State(AlarmIx),
    /// The announcement of an alarm to Home Assistant.
    Discovery,
    /// Something that will be published anew anyway.
    Passing,
    /// An answer to a command, which takes so many bytes.
    Answer(u32),
    /// The daemon's message to itself with this number.
    Probe(u64),
    /// A message of which only the confirmation matters: what was acknowledged before it is settled.
    Fence,
    /// What a reaction says over MQTT.
    Reaction(Ticket),
    /// The last word before the end.
    FinalStatus,
}

/// What to send next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Send {
    /// A outbound event, as it is.
    OutboundEvent(u64, OutboundEvent),
    /// The present state of an alarm.
    State(AlarmIx),
}

/// The queue to the broker.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Outbound events in memory by number, sent or not.
    held: BTreeMap<u64, OutboundEvent>,
    /// Bytes of those.
    held_bytes: usize,
    /// The first outbound event that is on disk only; none: all are held.
    on_disk_from: Option<u64>,
    /// How many are on disk only.
    on_disk: usize,
    /// The next outbound event to send; all below are with the broker.
    next_to_send: u64,
    /// The number of the next outbound event.
    next: u64,
    states: VecDeque<AlarmIx>,
    waiting_states: BTreeSet<AlarmIx>,
    /// How many of the states belong to the round that is going on.
    round: usize,
    /// When the next round may begin.
    next_round: Moment,
    /// Until then states wait for nothing else.
    resting_until: Option<Moment>,
    /// Everything leaves as soon as it can: this is the end.
    is_closing: bool,
    in_flight: usize,
    connected: bool,
    /// Outbound events that the broker has taken and the store still has.
    taken: Vec<u64>,
    /// Those of them that leave the store with the write that goes on.
    leaving: Vec<u64>,
    /// Outbound events that were dropped because there were too many.
    dropped: u64,
}

impl Outbox {
    /// An outbox with outbound events from an earlier run: `waiting` of them are on disk from `first` on.
    pub fn restore(next: u64, first: Option<u64>, waiting: usize) -> Outbox {
        Outbox { next, on_disk_from: first, on_disk: waiting, next_to_send: first.unwrap_or(next), ..Outbox::default() }
    }

    /// The number that the next outbound event will have.
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// Outbound events that the broker has not taken.
    pub fn waiting(&self) -> usize {
        self.held.len() + self.on_disk
    }

    /// The number of the oldest of them.
    pub fn first_waiting(&self) -> Option<u64> {
        let held = self.held.first_key_value().map(|(number, _)| *number);
        [held, self.on_disk_from].into_iter().flatten().min()
    }

    /// Outbound events that were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes a outbound event that is on disk, or that the disk refused and memory has to keep.
    pub fn push(&mut self, outbound_event: OutboundEvent, on_disk: bool) -> u64 {
        let number = self.next;
        self.next += 1;
        let is_full = self.held.len() >= HELD || self.held_bytes >= HELD_BYTES;
        if on_disk && (self.on_disk_from.is_some() || is_full) {
            self.on_disk_from.get_or_insert(number);
            self.on_disk += 1;
        } else {
            self.hold(number, outbound_event);
        }
        number
    }

    fn hold(&mut self, number: u64, outbound_event: OutboundEvent) {
        self.held_bytes += outbound_event.bytes();
        self.held.insert(number, outbound_event);
    }

    /// Drops the oldest outbound events until at most `max` wait, and memory has no more than it may. The dropped numbers are to be
    /// removed from the store.
    pub fn trim(&mut self, max: usize) {
        while self.waiting() > max || self.held_bytes > MEMORY_BYTES {
            let Some((number, outbound_event)) = self.held.pop_first() else { break };
            self.held_bytes -= outbound_event.bytes();
            self.taken.push(number);
            self.dropped += 1;
        }
    }

    /// The outbound event from which on the caller should load a page, if there is room for it now.
    pub fn wants(&self) -> Option<u64> {
        self.on_disk_from.filter(|_| self.held.len() + PAGE <= HELD && self.held_bytes + PAGE_BYTES <= HELD_BYTES)
    }

    /// Takes outbound events that were loaded because it wanted them; none: there are no more.
    pub fn load(&mut self, page: Vec<(u64, OutboundEvent)>) {
        self.on_disk = self.on_disk.saturating_sub(page.len());
        let complete = page.is_empty() || self.on_disk == 0;
        self.on_disk_from = page.last().map(|(number, _)| number + 1).filter(|_| !complete);
        if complete {
            self.on_disk = 0;
        }
        if let Some((first, _)) = page.first() {
            self.next_to_send = self.next_to_send.min(*first);
        }
        page.into_iter().for_each(|(number, outbound_event)| self.hold(number, outbound_event));
    }

    /// An alarm's retained topic is not what it should be.
    pub fn state_changed(&mut self, alarm: AlarmIx) {
        if self.waiting_states.insert(alarm) {
            self.states.push_back(alarm);
        }
    }

    /// Alarms have other numbers now: all their states leave again, and those that wait under old numbers do not.
    pub fn states_begin_anew(&mut self, alarms: Vec<AlarmIx>) {
        self.states.clear();
        self.waiting_states.clear();
        self.round = 0;
        alarms.into_iter().for_each(|alarm| self.state_changed(alarm));
    }

    /// Alarms have gone: their states do not leave.
    pub fn forget_states(&mut self, is_gone: impl Fn(AlarmIx) -> bool) {
        let in_round = self.states.iter().take(self.round).filter(|alarm| is_gone(**alarm)).count();
        self.round -= in_round;
        self.states.retain(|alarm| !is_gone(*alarm));
        self.waiting_states.retain(|alarm| !is_gone(*alarm));
    }

    /// The link is up: everything that the broker did not take leaves again, and every state.
    pub fn connected(&mut self, alarms: impl Iterator<Item = AlarmIx>) {
        self.connected = true;
        self.in_flight = 0;
        self.next_to_send = 0;
        alarms.for_each(|alarm| self.state_changed(alarm));
        self.round = self.states.len();
    }

    /// From now on nothing rests.
    pub fn close(&mut self) {
        self.is_closing = true;
    }

    /// When there is something to send again, if only the rest between two rounds of states is in the way.
    pub fn resting_until(&self) -> Option<Moment> {
        self.resting_until
    }

    /// The link is down: nothing leaves.
    pub fn disconnected(&mut self) {
        self.connected = false;
        self.in_flight = 0;
    }

    /// The next thing to send, if the window has room: outbound events first, then states.
    pub fn next_to_send(&mut self, now: Moment) -> Option<Send> {
        self.resting_until = None;
        if !self.connected || self.in_flight >= WINDOW {
            return None;
        }
        // What is on disk only is older than what was taken into memory because the disk refused.
        let until = self.on_disk_from.unwrap_or(u64::MAX);
        let send = match self.held.range(self.next_to_send..until.max(self.next_to_send)).next() {
            Some((number, outbound_event)) => {
                self.next_to_send = number + 1;
                Send::OutboundEvent(*number, outbound_event.clone())
            }
            // A state must not overtake its event, so as long as outbound events are on their way from the disk states wait.
            None if self.on_disk_from.is_some() => return None,
            None => {
                if self.round == 0 && !self.states.is_empty() && !self.begins_a_round(now) {
                    self.resting_until = Some(self.next_round);
                    return None;
                }
                let alarm = self.states.pop_front()?;
                self.waiting_states.remove(&alarm);
                self.round -= 1;
                Send::State(alarm)
            }
        };
        self.in_flight += 1;
        Some(send)
    }

    fn begins_a_round(&mut self, now: Moment) -> bool {
        let is_time = now >= self.next_round || self.is_closing;
        if is_time {
            self.round = self.states.len();
            let each = i64::try_from(self.round).unwrap_or(i64::MAX);
            let rest = Span::from_micros(REST_EACH.as_micros().saturating_mul(each));
            self.next_round = now + rest.min(LONGEST_REST);
        }
        is_time
    }

    /// The broker has taken something.
    pub fn taken(&mut self, token: Token) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Token::OutboundEvent(number) = token
            && let Some(outbound_event) = self.held.remove(&number)
        {
            self.held_bytes -= outbound_event.bytes();
            self.taken.push(number);
        }
    }

    /// The numbers of outbound events that the store need not keep any more. They leave with the write that begins now.
    pub fn begin_deletions(&mut self) -> &[u64] {
        self.leaving.append(&mut self.taken);
        &self.leaving
    }

    /// That write is on disk.
    pub fn end_deletions(&mut self) {
        self.leaving.clear();
    }

    /// That write has failed: they leave with the next one.
    pub fn give_back_deletions(&mut self) {
        std::mem::swap(&mut self.leaving, &mut self.taken);
        self.taken.append(&mut self.leaving);
    }

    /// Whether there are any.
    pub fn has_deletions(&self) -> bool {
        !self.taken.is_empty()
    }

    /// Whether all is with the broker.
    pub fn is_idle(&self) -> bool {
        self.waiting() == 0 && self.states.is_empty() && self.in_flight == 0
    }

    /// Whether there are outbound events that were not handed out yet on this connection.
    pub fn has_unsent_events(&self) -> bool {
        self.on_disk_from.is_some() || self.held.range(self.next_to_send..).next().is_some()
    }

    /// All outbound events in memory: what a store has to be given that has lost everything.
    pub fn held(&self) -> impl Iterator<Item = (u64, &OutboundEvent)> {
        self.held.iter().map(|(number, outbound_event)| (*number, outbound_event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbound_event(text: &str) -> OutboundEvent {
        OutboundEvent { topic: Arc::from("t"), payload: Bytes::copy_from_slice(text.as_bytes()), retain: false }
    }

    fn drain(outbox: &mut Outbox) -> Vec<u64> {
        drain_at(outbox, 0)
    }

    fn drain_at(outbox: &mut Outbox, micros: i64) -> Vec<u64> {
        std::iter::from_fn(|| outbox.next_to_send(Moment::from_micros(micros)))
            .map(|send| match send {
                Send::OutboundEvent(number, _) => number,
                Send::State(alarm) => 1_000_000 + alarm.index() as u64,
            })
            .collect()
    }

    #[test]
    fn what_was_not_taken_leaves_again_in_order() {
        let mut outbox = Outbox::default();
        outbox.connected(std::iter::empty());
        (0..4).for_each(|_| assert!(outbox.push(outbound_event("x"), true) < 4));
        assert_eq!(drain(&mut outbox), [0, 1, 2, 3]);
        outbox.taken(Token::OutboundEvent(1));
        outbox.disconnected();
        assert_eq!(drain(&mut outbox), [0; 0]);
        outbox.connected([AlarmIx::new(7)].into_iter());
        assert_eq!(drain(&mut outbox), [0, 2, 3, 1_000_007]);
        assert_eq!(outbox.begin_deletions(), [1]);
        outbox.end_deletions();
    }

    #[test]
    fn only_the_newest_state_of_an_alarm_leaves() {
        let mut outbox = Outbox::default();
        outbox.state_changed(AlarmIx::new(1));
        outbox.state_changed(AlarmIx::new(2));
        outbox.state_changed(AlarmIx::new(1));
        outbox.connected(std::iter::empty());
        assert_eq!(drain(&mut outbox), [1_000_001, 1_000_002]);
        outbox.state_changed(AlarmIx::new(1));
        assert_eq!(drain(&mut outbox), [1_000_001], "one is on its way, but it is not the newest");
    }

    #[test]
    fn states_leave_in_rounds_with_a_rest_for_each_of_them() {
        let mut outbox = Outbox::default();
        outbox.connected(std::iter::empty());
        let change = |outbox: &mut Outbox, alarms: std::ops::Range<usize>| {
            alarms.for_each(|alarm| outbox.state_changed(AlarmIx::new(alarm)));
        };
        change(&mut outbox, 0..4);
        assert_eq!(drain_at(&mut outbox, 10_000).len(), 4);
        change(&mut outbox, 2..4);
        outbox.push(outbound_event("x"), true);
        assert_eq!(drain_at(&mut outbox, 11_999), [0], "events never rest");
        assert_eq!(outbox.resting_until(), Some(Moment::from_micros(12_000)));
        change(&mut outbox, 3..5);
        assert_eq!(drain_at(&mut outbox, 12_000), [1_000_002, 1_000_003, 1_000_004], "each once");
        assert_eq!(outbox.resting_until(), None);
        change(&mut outbox, 0..1);
        outbox.connected([AlarmIx::new(0), AlarmIx::new(1)].into_iter());
        let sent = drain_at(&mut outbox, 12_000);
        assert_eq!(sent, [0, 1_000_000, 1_000_001], "a connection that is new waits for nothing");
        change(&mut outbox, 0..1);
        assert_eq!(drain_at(&mut outbox, 12_000).len(), 0);
        outbox.close();
        assert_eq!(drain_at(&mut outbox, 12_000).len(), 1, "nor does the end");
    }

    #[test]
    fn no_rest_is_long() {
        let mut outbox = Outbox::default();
        (0..50_000).for_each(|alarm| outbox.state_changed(AlarmIx::new(alarm)));
        outbox.connected(std::iter::empty());
        let mut sent = 0;
        while outbox.next_to_send(Moment::from_micros(sent)).is_some() {
            outbox.taken(Token::Passing);
            sent += 1;
        }
        assert_eq!(sent, 50_000, "a round ends, however long it takes");
        outbox.state_changed(AlarmIx::new(0));
        assert!(outbox.next_to_send(Moment::from_micros(sent)).is_some(), "a connection's states are not paid for");
        (0..50_000).for_each(|alarm| outbox.state_changed(AlarmIx::new(alarm)));
        assert!(outbox.next_to_send(Moment::from_micros(sent) + Span::from_millis(1)).is_some());
        while outbox.next_to_send(Moment::from_micros(sent)).is_some() {
            outbox.taken(Token::Passing);
        }
        outbox.state_changed(AlarmIx::new(0));
        assert!(outbox.next_to_send(Moment::from_micros(sent) + LONGEST_REST).is_none());
        assert!(outbox.next_to_send(Moment::from_micros(sent) + Span::from_millis(501)).is_some());
    }

    #[test]
    fn more_than_memory_holds_goes_by_way_of_the_disk() {
        let mut outbox = Outbox::default();
        let mut disk: BTreeMap<u64, OutboundEvent> = BTreeMap::new();
        let total = HELD + 3 * PAGE + 5;
        for _ in 0..total {
            let number = outbox.push(outbound_event("x"), true);
            disk.insert(number, outbound_event("x"));
        }
        assert_eq!(outbox.waiting(), total);
        outbox.state_changed(AlarmIx::new(0));
        outbox.connected(std::iter::empty());
        let mut sent = Vec::new();
        loop {
            if let Some(from) = outbox.wants() {
                outbox.load(disk.range(from..).take(PAGE).map(|(n, l)| (*n, l.clone())).collect());
            }
            let now = drain(&mut outbox);
            if now.is_empty() {
                break;
            }
            for number in &now {
                outbox.taken(Token::OutboundEvent(*number));
            }
            outbox.begin_deletions().iter().for_each(|number| assert!(disk.remove(number).is_some()));
            outbox.end_deletions();
            sent.extend(now);
        }
        let want: Vec<u64> = (0..total as u64).chain([1_000_000]).collect();
        assert_eq!(sent, want, "all letters in order, then the state");
        assert!(disk.is_empty());
        assert!(outbox.is_idle());
    }

    #[test]
    fn memory_holds_so_many_bytes_however_large_events_are() {
        let large = "x".repeat(10_000);
        let (mut outbox, mut disk) = (Outbox::default(), BTreeMap::new());
        for _ in 0..2_000 {
            disk.insert(outbox.push(outbound_event(&large), true), outbound_event(&large));
        }
        assert!(outbox.held_bytes <= HELD_BYTES + 10_001 && outbox.waiting() == 2_000);
        outbox.connected(std::iter::empty());
        let mut sent = Vec::new();
        while outbox.waiting() > 0 {
            if let Some(from) = outbox.wants() {
                let page = PAGE_BYTES / 10_001;
                outbox.load(disk.range(from..).take(page).map(|(n, l)| (*n, l.clone())).collect());
            }
            assert!(outbox.held_bytes <= HELD_BYTES + 10_001);
            let now = drain(&mut outbox);
            now.iter().for_each(|number| outbox.taken(Token::OutboundEvent(*number)));
            sent.extend(now);
        }
        assert_eq!(sent, (0..2_000).collect::<Vec<u64>>(), "all of them, in order");
        for _ in 0..8_000 {
            outbox.push(outbound_event(&large), false);
            outbox.trim(usize::MAX);
        }
        assert!(outbox.held_bytes <= MEMORY_BYTES && outbox.dropped() > 1_000, "{}", outbox.dropped());
    }

    #[test]
    fn when_there_are_too_many_the_oldest_are_dropped_and_counted() {
        let mut outbox = Outbox::default();
        for _ in 0..10 {
            outbox.push(outbound_event("x"), true);
        }
        outbox.trim(7);
        assert_eq!((outbox.waiting(), outbox.dropped()), (7, 3));
        assert_eq!(outbox.begin_deletions(), [0, 1, 2]);
    }
}
