use super::*;
use crate::config::Config;
use crate::domain::engine::Cause;
use crate::domain::model::{AlarmFacts, AlarmType};
use crate::domain::time::Stamp;
use std::path::Path;

/// A schedule of one reaction, `r`, and what it has asked for: (seconds, id) of each delivery.
struct Bench {
    reactions: Reactions,
    schedule: Schedule,
    asked: Vec<(f64, String)>,
    withdrawn: Vec<u64>,
    number: u64,
    seq: u64,
    /// Whether deliveries reach the other side at once.
    is_up: bool,
}

fn now(secs: f64) -> Now {
    #[expect(clippy::cast_possible_truncation, reason = "seconds of a test")]
    let micros = (secs * 1e6) as i64;
    // The wall clock is somewhere else than the time line.
    Now { at: Moment::from_micros(micros), wall: Stamp::from_micros(micros + 1_777_000_000_000_000) }
}

impl Bench {
    fn new(keys: &str) -> Bench {
        let text = format!("[[reaction]]\nname = \"r\"\ntype = \"mqtt\"\ntopic = \"t\"\n{keys}\n");
        let config = Config::parse(Path::new("x"), &text).unwrap_or_else(|problems| panic!("{}", problems.to_text())).0;
        Bench {
            reactions: (*config.reactions).clone(),
            schedule: Schedule::default(),
            asked: Vec::new(),
            withdrawn: Vec::new(),
            number: 0,
            seq: 0,
            is_up: true,
        }
    }

    fn carry_out(&mut self, at: f64, orders: Vec<Order>) {
        for order in orders {
            match order {
                Order::Withdraw(number) => self.withdrawn.push(number),
                Order::Deliver(delivery, course) => {
                    self.asked.push((at, delivery.id.clone()));
                    self.number += 1;
                    if let Some(course) = course {
                        self.schedule.queued(&course, self.number);
                        if self.is_up {
                            self.schedule.settled(&course, self.number, true);
                        }
                    }
                }
            }
        }
    }

    fn to(&mut self, at: f64, from: State, to: State) -> &mut Bench {
        self.seq += 1;
        let facts = AlarmFacts {
            id: AlarmId::new("t", "p", "l"),
            thing: "t".into(),
            property: "p".into(),
            level: "l".into(),
            alarm_type: AlarmType::Standard,
            severity: Severity::Warning,
            title: "".into(),
        };
        let event = Event {
            seq: self.seq,
            alarm: Arc::new(facts),
            ix: None,
            from,
            to,
            at: now(at).wall,
            since: None,
            occurrence: 1,
            cause: Cause::Value,
            value: None,
            value_at: None,
            average: None,
            by: None,
            comment: None,
            quiet: false,
            seq_gap: false,
        };
        let occasion = Arc::new(Occasion::new(&event, "g", "{}".into(), "{}".into(), None));
        let mut orders = Vec::new();
        self.schedule.event(&event, &occasion, &[ReactionIx::new(0)], &self.reactions, now(at), &mut orders);
        self.carry_out(at, orders);
        self.look(at)
    }

    fn activate(&mut self, at: f64) -> &mut Bench {
        self.to(at, State::Idled, State::Activated)
    }

    fn idle(&mut self, at: f64) -> &mut Bench {
        self.to(at, State::Activated, State::Idled)
    }

    fn look(&mut self, at: f64) -> &mut Bench {
        let mut orders = Vec::new();
        self.schedule.poll(now(at), &self.reactions, &mut orders);
        self.carry_out(at, orders);
        self
    }

    /// Looks whenever something is due, up to this time.
    fn run_until(&mut self, end: f64) -> &mut Bench {
        while let Some(due) = self.schedule.next_due().filter(|due| *due <= now(end).at) {
            self.look((due - Moment::default()).as_secs_f64());
        }
        self
    }

    fn shelve(&mut self, at: f64, is_shelved: bool) -> &mut Bench {
        let mut orders = Vec::new();
        self.schedule.shelved(&AlarmId::new("t", "p", "l"), is_shelved, &self.reactions, &mut orders);
        self.carry_out(at, orders);
        self.look(at)
    }

    fn asked(&self) -> Vec<(f64, &str)> {
        self.asked.iter().map(|(at, id)| (*at, id.as_str())).collect()
    }
}

#[test]
fn repeats_do_not_drift_however_late_they_are_looked_at() {
    let mut bench = Bench::new("initial = \"10s\"\nrepeat = \"60s\"");
    bench.activate(0.0).look(9.9).look(10.3).look(70.0).look(131.7).run_until(190.0);
    assert_eq!(bench.asked(), [(10.3, "g-1-r-0"), (70.0, "g-1-r-1"), (131.7, "g-1-r-2"), (190.0, "g-1-r-3")]);
}

#[test]
fn a_list_of_intervals_backs_off_and_its_last_one_stays() {
    let mut bench = Bench::new("repeat = [\"1s\", \"2s\", \"4s\"]");
    bench.activate(0.0).run_until(16.0);
    let times: Vec<f64> = bench.asked().iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [0.0, 1.0, 3.0, 7.0, 11.0, 15.0]);
}

#[test]
fn after_a_gap_one_makes_up_for_all_and_the_next_comes_at_its_time() {
    let mut bench = Bench::new("repeat = [\"10s\", \"20s\"]");
    bench.activate(0.0).look(1_000.0).run_until(1_040.0);
    assert_eq!(bench.asked(), [(0.0, "g-1-r-0"), (1_000.0, "g-1-r-50"), (1_010.0, "g-1-r-51"), (1_030.0, "g-1-r-52")]);
    // Who was not told anything yet is told the first, and no repeat with it.
    let mut bench = Bench::new("initial = \"5s\"\nrepeat = \"10s\"");
    bench.activate(0.0).look(100.0).run_until(110.0);
    assert_eq!(bench.asked(), [(100.0, "g-1-r-0"), (105.0, "g-1-r-10")]);
}

#[test]
fn idling_before_the_first_cancels_it_and_its_instant_does_not() {
    let mut bench = Bench::new("initial = \"10s\"\non_clear = true");
    bench.activate(0.0).idle(9.0).run_until(100.0);
    assert_eq!(bench.asked(), [(0.0, ""); 0]);
    let mut bench = Bench::new("on_clear = true");
    bench.activate(0.0).idle(0.0);
    assert_eq!(bench.asked(), [(0.0, "g-1-r-0"), (0.0, "g-2-r-0")]);
}

#[test]
fn taking_note_stops_repeats_and_clearing_is_told_all_the_same() {
    let mut bench = Bench::new("repeat = \"10s\"\non_clear = true");
    bench.activate(0.0).look(10.0).to(12.0, State::Activated, State::Acknowledged).run_until(100.0);
    bench.to(101.0, State::Acknowledged, State::Idled).run_until(200.0);
    assert_eq!(bench.asked(), [(0.0, "g-1-r-0"), (10.0, "g-1-r-1"), (101.0, "g-3-r-0")]);
    assert_eq!(bench.schedule.next_due(), None);
}

#[test]
fn disabling_ends_everything() {
    let mut bench = Bench::new("initial = \"1s\"\nrepeat = \"10s\"\non_clear = true");
    bench.activate(0.0).to(0.5, State::Activated, State::Off).run_until(100.0);
    bench.activate(200.0).run_until(201.0).to(205.0, State::Activated, State::Off).run_until(300.0);
    assert_eq!(bench.asked(), [(201.0, "g-3-r-0")]);
}

#[test]
fn as_long_as_one_waits_no_repeat_joins_it() {
    let mut bench = Bench::new("repeat = \"10s\"\non_clear = true");
    bench.is_up = false;
    bench.activate(0.0).run_until(100.0);
    assert_eq!(bench.asked(), [(0.0, "g-1-r-0")]);
    // The clearing waits for the activation, which is not withdrawn from the schedule's side alone.
    bench.idle(101.0);
    assert_eq!(bench.asked(), [(0.0, "g-1-r-0"), (101.0, "g-2-r-0")]);
    assert_eq!(bench.withdrawn, [1]);
}

#[test]
fn what_is_shelved_is_held_back_and_not_caught_up_with() {
    let mut bench = Bench::new("initial = \"5s\"\nrepeat = \"10s\"");
    bench.activate(0.0).shelve(1.0, true).run_until(100.0);
    assert_eq!(bench.asked(), [(0.0, ""); 0]);
    bench.shelve(101.0, false).run_until(105.0);
    assert_eq!(bench.asked(), [(101.0, "g-1-r-0"), (105.0, "g-1-r-10")]);
    // Idled while it was shelved: there is nothing to tell any more.
    let mut bench = Bench::new("");
    bench.shelve(0.0, true).activate(1.0).idle(2.0).shelve(3.0, false).run_until(10.0);
    assert_eq!(bench.asked(), [(0.0, ""); 0]);
}

#[test]
fn a_course_goes_on_after_a_restart_as_if_there_had_been_none() {
    let mut bench = Bench::new("initial = \"10s\"\nrepeat = \"10s\"");
    bench.activate(0.0).look(4.0);
    for stop in [4.0, 14.0, 25.0] {
        bench.run_until(stop);
        let stored: Vec<(CourseId, Course)> =
            bench.schedule.courses.iter().map(|(id, course)| (id.clone(), course.clone())).collect();
        bench.schedule = Schedule::default();
        for (id, course) in stored {
            bench.schedule.restore(id, course, &bench.reactions);
        }
    }
    bench.run_until(35.0);
    assert_eq!(bench.asked(), [(10.0, "g-1-r-0"), (20.0, "g-1-r-1"), (30.0, "g-1-r-2")]);
}

#[test]
fn changes_that_were_asked_for_are_told() {
    let mut bench = Bench::new("on = [\"acknowledged\", \"idled\"]");
    bench.activate(0.0).to(1.0, State::Activated, State::Acknowledged).to(2.0, State::Acknowledged, State::Idled);
    // To take note of what has idled changes no state, and is told.
    bench.to(3.0, State::Idled, State::Idled).to(4.0, State::Idled, State::Off);
    assert_eq!(bench.asked(), [(1.0, "g-2-r-0"), (2.0, "g-3-r-0"), (3.0, "g-4-r-0")]);
}

#[test]
fn an_active_alarm_that_becomes_worse_is_not_activated_twice() {
    let mut bench = Bench::new("repeat = \"10s\"");
    bench.activate(0.0).to(5.0, State::Activated, State::Activated).run_until(10.0);
    assert_eq!(bench.asked(), [(0.0, "g-1-r-0"), (10.0, "g-2-r-1")], "the repeat tells how bad it is now");
    // Who had taken note of something less severe is told anew.
    let mut bench = Bench::new("repeat = \"10s\"\non_clear = true");
    bench.activate(0.0).run_until(1.0);
    bench.to(2.0, State::Activated, State::Acknowledged).to(5.0, State::Acknowledged, State::Activated).run_until(16.0);
    assert_eq!(bench.asked(), [(0.0, "g-1-r-0"), (5.0, "g-3-r-0"), (15.0, "g-3-r-1")]);
    // Who was not concerned before begins now.
    let mut bench = Bench::new("");
    bench.to(5.0, State::Activated, State::Activated);
    assert_eq!(bench.asked(), [(5.0, "g-1-r-0")]);
}

/// Compared with a second, dumber formulation: all instants at which something is due, one by one.
#[test]
fn due_times_are_those_of_counting_one_by_one() {
    for intervals in [&[7][..], &[3, 5], &[2, 4, 9]] {
        let plan = Plan {
            initial: Span::ZERO,
            repeat: intervals.iter().map(|secs| Span::from_secs(*secs)).collect(),
            on_clear: false,
            on: Vec::new(),
            severities: Vec::new(),
            things: Vec::new(),
            hours: None,
        };
        let mut at = Moment::default();
        let mut times = vec![at];
        for number in 0..60 {
            at = at + plan.repeat[number.min(plan.repeat.len() - 1)];
            times.push(at);
        }
        for (number, time) in (0_u32..).zip(&times) {
            assert_eq!(due_at(&plan, Moment::default(), number), *time);
        }
        for from in 1_u32..20 {
            for secs in 0..150 {
                let now = Moment::default() + Span::from_secs(secs);
                let counted = (from..60).take_while(|n| times[*n as usize] <= now).last().unwrap_or(from);
                assert_eq!(last_before(&plan, Moment::default(), from, now), counted, "{intervals:?} {from} {secs}");
            }
        }
    }
}
