//! Messages that the broker sends again although they were evaluated.
//!
//! With QoS 1 the broker repeats what it has no acknowledgement for, after a crash or a lost connection. If such a
//! message was evaluated before and that is on disk, evaluating it once more would make a second excursion out of one.
//! So the packet ids of evaluated messages are kept, with a checksum of what they said, until the broker must have
//! processed the acknowledgement; they are part of every write.
//!
//! Brokers use packet ids again, also for messages that say the same, so an id alone proves nothing. What helps is the
//! order that MQTT demands (MQTT-4.6.0-1): a new connection begins with the messages that were not acknowledged, marked
//! (DUP) and in their first order; those that we evaluated come before those that never reached us. Acknowledgements
//! leave in order, too, so what the broker has of them is the first part of the list: what it repeats begins somewhere in
//! the list, follows it without a break, and ends with it.

use std::collections::VecDeque;
use std::ops::Range;

/// Messages that are remembered: MQTT has so many packet ids, so no broker can have more of them on their way. What
/// brokers promise to have (mosquitto: 20) does not help: after a lost connection mosquitto 2.0 sends more.
const REMEMBERED: usize = 65_535;

/// A packet id and the checksum of the message that had it.
pub(crate) type Packet = (u16, u32);

/// What the store lacks of the list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PacketChanges {
    /// Numbers of packets that are on disk and not needed any more.
    pub(crate) obsolete: Range<u64>,
    /// The number of the first packet that follows; it begins a block, or the list.
    pub(crate) first: u64,
    /// All packets from there to the end of the list.
    pub(crate) packets: Vec<Packet>,
}

/// Packets that are stored together: some two kilobytes, which is what a turn writes at least.
pub(crate) const PACKETS_PER_BLOCK: u64 = 256;

/// What was evaluated and may come again.
#[derive(Debug, Default)]
pub(crate) struct Dedup {
    /// In the order of their evaluation.
    packets: VecDeque<Packet>,
    /// The number of the first of them.
    first: u64,
    /// So many at the beginning were repeated on this connection.
    repeated: usize,
    /// So many are from earlier connections; those that were not repeated yet may be.
    earlier: usize,
    /// Acknowledgements of this connection whose packets are not in the list any more.
    settled: u64,
    /// The numbers of those that are on disk.
    stored: Range<u64>,
    /// Whether what is on disk is wrong, not only more than is needed.
    must_be_written: bool,
}

impl Dedup {
    /// What was evaluated before a restart; `first` is the number of the first packet.
    pub(crate) fn restore(first: u64, packets: Vec<Packet>) -> Dedup {
        let stored = first..first + packets.len() as u64;
        Dedup { earlier: packets.len(), packets: packets.into(), first, stored, ..Dedup::default() }
    }

    /// The checksum of a message.
    pub(crate) fn checksum(topic: &str, payload: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(topic.as_bytes());
        hasher.update(&[0]);
        hasher.update(payload);
        hasher.finalize()
    }

    /// A new connection.
    pub(crate) fn connected(&mut self, session_present: bool) {
        self.settled = 0;
        self.repeated = 0;
        self.earlier = self.packets.len();
        if !session_present {
            // Another session uses the same packet ids, so the disk must not keep those of this one.
            self.must_be_written |= !self.stored.is_empty();
            self.nothing_more_is_repeated();
        }
    }

    /// Takes note of a message. True: it was evaluated before and must only be acknowledged.
    pub(crate) fn is_repeat(&mut self, packet: Packet, marked: bool) -> bool {
        if marked && self.repeats_next(packet) {
            self.repeated += 1;
            return true;
        }
        self.nothing_more_is_repeated();
        self.packets.push_back(packet);
        if self.packets.len() > REMEMBERED {
            self.settled += 1;
            self.drop_first(1);
        }
        false
    }

    /// Whether the packet is the next one to be repeated. The first may be anywhere in the list: what stands before it was
    /// acknowledged.
    fn repeats_next(&mut self, packet: Packet) -> bool {
        if self.repeated > 0 || self.settled > 0 {
            return self.repeated < self.earlier && self.packets[self.repeated] == packet;
        }
        let place = self.packets.iter().take(self.earlier).position(|known| *known == packet);
        self.drop_first(place.unwrap_or(0));
        place.is_some()
    }

    /// From here on everything is new, and what was not repeated was acknowledged.
    fn nothing_more_is_repeated(&mut self) {
        let left = std::mem::replace(&mut self.earlier, self.repeated);
        if left == self.repeated {
            return;
        }
        if self.repeated == 0 {
            self.drop_first(left);
            self.earlier = 0;
        } else {
            // A broker that does not keep the order. The list gets new numbers, so that it is written anew.
            self.first = self.end();
            self.packets.drain(self.repeated..left);
        }
    }

    fn drop_first(&mut self, count: usize) {
        self.packets.drain(..count);
        self.first += count as u64;
        self.repeated = self.repeated.saturating_sub(count);
        self.earlier = self.earlier.saturating_sub(count);
    }

    /// The broker has processed the first `count` acknowledgements of this connection.
    pub(crate) fn processed(&mut self, count: u64) {
        while self.settled < count && !self.packets.is_empty() {
            self.settled += 1;
            self.drop_first(1);
        }
    }

    /// How many messages there are whose acknowledgements the broker may not have processed.
    pub(crate) fn unsettled(&self) -> usize {
        self.packets.len()
    }

    fn end(&self) -> u64 {
        self.first + self.packets.len() as u64
    }

    /// Whether the list has to be written although nothing else may have to be.
    pub(crate) fn must_be_written(&self) -> bool {
        self.must_be_written
    }

    /// What has to be on disk with the effects of these messages.
    pub(crate) fn changes(&self) -> PacketChanges {
        let (start, kept) = (self.stored.start, self.stored.end.clamp(self.first, self.end()));
        if self.packets.is_empty() {
            // The last block, too, is not needed any more.
            let end = self.first.next_multiple_of(PACKETS_PER_BLOCK);
            return PacketChanges { obsolete: start..end, first: self.first, packets: Vec::new() };
        }
        // The last block that is on disk is written again if it has grown.
        let first = (kept - kept % PACKETS_PER_BLOCK).max(self.first);
        let skipped = usize::try_from(first - self.first).unwrap_or(usize::MAX);
        let packets =
            if kept == self.end() { Vec::new() } else { self.packets.iter().skip(skipped).copied().collect() };
        PacketChanges { obsolete: start..self.first.max(start), first, packets }
    }

    /// Those changes are on disk.
    pub(crate) fn stored(&mut self) {
        self.stored = self.first..self.end();
        self.must_be_written = false;
    }

    /// Nobody knows what is on disk: everything is written again.
    pub(crate) fn forget_stored(&mut self) {
        self.stored.end = self.stored.start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn restored(packets: &[Packet]) -> Dedup {
        let mut repeats = Dedup::restore(0, packets.to_vec());
        repeats.connected(true);
        repeats
    }

    fn listed(repeats: &Dedup) -> Vec<Packet> {
        repeats.packets.iter().copied().collect()
    }

    #[test]
    fn a_marked_message_that_was_evaluated_is_a_repeat_once() {
        let mut repeats = Dedup::default();
        assert!(!repeats.is_repeat((1, 10), false));
        assert!(!repeats.is_repeat((2, 20), true), "marked, but its first delivery never reached us");
        repeats.connected(true);
        assert!(repeats.is_repeat((1, 10), true));
        assert!(!repeats.is_repeat((1, 10), true), "the id was used again for an equal message");
    }

    #[test]
    fn behind_a_message_that_never_reached_us_nothing_is_a_repeat() {
        let mut repeats = restored(&[(1, 10), (2, 20), (3, 30)]);
        assert!(repeats.is_repeat((2, 20), true), "the first was acknowledged");
        assert!(!repeats.is_repeat((4, 40), true));
        assert!(!repeats.is_repeat((3, 30), true), "an id that was used again for an equal message");
        let mut repeats = restored(&[(1, 10)]);
        assert!(!repeats.is_repeat((9, 90), false));
        assert!(!repeats.is_repeat((1, 10), true));
    }

    #[test]
    fn a_second_lost_connection_remembers() {
        let mut repeats = restored(&[(7, 70)]);
        repeats.connected(true);
        assert!(repeats.is_repeat((7, 70), true));
    }

    #[test]
    fn a_connection_that_breaks_in_the_middle_of_repeating_keeps_the_order() {
        let mut repeats = restored(&[(1, 10), (2, 20), (3, 30)]);
        assert!(repeats.is_repeat((1, 10), true));
        repeats.connected(true);
        for packet in [(1, 10), (2, 20), (3, 30)] {
            assert!(repeats.is_repeat(packet, true), "{packet:?}");
        }
    }

    #[test]
    fn a_lost_session_repeats_nothing() {
        let mut repeats = Dedup::restore(0, vec![(7, 70)]);
        repeats.connected(false);
        assert!(!repeats.is_repeat((7, 70), true));
    }

    #[test]
    fn what_the_broker_has_processed_is_forgotten() {
        let mut repeats = Dedup::default();
        for id in 1..=5 {
            repeats.is_repeat((id, 0), false);
        }
        repeats.processed(3);
        assert_eq!(listed(&repeats), [(4, 0), (5, 0)]);
        repeats.processed(2);
        assert_eq!(listed(&repeats), [(4, 0), (5, 0)], "an older confirmation says nothing new");
        for n in 0..70_000_u32 {
            repeats.is_repeat((1, n), false);
        }
        assert_eq!(repeats.unsettled(), REMEMBERED);
        repeats.processed(70_005);
        assert_eq!(repeats.unsettled(), 0);
    }

    #[test]
    fn more_than_any_window_is_recognised() {
        let mut repeats = Dedup::default();
        for id in 1..=u16::MAX {
            assert!(!repeats.is_repeat((id, u32::from(id)), false));
        }
        repeats.connected(true);
        for id in 1..=u16::MAX {
            assert!(repeats.is_repeat((id, u32::from(id)), true));
        }
    }

    /// A disk that is told of changes, and gives the list back.
    #[derive(Default)]
    struct Disk(std::collections::BTreeMap<u64, (u64, Vec<Packet>)>);

    impl Disk {
        fn write(&mut self, PacketChanges { obsolete, first, packets }: &PacketChanges) {
            for block in obsolete.start / PACKETS_PER_BLOCK..obsolete.end / PACKETS_PER_BLOCK {
                self.0.remove(&block);
            }
            for (number, packet) in (*first..).zip(packets) {
                let block = self.0.entry(number / PACKETS_PER_BLOCK).or_default();
                if number == *first || number % PACKETS_PER_BLOCK == 0 {
                    *block = (number, Vec::new());
                }
                block.1.push(*packet);
            }
        }

        fn read(&self) -> Vec<Packet> {
            self.0.values().flat_map(|(_, packets)| packets).copied().collect()
        }
    }

    proptest! {
        /// What is on disk ends with the list. What it has before that was acknowledged, which does no harm.
        #[test]
        fn the_disk_has_the_list(acts in proptest::collection::vec((0..5_u8, 1..300_u16), 1..60)) {
            let (mut repeats, mut disk, mut next, mut acks) = (Dedup::default(), Disk::default(), 0_u16, 0);
            for (act, count) in acts {
                match act {
                    0 | 1 => for _ in 0..count {
                        next = next.wrapping_add(1);
                        repeats.is_repeat((next, 0), false);
                        acks += 1;
                    },
                    2 => repeats.processed(acks - u64::from(count).min(acks)),
                    3 => {
                        let all = listed(&repeats);
                        repeats.connected(true);
                        acks = 0;
                        let from = usize::from(count) % (all.len() + 1);
                        for packet in &all[from..] {
                            prop_assert!(repeats.is_repeat(*packet, true));
                            acks += 1;
                        }
                    }
                    _ => repeats.forget_stored(),
                }
                disk.write(&repeats.changes());
                repeats.stored();
                let (read, list) = (disk.read(), listed(&repeats));
                prop_assert!(read.ends_with(&list), "{read:?} has no {list:?} at its end");
                prop_assert!((read.len() as u64) < list.len() as u64 + PACKETS_PER_BLOCK);
            }
        }
    }
}
