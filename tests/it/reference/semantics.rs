//! What alarms mean, formulated a second time and as plainly as possible.
//!
//! There are no timers, no windows, no counters and no states here. Each alarm has a journal ([`super::journal`]) of
//! all that ever happened to it; whatever one wants to know of it is found by reading the journal, each time anew.
//! Nothing is shared with `src/`.

use super::case::{Case, Definition, Kind, Line, Payload, SECOND, Scalar, What};
use super::journal::{Alarm, Event, Note, Noted, Running, Says, classify, fits, is_pattern};
use serde_json::Value;

#[derive(Debug)]
struct Gap {
    start: i64,
    end: Option<i64>,
}

/// All alarms of a configuration.
#[derive(Debug)]
pub(crate) struct Reference<'a> {
    definitions: &'a [Definition],
    alarms: Vec<Alarm<'a>>,
    gaps: Vec<Gap>,
    heard: Vec<&'static str>,
    /// Stamps that sources gave: of which thing's property, and when.
    stamps: Vec<(&'static str, &'static str, i64)>,
    notes: usize,
    begun: bool,
}

/// The events that the recording has to cause.
pub(crate) fn events(case: &Case) -> Vec<Value> {
    let mut reference = Reference::new(&case.definitions);
    case.lines.iter().for_each(|line| reference.play(line));
    let mut events: Vec<&Event> = reference.alarms.iter().flat_map(Alarm::events).collect();
    events.sort_by_key(|event| event.seq);
    events.into_iter().map(Event::json).collect()
}

impl<'a> Reference<'a> {
    fn new(definitions: &'a [Definition]) -> Reference<'a> {
        let mut reference = Reference {
            definitions,
            alarms: Vec::new(),
            gaps: Vec::new(),
            heard: Vec::new(),
            stamps: Vec::new(),
            notes: 0,
            begun: false,
        };
        for (place, definition) in definitions.iter().enumerate() {
            for thing in definition.things.iter().filter(|thing| !is_pattern(thing)) {
                reference.add(place, thing);
            }
        }
        reference
    }

    fn add(&mut self, place: usize, thing: &'static str) {
        let definition = &self.definitions[place];
        let id = format!("{thing}/{}/{}", definition.property, definition.level);
        if !self.alarms.iter().any(|alarm| alarm.id == id) {
            self.alarms.push(Alarm { id, thing, definition, place, journal: Vec::new() });
        }
    }

    fn play(&mut self, line: &Line) {
        let now = line.at;
        if !self.begun {
            self.begun = true;
            (0..self.alarms.len()).for_each(|index| self.start_clock(index, now));
        }
        self.settle(now);
        match &line.what {
            What::Tick => {}
            What::Link { up: false } => {
                if !self.in_gap() {
                    self.gaps.push(Gap { start: now, end: None });
                }
            }
            What::Link { up: true } => self.end_gap(now),
            What::Message { thing, property, payload: Payload::Value(value), retained } => {
                self.register_thing(thing, now);
                self.message(thing, &[(*property, value)], None, *retained, now);
            }
            What::Message { payload: Payload::Unusable(_) | Payload::Empty, .. } => {}
            What::Stamped { thing, property, value, stamp, retained } => {
                self.register_thing(thing, now);
                let stamp = if *stamp > now + 5 * SECOND { now } else { *stamp };
                let newer = |(t, p, s): &(&str, &str, i64)| t == thing && p == property && *s > stamp;
                if !self.stamps.iter().any(newer) {
                    self.stamps.push((*thing, *property, stamp));
                    self.message(thing, &[(*property, value)], Some(stamp), *retained, now);
                }
            }
            What::Object { thing, members, retained } => {
                self.register_thing(thing, now);
                let values: Vec<(&str, &Scalar)> = members
                    .iter()
                    .filter_map(|(name, payload)| match payload {
                        Payload::Value(value) => Some((*name, value)),
                        Payload::Unusable(_) | Payload::Empty => None,
                    })
                    .collect();
                self.message(thing, &values, None, *retained, now);
            }
            What::Command { verb, alarm, by, comment } => self.command(verb, alarm, *by, *comment, now),
        }
    }

    /// Alarms in the order of their definitions, those of one definition in the order in which they came to be.
    fn in_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.alarms.len()).collect();
        order.sort_by_key(|index| self.alarms[*index].place);
        order
    }

    fn note(&mut self, index: usize, at: i64, what: Noted) {
        self.notes += 1;
        self.alarms[index].journal.push(Note { at, number: self.notes, what });
    }

    fn start_clock(&mut self, index: usize, now: i64) {
        if matches!(self.alarms[index].definition.kind, Kind::NoValue { .. }) && self.alarms[index].state() != "off" {
            self.note(index, now, Noted::Clock);
        }
    }

    /// A thing that speaks for the first time gets the alarms of the patterns that fit it.
    fn register_thing(&mut self, thing: &'static str, now: i64) {
        if self.heard.contains(&thing) {
            return;
        }
        self.heard.push(thing);
        for (place, definition) in self.definitions.iter().enumerate() {
            if definition.things.iter().any(|pattern| fits(pattern, thing)) {
                let known = self.alarms.len();
                self.add(place, thing);
                (known..self.alarms.len()).for_each(|index| self.start_clock(index, now));
            }
        }
    }

    fn message(&mut self, thing: &str, values: &[(&str, &Scalar)], stamp: Option<i64>, retained: bool, now: i64) {
        for index in self.in_order() {
            let alarm = &self.alarms[index];
            let value = values.iter().find(|(name, _)| alarm.thing == thing && alarm.definition.property == *name);
            if let Some((_, value)) = value {
                self.value(index, value, stamp, retained, now);
            }
        }
    }

    fn value(&mut self, index: usize, value: &Scalar, stamp: Option<i64>, retained: bool, now: i64) {
        let alarm = &self.alarms[index];
        match (&alarm.definition.kind, value) {
            (Kind::NoValue { .. }, _) => {
                if !retained {
                    self.note(index, now, Noted::Value { value: value.clone(), stamp, says: Says::Nothing });
                    if self.alarms[index].is_active() {
                        self.change(index, "idled", "value", now, None, (None, None));
                    }
                    self.start_clock(index, now);
                }
            }
            (Kind::Standard { operator, limit, band, .. }, _) => {
                if let Some(says) = classify(operator, limit, band, value) {
                    self.note(index, now, Noted::Value { value: value.clone(), stamp, says });
                    self.conclude(index, now);
                }
            }
            (Kind::Average { .. }, Scalar::Number(number)) if !retained => {
                let number = *number;
                let off = alarm.state() == "off";
                self.note(index, now, Noted::Value { value: value.clone(), stamp, says: Says::Nothing });
                if !off {
                    self.sample(index, number, stamp.unwrap_or(now), now);
                    self.conclude(index, now);
                }
            }
            (Kind::Average { .. }, _) => {}
        }
    }

    /// Takes a sample and calculates the mean of those that are young enough.
    fn sample(&mut self, index: usize, value: f64, taken: i64, now: i64) {
        let gaps_before = self.gaps.iter().filter(|gap| gap.end.is_some()).count();
        self.note(index, now, Noted::Sample { value, taken, gaps_before, mean: None });
        let alarm = &self.alarms[index];
        let mut young = Vec::new();
        for note in alarm.since_forgotten() {
            if let Noted::Sample { value, taken, gaps_before, .. } = note.what {
                let stood_still = if alarm.definition.on_gap == "pause" { &self.gaps[gaps_before..] } else { &[] };
                let age = now - taken - stood_still.iter().map(|gap| gap.overlap(taken, now)).sum::<i64>();
                if age <= alarm.window() {
                    young.push(value);
                }
            }
        }
        if !young.is_empty() {
            let count = f64::from(u32::try_from(young.len()).unwrap());
            let fresh = young.iter().sum::<f64>() / count;
            if let Some(Note { what: Noted::Sample { mean, .. }, .. }) = self.alarms[index].journal.last_mut() {
                *mean = Some(fresh);
            }
        }
    }

    /// What needs no delay happens at once.
    fn conclude(&mut self, index: usize, now: i64) {
        if let Some(running) = self.alarms[index].running()
            && running.length == 0
        {
            self.fire(index, running.since, "value", now);
        }
    }

    fn fire(&mut self, index: usize, since: i64, cause: &'static str, at: i64) {
        if self.alarms[index].is_active() {
            let cause = if cause == "value" { "value" } else { "clear-delay" };
            self.change(index, "idled", cause, at, None, (None, None));
        } else {
            self.change(index, "activated", cause, at, Some(since), (None, None));
        }
    }

    /// Fires all that has fallen due strictly before `now`: the earliest first, of one instant what was started first.
    fn settle(&mut self, now: i64) {
        if self.in_gap() {
            return;
        }
        let over = self.gaps.last().and_then(|gap| gap.end).unwrap_or(i64::MIN);
        loop {
            let due = (0..self.alarms.len())
                .filter_map(|index| self.alarms[index].running().map(|running| (index, running)))
                .map(|(index, running)| (self.deadline(index, &running), running.number, index, running.since))
                .min();
            match due {
                Some((deadline, _, index, since)) if deadline < now => {
                    self.fire(index, since, "observe-time", deadline.max(over));
                }
                Some(_) | None => return,
            }
        }
    }

    /// The last instant at which the delay has not been exceeded.
    fn deadline(&self, index: usize, running: &Running) -> i64 {
        let mut deadline = running.since + running.length;
        if self.alarms[index].definition.on_gap == "pause" {
            for gap in &self.gaps {
                if gap.start <= deadline {
                    deadline += gap.overlap(running.since, i64::MAX);
                }
            }
        }
        deadline
    }

    fn in_gap(&self) -> bool {
        self.gaps.last().is_some_and(|gap| gap.end.is_none())
    }

    fn end_gap(&mut self, now: i64) {
        if !self.in_gap() {
            return;
        }
        if let Some(gap) = self.gaps.last_mut() {
            gap.end = Some(now);
        }
        for index in self.in_order() {
            if self.alarms[index].definition.on_gap == "reset" {
                self.note(index, now, Noted::Anew);
            }
        }
        self.settle(now);
    }

    fn command(
        &mut self,
        verb: &str,
        pattern: &str,
        by: Option<&'static str>,
        comment: Option<&'static str>,
        now: i64,
    ) {
        if verb == "acknowledge" && by.is_none() {
            return;
        }
        for index in self.in_order() {
            let alarm = &self.alarms[index];
            if !fits(pattern, &alarm.id) {
                continue;
            }
            match (verb, alarm.state()) {
                ("enable", "off") => {
                    self.change(index, "enabled", "command", now, None, (by, comment));
                    self.start_clock(index, now);
                    if let Some(says) = self.alarms[index].judge_latest() {
                        self.note(index, now, Noted::Judged(says));
                        self.conclude(index, now);
                    }
                }
                ("disable", "enabled" | "idled" | "activated" | "acknowledged") => {
                    self.change(index, "off", "command", now, None, (by, comment));
                }
                ("acknowledge", state @ ("activated" | "idled")) if !alarm.is_acknowledged() => {
                    let to = if state == "idled" { "idled" } else { "acknowledged" };
                    self.change(index, to, "command", now, None, (by, comment));
                }
                _ => {}
            }
        }
    }

    fn change(
        &mut self,
        index: usize,
        to: &'static str,
        cause: &'static str,
        at: i64,
        since: Option<i64>,
        (by, comment): (Option<&'static str>, Option<&'static str>),
    ) {
        let seq = self.alarms.iter().flat_map(Alarm::events).count() + 1;
        let alarm = &self.alarms[index];
        let occurrence = alarm.events().filter(|event| event.to == "activated").count();
        let (value, value_at) = alarm.latest().map_or((None, None), |(value, stamp)| (Some(value.clone()), stamp));
        let event = Event {
            seq,
            alarm: alarm.id.clone(),
            from: alarm.state(),
            to,
            at,
            since,
            occurrence: occurrence + usize::from(to == "activated"),
            cause,
            value,
            value_at,
            average: matches!(alarm.definition.kind, Kind::Average { .. }).then(|| alarm.mean()),
            by,
            comment,
        };
        self.note(index, at, Noted::Event(event));
    }
}

impl Gap {
    /// How much of the time from `start` to `now` lies in the gap.
    fn overlap(&self, start: i64, now: i64) -> i64 {
        (self.end.unwrap_or(now).min(now) - self.start.max(start)).max(0)
    }
}
