//! Messages that the broker sends again although they were evaluated.
//!
//! With QoS 1 the broker repeats what it has no acknowledgement for, after a crash or a lost connection. If such a
//! message was evaluated before and that is on disk, evaluating it once more would make a second excursion out of one.
//! So the packet ids of evaluated messages are kept, with a checksum of what they said, until the broker must have
//! processed the acknowledgement; they are part of every write.
//!
//! Brokers use packet ids again, also for messages that say the same, so an id alone proves nothing. What helps is the
//! order that MQTT demands (MQTT-4.6.0-1): a new connection begins with the messages that were not acknowledged, marked
//! (DUP) and in their first order; those that we evaluated come before those that never reached us. So a message is a
//! repeat if it is marked, stands in the list of evaluated ones, and nothing else has come before it on this connection.

use std::collections::VecDeque;

/// Messages that are remembered. It has to be at least the number that the broker sends ahead without acknowledgement:
/// 10 (RabbitMQ), 20 (mosquitto), 32 (EMQX); a broker that is configured for more repeats more than is recognised.
const REMEMBERED: usize = 1_024;

/// A packet id and the checksum of the message that had it.
pub(crate) type Packet = (u16, u32);

/// What was evaluated and may come again.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// From earlier connections of the same session, in the order of their evaluation.
    earlier: VecDeque<Packet>,
    /// From this connection, in the order of their acknowledgements.
    current: VecDeque<Packet>,
    /// Acknowledgements of this connection that are not in `current` any more.
    settled: u64,
}

impl Repeats {
    /// What was evaluated before a restart.
    pub(super) fn restore(packets: Vec<Packet>) -> Repeats {
        Repeats { earlier: packets.into(), ..Repeats::default() }
    }

    /// The checksum of a message.
    pub(super) fn checksum(topic: &str, payload: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(topic.as_bytes());
        hasher.update(&[0]);
        hasher.update(payload);
        hasher.finalize()
    }

    /// A new connection.
    pub(super) fn connected(&mut self, session_present: bool) {
        // What was repeated on the last connection stands before what was still to be repeated.
        self.current.append(&mut self.earlier);
        std::mem::swap(&mut self.current, &mut self.earlier);
        self.settled = 0;
        if !session_present {
            self.earlier.clear();
        }
    }

    /// Takes note of a message. True: it was evaluated before and must only be acknowledged.
    pub(super) fn is_repeat(&mut self, packet: Packet, marked: bool) -> bool {
        let place = self.earlier.iter().position(|known| *known == packet).filter(|_| marked);
        match place {
            // What stands before it was acknowledged, or the broker would have begun with that.
            Some(place) => drop(self.earlier.drain(..=place)),
            // From here on everything is new.
            None => self.earlier.clear(),
        }
        self.current.push_back(packet);
        if self.current.len() > REMEMBERED {
            self.current.pop_front();
            self.settled += 1;
        }
        place.is_some()
    }

    /// The broker has processed the first `count` acknowledgements of this connection.
    pub(super) fn processed(&mut self, count: u64) {
        while self.settled < count && self.current.pop_front().is_some() {
            self.settled += 1;
        }
    }

    /// What has to be on disk with the effects of these messages. What is repeated on this connection stands before what
    /// is still to be repeated, so the order is kept.
    pub(super) fn packets(&self) -> Vec<Packet> {
        self.current.iter().chain(&self.earlier).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marked_message_that_was_evaluated_is_a_repeat_once() {
        let mut repeats = Repeats::default();
        assert!(!repeats.is_repeat((1, 10), false));
        assert!(!repeats.is_repeat((2, 20), true), "marked, but its first delivery never reached us");
        repeats.connected(true);
        assert!(repeats.is_repeat((1, 10), true));
        assert!(!repeats.is_repeat((1, 10), true), "the id was used again for an equal message");
    }

    #[test]
    fn behind_a_message_that_never_reached_us_nothing_is_a_repeat() {
        let mut repeats = Repeats::restore(vec![(1, 10), (2, 20), (3, 30)]);
        repeats.connected(true);
        assert!(repeats.is_repeat((2, 20), true), "the first was acknowledged");
        assert!(!repeats.is_repeat((4, 40), true));
        assert!(!repeats.is_repeat((3, 30), true), "an id that was used again for an equal message");
        let mut repeats = Repeats::restore(vec![(1, 10)]);
        repeats.connected(true);
        assert!(!repeats.is_repeat((9, 90), false));
        assert!(!repeats.is_repeat((1, 10), true));
    }

    #[test]
    fn a_restart_and_a_second_lost_connection_remember() {
        let mut repeats = Repeats::default();
        repeats.is_repeat((7, 70), false);
        let mut repeats = Repeats::restore(repeats.packets());
        repeats.connected(true);
        repeats.connected(true);
        assert!(repeats.is_repeat((7, 70), true));
    }

    #[test]
    fn a_connection_that_breaks_in_the_middle_of_repeating_keeps_the_order() {
        let mut repeats = Repeats::restore(vec![(1, 10), (2, 20), (3, 30)]);
        repeats.connected(true);
        assert!(repeats.is_repeat((1, 10), true));
        repeats.connected(true);
        for packet in [(1, 10), (2, 20), (3, 30)] {
            assert!(repeats.is_repeat(packet, true), "{packet:?}");
        }
    }

    #[test]
    fn a_lost_session_repeats_nothing() {
        let mut repeats = Repeats::restore(vec![(7, 70)]);
        repeats.connected(false);
        assert!(!repeats.is_repeat((7, 70), true));
    }

    #[test]
    fn what_the_broker_has_processed_is_forgotten() {
        let mut repeats = Repeats::default();
        for id in 1..=5 {
            repeats.is_repeat((id, 0), false);
        }
        repeats.processed(3);
        assert_eq!(repeats.packets(), [(4, 0), (5, 0)]);
        repeats.processed(2);
        assert_eq!(repeats.packets(), [(4, 0), (5, 0)], "an older confirmation says nothing new");
        for id in 0..2_000 {
            repeats.is_repeat((id, 0), false);
        }
        assert_eq!(repeats.packets().len(), REMEMBERED);
        repeats.processed(2_005);
        assert!(repeats.packets().is_empty());
    }
}
