//! The engine decides as a second, dumber formulation of the same rules does: in thousands of random recordings, in all
//! short ones, however late it is woken, and over restarts.
//!
//! A failure prints the configuration and the recording in the form that `annunciator replay` reads, after everything
//! that the failure does not need has been taken out of them.

mod case;
mod exhaustive;
mod generate;
mod journal;
mod late;
mod restart;
mod semantics;

use annunciator::api::event;
use annunciator::config::Config;
use annunciator::replay::Player;
use case::Case;
use generate::Generator;
use serde_json::Value;
use std::path::Path;

/// Configurations that are made up, and recordings that are played under each.
const CONFIGURATIONS: u64 = 1_200;
const RECORDINGS: usize = 4;

/// The compiled configuration of a case.
fn config(case: &Case) -> Config {
    match Config::parse(Path::new("case.toml"), &case.toml()) {
        Ok((config, _)) => config,
        Err(problems) => panic!("{problems:?}\n{}", case.toml()),
    }
}

/// The events that the recording causes, as they would be published.
fn play(config: &Config, recording: &str) -> Vec<Value> {
    let mut player = Player::new(config.clone());
    let mut events = Vec::new();
    for line in recording.lines() {
        player.play(line).unwrap();
        events.extend(player.effects.events.iter().map(|e| serde_json::from_slice(&event::render(e, "gw")).unwrap()));
    }
    events
}

/// Whether both agree in the members that the reference knows. Numbers are compared as numbers.
fn agree(want: &Value, got: &Value) -> bool {
    const MEMBERS: [&str; 13] = [
        "seq",
        "alarm",
        "from",
        "to",
        "at",
        "since",
        "occurrence",
        "cause",
        "value",
        "value_at",
        "average",
        "by",
        "comment",
    ];
    MEMBERS.iter().all(|name| match (want.get(name), got.get(name)) {
        (Some(Value::Number(a)), Some(Value::Number(b))) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= 1e-9 * a.abs()
        }
        (want, got) => want == got,
    })
}

fn all_agree(want: &[Value], got: &[Value]) -> bool {
    want.len() == got.len() && want.iter().zip(got).all(|(want, got)| agree(want, got))
}

/// Panics with everything that is needed to look into it, if the engine decides otherwise than the reference.
fn check(case: &Case, config: &Config, origin: &str) -> usize {
    let differs = |case: &Case, config: &Config| !all_agree(&semantics::events(case), &play(config, &case.jsonl()));
    if !differs(case, config) {
        return semantics::events(case).len();
    }
    let case = simplest(case.clone(), &|case| differs(case, &self::config(case)));
    let list = |events: &[Value]| events.iter().map(|event| format!("{event}\n")).collect::<String>();
    panic!(
        "{origin}: the engine and the reference disagree\n--- case.toml\n{}\n--- case.jsonl\n{}\n--- reference\n{}\n--- engine\n{}",
        case.toml(),
        case.jsonl(),
        list(&semantics::events(&case)),
        list(&play(&self::config(&case), &case.jsonl())),
    );
}

/// Takes lines and alarms out of a case as long as it still fails.
fn simplest(mut case: Case, fails: &dyn Fn(&Case) -> bool) -> Case {
    loop {
        let without_line = (0..case.lines.len()).map(|index| {
            let mut less = case.clone();
            less.lines.remove(index);
            less
        });
        let without_alarm = (0..case.definitions.len()).map(|index| {
            let mut less = case.clone();
            less.definitions.remove(index);
            less
        });
        match without_alarm.chain(without_line).find(|less| fails(less)) {
            Some(less) => case = less,
            None => return case,
        }
    }
}

#[test]
fn random_recordings_yield_what_the_reference_says() {
    let mut events = 0;
    for seed in 0..CONFIGURATIONS {
        let mut generator = Generator::new(seed);
        let mut case = Case { definitions: generator.definitions(), lines: Vec::new() };
        let config = config(&case);
        for _ in 0..RECORDINGS {
            let count = 3 + generator.rng.below(40);
            case.lines = generator.lines(&case.definitions, count);
            events += check(&case, &config, &format!("seed {seed}"));
        }
    }
    // Otherwise the recordings have become too tame to prove anything.
    assert!(events > 20_000, "only {events} events");
}
