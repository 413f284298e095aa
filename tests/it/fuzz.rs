//! Whatever strangers send, write or leave on a disk: nothing panics, nothing grows, what is refused changes nothing.
//!
//! Each target takes bytes. It gets a fixed corpus (`tests/fuzz/corpus`, where an input that once did harm belongs), and
//! as many mutations of it as `PROPTEST_CASES` says, times [`ROUNDS`]. For a night: `PROPTEST_CASES=1000000 cargo test
//! --test it fuzz`.

mod targets;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::path::Path;

/// Inputs for each case that proptest would do: most take microseconds.
const ROUNDS: u32 = 8;
/// Words that mean something somewhere, so that mutations get past the first check.
const WORDS: [&[u8]; 24] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\u0000",
    b"\\ud800",
    b"null",
    b"NaN",
    b"1e999",
    b"-0",
    b"18446744073709551616",
    b"#",
    b"+",
    b"{thing}",
    b"{property}",
    b"/",
    b"%2F",
    b"%",
    b"\n",
    b"\0",
    b"\xff\xfe",
    b"*?*",
    b"\x1b[2J",
];

/// One change of an input.
#[derive(Debug, Clone)]
enum Mutation {
    Replace(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Word(prop::sample::Index, usize),
    Delete(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize, usize),
    Splice(prop::sample::Index, prop::sample::Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        (place(), prop::collection::vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (place(), 0..WORDS.len()).prop_map(|(at, word)| Mutation::Word(at, word)),
        (place(), 1..40_usize).prop_map(|(at, length)| Mutation::Delete(at, length)),
        (place(), 1..12_usize, 2..40_usize).prop_map(|(at, length, times)| Mutation::Repeat(at, length, times)),
        (place(), place()).prop_map(|(at, other)| Mutation::Splice(at, other)),
    ]
}

impl Mutation {
    fn apply(&self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let place = |index: &prop::sample::Index| index.index(input.len() + 1);
        match self {
            Mutation::Replace(at, byte) => {
                let at = place(at);
                if let Some(old) = input.get_mut(at) {
                    *old = *byte;
                }
            }
            Mutation::Insert(at, bytes) => drop(input.splice(place(at)..place(at), bytes.iter().copied())),
            Mutation::Word(at, word) => drop(input.splice(place(at)..place(at), WORDS[*word].iter().copied())),
            Mutation::Delete(at, length) => {
                let end = (place(at) + length).min(input.len());
                input.drain(place(at)..end);
            }
            Mutation::Repeat(at, length, times) => {
                let end = (place(at) + length).min(input.len());
                let piece = input[place(at)..end].repeat(*times);
                input.splice(end..end, piece);
            }
            Mutation::Splice(at, other) => {
                let other = &corpus[other.index(corpus.len())];
                let at = place(at);
                input.truncate(at);
                input.extend_from_slice(&other[at.min(other.len())..]);
            }
        }
    }
}

/// Says with which bytes it went wrong; the last that is said is the simplest.
struct Shown<'a>(&'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("\"{}\"", self.0.escape_ascii());
        }
    }
}

/// Bytes that stand for themselves, or a corpus entry and what happens to it.
fn fuzz(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    for (file, input) in files.iter().zip(&corpus) {
        println!("{}", file.display());
        target(input);
    }
    let config = Config { failure_persistence: None, ..Config::default() };
    let cases = config.cases.saturating_mul(ROUNDS);
    let mut runner = TestRunner::new(Config { cases, ..config });
    let inputs = (0..=corpus.len(), prop::collection::vec(mutation(), 0..8), prop::collection::vec(any::<u8>(), 0..64));
    let run = runner.run(&inputs, |(entry, mutations, noise)| {
        let mut input = corpus.get(entry).unwrap_or(&noise).clone();
        mutations.iter().for_each(|mutation| mutation.apply(&mut input, &corpus));
        let shown = Shown(&input);
        target(shown.0);
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[test]
fn payloads() {
    fuzz("payload", targets::payload);
}

#[test]
fn topic_patterns() {
    fuzz("topics", targets::topics);
}

#[test]
fn commands() {
    fuzz("command", targets::command);
}

#[test]
fn configurations() {
    fuzz("config", targets::config);
}

#[test]
fn stored_records() {
    fuzz("store", targets::store);
}
