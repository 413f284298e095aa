//! `replay -`: a recording that never ends is played line by line, in memory that does not grow with it.
#![cfg(target_os = "linux")]

use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

const CONFIG: &str = r#"
[gateway]
id = "gw"
[mqtt]
url = "mqtt://127.0.0.1:1883"

[[source]]
topic = "things/{thing}/properties/{property}"
value = "/v"
time = "/t"

[[alarm]]
thing = "boiler-*"
property = "temperature"
level = "hi"
type = "standard"
operator = ">"
limit = 90
observe_time = "2s"

[[alarm]]
thing = "boiler-*"
property = "temperature"
level = "mean"
type = "average"
operator = ">"
limit = 60
observe_time = "1m"

[[alarm]]
thing = "boiler-*"
property = "temperature"
level = "silent"
type = "no-value"
observe_time = "5s"
"#;

const START: u64 = 1_777_629_600;
/// One line in so many is a value that cannot be used, each for a reason of its own.
const FAULTY: u64 = 7;
/// After so many lines each thing is hot for three lines, which activates one alarm and idles it again.
const HOT: u64 = 1000;
const THINGS: u64 = 10;

/// The `n`th line. Ten things speak in turn, ten of them a second.
fn line(n: u64) -> String {
    let (at, thing) = (START + n / THINGS, n % THINGS);
    let hot = (n / THINGS) % HOT < 4;
    let value = if hot { 95 } else { 20 + n % 7 };
    let stamp = if n % FAULTY == 3 { format!("\"never {n}\"") } else { at.to_string() };
    format!(
        r#"{{"t":{at},"topic":"things/boiler-{thing}/properties/temperature","payload":{{"v":{value},"t":{stamp}}}}}"#
    )
}

/// Plays `lines` lines through a pipe. Gives the peak of the memory before the end of the recording is known, in KiB,
/// and the number of events.
fn play(lines: u64, more: &[&Path]) -> (u64, usize) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("c.toml");
    std::fs::write(&config, CONFIG.replace("time = \"/t\"", "time = \"/t\"\ntime_unit = \"s\"")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_annunciator"))
        .args(["replay", "--config"])
        .arg(&config)
        .args(more)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let events = std::thread::spawn(move || BufReader::new(stdout).lines().map(Result::unwrap).count());
    let mut stdin = BufWriter::new(child.stdin.take().unwrap());
    for n in 0..lines {
        writeln!(stdin, "{}", line(n)).unwrap();
    }
    stdin.flush().unwrap();
    // All but what fits into the pipe has been played, and the process is still there to be asked.
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak = peak.trim().trim_end_matches("kB").trim().parse().unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
    (peak, events.join().unwrap())
}

/// Four times the lines cost no more memory, give or take what the allocator does.
fn costs_the_same(more: &[&Path]) {
    const LINES: u64 = 60_000;
    let (peak, events) = play(LINES, more);
    let (peak_of_more, more_events) = play(4 * LINES, more);
    assert!(events > 0 && more_events >= 4 * events, "{events} events, then {more_events}: not all was played");
    assert!(peak_of_more <= peak + 2048, "{peak} KiB for {LINES} lines, {peak_of_more} KiB for four times as many");
}

#[test]
fn the_memory_of_a_replay_does_not_grow_with_the_recording() {
    costs_the_same(&[]);
}

#[test]
fn nor_does_it_with_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    costs_the_same(&[Path::new("--plot"), &folder.path().join("picture.svg")]);
}
