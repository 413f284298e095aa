//! The history over thousands of entries, restarts and retention, against a plain list.

use super::*;
use crate::domain::engine::{Cause, Event, State};
use crate::domain::history::Filter;
use crate::domain::history::HistoryQuery;
use crate::domain::model::{AlarmType, Severity};
use crate::io::store::Store;
use crate::io::store::disk::DiskStore;
use crate::io::store::history::Search;

const ALARMS: usize = 40;

/// A small generator with a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

fn facts(number: usize) -> Arc<AlarmFacts> {
    Arc::new(AlarmFacts {
        id: AlarmId::new(&format!("t{number}"), "p", "HH"),
        thing: format!("t{number}").into(),
        property: "p".into(),
        level: "HH".into(),
        alarm_type: AlarmType::Standard,
        severity: Severity::Error,
        title: "Too hot".into(),
    })
}

fn event(seq: u64, alarm: &Arc<AlarmFacts>) -> Event {
    Event {
        seq,
        alarm: alarm.clone(),
        ix: None,
        from: State::Idled,
        to: State::Activated,
        at: Stamp::from_micros(i64::try_from(seq).unwrap()),
        since: None,
        occurrence: seq,
        cause: Cause::ObserveTime,
        value: None,
        value_at: None,
        average: None,
        by: None,
        comment: None,
        quiet: false,
        seq_gap: false,
    }
}

/// A chronicle with its store, and what should be in it: for each number its alarm.
struct Trial {
    store: DiskStore,
    history_log: HistoryLog,
    alarms: Vec<Arc<AlarmFacts>>,
    told: Vec<usize>,
}

impl Trial {
    fn open(folder: &std::path::Path, max: usize) -> Trial {
        let store = DiskStore::open(folder).unwrap().store;
        let mut trial = Trial {
            store,
            history_log: HistoryLog::restore(
                Names::new(),
                0..0,
                Shelved { bound: 0, has_earlier_index: false },
                Retention { span: Span::from_secs(1 << 40), max },
                Moment::default(),
            ),
            alarms: (0..ALARMS).map(facts).collect(),
            told: Vec::new(),
        };
        trial.restart();
        trial
    }

    /// Goes on with what is on disk.
    fn restart(&mut self) {
        let numbers = self.history_log.range(Moment::default());
        let (names, shelved) =
            (history::names(&mut self.store, &mut 0).unwrap(), history::shelved(&mut self.store).unwrap());
        assert!(shelved.bound <= self.told.len() as u64);
        self.history_log = HistoryLog::restore(names, numbers, shelved, self.history_log.retention, Moment::default());
    }

    /// One turn: so many events, and a write.
    fn turn(&mut self, events: usize, random: &mut Random) {
        let now = Moment::default();
        if let Some(from) = self.history_log.wants(now) {
            self.history_log.load(history::oldest(&mut self.store, from, PAGE).unwrap());
            self.history_log.rest(now);
        }
        let mut effects = Effects::default();
        for _ in 0..events {
            let alarm = random.below(ALARMS);
            effects.events.push(event(self.told.len() as u64, &self.alarms[alarm]));
            self.told.push(alarm);
        }
        self.history_log.take(&mut effects, now);
        let mut batch = Batch::default();
        self.history_log.put(&mut batch, now);
        let mut binding = self.history_log.binding(now);
        let bound = binding.add(&mut self.store, &mut batch).unwrap();
        self.store.commit(batch).unwrap();
        self.history_log.stored(now, bound, binding.block_index);
    }

    /// The numbers that a question finds, page after page.
    fn ask(&mut self, alarm: Option<&str>, limit: usize) -> Vec<u64> {
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let query = HistoryQuery { alarm: alarm.map(str::to_owned), limit, before, ..HistoryQuery::default() };
            let mut search = Search::new(Filter::new(query), self.history_log.names(), self.history_log.on_disk());
            while !search.advance(&mut self.store).unwrap() {}
            found.extend(search.found.iter().map(|entry| match entry {
                Entry::Event(event) => event.seq,
                Entry::Shelving(_) | Entry::Delivery(_) => panic!("only events were told"),
            }));
            match search.next {
                Some(next) => before = Some(next),
                None => return found,
            }
        }
    }

    fn is_right(&mut self) {
        let numbers = self.history_log.on_disk();
        assert_eq!(numbers.end, self.told.len() as u64);
        let told = self.told.clone();
        let wanted = |is_about: &dyn Fn(usize) -> bool| -> Vec<u64> {
            numbers.clone().rev().filter(|number| is_about(told[usize::try_from(*number).unwrap()])).collect()
        };
        assert!(self.ask(None, 1_000) == wanted(&|_| true), "all of {numbers:?}");
        assert!(self.ask(Some("t7/p/HH"), 9) == wanted(&|alarm| alarm == 7), "one alarm of {numbers:?}");
        assert!(self.ask(Some("t1*"), 50) == wanted(&|alarm| alarm == 1 || alarm / 10 == 1), "some of {numbers:?}");
        assert!(self.ask(Some("another"), 50).is_empty());
    }

    fn count(&mut self, outbound_event: u8) -> usize {
        self.store.scan(&[outbound_event], &[outbound_event], usize::MAX).unwrap().len()
    }
}

#[test]
fn what_is_bound_is_found_as_if_it_were_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(5);
    let mut trial = Trial::open(folder.path(), 1_000_000);
    for round in 0..60 {
        let events = random.below(400);
        trial.turn(events, &mut random);
        if random.below(5) == 0 {
            trial.restart();
        }
        if round % 6 == 0 {
            trial.is_right();
        }
    }
    trial.turn(0, &mut random);
    trial.is_right();
    assert!(trial.told.len() > 6_000);
    assert!(trial.count(b'h') < 64, "everything else is bound");
    assert_eq!(trial.count(b'v'), trial.told.len() / 64);
    assert_eq!(trial.count(b'c'), trial.told.len() / 2_048);
}

#[test]
fn what_is_too_much_leaves_whether_it_is_bound_or_not() {
    for max in [10, 64, 700, 5_000] {
        let folder = tempfile::tempdir().unwrap();
        let mut random = Random(max as u64);
        let mut trial = Trial::open(folder.path(), max);
        for _ in 0..60 {
            let events = random.below(300);
            trial.turn(events, &mut random);
            if random.below(7) == 0 {
                trial.restart();
            }
        }
        // A write takes only so many away.
        (0..40).for_each(|_| trial.turn(0, &mut random));
        trial.is_right();
        let kept = trial.history_log.on_disk();
        assert_eq!(kept.end - kept.start, max as u64);
        assert!(trial.count(b'h') < 64);
        assert!(trial.count(b'v') <= max / 64 + 1, "{} volumes for {max}", trial.count(b'v'));
        assert!(trial.count(b'c') <= max / 2_048 + 1);
    }
}

#[test]
fn a_history_of_an_earlier_release_is_bound_little_by_little_and_found_all_the_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(9);
    let mut trial = Trial::open(folder.path(), 1_000_000);
    // As it was: each entry on its own, and in an index by its name.
    let mut batch = Batch::default();
    (0..ALARMS).for_each(|name| history::put_name(&mut batch, u32::try_from(name).unwrap(), &facts(name)));
    for number in 0..20_000_u64 {
        let alarm = random.below(ALARMS);
        let name = u32::try_from(alarm).unwrap();
        let entry = Entry::Event(event(number, &facts(alarm)));
        history::put_entry(&mut batch, &history::single(number, name, Moment::default(), &entry));
        let index = [&b"x"[..], &name.to_be_bytes(), &number.to_be_bytes()].concat();
        batch.put(index, Vec::new());
        trial.told.push(alarm);
    }
    trial.store.commit(batch).unwrap();
    (trial.history_log.stored, trial.history_log.next) = (0..20_000, 20_000);
    trial.restart();
    for _ in 0..4 {
        trial.is_right();
        trial.turn(3, &mut random);
    }
    trial.is_right();
    assert!(trial.count(b'h') < 64);
    assert!(trial.count(b'x') < 64);
    assert_eq!(trial.count(b'v'), 20_012 / 64);
}
