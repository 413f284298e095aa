//! SIGKILL at any instant of a store that works its logs into the databases nearly all the time.
//!
//! What is written looks like a daemon's: things that stay under few keys, and numbered ones that come, wait and go.

use crate::support::traffic::Random;
use annunciator::io::store::disk::{DiskStore, Opened};
use annunciator::io::store::{Batch, Store};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

/// Kills in the ordinary suite; `ANNUNCIATOR_KILLS` asks for more.
const KILLS: usize = 20;
/// Bytes of a log: some thirty commits.
const LOG: u64 = 256 << 10;
/// Numbered things of one commit, and commits that they last for.
const LETTERS: u64 = 20;
const WAITING: u64 = 60;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

fn outbound_event(number: u64) -> Vec<u8> {
    [&b"o"[..], &number.to_be_bytes()].concat()
}

/// The batch with this number: the same in the writer and for whoever checks.
fn batch(number: u64) -> Batch {
    let mut random = Random(number);
    let mut batch = Batch::default();
    batch.put(b"n".to_vec(), number.to_be_bytes().to_vec());
    for _ in 0..5 {
        let key = [&b"a"[..], &random.below(2_000).to_be_bytes()].concat();
        batch.put(key, vec![u8::try_from(random.below(256)).unwrap(); 150]);
    }
    for place in 0..LETTERS {
        batch.put(outbound_event(number * LETTERS + place), vec![u8::try_from(random.below(256)).unwrap(); 400]);
        if number > WAITING {
            batch.delete(outbound_event((number - WAITING) * LETTERS + place));
        }
    }
    batch
}

/// Brings what a store should hold up to this commit.
fn go_on(map: &mut Map, from: u64, to: u64) {
    for (key, value) in (from + 1..=to).flat_map(|number| batch(number).entries) {
        match value {
            Some(value) => map.insert(key.to_vec(), value.to_vec()),
            None => map.remove(&*key),
        };
    }
}

fn last_commit(store: &mut DiskStore) -> u64 {
    let found = store.scan(b"n", b"n", 1).unwrap();
    found.first().map_or(0, |(_, value)| u64::from_be_bytes(value[..].try_into().unwrap()))
}

/// The process that is killed: it never ends by itself.
fn write_for_ever(folder: &Path) -> ! {
    let mut store = DiskStore::open(folder).unwrap().store.with_logs_of(LOG);
    let mut out = std::io::stderr();
    let mut number = last_commit(&mut store);
    loop {
        number += 1;
        store.commit(batch(number)).unwrap();
        // At once, so that a kill does not cut a number.
        out.write_all(format!("returned {number}\n").as_bytes()).unwrap();
    }
}

#[test]
fn kills_while_the_databases_are_written_lose_nothing() {
    if let Some(folder) = std::env::var_os("ANNUNCIATOR_KILLED_WRITER") {
        write_for_ever(Path::new(&folder));
    }
    let kills = std::env::var("ANNUNCIATOR_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS);
    let home = tempfile::tempdir().unwrap();
    let mut random = Random(11);
    let (mut want, mut known) = (Map::new(), 0);
    for kill in 0..kills {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["power::kills::kills_while_the_databases_are_written_lose_nothing", "--exact", "--nocapture"])
            .env("ANNUNCIATOR_KILLED_WRITER", home.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(writer.stderr.take().unwrap()).lines();
        let mut returned = known;
        let mut next = || {
            let line = lines.next()?.unwrap();
            line.strip_prefix("returned ").map(|number| number.parse::<u64>().unwrap())
        };
        let dies_at = known + 1 + random.below(200);
        while returned < dies_at {
            returned = next().expect("the writer goes on until it is killed");
        }
        writer.kill().unwrap();
        writer.wait().unwrap();
        returned = std::iter::from_fn(&mut next).last().unwrap_or(returned);
        let Opened { mut store, trouble, .. } = DiskStore::open(home.path()).unwrap();
        assert_eq!(trouble, None, "kill {kill}");
        let last = last_commit(&mut store);
        assert!((returned..=returned + 1).contains(&last), "kill {kill}: {returned} had returned, the last is {last}");
        go_on(&mut want, known, last);
        known = last;
        let found: Map = store.scan(b"", b"", usize::MAX).unwrap().into_iter().collect();
        let lost = want.keys().filter(|key| !found.contains_key(*key)).count();
        let invented = found.keys().filter(|key| !want.contains_key(*key)).count();
        assert!(found == want, "kill {kill}, after commit {last}: {lost} pairs are lost, {invented} invented");
    }
    println!("{kills} kills, {known} commits: 0 lost");
}
