//! Alarms with timers, judged by what was published and when.
//!
//! Of each activation it is shown that it had the time that it claims, as `on_gap` counts it: from the first value of an
//! excursion to the next value, or command, each at the moment at which a client that withholds nothing would have
//! received it. So a value that waited at the broker because the daemon was slow ends an excursion, or a silence, all the
//! same. Each excursion has one activation, and one that had its time without a disturbance has one for sure. Averages are
//! those of the samples in the window.

use super::account::{Event, text_of, thing_of};
use super::broker::{Broker, Delivered};
use super::outages::Evidence;
use super::plant::THINGS;
use std::collections::BTreeMap;

const SECOND: i64 = 1_000_000;
/// In this time after a deadline the daemon has asked for proof, got it, and has published, if nothing disturbs it.
const SLACK: i64 = 16 * SECOND;
/// Observe-times of the alarms in [`super::ALARMS`].
const HELD: i64 = 2 * SECOND;
const SILENT: i64 = 5 * SECOND;
const WINDOW: i64 = 4 * SECOND;
/// The limit of the average there.
const MEAN_LIMIT: f64 = 12.0;
/// What is due when the last fault ends is told after this time at the latest: a connection that delivers nothing is found
/// after 40 s, and made anew after 20 s at the most.
const TOLD: i64 = 75 * SECOND;

/// What gaps do to the delays of an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnGap {
    Pause,
    Count,
    Reset,
}

/// An alarm whose condition has to hold for a while before its state changes.
#[derive(Debug, Clone, Copy)]
struct Delayed {
    level: &'static str,
    on_gap: OnGap,
    delay: i64,
    /// The state that it changes to, and what causes that.
    to: &'static str,
    cause: &'static str,
    holds: fn(f64) -> bool,
}

const fn held(level: &'static str, on_gap: OnGap) -> Delayed {
    Delayed { level, on_gap, delay: HELD, to: "activated", cause: "observe-time", holds: |value| value > 15.0 }
}

const DELAYED: [Delayed; 4] = [
    held("held", OnGap::Pause),
    held("counted", OnGap::Count),
    held("anew", OnGap::Reset),
    Delayed {
        level: "lasting",
        on_gap: OnGap::Pause,
        delay: HELD,
        to: "idled",
        cause: "clear-delay",
        holds: |value| value <= 15.0,
    },
];

const SILENCES: [(&str, OnGap); 3] =
    [("silent", OnGap::Pause), ("silent-counted", OnGap::Count), ("silent-anew", OnGap::Reset)];

/// What an alarm of one thing is judged by.
struct Case<'a> {
    id: String,
    values: &'a [&'a Delivered],
    events: Vec<&'a Event>,
    commands: &'a BTreeMap<String, &'a Delivered>,
    evidence: &'a Evidence,
    end: i64,
}

/// Checks all of them. How often a timer has changed a state.
pub(super) fn check(broker: &Broker, events: &[Event], evidence: &Evidence, last_phase: i64, end: i64) -> usize {
    let is_command = |message: &&Delivered| message.number.is_nan();
    let comment = |message: &Delivered| {
        let command: serde_json::Value = serde_json::from_slice(&message.message.payload).unwrap();
        command["comment"].as_str().map(str::to_owned)
    };
    let named = |message| comment(message).map(|comment| (comment, message));
    let commands = broker.delivered.iter().filter(is_command).filter_map(named).collect();
    let mut of_alarms: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in events {
        of_alarms.entry(event.text("alarm")).or_default().push(event);
    }
    let mut changes = 0;
    for number in 0..THINGS {
        let thing = format!("press-{number}");
        let values: Vec<&Delivered> =
            broker.delivered.iter().filter(|message| thing_of(message) == Some(thing.as_str())).collect();
        let case = |level: &str| {
            let id = format!("{thing}/pressure/{level}");
            let events = of_alarms.get(id.as_str()).cloned().unwrap_or_default();
            Case { id, values: &values, events, commands: &commands, evidence, end }
        };
        for delayed in DELAYED {
            changes += case(delayed.level).delayed(delayed);
        }
        for (level, on_gap) in SILENCES {
            changes += case(level).silence(on_gap, last_phase);
        }
        changes += case("mean").means();
    }
    changes
}

fn micros(event: &Event, member: &str) -> i64 {
    event.text(member).parse::<jiff::Timestamp>().unwrap().as_microsecond()
}

impl OnGap {
    /// How much time there was for a delay, at most. After a reboot a wall clock that was set decides how long a gap was.
    fn time(self, evidence: &Evidence, from: i64, to: i64) -> i64 {
        match self {
            OnGap::Pause => evidence.observed(from, to),
            OnGap::Count if evidence.has_crash(from, to) => i64::MAX,
            OnGap::Count => to - from,
            OnGap::Reset => evidence.observed_at_a_stretch(from, to),
        }
    }

    /// When a message ends what is running, at the latest. What falls due in a gap that counts fires at its end, before
    /// any message.
    fn ends(self, evidence: &Evidence, message: &Delivered) -> i64 {
        match self {
            OnGap::Pause | OnGap::Reset => message.unhindered,
            OnGap::Count => evidence.end_of_gaps(message.unhindered, message.first).max(message.unhindered_again),
        }
    }

    /// Whether a delay that has begun at a moment has ended by another one beyond doubt. Of a gap that counts it is known
    /// how long it was, unless the daemon was down: after a reboot a wall clock that was set decides.
    fn is_over(self, evidence: &Evidence, delay: i64, from: i64, until: i64) -> bool {
        match self {
            OnGap::Pause | OnGap::Reset => until - from > delay + SLACK && !evidence.is_disturbed(from, until),
            OnGap::Count => {
                until > evidence.end_of_gap(from + delay) + SLACK
                    && !evidence.is_disturbed(until - SLACK, until)
                    && !evidence.has_crash(from, until)
            }
        }
    }
}

impl Case<'_> {
    fn is_sure(&self, index: usize) -> bool {
        self.evidence.is_sure(self.values[index])
    }

    /// The value that an event names.
    fn value_of(&self, event: &Event) -> usize {
        let is_it = |value: &&Delivered| event.json["value"] == value.number;
        self.values.iter().position(is_it).unwrap_or_else(|| panic!("a value that was never sent: {}", event.json))
    }

    /// The moment by which an event must have been due: the next value that was evaluated beyond doubt and ends what was
    /// running, a command on the occurrence, or when it was seen.
    fn until(&self, on_gap: OnGap, place: usize, last: usize, ends: impl Fn(&Delivered) -> bool) -> i64 {
        let event = self.events[place];
        let next = self.values[last + 1..].iter().find(|value| ends(value) && self.evidence.is_sure(value));
        let next = next.map_or(self.end, |next| on_gap.ends(self.evidence, next));
        let following = self.events.get(place + 1).filter(|event| event.json["cause"] == "command");
        let command = following.and_then(|event| self.commands.get(event.text("comment")));
        let command = command.map_or(self.end, |command| on_gap.ends(self.evidence, command));
        next.min(command).min(event.at)
    }

    /// A condition that has to hold for a while: it did, in time that could be observed, and no excursion counts twice.
    fn delayed(&self, Delayed { on_gap, delay, to, cause, holds, .. }: Delayed) -> usize {
        let id = &self.id;
        let ends = |value: &Delivered| !holds(value.number);
        let holds = |index: usize| holds(self.values[index].number);
        let (mut excursions, mut changed_at) = (BTreeMap::new(), Vec::new());
        let changes = |event: &Event| event.text("to") == to && event.text("cause") == cause;
        for (place, event) in self.events.iter().enumerate().filter(|(_, event)| changes(event)) {
            let last = self.value_of(event);
            assert!(holds(last), "{}", event.json);
            changed_at.push(last);
            // Values that may not have been evaluated prove nothing either way.
            let first = (0..=last).rev().take_while(|index| holds(*index) || !self.is_sure(*index)).last().unwrap();
            let from = self.values[first].unhindered;
            let until = self.until(on_gap, place, last, ends);
            let time = on_gap.time(self.evidence, from, until);
            assert!(time >= delay, "after {time} µs, from {from} to {until} ({on_gap:?}): {}", event.json);
            if to == "activated" {
                assert!(micros(event, "at") - micros(event, "since") >= delay, "{}", event.json);
            }
            let before = excursions.insert(first, event.at);
            let unsure = (first..=last).any(|index| !self.is_sure(index));
            assert!(before.is_none() || unsure, "one excursion, two times {to}: {}", event.json);
        }
        let mut index = 0;
        while index < self.values.len() {
            let run = (index..self.values.len()).take_while(|index| holds(*index) && self.is_sure(*index)).count();
            // What came before may have changed it already.
            if run > 0 && index > 0 && self.is_sure(index - 1) && !holds(index - 1) {
                let until = self.values.get(index + run).map_or(self.end, |next| next.unhindered);
                let from = self.values[index].last;
                if on_gap.is_over(self.evidence, delay, from, until) {
                    let changed = changed_at.iter().any(|place| (index..index + run).contains(place));
                    // An excursion that was too short to be one needs no end.
                    let was_idle = to == "idled" && !self.was_active_before(index);
                    assert!(changed || was_idle, "{id} has missed {}, {from} to {until}", text_of(self.values[index]));
                }
            }
            index += run.max(1);
        }
        // In the end the last value decides.
        let active = self.events.last().is_some_and(|event| ["activated", "acknowledged"].contains(&event.text("to")));
        if let Some(last) = self.values.last().filter(|last| self.evidence.is_sure(last)) {
            assert_eq!(active, last.number > 15.0, "{id} in the end");
        }
        excursions.len()
    }

    /// Whether an event tells that it was active when this value came.
    fn was_active_before(&self, index: usize) -> bool {
        let earlier = self.events.iter().take_while(|event| self.value_of(event) < index);
        earlier.last().is_some_and(|event| event.text("to") != "idled")
    }

    /// Silence: it was there, in time that could be observed, after the value that the event names.
    fn silence(&self, on_gap: OnGap, last_phase: i64) -> usize {
        let id = &self.id;
        let mut silences = Vec::new();
        for (place, event) in self.events.iter().enumerate().filter(|(_, event)| event.text("to") == "activated") {
            let last = self.value_of(event);
            silences.push(last);
            let (from, until) = (self.values[last].unhindered, self.until(on_gap, place, last, |_| true));
            let time = on_gap.time(self.evidence, from, until);
            assert!(time >= SILENT, "silence for {time} µs, {from} to {until} ({on_gap:?}): {}", event.json);
        }
        for index in (0..self.values.len()).filter(|index| self.is_sure(*index)) {
            let (from, next) = (self.values[index].last, self.values.get(index + 1));
            let until = next.map_or(self.end, |next| next.unhindered);
            if on_gap.is_over(self.evidence, SILENT, from, until) {
                let what = text_of(self.values[index]);
                assert!(silences.contains(&index), "{id}: silence after {what} from {from} to {until} was missed");
            }
        }
        if (0..self.values.len()).any(|index| self.is_sure(index)) {
            let told = self.events.iter().rfind(|event| event.text("to") == "activated").map(|event| event.at);
            let idle =
                self.events.last().is_none_or(|event| event.text("to") == "idled" && event.text("from") != "idled");
            assert!(!idle, "{id}: the silence in the end was missed");
            assert!(
                told.is_some_and(|at| at <= last_phase + TOLD),
                "{id}: the silence in the end was told at {told:?}"
            );
        }
        silences.len()
    }

    /// Averages: the mean that an event carries is that of the samples in the window, and what the event says follows from
    /// it. Where a disturbance may have moved the window it is that of values in a row up to the latest.
    fn means(&self) -> usize {
        let mut count = 0;
        for (place, event) in self.events.iter().enumerate() {
            let mean = event.json["average"].as_f64().unwrap();
            let activated = event.text("to") == "activated";
            assert_eq!(mean > MEAN_LIMIT, activated, "{}", event.json);
            count += usize::from(activated);
            let last = self.value_of(event);
            let is_it = |other: f64| (other - mean).abs() < 1e-9 * mean.abs();
            match self.mean_at(last) {
                Some(exact) => {
                    assert!(is_it(exact), "the mean of the window is {exact}: {}", event.json);
                }
                None => {
                    let (mut sum, mut number) = (0.0, 0.0);
                    let fits = self.values[..=last].iter().rev().any(|value| {
                        sum += value.number;
                        number += 1.0;
                        is_it(sum / number)
                    });
                    // A crash may have taken some of them.
                    assert!(fits || (0..=last).any(|index| !self.is_sure(index)), "no mean of values: {}", event.json);
                }
            }
            if activated {
                self.has_held(place, last);
            }
        }
        count
    }

    /// The mean of the window when a value came, if no disturbance may have moved it.
    fn mean_at(&self, index: usize) -> Option<f64> {
        let at = self.values[index].first;
        let is_plain = |value: &&&Delivered| value.first == value.last && self.evidence.is_sure(value);
        let window: Vec<&&Delivered> =
            self.values[..=index].iter().rev().take_while(|value| at - value.last <= WINDOW).collect();
        let is_exact = window.iter().all(is_plain)
            && !self.evidence.is_disturbed(at - WINDOW - SLACK, at)
            && !self.evidence.has_crash(at - WINDOW, at);
        let number = f64::from(u32::try_from(window.len()).unwrap());
        is_exact.then(|| window.iter().map(|value| value.number).sum::<f64>() / number)
    }

    /// The mean has been above the limit for the observe-time, as far as it is known exactly.
    fn has_held(&self, place: usize, last: usize) {
        let mut first = last;
        loop {
            match (self.mean_at(first), first) {
                (Some(mean), 1..) if mean > MEAN_LIMIT => first -= 1,
                (Some(mean), _) if mean <= MEAN_LIMIT => break,
                (Some(_) | None, _) => return,
            }
        }
        let (from, until) = (self.values[first + 1].first, self.until(OnGap::Pause, place, last, |_| true));
        let time = self.evidence.observed(from, until);
        assert!(time >= WINDOW, "after {time} µs, from {from} to {until}: {}", self.events[place].json);
    }
}
