//! A restart is a gap and nothing else: an engine that is restored from what was handed out for the store goes on as
//! one that could not hear for that instant, to the byte and with the next sequence number.

use super::case::{Case, Line, What};
use super::generate::{Generator, Rng};
use annunciator::api::execute;
use annunciator::api::{commands, event, state};
use annunciator::config::Config;
use annunciator::domain::engine::{AlarmMemory, Effects, Engine, Input, Link, Memory, SoftMemory, WindowSample};
use annunciator::domain::time::{Moment, Now, Stamp};
use annunciator::ingest::router::{Intake, Message};
use std::collections::BTreeMap;

const CASES: u64 = 1_200;

/// What a store would hold: the latest of everything that was handed out.
#[derive(Default)]
struct Stored {
    alarms: BTreeMap<u32, AlarmMemory>,
    soft: BTreeMap<u32, SoftMemory>,
    samples: BTreeMap<(u32, u64), WindowSample>,
}

impl Stored {
    fn take(&mut self, engine: &mut Engine, everything: bool) {
        let changes = engine.take_changes(everything);
        self.alarms.extend(changes.alarms.into_iter().map(|alarm| (alarm.handle, alarm)));
        self.soft.extend(changes.soft.into_iter().map(|soft| (soft.handle, soft)));
        for window in changes.windows {
            let stays = |number: u64| number >= window.held_from && number < window.first;
            self.samples.retain(|(handle, number), _| *handle != window.handle || stays(*number));
            let numbered = (window.first..).zip(window.samples);
            self.samples.extend(numbered.map(|(number, sample)| ((window.handle, number), sample)));
        }
    }

    fn memories(&self) -> Vec<Memory> {
        let memory = |(handle, alarm): (&u32, &AlarmMemory)| {
            let soft = self.soft.get(handle).cloned();
            let numbers = soft.as_ref().map_or(0..0, |soft| soft.samples.clone());
            let samples = numbers.map(|number| self.samples[&(*handle, number)]).collect();
            Memory { alarm: alarm.clone(), soft, samples }
        };
        self.alarms.iter().map(memory).collect()
    }
}

/// An engine and what leads to it, as the daemon has them.
struct Gateway {
    config: Config,
    engine: Engine,
    intake: Intake,
    effects: Effects,
}

impl Gateway {
    fn new(config: Config) -> Gateway {
        let engine = Engine::new(config.model.clone());
        Gateway { intake: intake(&config), config, engine, effects: Effects::default() }
    }

    fn input(&mut self, input: Input<'_>, at: i64) {
        self.engine.handle(input, now(at), &mut self.effects);
    }

    fn play(&mut self, line: &Line) {
        self.input(if let What::Link { up: true } = line.what { Input::LinkUp } else { Input::Tick }, line.at);
        if let What::Link { up: false } = line.what {
            self.input(Input::LinkDown, line.at);
        }
        let Some((topic, payload, retained)) = line.published() else { return };
        let (topic, payload) = (topic.as_str(), payload.as_bytes());
        if let Some(verb) = self.config.gateway.topics.verb(topic) {
            if let Ok(request) = commands::parse(verb, payload, retained, self.config.gateway.max_shelve) {
                execute::execute(request, "gw", &mut self.engine, now(line.at), &mut self.effects).unwrap();
            }
        } else {
            let message = Message { topic, payload, retained };
            self.intake.take(message, &mut self.engine, now(line.at), &mut self.effects, &mut Vec::new());
        }
    }

    /// The engine goes, another comes in its place and knows what is stored.
    fn restart(&mut self, stored: &mut Stored, at: i64) {
        self.input(Input::Tick, at);
        stored.take(&mut self.engine, true);
        let last_seen = match self.engine.link() {
            Link::Down { since } => since,
            Link::Up | Link::NeverUp => Moment::from_micros(at),
        };
        let (model, seq) = (self.config.model.clone(), self.engine.next_seq());
        let (engine, gone) = Engine::restore(model, stored.memories(), seq, last_seen, now(at), &mut self.effects);
        assert!(gone.is_empty(), "the configuration is the same: {gone:?}");
        self.engine = engine;
        self.intake = intake(&self.config);
        self.input(Input::LinkUp, at);
    }

    fn events(&self) -> Vec<String> {
        self.effects.events.iter().map(|e| String::from_utf8(event::render(e, "gw")).unwrap()).collect()
    }

    fn states(&self) -> Vec<String> {
        let state = |ix| String::from_utf8(state::render(self.engine.view(ix), "gw")).unwrap();
        self.engine.alarms().map(state).collect()
    }
}

fn intake(config: &Config) -> Intake {
    Intake::new(config.sources.clone(), config.gateway.max_payload)
}

fn now(at: i64) -> Now {
    Now { at: Moment::from_micros(at), wall: Stamp::from_micros(at) }
}

/// Plays the case twice: once with restarts after these lines, once with gaps of no length in their place.
fn differs(case: &Case, restarts: &[bool]) -> Option<String> {
    let config = super::config(case);
    let (mut restarted, mut steady) = (Gateway::new(config.clone()), Gateway::new(config));
    let mut stored = Stored::default();
    let start = case.lines.first()?.at;
    restarted.input(Input::LinkUp, start);
    steady.input(Input::LinkUp, start);
    for (index, (line, restart)) in case.lines.iter().zip(restarts).enumerate() {
        restarted.play(line);
        steady.play(line);
        if *restart {
            restarted.restart(&mut stored, line.at);
            steady.input(Input::LinkDown, line.at);
            steady.input(Input::LinkUp, line.at);
        } else if index % 3 == 0 {
            stored.take(&mut restarted.engine, index % 2 == 0);
        }
    }
    let (got, want) = (restarted.events(), steady.events());
    if got != want {
        return Some(format!("want:\n{}\ngot:\n{}", want.join("\n"), got.join("\n")));
    }
    let (got, want) = (restarted.states(), steady.states());
    (got != want).then(|| format!("want:\n{}\ngot:\n{}", want.join("\n"), got.join("\n")))
}

#[test]
fn a_restart_is_a_gap_and_nothing_else() {
    for seed in 0..CASES {
        let mut generator = Generator::new(seed);
        let definitions = generator.definitions();
        let mut lines = generator.lines(&definitions, 40);
        drop_late_stamps(&mut lines);
        let case = Case { definitions, lines };
        let mut rng = Rng::new(seed);
        let mut restarts: Vec<bool> = case.lines.iter().map(|_| rng.chance(8)).collect();
        let Some(_) = differs(&case, &restarts) else { continue };
        // What the failure does not need goes: first restarts, then lines from the end, then alarms and lines.
        for index in 0..restarts.len() {
            let restart = std::mem::take(&mut restarts[index]);
            if restart && differs(&case, &restarts).is_none() {
                restarts[index] = true;
            }
        }
        let (case, restarts) = simplest(case, restarts);
        let after: Vec<i64> =
            case.lines.iter().zip(&restarts).filter(|(_, restart)| **restart).map(|(line, _)| line.at).collect();
        let difference = differs(&case, &restarts).unwrap();
        let (toml, jsonl) = (case.toml(), case.jsonl());
        panic!("seed {seed}: a restart after the line(s) at {after:?} µs shows\n{toml}\n{jsonl}\n{difference}");
    }
}

/// Of stamps only those of the latest values are kept; so whether a value that a source held back is too old to count
/// may be forgotten over a restart.
fn drop_late_stamps(lines: &mut Vec<Line>) {
    let mut newest: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    lines.retain(|line| {
        let What::Stamped { thing, property, stamp, .. } = line.what else { return true };
        let newest = newest.entry((thing, property)).or_insert(stamp);
        *newest = stamp.max(*newest);
        *newest == stamp
    });
}

/// As [`super::simplest`], with the restarts that belong to the lines.
fn simplest(mut case: Case, mut restarts: Vec<bool>) -> (Case, Vec<bool>) {
    case = super::simplest(case, &|less| less.lines.len() == restarts.len() && differs(less, &restarts).is_some());
    let mut index = 0;
    while index < case.lines.len() {
        let (mut less, mut fewer) = (case.clone(), restarts.clone());
        less.lines.remove(index);
        fewer.remove(index);
        if differs(&less, &fewer).is_some() {
            (case, restarts) = (less, fewer);
        } else {
            index += 1;
        }
    }
    (case, restarts)
}
