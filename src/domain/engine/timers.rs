//! Deadlines in the order in which they fire: by time, those of one instant in the order they were started.
//!
//! A silent thing's clock is set anew with each of its values, so moving a deadline to a later time must cost
//! next to nothing: the alarm keeps the valid deadline, the heap at most one entry per alarm that is never later
//! than it. An entry that surfaces too early is put back where it belongs.

use super::AlarmIx;
use crate::domain::small_list;
use crate::domain::time::{Moment, Span};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

/// A running observe-time or clear-delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timer {
    /// It fires when this has strictly passed.
    pub deadline: Moment,
    /// Its place among timers with the same deadline.
    pub order: u64,
}

/// The timers of all alarms.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Moment, u64, AlarmIx)>>,
    /// Per alarm: the valid timer, and the time of the entry that stands for it in the heap.
    slots: Vec<Slot>,
    next_order: u64,
}

/// Times that are not there are [`NEVER`]: there is a slot for every alarm, and few of them have any.
#[derive(Debug, Clone, Copy)]
struct Slot {
    timer: Timer,
    entry: Moment,
}

/// No deadline can be before every moment.
const NEVER: Moment = Moment::BEGINNING;
const EMPTY: Slot = Slot { timer: Timer { deadline: NEVER, order: 0 }, entry: NEVER };

impl Slot {
    fn timer(&self) -> Option<Timer> {
        (self.timer.deadline != NEVER).then_some(self.timer)
    }
}

impl Timers {
    /// Makes room for one alarm more.
    pub(crate) fn add_alarm(&mut self) {
        small_list::push(&mut self.slots, EMPTY);
    }

    /// What is running for the alarm.
    pub(crate) fn get(&self, alarm: AlarmIx) -> Option<Timer> {
        self.slots[alarm.index()].timer()
    }

    /// Starts the alarm's timer, or starts it anew.
    pub(crate) fn start(&mut self, alarm: AlarmIx, deadline: Moment) {
        let order = self.next_order;
        self.next_order += 1;
        self.put(alarm, Timer { deadline, order });
    }

    /// Puts back a timer that was running before a restart, or moves one without changing its place in the order.
    pub(crate) fn put(&mut self, alarm: AlarmIx, timer: Timer) {
        self.next_order = self.next_order.max(timer.order + 1);
        let slot = &mut self.slots[alarm.index()];
        slot.timer = timer;
        if slot.entry == NEVER || timer.deadline < slot.entry {
            slot.entry = timer.deadline;
            self.heap.push(Reverse((timer.deadline, timer.order, alarm)));
        }
    }

    /// Alarms have other numbers: the one at each place here is the one that was there. What is running goes on.
    pub(crate) fn renumber(&mut self, before: &[AlarmIx]) {
        let timers: Vec<Option<Timer>> = before.iter().map(|ix| self.get(*ix)).collect();
        *self = Timers { next_order: self.next_order, ..Timers::default() };
        timers.iter().for_each(|_| self.add_alarm());
        for (index, timer) in timers.into_iter().enumerate() {
            if let Some(timer) = timer {
                self.put(AlarmIx::new(index), timer);
            }
        }
    }

    /// Ends the alarm's timer, if one is running.
    pub(crate) fn stop(&mut self, alarm: AlarmIx) -> bool {
        std::mem::replace(&mut self.slots[alarm.index()].timer, EMPTY.timer).deadline != NEVER
    }

    /// Makes the alarm's timer later by `gap`.
    pub(crate) fn shift(&mut self, alarm: AlarmIx, gap: Span) {
        if let Some(timer) = self.get(alarm) {
            self.put(alarm, Timer { deadline: timer.deadline + gap, ..timer });
        }
    }

    /// The next timer whose deadline `now` has strictly passed, taken out.
    pub(crate) fn pop_due(&mut self, now: Moment) -> Option<(AlarmIx, Timer)> {
        let (alarm, timer) = self.settle_top()?;
        if timer.deadline >= now {
            return None;
        }
        self.heap.pop();
        self.slots[alarm.index()] = EMPTY;
        Some((alarm, timer))
    }

    /// The earliest deadline.
    pub(crate) fn next_deadline(&mut self) -> Option<Moment> {
        self.settle_top().map(|(_, timer)| timer.deadline)
    }

    /// Removes what is stale from the top of the heap; what is left there is valid.
    fn settle_top(&mut self) -> Option<(AlarmIx, Timer)> {
        loop {
            let mut top = self.heap.peek_mut()?;
            let Reverse((moment, order, alarm)) = *top;
            let slot = &mut self.slots[alarm.index()];
            let stands_for_the_alarm = slot.entry == moment;
            match slot.timer() {
                Some(timer) if stands_for_the_alarm && timer == (Timer { deadline: moment, order }) => {
                    return Some((alarm, timer));
                }
                Some(timer) if stands_for_the_alarm => {
                    slot.entry = timer.deadline;
                    *top = Reverse((timer.deadline, timer.order, alarm));
                }
                Some(_) | None => {
                    if stands_for_the_alarm {
                        slot.entry = NEVER;
                    }
                    PeekMut::pop(top);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn moment(n: i64) -> Moment {
        Moment::from_micros(n)
    }

    #[test]
    fn one_instant_fires_in_the_order_of_the_starts() {
        let mut timers = Timers::default();
        (0..3).for_each(|_| timers.add_alarm());
        timers.start(AlarmIx::new(2), moment(5));
        timers.start(AlarmIx::new(0), moment(1));
        timers.start(AlarmIx::new(1), moment(5));
        timers.start(AlarmIx::new(0), moment(5));
        assert_eq!(timers.pop_due(moment(5)), None, "a deadline fires when it has strictly passed");
        let fired: Vec<usize> =
            std::iter::from_fn(|| timers.pop_due(moment(6))).map(|(alarm, _)| alarm.index()).collect();
        assert_eq!(fired, [2, 1, 0]);
    }

    #[derive(Debug, Clone)]
    enum Act {
        Start(usize, i64),
        Stop(usize),
        Shift(usize, i64),
        Due(i64),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => (0..4_usize, 0..12_i64).prop_map(|(a, d)| Act::Start(a, d)),
            1 => (0..4_usize).prop_map(Act::Stop),
            1 => (0..4_usize, 0..9_i64).prop_map(|(a, d)| Act::Shift(a, d)),
            2 => (0..9_i64).prop_map(Act::Due),
        ]
    }

    proptest! {
        /// The dumb formulation: look through all of them each time.
        #[test]
        fn fires_as_a_plain_list_does(acts in proptest::collection::vec(act(), 1..60)) {
            let mut timers = Timers::default();
            (0..4).for_each(|_| timers.add_alarm());
            let mut list: [Option<(i64, u64)>; 4] = [None; 4];
            let (mut now, mut order) = (0, 0);
            for act in acts {
                match act {
                    Act::Start(alarm, delay) => {
                        timers.start(AlarmIx::new(alarm), moment(now + delay));
                        list[alarm] = Some((now + delay, order));
                        order += 1;
                    }
                    Act::Stop(alarm) => {
                        prop_assert_eq!(timers.stop(AlarmIx::new(alarm)), list[alarm].take().is_some());
                    }
                    Act::Shift(alarm, gap) => {
                        timers.shift(AlarmIx::new(alarm), Span::from_micros(gap));
                        list[alarm] = list[alarm].map(|(d, o)| (d + gap, o));
                    }
                    Act::Due(pass) => {
                        now += pass;
                        loop {
                            let due = (0..4).filter_map(|i| list[i].map(|(d, o)| (d, o, i))).filter(|t| t.0 < now).min();
                            let fired = timers.pop_due(moment(now)).map(|(a, t)| (t.deadline.as_micros(), t.order, a.index()));
                            prop_assert_eq!(fired, due);
                            let Some((_, _, alarm)) = due else { break };
                            list[alarm] = None;
                        }
                    }
                }
                let next = (0..4).filter_map(|i| list[i].map(|(d, _)| d)).min();
                prop_assert_eq!(timers.next_deadline().map(Moment::as_micros), next);
            }
        }
    }
}
