//! The history with a million events: what a question costs, what opening costs, and how long a write has to wait.
//!
//! Prints a table; `cargo bench --bench history`. The number of events can be given as an argument.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a benchmark measures time and prints it"
)]

use annunciator::domain::engine::{Cause, Event, State};
use annunciator::domain::history::HistoryQuery;
use annunciator::domain::history::{Entry, Filter};
use annunciator::domain::model::{AlarmFacts, AlarmId, AlarmType, Severity, Value};
use annunciator::domain::time::{Moment, Stamp};
use annunciator::io::store::disk::DiskStore;
use annunciator::io::store::history::{self, Binding, BlockIndex, Names, Search, Shelved};
use annunciator::io::store::{Batch, Store};
use std::sync::Arc;
use std::time::{Duration, Instant};

const ALARMS: u32 = 1_000;
/// Events of one turn of the loop.
const TURN: u64 = 1_000;

fn facts(number: u32) -> Arc<AlarmFacts> {
    let thing: Arc<str> = format!("boiler-{number}").into();
    Arc::new(AlarmFacts {
        id: AlarmId::new(&thing, "temperature", "HH"),
        thing,
        property: "temperature".into(),
        level: "HH".into(),
        alarm_type: AlarmType::Standard,
        severity: Severity::Error,
        title: "Boiler too hot".into(),
    })
}

fn event(seq: u64, alarm: Arc<AlarmFacts>) -> Entry {
    let at = Stamp::from_micros(1_700_000_000_000_000 + i64::try_from(seq).unwrap() * 1_000_000);
    Entry::Event(Event {
        seq,
        alarm,
        ix: None,
        from: State::Idled,
        to: State::Activated,
        at,
        since: Some(at),
        occurrence: seq / 2,
        cause: Cause::ObserveTime,
        value: Some(Value::Number(97.25 + seq as f64)),
        value_at: None,
        average: None,
        by: None,
        comment: None,
        quiet: false,
        seq_gap: false,
    })
}

fn search(store: &mut DiskStore, names: &Arc<Names>, query: HistoryQuery) -> (usize, Duration, Duration) {
    let mut search = Search::new(Filter::new(query), names.clone(), 0..u64::MAX);
    let (begin, mut longest) = (Instant::now(), Duration::ZERO);
    loop {
        let slice = Instant::now();
        let done = search.advance(store).unwrap();
        longest = longest.max(slice.elapsed());
        if done {
            return (search.found.len(), begin.elapsed(), longest);
        }
    }
}

fn main() {
    let events: u64 = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let folder = tempfile::tempdir().unwrap();
    let mut store = DiskStore::open(folder.path()).unwrap().store;
    let names: Names = (0..ALARMS).map(|number| (number, facts(number))).collect();
    let mut batch = Batch::default();
    names.iter().for_each(|(number, facts)| history::put_name(&mut batch, *number, facts));
    store.commit(batch).unwrap();
    let (begin, mut slowest) = (Instant::now(), Duration::ZERO);
    let (mut bound, mut block_index, mut unbound) = (0, BlockIndex::default(), Vec::new());
    for turn in 0..events / TURN {
        let mut batch = Batch::default();
        for seq in turn * TURN..(turn + 1) * TURN {
            let name = u32::try_from(seq % u64::from(ALARMS)).unwrap();
            let entry = history::single(seq, name, Moment::from_micros(0), &event(seq, names[&name].clone()));
            history::put_entry(&mut batch, &entry);
            unbound.push(entry);
        }
        let write = Instant::now();
        let bindable = unbound.partition_point(|entry| entry.number < history::bindable(turn * TURN));
        let mut binding = Binding {
            shelved: Shelved { bound, has_earlier_index: false },
            kept: 0..turn * TURN,
            singles: unbound.drain(..bindable).collect(),
            block_index,
        };
        bound = binding.add(&mut store, &mut batch).unwrap();
        block_index = binding.block_index;
        store.commit(batch).unwrap();
        slowest = slowest.max(write.elapsed());
    }
    println!("{events} events written in {:.1?}, the slowest write of {TURN} took {slowest:.1?}", begin.elapsed());
    let open = Instant::now();
    drop(store);
    println!("closed in {:.1?}", open.elapsed());
    let open = Instant::now();
    let mut store = DiskStore::open(folder.path()).unwrap().store;
    println!("opened in {:.1?}", open.elapsed());
    let names = Arc::new(names);
    let last =
        |alarm: Option<&str>, limit| HistoryQuery { alarm: alarm.map(str::to_owned), limit, ..HistoryQuery::default() };
    println!("{:<44} {:>6} {:>12} {:>12}", "question", "found", "time", "slice");
    for (what, query) in [
        ("one alarm's last 50, the first time", last(Some("boiler-7/temperature/HH"), 50)),
        ("one alarm's last 50", last(Some("boiler-9/temperature/HH"), 50)),
        ("the last 50 of all", last(None, 50)),
        ("the last 50 of a pattern of 111", last(Some("boiler-1*"), 50)),
        ("the last 1,000 of one alarm", last(Some("boiler-11/temperature/HH"), 1_000)),
        (
            "what is not there, among all",
            HistoryQuery { occurrence: Some(u64::MAX), limit: 50, ..HistoryQuery::default() },
        ),
    ] {
        let (found, time, slice) = search(&mut store, &names, query);
        println!("{what:<44} {found:>6} {time:>12.1?} {slice:>12.1?}");
    }
    let size: u64 = walk(folder.path());
    println!("{:.0} bytes per event on disk, in both databases and the log", size as f64 / events as f64);
}

fn walk(folder: &std::path::Path) -> u64 {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path) } else { path.metadata().unwrap().len() }
        })
        .sum()
}
