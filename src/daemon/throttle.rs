//! Rests of the loop between its turns while messages come in quick succession.
//!
//! A broker sends each message on its own, and each that arrives wakes the thread. At thousands a second most of the
//! processor's time would go into waking up and falling asleep. So there is a minimum time from turn to turn, the whole
//! thread rests until then, and the messages of that time are one read and one turn, like the interrupt moderation of
//! network cards. Measured with 10,000 messages a second: a third of the processor time, or half.
//!
//! A rest delays an alarm by its own length at most. With thousands of alarms a second the rest is longer, because each
//! turn has a write of its own and the delay does not show. Messages that the broker wants acknowledged are never
//! delayed: it sends only so many of those ahead.

use crate::domain::time::{Moment, Span};
use std::time::Duration;

/// Minimum time from turn to turn: long enough for many messages at the rates that it is meant for, short beside the
/// write that follows on a slow card.
const REST: Span = Span::from_millis(2);
/// Minimum time from turn to turn if there are many events. Their messages fit into the window that the broker has to
/// confirm.
const LONG_REST: Span = Span::from_millis(8);
/// Number of events in one turn that are many: thousands a second.
const MANY: usize = 10;
/// Messages a second from which on a rest saves more than it costs.
const BUSY_RATE: i64 = 3_000;
/// Period over which the rate is measured.
const LOOK: Span = Span::from_millis(20);
const MICROS: i64 = 1_000_000;

/// Measures the rate of messages and decides on rests.
#[derive(Debug)]
pub(super) struct Throttle {
    since: Moment,
    messages: i64,
    is_busy: bool,
}

impl Throttle {
    pub(super) fn new(now: Moment) -> Throttle {
        Throttle { since: now, messages: 0, is_busy: false }
    }

    /// Counts a turn that began at `began`, with its messages and events. Returns the rest before the next turn; `None`
    /// if there is none.
    pub(super) fn turned(&mut self, messages: u64, events: usize, began: Moment, now: Moment) -> Option<Duration> {
        self.messages = self.messages.saturating_add_unsigned(messages);
        let passed = now - self.since;
        if passed >= LOOK {
            self.is_busy = self.messages.saturating_mul(MICROS) >= BUSY_RATE.saturating_mul(passed.as_micros());
            (self.since, self.messages) = (now, 0);
        }
        let due = began + if events < MANY { REST } else { LONG_REST };
        (self.is_busy && messages > 0 && due > now).then(|| (due - now).to_std())
    }
}

/// Blocks the thread for the rest, not only the task: packets must not wake it. Before, the connection's task sends
/// what is waiting; after, it reads what has arrived.
pub(super) async fn rest(length: Duration) {
    tokio::task::yield_now().await;
    std::thread::sleep(length);
    tokio::task::yield_now().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rest at the end of one second of turns with this number of messages, one turn per `every` microseconds.
    fn after(messages: u64, every: i64) -> Option<Duration> {
        let mut throttle = Throttle::new(Moment::default());
        let turn = |turn: i64| Moment::from_micros(turn * every);
        (1..=MICROS / every).map(|number| throttle.turned(messages, 0, turn(number), turn(number))).last().flatten()
    }

    #[test]
    fn it_rests_where_messages_come_in_quick_succession_and_nowhere_else() {
        let rest = Some(REST.to_std());
        assert_eq!(after(1, 100), rest, "10,000 a second, one by one");
        assert_eq!(after(20, 2_000), rest, "the same while it rests");
        assert_eq!(after(1, 1_000), None, "1,000 a second");
        assert_eq!(after(1_000, 500_000), None, "a burst now and then");
    }

    #[test]
    fn many_events_are_worth_a_longer_rest() {
        let mut throttle = Throttle::new(Moment::default());
        let at = Moment::from_micros;
        assert_eq!(throttle.turned(500, 500, at(20_000), at(21_000)), Some(Duration::from_micros(7_000)));
        assert_eq!(throttle.turned(50, 50, at(25_000), at(33_500)), None);
    }

    #[test]
    fn it_goes_on_at_once_when_they_have_stopped_or_the_write_took_long_enough() {
        let mut throttle = Throttle::new(Moment::default());
        let at = Moment::from_micros;
        assert_eq!(throttle.turned(500, 9, at(20_000), at(20_500)), Some(Duration::from_micros(1_500)));
        assert_eq!(throttle.turned(30, 9, at(22_000), at(24_500)), None, "it was written to a slow card");
        assert_eq!(throttle.turned(0, 0, at(25_000), at(25_000)), None, "nothing came");
        assert_eq!(throttle.turned(2, 0, at(50_000), at(50_000)), None, "few came");
    }
}
