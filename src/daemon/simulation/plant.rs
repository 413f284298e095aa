//! The plant and its operators: what they publish next.

use super::broker::{Broker, Message, UNWATCHED};
use super::random::Random;
use std::collections::BTreeMap;

/// The things of the plant.
pub(super) const THINGS: u64 = 2;
const MILLISECOND: i64 = 1_000;

/// A thing that publishes without interruption, whatever happens to the daemon.
#[derive(Debug, Clone, Copy)]
struct Steady {
    next: i64,
    period: i64,
    /// Its values are below `from + width`.
    from: u64,
    width: u64,
}

/// All that is published, and when.
#[derive(Debug, Default)]
pub(super) struct Plant {
    /// Counts messages, so that no two say the same.
    messages: usize,
    /// By the number of the thing.
    steady: BTreeMap<u64, Steady>,
}

impl Plant {
    fn value(&mut self, thing: u64, number: u64) -> Message {
        self.messages += 1;
        let topic = format!("things/press-{thing}/pressure");
        Message { topic, payload: format!("{number}.{:05}1", self.messages).into() }
    }

    fn invent(&mut self, random: &mut Random) -> Message {
        if random.one_in(30) {
            return Message { topic: UNWATCHED.to_owned(), payload: "null".into() };
        }
        let thing = random.below(THINGS);
        if !random.one_in(12) {
            return self.value(thing, random.below(24));
        }
        self.messages += 1;
        let level = ["hi", "lo", "held", "counted", "silent"][usize::try_from(random.below(5)).unwrap()];
        let (alarm, number) = (format!("press-{thing}/pressure/{level}"), self.messages);
        let payload = format!(r#"{{"alarm":"{alarm}","by":"kim","comment":"{number}","request":"{number}"}}"#);
        Message { topic: "annunciator/gw/commands/acknowledge".to_owned(), payload: payload.into() }
    }

    /// Somebody has the configuration read again.
    pub(super) fn reload(&mut self, broker: &mut Broker, now: i64) {
        self.messages += 1;
        let payload = format!(r#"{{"request":"reload {}"}}"#, self.messages).into();
        broker.publish(Message { topic: "annunciator/gw/commands/reload".to_owned(), payload }, false, now);
    }

    /// Some messages at once.
    pub(super) fn burst(&mut self, most: u64, broker: &mut Broker, random: &mut Random, now: i64) {
        for _ in 0..random.below(most + 1) {
            let message = self.invent(random);
            broker.publish(message, false, now);
        }
    }

    /// A thing begins to publish steadily, or stops: with values of all kinds, with high ones, or with low ones.
    pub(super) fn change(&mut self, random: &mut Random, now: i64) {
        let thing = random.below(THINGS);
        if self.steady.remove(&thing).is_none() {
            let (from, width) = [(0, 24), (16, 8), (0, 8)][usize::try_from(random.below(3)).unwrap()];
            let period = [400, 1_000, 1_000, 4_000][usize::try_from(random.below(4)).unwrap()] * MILLISECOND;
            self.steady.insert(thing, Steady { next: now, period, from, width });
        }
    }

    /// Nothing is published any more.
    pub(super) fn falls_silent(&mut self) {
        self.steady.clear();
    }

    /// When the next steady value is due.
    pub(super) fn next_due(&self) -> i64 {
        self.steady.values().map(|steady| steady.next).min().unwrap_or(i64::MAX)
    }

    /// Publishes what was due until now, each at its own time.
    pub(super) fn publish_due(&mut self, broker: &mut Broker, random: &mut Random, now: i64) {
        loop {
            let next = self.next_due();
            if next > now {
                return;
            }
            let due = self.steady.iter_mut().find(|(_, steady)| steady.next == next);
            let Some((thing, steady)) = due else { return };
            steady.next += steady.period;
            let (thing, value) = (*thing, steady.from + random.below(steady.width));
            let message = self.value(thing, value);
            broker.publish(message, false, next);
        }
    }
}
