use super::super::delivery::Occasion;
use super::*;
use crate::config::Config;
use crate::domain::model::Severity;
use crate::domain::time::Stamp;
use std::path::Path;

/// A queue with reactions whose names and keys are given, all of them webhooks to one host.
struct Bench {
    reactions: Reactions,
    queue: Queue,
}

fn at(secs: i64) -> Moment {
    Moment::from_micros(secs * 1_000_000)
}

fn fine() -> Outcome {
    Outcome::Taken { answer: "fine".to_owned(), warnings: Vec::new() }
}

fn not_now() -> Outcome {
    Outcome::Later { reason: "not now".to_owned(), unreachable: false, retry_after: None }
}

impl Bench {
    fn new(reactions: &[&str]) -> Bench {
        let text: String = (0..)
            .zip(reactions)
            .map(|(n, keys)| {
                format!("[[reaction]]\nname = \"r{n}\"\ntype = \"webhook\"\nurl = \"http://one.example/\"\n{keys}\n")
            })
            .collect();
        let config = Config::parse(Path::new("x"), &text).unwrap_or_else(|problems| panic!("{}", problems.to_text())).0;
        Bench { reactions: (*config.reactions).clone(), queue: Queue::default() }
    }

    fn push(&mut self, reaction: usize, alarm: &str, kind: Kind, due: i64, after: Option<u64>) -> Option<u64> {
        self.push_event("{}".into(), reaction, alarm, kind, due, after)
    }

    fn push_event(
        &mut self,
        event: Arc<str>,
        reaction: usize,
        alarm: &str,
        kind: Kind,
        due: i64,
        after: Option<u64>,
    ) -> Option<u64> {
        let occasion = Occasion {
            event_id: format!("g-{}", self.queue.next_number()),
            occurrence: 1,
            event,
            facts: "{}".into(),
            opened_by: None,
            opened_at: None,
            at: Stamp::default(),
        };
        let delivery = Delivery {
            id: format!("{}-{}", occasion.event_id, kind.number()),
            reaction: ReactionIx::new(reaction),
            alarm: AlarmId::new(alarm, "p", "l"),
            severity: Severity::Warning,
            kind,
            occasion: Arc::new(occasion),
            due: at(due),
            due_wall: Stamp::default(),
            after,
            done: Vec::new(),
            told_by: None,
        };
        self.queue.push(delivery, &self.reactions)
    }

    fn first(&mut self, reaction: usize, alarm: &str, due: i64) -> u64 {
        self.push(reaction, alarm, Kind::First, due, None).unwrap()
    }

    fn begin(&mut self, now: Moment) -> Vec<u64> {
        self.queue.begin(now, &self.reactions, true).into_iter().map(|start| start.number).collect()
    }

    fn end(&mut self, number: u64, outcome: Outcome, now: Moment) {
        self.queue.ended(number, outcome, now, &self.reactions);
    }

    fn next_due(&self) -> Option<Moment> {
        self.queue.next_due(&self.reactions, true)
    }

    fn outcomes(&mut self) -> Vec<(String, &'static str)> {
        let word = |outcome: &DeliveryEnd| match outcome {
            DeliveryEnd::Delivered { .. } => "delivered",
            DeliveryEnd::Failed { .. } => "failed",
            DeliveryEnd::Dropped { .. } => "dropped",
        };
        self.queue.take_reports().iter().map(|report| (report.delivery.id.clone(), word(&report.outcome))).collect()
    }
}

#[test]
fn deliveries_of_one_alarm_keep_their_order_and_others_do_not_wait() {
    let mut bench = Bench::new(&["concurrency = 2"]);
    let [a1, a2, b1, c1] = [("a", 0), ("a", 1), ("b", 1), ("c", 1)].map(|(alarm, due)| bench.first(0, alarm, due));
    assert_eq!(bench.begin(at(1)), [a1, b1], "two at a time");
    bench.end(a1, not_now(), at(1));
    assert_eq!(bench.begin(at(1)), [c1], "the second of a waits for the first");
    bench.end(b1, fine(), at(2));
    bench.end(c1, fine(), at(2));
    assert_eq!(bench.begin(at(2)), [a1]);
    bench.end(a1, fine(), at(2));
    assert_eq!(bench.begin(at(2)), [a2]);
}

#[test]
fn pauses_double_up_to_five_minutes_and_differ() {
    let waits: Vec<i64> = (0..20).map(|n| pause(n, "x").as_micros()).collect();
    for (n, wait) in (0_u32..).zip(&waits) {
        let longest = (1_000_000_i64 << n.min(10)).min(300_000_000);
        assert!(*wait <= longest && *wait >= (longest / 2).max(1_000_000), "{n}: {wait}");
    }
    assert_ne!(pause(8, "x"), pause(8, "y"));
    assert_eq!(pause(8, "x"), pause(8, "x"), "the same history gives the same times");
}

#[test]
fn a_destination_that_cannot_be_reached_is_asked_by_one_at_a_time() {
    let mut bench = Bench::new(&["", ""]);
    for number in 0..20 {
        bench.first(number % 2, &format!("a{number}"), 0);
    }
    let mut now = at(0);
    let mut attempts = 0;
    while attempts < 5 {
        for number in bench.begin(now) {
            attempts += 1;
            bench.end(number, Outcome::unreachable("nobody there"), now);
        }
        now = now + Span::from_micros(1);
    }
    let later = bench.next_due().unwrap();
    assert!(later > now);
    let asking = bench.begin(later);
    assert_eq!(asking.len(), 1, "one asks for all, of both reactions");
    bench.end(asking[0], fine(), later);
    let rest = bench.begin(later);
    assert!(rest.len() >= 4, "it is back: {rest:?}");
}

#[test]
fn what_is_late_or_given_up_is_dropped_and_reported() {
    let mut bench = Bench::new(&["valid_for = \"10s\"", "give_up = \"60s\""]);
    let (a, b) = (bench.first(0, "a", 0), bench.first(1, "b", 0));
    assert_eq!(bench.begin(at(1)), [a, b]);
    bench.end(a, not_now(), at(1));
    bench.end(b, not_now(), at(1));
    assert_eq!(bench.outcomes(), [("g-0-0".to_owned(), "failed"), ("g-1-0".to_owned(), "failed")]);
    assert_eq!(bench.begin(at(11)), [b], "ten seconds are over for a");
    assert_eq!(bench.outcomes(), [("g-0-0".to_owned(), "dropped")]);
    bench.end(b, not_now(), at(61));
    assert_eq!(bench.outcomes(), [("g-1-0".to_owned(), "failed"), ("g-1-0".to_owned(), "dropped")]);
    assert!(bench.queue.is_empty());
    assert_eq!(bench.queue.counters(), Counters { delivered: 0, failed: 3, retried: 1, dropped: 2 });
}

#[test]
fn a_clearing_follows_its_activation_or_goes_with_it() {
    let mut bench = Bench::new(&[""]);
    let first = bench.first(0, "a", 0);
    let clear = bench.push(0, "a", Kind::Clear, 1, Some(first)).unwrap();
    assert_eq!(bench.begin(at(1)), [first]);
    bench.end(first, fine(), at(1));
    assert_eq!(bench.begin(at(1)), [clear]);
    bench.end(clear, fine(), at(1));
    let first = bench.first(0, "b", 0);
    bench.push(0, "b", Kind::Clear, 1, Some(first)).unwrap();
    assert_eq!(bench.begin(at(1)), [first]);
    bench.end(first, Outcome::Refused { reason: "never".to_owned() }, at(1));
    assert!(bench.queue.is_empty());
    assert_eq!(bench.push(0, "b", Kind::Clear, 1, Some(first)), None, "too late for that");
}

#[test]
fn only_repeats_are_withdrawn_and_only_before_they_are_on_their_way() {
    let mut bench = Bench::new(&[""]);
    let first = bench.first(0, "a", 0);
    bench.queue.withdraw(first);
    let repeat = bench.push(0, "b", Kind::Repeat(1), 0, None).unwrap();
    assert_eq!(bench.queue.len(), 2);
    bench.queue.withdraw(repeat);
    assert_eq!(bench.queue.len(), 1);
    let repeat = bench.push(0, "b", Kind::Repeat(2), 0, None).unwrap();
    assert_eq!(bench.begin(at(0)), [first, repeat]);
    bench.queue.withdraw(repeat);
    assert_eq!(bench.queue.len(), 2);
    assert_eq!(bench.queue.counters().dropped, 0, "nobody has to look at that");
}

#[test]
fn a_flood_is_gathered_and_survives_a_restart() {
    let mut bench = Bench::new(&["rate_limit = 2\nrate_window = \"10s\"\nconcurrency = 10"]);
    for number in 0..9 {
        bench.first(0, &format!("a{number}"), 0);
    }
    let starts = bench.queue.begin(at(0), &bench.reactions, true);
    let told: Vec<usize> = starts.iter().map(|start| start.digest.len()).collect();
    assert_eq!(told, [0, 7], "one alone, one for all that are left");
    // Power cut: all of it comes again, gathered as it was.
    let stored: Vec<(u64, Delivery)> =
        bench.queue.items.iter().map(|(n, item)| (*n, (*item.delivery).clone())).collect();
    bench.queue = Queue::default();
    bench.queue.restore(0, stored);
    let starts = bench.queue.begin(at(1), &bench.reactions, true);
    assert_eq!(starts.iter().map(|start| start.digest.len()).collect::<Vec<_>>(), [0, 7]);
    for start in starts {
        bench.end(start.number, fine(), at(1));
    }
    assert!(bench.queue.is_empty());
    assert_eq!(bench.queue.counters().delivered, 9);
    assert_eq!(bench.outcomes().len(), 9);
    // What comes within the window waits for its end.
    bench.first(0, "late", 2);
    assert_eq!(bench.begin(at(2)), [0; 0]);
    assert_eq!(bench.next_due(), Some(at(11)));
    assert_eq!(bench.begin(at(11)).len(), 1);
}

#[test]
fn when_there_are_too_many_the_oldest_goes_and_is_reported() {
    let mut bench = Bench::new(&["queue_max = 3"]);
    for number in 0..5 {
        bench.push(0, &format!("a{number}"), Kind::First, number, None);
    }
    assert_eq!(bench.queue.len(), 3);
    assert_eq!(bench.outcomes(), [("g-0-0".to_owned(), "dropped"), ("g-1-0".to_owned(), "dropped")]);
}

#[test]
fn who_names_a_time_is_not_asked_before_it() {
    let mut bench = Bench::new(&[""]);
    let a = bench.first(0, "a", 0);
    bench.begin(at(0));
    bench.end(a, Outcome::Later { reason: String::new(), unreachable: false, retry_after: Some(90) }, at(0));
    assert_eq!(bench.next_due(), Some(at(90)));
    bench.begin(at(90));
    bench.end(a, Outcome::Later { reason: String::new(), unreachable: false, retry_after: Some(u64::MAX) }, at(90));
    assert!(bench.next_due().unwrap() < at(90 + 4_000), "nobody keeps us away for a year");
}

#[test]
fn everything_that_changes_is_named_to_the_store() {
    let mut bench = Bench::new(&[""]);
    let a = bench.first(0, "a", 0);
    assert_eq!(bench.queue.changes().map(|(n, delivery)| (n, delivery.is_some())).collect::<Vec<_>>(), [(a, true)]);
    bench.queue.stored();
    bench.begin(at(0));
    bench.end(a, not_now(), at(0));
    assert!(!bench.queue.has_changes(), "a destination that is down for a night writes nothing");
    bench.begin(at(5));
    bench.end(a, Outcome::Partly { done: vec!["x@y".to_owned()], reason: String::new() }, at(5));
    assert!(bench.queue.changes().all(|(_, delivery)| delivery.is_some_and(|delivery| delivery.done.len() == 1)));
    bench.queue.stored();
    bench.begin(at(60));
    bench.end(a, fine(), at(60));
    assert_eq!(bench.queue.changes().map(|(n, delivery)| (n, delivery.is_some())).collect::<Vec<_>>(), [(a, false)]);
}

/// What can happen to a queue.
#[derive(Debug, Clone)]
enum Happening {
    Push { reaction: usize, alarm: u8, kind: u8 },
    Begin,
    End { which: usize, how: u8 },
    Withdraw { which: usize },
    Time(i64),
    PowerCut,
}

fn happening() -> impl proptest::strategy::Strategy<Value = Happening> {
    use proptest::prelude::*;
    prop_oneof![
        4 => (0..3_usize, 0..4_u8, 0..4_u8).prop_map(|(reaction, alarm, kind)| Happening::Push { reaction, alarm, kind }),
        4 => Just(Happening::Begin),
        4 => (0..8_usize, 0..6_u8).prop_map(|(which, how)| Happening::End { which, how }),
        1 => (0..8_usize).prop_map(|which| Happening::Withdraw { which }),
        3 => (0..20_i64).prop_map(Happening::Time),
        1 => Just(Happening::PowerCut),
    ]
}

proptest::proptest! {
    /// Whatever happens: no two of one alarm and reaction are on their way at once, each delivery ends exactly once, and
    /// when the other side takes everything again, nothing stays behind.
    #[test]
    fn nothing_is_lost_and_nothing_stays_behind(
        happenings in proptest::collection::vec(happening(), 0..120),
    ) {
        let mut bench = Bench::new(&["concurrency = 2", "rate_limit = 2\nrate_window = \"10s\"", "valid_for = \"60s\"\nqueue_max = 3"]);
        let (mut now, mut running): (Moment, Vec<u64>) = (at(0), Vec::new());
        let (mut pushed, mut ended): (BTreeSet<String>, Vec<String>) = (BTreeSet::new(), Vec::new());
        let mut disk: BTreeMap<u64, Delivery> = BTreeMap::new();
        let mut event = 0;
        for happening in happenings {
            match happening {
                Happening::Push { reaction, alarm, kind } => {
                    let of_alarm = bench.queue.items.iter().filter(|(_, item)| item.delivery.reaction.index() == reaction);
                    let after = of_alarm.map(|(number, _)| *number).next();
                    let (kind, after) = match kind {
                        0 => (Kind::Repeat(1), None),
                        1 => (Kind::Clear, after),
                        _ => (Kind::First, None),
                    };
                    // Its name goes by the events, not by the numbers, which begin anew after a power cut.
                    event += 1;
                    let number = bench.queue.next_number();
                    let due = (now - Moment::default()).as_micros() / 1_000_000;
                    bench.push(reaction, &format!("a{alarm}"), kind, due, after);
                    if let Some(item) = bench.queue.items.get_mut(&number) {
                        Arc::make_mut(&mut item.delivery).id = format!("e{event}");
                        pushed.insert(format!("e{event}"));
                    }
                }
                Happening::Begin => {
                    running.extend(bench.queue.begin(now, &bench.reactions, true).into_iter().map(|start| start.number));
                    let of = |number: &u64| bench.queue.items.get(number).map(|item| (item.delivery.alarm.clone(), item.delivery.reaction));
                    let busy: Vec<_> = running.iter().filter_map(of).collect();
                    let distinct: BTreeSet<_> = busy.iter().cloned().collect();
                    proptest::prop_assert_eq!(busy.len(), distinct.len());
                }
                Happening::End { which, how } => {
                    if !running.is_empty() {
                        let number = running.remove(which % running.len());
                        let outcome = match how {
                            0 => not_now(),
                            1 => Outcome::unreachable("x"),
                            2 => Outcome::Refused { reason: String::new() },
                            3 => Outcome::Partly { done: vec!["x".to_owned()], reason: String::new() },
                            _ => fine(),
                        };
                        bench.end(number, outcome, now);
                    }
                }
                Happening::Withdraw { which } => {
                    let number = bench.queue.items.keys().nth(which).copied();
                    number.into_iter().for_each(|number| bench.queue.withdraw(number));
                }
                Happening::Time(secs) => now = now + Span::from_secs(secs),
                Happening::PowerCut => {
                    bench.queue = Queue::default();
                    running.clear();
                    bench.queue.restore(0, disk.iter().map(|(number, delivery)| (*number, delivery.clone())).collect());
                }
            }
            let reports = bench.queue.take_reports();
            ended.extend(reports.into_iter().filter(|r| !matches!(r.outcome, DeliveryEnd::Failed { .. })).map(|r| r.delivery.id.clone()));
            // The turn ends with a write.
            for (number, delivery) in bench.queue.changes() {
                match delivery {
                    Some(delivery) => disk.insert(number, delivery.clone()),
                    None => disk.remove(&number),
                };
            }
            bench.queue.stored();
        }
        for number in std::mem::take(&mut running) {
            bench.end(number, fine(), now);
        }
        for _ in 0..200 {
            for start in bench.queue.begin(now, &bench.reactions, true) {
                bench.end(start.number, fine(), now);
            }
            match bench.next_due() {
                Some(due) => now = now.max(due),
                None => break,
            }
        }
        proptest::prop_assert!(bench.queue.is_empty(), "{:?}", bench.queue);
        let reports = bench.queue.take_reports();
        ended.extend(reports.into_iter().filter(|r| !matches!(r.outcome, DeliveryEnd::Failed { .. })).map(|r| r.delivery.id.clone()));
        let mut ended: Vec<String> = ended.into_iter().filter(|id| pushed.contains(id)).collect();
        ended.sort();
        let want: Vec<String> = pushed.into_iter().collect();
        proptest::prop_assert_eq!(ended, want);
    }
}

#[test]
fn deliveries_that_wait_have_a_bound_in_bytes_and_the_reaction_with_the_most_loses_its_oldest() {
    let mut bench = Bench::new(&["queue_max = 100000", "queue_max = 100000"]);
    let small = bench.push(1, "small", Kind::First, 0, None).unwrap();
    let event: Arc<str> = "x".repeat(1 << 20).into();
    for number in 0..200 {
        let pushed = bench.push_event(event.clone(), 0, &format!("a{number}"), Kind::First, number, None);
        assert!(pushed.is_some(), "the newest is taken");
        assert!(bench.queue.bytes <= MAX_BYTES);
    }
    let waiting: Vec<u64> = bench.queue.items.keys().copied().collect();
    let large = waiting.len() - 1;
    assert!((60..64).contains(&large), "{large}");
    assert_eq!(waiting[0], small, "the other reaction lost nothing");
    assert_eq!(waiting[1..], (201 - large as u64..201).collect::<Vec<_>>(), "the oldest have left");
    let dropped = bench.queue.take_reports();
    assert_eq!(dropped.len(), 200 - large, "each is told");
    assert!(matches!(&dropped[0].outcome, DeliveryEnd::Dropped { reason, is_loss: true } if reason.contains("64 MiB")));
    // All of it is given back.
    waiting.into_iter().for_each(|number| bench.queue.drop(number, "the end", false));
    assert_eq!((bench.queue.bytes, bench.queue.lanes.values().map(|lane| lane.bytes).sum::<usize>()), (0, 0));
}

#[test]
fn where_all_of_the_largest_is_on_its_way_the_next_one_makes_room() {
    let mut bench = Bench::new(&["", ""]);
    let large = bench.push_event("x".repeat(40 << 20).into(), 0, "large", Kind::First, 0, None).unwrap();
    assert_eq!(bench.queue.begin(at(0), &bench.reactions, true).len(), 1);
    let event: Arc<str> = "x".repeat(1 << 20).into();
    for number in 0..40 {
        bench.push_event(event.clone(), 1, &format!("a{number}"), Kind::First, number, None);
    }
    assert!(bench.queue.bytes <= MAX_BYTES && bench.queue.items.contains_key(&large));
}
