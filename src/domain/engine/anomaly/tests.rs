//! Orders and scores, and exactly what comes of them.

use super::super::{Acknowledgement, Cause, Input, Sample, Signature, Verb};
use super::*;
use crate::config::Config;
use crate::domain::anomaly::interval::{Anomaly, Change};
use crate::domain::anomaly::life::{Life, OnDeletion};
use crate::domain::engine::Memory;
use crate::domain::model::{Model, ValueRef};
use crate::domain::time::{Moment, Span};
use Severity::{Critical, Error, Warning};
use proptest::prelude::*;
use std::path::Path;

const MODEL: &str = "[[anomaly]]\nname = \"odd\"\nthing = \"a\"\nproperty = \"p\"\n";
const SCORE: &str =
    "[[anomaly]]\nname = \"odd\"\nscore = \"a p\"\nseverities = { warning = 3, error = 4.5, critical = 6 }\n";

fn model(text: &str) -> Arc<Model> {
    let head = "[mqtt]\nurl = \"mqtt://h\"\n[[source]]\ntopic = \"t/{thing}/{property}\"\n";
    let config = Config::parse(Path::new("x"), &format!("{head}{text}"));
    config.unwrap_or_else(|problems| panic!("{}", problems.to_text())).0.model
}

fn at(secs: i64) -> Now {
    Now { at: Moment::from_micros(secs * 1_000_000), wall: Stamp::from_micros(secs * 1_000_000) }
}

fn stamp(secs: i64) -> Stamp {
    Stamp::from_micros(secs * 1_000_000)
}

/// An engine that hears, its one alarm, and what came out.
struct Bench {
    engine: Engine,
    ix: AlarmIx,
    effects: Effects,
}

impl Bench {
    fn new(text: &str) -> Bench {
        let mut effects = Effects::default();
        let mut engine = Engine::new(model(text));
        engine.handle(Input::LinkUp, at(0), &mut effects);
        let ix = engine.find("a/p/odd").unwrap();
        Bench { engine, ix, effects }
    }

    fn order(&mut self, secs: i64, order: &Order) -> bool {
        self.engine.order(self.ix, order, Some(4.0), at(secs), &mut self.effects)
    }

    fn score(&mut self, secs: i64, score: f64) {
        let property = self.engine.property(self.engine.thing("a").unwrap(), "p").unwrap();
        let samples = &[Sample { property, value: ValueRef::Number(score) }];
        let input = Input::Message { samples, stamp: None, retained: false, sign_of_life: true };
        self.engine.handle(input, at(secs), &mut self.effects);
    }

    fn command(&mut self, secs: i64, verb: Verb) {
        let who = Signature { by: Some(Arc::from("kim")), comment: None };
        self.engine.command(self.ix, verb, &who, at(secs), &mut self.effects);
    }

    /// What has happened since the last look: time, change, severity.
    fn told(&mut self) -> Vec<String> {
        let events = self.effects.events.drain(..);
        events
            .map(|event| {
                let quiet = if event.quiet { " quietly" } else { "" };
                let severity = event.alarm.severity.as_str();
                let (at, cause) = (event.at.as_micros() / 1_000_000, event.cause.as_str());
                format!("{at} {}→{} {severity} #{} {cause}{quiet}", event.from, event.to, event.occurrence)
            })
            .collect()
    }

    /// The same after a restart, with all that a crash would leave.
    fn restarted(mut self) -> Bench {
        let changes = self.engine.take_changes(false);
        assert!(self.effects.events.is_empty(), "look at them first");
        let soft = |handle| changes.soft.iter().find(|soft| soft.handle == handle).cloned();
        let memories: Vec<Memory> = (changes.alarms.iter())
            .map(|alarm| Memory { alarm: alarm.clone(), soft: soft(alarm.handle), samples: Vec::new() })
            .collect();
        let (next, now) = (self.engine.next_seq(), at(100));
        let model = self.engine.model().clone();
        let (mut engine, gone) = Engine::restore(model, memories, next, now.at, now, &mut self.effects);
        assert_eq!(gone, []);
        engine.handle(Input::LinkUp, now, &mut self.effects);
        Bench { ix: engine.find("a/p/odd").unwrap(), engine, effects: self.effects }
    }
}

fn activate(since: i64, severity: Severity, reactions: bool) -> Order {
    Order::Activate { since: stamp(since), severity, reactions }
}

#[test]
fn an_order_activates_raises_and_clears() {
    let mut bench = Bench::new(MODEL);
    assert!(bench.engine.is_empty(), "there is nothing to tell of it");
    assert!(bench.order(50, &activate(10, Warning, true)));
    let event = bench.effects.events.last().unwrap();
    assert_eq!((event.since, event.value.clone()), (Some(stamp(10)), Some(Value::Number(4.0))));
    assert_eq!(bench.engine.len(), 1);
    assert!(!bench.order(51, &Order::Rise { severity: Warning }), "it never falls, and to stay is no rise");
    bench.order(52, &Order::Rise { severity: Error });
    bench.command(53, Verb::Acknowledge);
    bench.order(54, &Order::Rise { severity: Critical });
    assert_eq!(bench.engine.view(bench.ix).acknowledgement(), None::<&Acknowledgement>);
    assert!(bench.order(55, &Order::Clear));
    assert!(!bench.order(56, &Order::Clear));
    assert_eq!(bench.engine.view(bench.ix).since(), Some(stamp(10)));
    assert_eq!(
        bench.told(),
        [
            "50 enabled→activated warning #1 anomaly",
            "52 activated→activated error #1 anomaly",
            "53 activated→acknowledged error #1 command",
            "54 acknowledged→activated critical #1 anomaly",
            "55 activated→idled critical #1 anomaly",
        ]
    );
    bench.order(60, &activate(60, Warning, true));
    assert_eq!(bench.told(), ["60 idled→activated warning #2 anomaly"]);
}

#[test]
fn what_a_look_at_the_past_has_found_is_quiet_until_it_becomes_worse() {
    let mut bench = Bench::new(MODEL);
    bench.order(50, &activate(10, Warning, false));
    bench.order(50, &Order::Clear);
    bench.order(50, &activate(30, Warning, false));
    assert_eq!(
        bench.told(),
        [
            "50 enabled→activated warning #1 anomaly quietly",
            "50 activated→idled warning #1 anomaly quietly",
            "50 idled→activated warning #2 anomaly quietly",
        ]
    );
    let mut bench = bench.restarted();
    bench.command(101, Verb::Acknowledge);
    bench.order(102, &Order::Rise { severity: Error });
    assert_eq!(
        bench.told(),
        ["101 activated→acknowledged warning #2 command quietly", "102 acknowledged→activated error #2 anomaly"]
    );
}

#[test]
fn severity_and_beginning_survive_a_restart() {
    let mut bench = Bench::new(MODEL);
    bench.order(50, &activate(10, Warning, true));
    bench.order(51, &Order::Rise { severity: Error });
    bench.told();
    let mut bench = bench.restarted();
    let view = bench.engine.view(bench.ix);
    assert_eq!((view.facts().severity, view.since()), (Error, Some(stamp(10))));
    assert_eq!(view.state(), State::Activated);
    assert!(!bench.order(101, &Order::Rise { severity: Error }));
    bench.order(102, &Order::Clear);
    assert_eq!(bench.told(), ["102 activated→idled error #1 anomaly"]);
}

#[test]
fn an_alarm_that_is_off_remembers_what_goes_on() {
    let mut bench = Bench::new(MODEL);
    bench.command(1, Verb::Disable);
    bench.order(50, &activate(10, Warning, true));
    bench.order(51, &Order::Rise { severity: Error });
    assert_eq!(bench.told(), ["1 enabled→off warning #0 command"]);
    let mut bench = bench.restarted();
    bench.command(101, Verb::Enable);
    assert_eq!(bench.told(), ["101 off→enabled warning #0 command", "101 enabled→activated error #1 anomaly"]);
    bench.command(102, Verb::Disable);
    bench.order(103, &Order::Clear);
    bench.command(104, Verb::Enable);
    assert_eq!(bench.told(), ["102 activated→off error #1 command", "104 off→enabled error #1 command"]);
}

#[test]
fn a_deleted_alarm_is_gone_and_the_next_one_is_another() {
    let mut bench = Bench::new(MODEL);
    assert!(!bench.order(1, &Order::Delete), "there was nothing to tell of it");
    bench.order(50, &activate(10, Critical, true));
    assert!(bench.order(51, &Order::Delete));
    assert_eq!(
        bench.told(),
        ["50 enabled→activated critical #1 anomaly", "51 activated→idled critical #1 anomaly"],
        "people are told that it is over"
    );
    assert_eq!(bench.effects.vanished.len(), 1);
    assert!(bench.engine.is_empty() && bench.engine.take_changes(true).alarms.is_empty());
    bench.order(60, &activate(60, Warning, true));
    assert_eq!(bench.told(), ["60 enabled→activated warning #1 anomaly"]);
    assert_eq!(bench.effects.appeared, [bench.ix, bench.ix]);
    let stored = bench.engine.take_changes(false).alarms;
    assert_ne!(stored[0].handle, bench.effects.vanished[0].handle, "what leaves the disk is not what comes");
}

#[test]
fn what_an_operator_has_set_outlives_the_deletion() {
    let mut bench = Bench::new(MODEL);
    bench.order(50, &activate(10, Critical, true));
    bench.command(51, Verb::Shelve(Span::from_secs(60)));
    assert!(!bench.order(52, &Order::Delete));
    assert!(bench.engine.view(bench.ix).shelving().is_some());
    assert_eq!((bench.engine.len(), bench.effects.vanished.len()), (1, 0));
    assert_eq!(bench.engine.view(bench.ix).state(), State::Idled);
}

#[test]
fn a_score_is_compared_with_every_threshold() {
    let mut bench = Bench::new(SCORE);
    for (secs, score) in [(1, 2.9), (2, 3.0), (3, 4.4), (4, 4.5), (5, 3.1), (6, 9.0), (7, 2.9), (8, 5.0)] {
        bench.score(secs, score);
    }
    assert_eq!(
        bench.told(),
        [
            "2 enabled→activated warning #1 anomaly",
            "4 activated→activated error #1 anomaly",
            "6 activated→activated critical #1 anomaly",
            "7 activated→idled critical #1 anomaly",
            "8 idled→activated error #2 anomaly",
        ]
    );
    assert_eq!(bench.effects.input_faults, []);
}

#[test]
fn a_score_that_is_too_short_is_nothing_and_neighbours_are_one() {
    let mut bench = Bench::new(&format!("{SCORE}min_duration = \"10s\"\njoin = \"5s\"\n"));
    for (secs, score) in [(1, 7.0), (5, 1.0), (20, 3.5), (22, 5.0), (24, 3.5), (40, 1.0), (44, 6.5), (50, 0.0)] {
        bench.score(secs, score);
    }
    bench.engine.handle(Input::Tick, at(90), &mut bench.effects);
    assert_eq!(
        bench.told(),
        [
            "30 enabled→activated error #1 anomaly",
            "44 activated→activated critical #1 anomaly",
            "55 activated→idled critical #1 anomaly",
        ]
    );
}

#[test]
fn an_alarm_is_found_by_its_name_before_its_thing_has_spoken() {
    let text = MODEL.replace("thing = \"a\"", "thing = \"*\"");
    let mut engine = Engine::new(model(&text));
    assert_eq!(engine.find("b/p/odd"), None);
    let ix = engine.alarm_of(0, "b").unwrap();
    assert_eq!((engine.find("b/p/odd"), engine.alarm_of(0, "b")), (Some(ix), Some(ix)));
    assert_eq!(engine.alarm_of(1, "b"), None);
    assert!(engine.take_changes(true).is_empty());
    assert_eq!(Cause::Anomaly.as_str(), "anomaly");
}

/// What may happen to an alarm, in a few seconds.
#[derive(Debug, Clone)]
enum Happening {
    Score(f64),
    Activate(Severity, bool),
    Rise(Severity),
    Clear,
    Delete,
    Operator(Verb),
    Gap,
    Restart,
}

fn happening(ordered: bool) -> impl Strategy<Value = Happening> {
    let severity = || prop::sample::select(Severity::ALL.to_vec());
    let feed = if ordered {
        prop_oneof![
            (severity(), any::<bool>()).prop_map(|(severity, reactions)| Happening::Activate(severity, reactions)),
            severity().prop_map(Happening::Rise),
            Just(Happening::Clear),
            Just(Happening::Delete),
        ]
        .boxed()
    } else {
        (0_u8..8).prop_map(|score| Happening::Score(f64::from(score))).boxed()
    };
    let verbs = [Verb::Acknowledge, Verb::Enable, Verb::Disable, Verb::Shelve(Span::from_secs(9)), Verb::Unshelve];
    prop_oneof![
        6 => feed,
        2 => prop::sample::select(verbs.to_vec()).prop_map(Happening::Operator),
        1 => Just(Happening::Gap),
        1 => Just(Happening::Restart),
    ]
}

impl Bench {
    fn happen(mut self, secs: i64, happening: &Happening, log: &mut Vec<crate::domain::engine::Event>) -> Bench {
        let order = match happening {
            Happening::Activate(severity, reactions) => Some(activate(secs - 1, *severity, *reactions)),
            Happening::Rise(severity) => Some(Order::Rise { severity: *severity }),
            Happening::Clear => Some(Order::Clear),
            Happening::Delete => Some(Order::Delete),
            Happening::Score(_) | Happening::Operator(_) | Happening::Gap | Happening::Restart => None,
        };
        if let Some(order) = order {
            self.order(secs, &order);
        }
        match happening {
            Happening::Score(score) => self.score(secs, *score),
            Happening::Operator(verb) => self.command(secs, *verb),
            Happening::Gap => {
                self.engine.handle(Input::LinkDown, at(secs), &mut self.effects);
                self.engine.handle(Input::LinkUp, at(secs + 1), &mut self.effects);
            }
            Happening::Activate(..)
            | Happening::Rise(_)
            | Happening::Clear
            | Happening::Delete
            | Happening::Restart => {}
        }
        if matches!(happening, Happening::Restart) {
            self = self.through_the_store(secs);
        }
        log.append(&mut self.effects.events);
        self
    }

    /// The same after a clean restart: all of it goes through memory and back.
    fn through_the_store(mut self, secs: i64) -> Bench {
        self.engine.handle(Input::Tick, at(secs), &mut self.effects);
        let before = format!("{:?}", self.engine.alarms[self.ix.index()]);
        let model = self.engine.model().clone();
        self.engine.reconfigure(model, at(secs), &mut self.effects);
        self.ix = self.engine.find("a/p/odd").unwrap();
        let after = format!("{:?}", self.engine.alarms[self.ix.index()]);
        let essence = |text: &str| text.split(", handle: ").next().unwrap().replace("heard: ", "").to_owned();
        let without_count = |text: &str| {
            let (head, tail) = text.split_once("heard: ").unwrap();
            format!("{head}{}", tail.trim_start_matches(|c: char| c.is_ascii_digit()))
        };
        assert_eq!(essence(&without_count(&before)), essence(&without_count(&after)));
        self
    }
}

proptest! {
    #[test]
    fn severity_never_falls_and_one_occurrence_follows_the_other(
        ordered in any::<bool>(),
        durations in any::<bool>(),
        happenings in prop::collection::vec((any::<bool>(), happening(true), happening(false)), 1..60),
    ) {
        let with_durations = format!("{SCORE}min_duration = \"3s\"\njoin = \"4s\"\n");
        let text = if ordered { MODEL } else if durations { with_durations.as_str() } else { SCORE };
        let mut bench = Bench::new(text);
        let mut log = Vec::new();
        let mut secs = 1;
        for (long, order, score) in &happenings {
            secs += if *long { 5 } else { 1 };
            bench = bench.happen(secs, if ordered { order } else { score }, &mut log);
            let view = bench.engine.view(bench.ix);
            prop_assert_eq!(bench.engine.active(), usize::from(view.state().is_active()));
            prop_assert_eq!(bench.engine.len(), usize::from(!view.is_latent()));
            prop_assert_eq!(view.is_latent(), view.last_change().is_none() && view.shelving().is_none());
            if ordered {
                // Whatever operators do: what goes on is what was ordered, and active unless it is off.
                prop_assert_eq!(view.state().is_active(), view.anomaly().is_some() && view.state() != State::Off);
            }
            if let (true, Some(standing)) = (view.state().is_active(), view.anomaly()) {
                prop_assert_eq!(view.facts().severity, standing.severity);
            }
        }
        for (before, event) in log.iter().zip(log.iter().skip(1)) {
            prop_assert_eq!(event.seq, before.seq + 1);
            let goes_on = before.to.is_active() && event.from.is_active();
            prop_assert_eq!(event.from.is_active(), before.to.is_active());
            if goes_on {
                prop_assert_eq!(event.occurrence, before.occurrence);
                prop_assert!(event.alarm.severity >= before.alarm.severity, "{event:?}");
                let rises = event.alarm.severity > before.alarm.severity;
                prop_assert_eq!(event.to == State::Activated, rises, "active to activated is a rise and nothing else");
            } else if event.to == State::Activated {
                prop_assert!(event.occurrence == before.occurrence + 1 || event.occurrence == 1, "{event:?}");
            }
            if event.to == State::Activated || (event.from.is_active() && event.to == State::Idled) {
                prop_assert_eq!(event.cause, Cause::Anomaly);
            }
        }
    }

    #[test]
    fn without_durations_an_alarm_is_active_exactly_while_the_score_is_high(
        scores in prop::collection::vec(0_u8..9, 1..60),
    ) {
        let mut bench = Bench::new(SCORE);
        let mut highest = None;
        for (secs, score) in (1..).zip(&scores) {
            let score = f64::from(*score);
            bench.score(secs, score);
            let severity = [(6.0, Critical), (4.5, Error), (3.0, Warning)].into_iter().find(|(least, _)| score >= *least);
            highest = severity.map(|(_, severity)| severity.max(highest.unwrap_or(severity)));
            let view = bench.engine.view(bench.ix);
            let seen = view.state().is_active().then_some(view.facts().severity);
            prop_assert_eq!(seen, highest);
        }
    }

    /// A model's anomalies through [`Life`] and the engine: never two alarms at a time, and none without an anomaly.
    #[test]
    fn one_anomaly_is_one_alarm_at_a_time(
        delete in any::<bool>(),
        found in prop::collection::vec((0_i64..40, 0_usize..4, any::<bool>(), any::<bool>()), 1..40),
    ) {
        let thing: crate::domain::model::ThingId = Arc::from("a");
        let mut life = Life::new(if delete { OnDeletion::Delete } else { OnDeletion::Clear });
        let mut bench = Bench::new(MODEL);
        let mut secs = 100;
        for (from, severity, is_over, deletes) in found {
            secs += 1;
            // What is over stays over.
            if life.found().any(|(_, found)| found.is_over && found.anomaly.from == stamp(from)) {
                continue;
            }
            let anomaly = Anomaly {
                from: stamp(from),
                to: stamp(from + 3),
                score: 4.0,
                index: 1.0,
                severity: Some(Severity::ALL[severity]),
            };
            let orders = match (deletes, is_over) {
                (true, true) => life.rebuild().into_iter().map(|(_, order)| order).collect(),
                (true, false) => life.delete(&thing, (stamp(from), stamp(from + 5))),
                (false, true) => life.follow(&thing, &Change::Ended(anomaly), true),
                (false, false) => life.follow(&thing, &Change::Grown(anomaly), true),
            };
            for order in &orders {
                bench.order(secs, order);
            }
            let open = life.found().filter(|(_, found)| !found.is_over && found.alarm.is_some()).count();
            prop_assert!(open <= 1);
            prop_assert_eq!(bench.engine.active(), open, "{:?}", orders);
            if delete && life.found().all(|(_, found)| found.alarm.is_none()) {
                prop_assert!(bench.engine.is_empty(), "what has no anomaly has no topic");
            }
        }
    }
}
