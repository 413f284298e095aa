//! The loop in a world that chance makes: thousands of short lives of the daemon, each with its seed.
//!
//! What runs is the product's loop, engine, outbox and records, in virtual time. The world has a broker that delays,
//! breaks, repeats, forgets sessions, freezes and goes deaf; a disk that is slow and fails; a wall clock that steps; a
//! machine that stands still; and kills and power cuts at any instant at which the loop waits for something.
//! [`account`] judges by what the broker has seen.

mod account;
mod broker;
mod machine;
mod random;
mod world;

use crate::config::Config;
use account::Account;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use world::World;

/// Worlds in the ordinary suite; `ANNUNCIATOR_WORLDS` asks for more.
const WORLDS: u64 = 2_000;

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

const ALARMS: [(&str, &str); 7] = [
    ("hi", "type = \"standard\"\noperator = \">\"\nlimit = 15\ndeadband = 4"),
    ("lo", "type = \"standard\"\noperator = \"<\"\nlimit = 5"),
    ("held", "type = \"standard\"\noperator = \">\"\nlimit = 15\nobserve_time = \"2s\""),
    ("counted", "type = \"standard\"\noperator = \">\"\nlimit = 15\nobserve_time = \"2s\"\non_gap = \"count\""),
    ("anew", "type = \"standard\"\noperator = \">\"\nlimit = 15\nobserve_time = \"2s\"\non_gap = \"reset\""),
    ("silent", "type = \"no-value\"\nobserve_time = \"5s\""),
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

/// One world from its first step to the account.
fn live(seed: u64, config: &Config) -> Account {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { World::new(seed, config.clone()).run().await })
}

#[test]
fn in_thousands_of_worlds_nothing_is_lost_and_nothing_invented() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let worlds = number("ANNUNCIATOR_WORLDS").unwrap_or(WORLDS);
    let seeds = number("ANNUNCIATOR_WORLD").map_or(0..worlds, |seed| seed..seed + 1);
    let (config, _) = Config::parse(Path::new("simulation.toml"), &configuration()).unwrap();
    let next = AtomicU64::new(seeds.start);
    let total = Mutex::new(Account::default());
    std::thread::scope(|threads| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            threads.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| seeds.contains(seed)) {
                    total.lock().unwrap().add(live(seed, &config));
                }
            });
        }
    });
    let Account { worlds, crashes, losses, messages, repeats, events, event_repeats, timed } =
        total.into_inner().unwrap();
    println!(
        "{worlds} worlds, {crashes} crashes, {losses} lost connections, {messages} messages, {repeats} of them sent again, \
         {events} events, {timed} activations by timers: 0 lost, {event_repeats} repeated byte for byte"
    );
}
