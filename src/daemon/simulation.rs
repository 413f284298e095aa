//! The loop in a world that chance makes: thousands of short lives of the daemon, each with its seed.
//!
//! What runs is the product's loop, engine, outbox and records, in virtual time. The world has a plant that publishes
//! whatever happens to the daemon; a broker with a window and a queue that delays, breaks, repeats, forgets sessions,
//! freezes and goes withholds, and lets other clients take the daemon's place or publish on its probe topic; a disk that is slow
//! and fails; a wall clock that steps; a machine that stands still; and kills and power cuts at any instant at which the
//! loop waits for something. [`account`] judges by what was published, and by what the broker has seen.

mod account;
mod broker;
mod ideal;
mod machine;
mod outages;
mod plant;
mod random;
mod record;
mod timed;
mod world;

use crate::config::Config;
use account::Account;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use world::World;

/// Worlds in the ordinary suite; `ANNUNCIATOR_WORLDS` asks for more.
const WORLDS: u64 = 2_000;

/// Worlds that are lived twice. Nothing in them reads files: another thread would do that, in its own time.
const TWICE: u64 = 20;

/// What is rare and happens in the ordinary run all the same: in the world, and in what the daemon says in its log.
const RARE: [&str; 36] = [
    "a crash comes in a write",
    "a crash comes just after a write",
    "a foreign probe",
    "a message is sent again",
    "a message that cannot be used arrives",
    "a retained message on the probe topic is sent",
    "a session was lost",
    "a takeover has ended the session",
    "a takeover has kept the session",
    "another client has taken messages",
    "somebody retains a message on the probe topic",
    "the broker delivers nothing any more",
    "the broker is frozen",
    "the configuration is read again",
    "the daemon is killed",
    "the power fails",
    "log: alarms go on, but nothing of this survives a restart",
    "log: cannot connect",
    "log: connected and subscribed",
    "log: connection lost",
    "log: flood of alarms begins",
    "log: gap in observation has ended: \"not connected\"",
    "log: gap in observation has ended: \"the daemon was not running\"",
    "log: gap in observation has ended: \"the daemon was stopped, or the machine had no time for it\"",
    "log: gap in observation has ended: \"the disk was slow: messages waited at the broker for acknowledgements, which wait \
     for the disk\"",
    "log: is not configured any more",
    "log: no connection lasts: another client may use the same client_id",
    "log: reload",
    "log: started",
    "log: stopping",
    "log: subscription refused",
    "log: the broker delivers nothing, not even what the daemon sends to itself; connecting anew",
    "log: the configuration has mistakes; the old one stays",
    "log: the configuration was read again",
    "log: the daemon does not receive its own messages: allow it to write and read this topic",
    "log: the store is written again",
];

/// Alarms with and without timers, with all ways to treat a gap.
const CONFIG: &str = r#"
[gateway]
id = "gw"
state_dir = "nowhere"
checkpoint = "2s"

[mqtt]
url = "mqtt://127.0.0.1"

[[source]]
topic = "things/{thing}/{property}"
"#;

const ALARMS: [(&str, &str); 10] = [
    ("hi", "type = \"standard\"\noperator = \">\"\nlimit = 15\ndeadband = 4"),
    ("lo", "type = \"standard\"\noperator = \"<\"\nlimit = 5"),
    ("held", "type = \"standard\"\noperator = \">\"\nlimit = 15\nobserve_time = \"2s\""),
    ("counted", "type = \"standard\"\noperator = \">\"\nlimit = 15\nobserve_time = \"2s\"\non_gap = \"count\""),
    ("anew", "type = \"standard\"\noperator = \">\"\nlimit = 15\nobserve_time = \"2s\"\non_gap = \"reset\""),
    ("lasting", "type = \"standard\"\noperator = \">\"\nlimit = 15\nclear_delay = \"2s\""),
    ("silent", "type = \"no-value\"\nobserve_time = \"5s\""),
    ("silent-counted", "type = \"no-value\"\nobserve_time = \"5s\"\non_gap = \"count\""),
    ("silent-anew", "type = \"no-value\"\nobserve_time = \"5s\"\non_gap = \"reset\""),
    ("mean", "type = \"average\"\noperator = \">\"\nlimit = 12\nobserve_time = \"4s\""),
];

fn configuration() -> String {
    let mut text = CONFIG.to_owned();
    for (level, rest) in ALARMS {
        writeln!(text, "\n[[alarm]]\nthing = \"press-*\"\nproperty = \"pressure\"\nlevel = \"{level}\"\n{rest}")
            .unwrap();
    }
    text
}

/// The configurations of the worlds. In one of them its file can be read again, in another it has a mistake by then, in the
/// third one alarm more, which is forgotten at the next start.
struct Configs {
    all: Vec<Config>,
    _folder: tempfile::TempDir,
}

impl Configs {
    fn new() -> Configs {
        let folder = tempfile::tempdir().unwrap();
        let text = configuration();
        let more = "[[alarm]]\nthing = \"press-*\"\nproperty = \"pressure\"\nlevel = \"more\"\ntype = \"standard\"\n\
                    operator = \">\"\nlimit = 1000\n";
        let config = |(name, addition): (&str, &str)| {
            let file = folder.path().join(name);
            std::fs::write(&file, format!("{text}\n{addition}")).unwrap();
            Config::parse(&file, &text).unwrap().0
        };
        Configs { all: [("right", ""), ("wrong", "limit = 15"), ("more", more)].map(config).into(), _folder: folder }
    }

    fn of(&self, seed: u64) -> &Config {
        &self.all[usize::try_from(seed).unwrap() % self.all.len()]
    }
}

/// One world from its first step to the account.
fn run_world(seed: u64, config: &Config) -> Account {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    tracing::subscriber::with_default(record::Reader, || {
        runtime.block_on(async { World::new(seed, config.clone()).run().await })
    })
}

/// What became of many worlds.
#[derive(Debug, Default)]
struct Outcome {
    account: Account,
    counts: record::Counts,
    /// Seeds of worlds in which something was wrong, and what.
    failures: BTreeMap<u64, String>,
}

/// Lives these worlds, as many at a time as there are processors.
fn run_all(seeds: Range<u64>, configs: &Configs) -> Outcome {
    let next = AtomicU64::new(seeds.start);
    let total = Mutex::new(Outcome::default());
    std::thread::scope(|threads| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            threads.spawn(|| {
                if seeds.end - seeds.start == 1 {
                    record::write_down();
                }
                while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| seeds.contains(seed)) {
                    let lived = std::panic::catch_unwind(AssertUnwindSafe(|| run_world(seed, configs.of(seed))));
                    let mut total = total.lock().unwrap();
                    match lived {
                        Ok(account) => total.account.add(account),
                        Err(panic) => drop(total.failures.insert(seed, said(panic.as_ref()))),
                    }
                }
                let mut total = total.lock().unwrap();
                for (rare, count) in record::take_counts() {
                    *total.counts.entry(rare).or_default() += count;
                }
            });
        }
    });
    total.into_inner().unwrap()
}

/// The words of a panic.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

#[test]
fn in_thousands_of_worlds_nothing_is_lost_and_nothing_invented() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let worlds = number("ANNUNCIATOR_WORLDS").unwrap_or(WORLDS);
    let seeds = number("ANNUNCIATOR_WORLD").map_or(0..worlds, |seed| seed..seed + 1);
    let Outcome { account, counts, failures } = run_all(seeds, &Configs::new());
    let Account { worlds, crashes, losses, hold_ups, messages, repeats, events, event_repeats, timed } = account;
    println!(
        "{worlds} worlds, {crashes} crashes, {losses} lost connections, {hold_ups} times acknowledgements withheld, {messages} \
         messages, {repeats} of them sent again, {events} events, {timed} changes by timers: 0 lost, {event_repeats} repeated \
         byte for byte"
    );
    for (rare, count) in &counts {
        println!("{count:>9} {rare}");
    }
    let told: String = failures.iter().map(|(seed, what)| format!("\nseed {seed}: {what}")).collect();
    assert!(failures.is_empty(), "{} worlds are wrong; ANNUNCIATOR_WORLD=SEED repeats one:{told}", failures.len());
    // A branch that no world takes is one that nobody tests.
    let missed: Vec<&str> = RARE.into_iter().filter(|rare| !counts.contains_key(*rare)).collect();
    assert!(worlds < usize::try_from(WORLDS).unwrap() || missed.is_empty(), "no world has seen: {missed:#?}");
}

#[test]
fn the_same_seed_is_the_same_world() {
    let (config, _) = Config::parse(Path::new("simulation.toml"), &configuration()).unwrap();
    let told = |seed| {
        record::write_down();
        run_world(seed, &config);
        record::written()
    };
    let mut lines = 0;
    for seed in 0..TWICE {
        let (first, second) = (told(seed), told(seed));
        for (one, other) in first.lines().zip(second.lines()) {
            assert_eq!(one, other, "seed {seed}, line {lines}");
            lines += 1;
        }
        assert_eq!(first, second, "seed {seed}");
    }
    println!("{TWICE} worlds lived twice: {lines} lines are the same");
}
