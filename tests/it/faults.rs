//! Faults of a disk, as trusted storage systems are tested by them: once, at any call, under a process that goes on.
//!
//! A writer commits, reads what it has committed, and asks again for what was refused, while one call of the system does
//! not do what it should ([`faults.c`](faults/faults.c)). Afterwards the store is opened on a disk without faults: what had
//! returned is there, or it is said that something is not.

use crate::support::traffic::Random;
use annunciator::io::store::disk::{DiskStore, Opened};
use annunciator::io::store::{Batch, Store};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// Places at which each kind of fault strikes in the ordinary suite; `ANNUNCIATOR_FAULTS` asks for more.
const FAULTS: usize = 4;
/// Commits of a writer: many logs, and both databases several times.
const COMMITS: u64 = 120;
/// Bytes of a log.
const LOG: u64 = 64 << 10;
/// Attempts at one commit; a file system that is full for a while refuses many.
const ATTEMPTS: usize = 300;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// Builds the library that makes the faults, in a folder.
pub fn library(folder: &Path) -> PathBuf {
    let library = folder.join("faults.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/faults/faults.c");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl").status().unwrap();
    assert!(built.success());
    library
}

fn batch(number: u64) -> Batch {
    let mut random = Random(number);
    let mut batch = Batch::default();
    batch.put(b"n".to_vec(), number.to_be_bytes().to_vec());
    for _ in 0..4 {
        let key = [&b"a"[..], &u32::try_from(random.below(60)).unwrap().to_be_bytes()].concat();
        batch.put(key, vec![u8::try_from(random.below(256)).unwrap(); 400]);
    }
    batch
}

fn after(number: u64) -> Map {
    let entries = (1..=number).flat_map(|number| batch(number).entries);
    entries.filter_map(|(key, value)| Some((key.to_vec(), value?.to_vec()))).collect()
}

fn content(store: &mut dyn Store) -> Result<Map, annunciator::io::store::StoreError> {
    Ok(store.scan(b"", b"", usize::MAX)?.into_iter().filter(|(key, _)| key != b"l").collect())
}

/// Not a claim but the process whose disk has faults: it only does something when it is asked to. It says how far it came.
#[test]
fn the_writer_whose_disk_has_faults() {
    let Some(folder) = std::env::var_os("ANNUNCIATOR_FAULTY_WRITER") else { return };
    let folder = Path::new(&folder);
    let note = |what: &str| std::fs::write(folder.join("came-to"), what).unwrap();
    note("0 opening");
    let Opened { store, loss, .. } = match DiskStore::open(folder) {
        Ok(opened) => opened,
        Err(error) => return note(&format!("0 refused {error}")),
    };
    assert!(loss.is_none(), "nothing was written yet");
    let mut store = store.with_logs_of(LOG);
    for number in 1..=COMMITS {
        let is_done = (0..ATTEMPTS).any(|_| store.commit(batch(number)).is_ok());
        if !is_done {
            return note(&format!("{} refused", number - 1));
        }
        store.confirm(number + 1, true);
        note(&format!("{number} returned"));
        if number % 10 == 0
            && let Ok(found) = content(&mut store)
        {
            assert!(found == after(number), "after commit {number} something else is read");
        }
    }
}

#[test]
fn a_disk_with_faults_costs_words_and_nothing_else() {
    let faults = std::env::var("ANNUNCIATOR_FAULTS").ok().and_then(|n| n.parse().ok()).unwrap_or(FAULTS);
    let home = tempfile::tempdir().unwrap();
    let library = library(home.path());
    // How often such calls are made, so that faults strike all over a life.
    let kinds = [
        ("eio-write", 300),
        ("eio-sync", 300),
        ("eio-read", 60),
        ("erofs", 300),
        ("enospc", 300),
        ("short", 300),
        ("lost", 300),
        ("misdirected", 300),
        ("stale", 60),
        ("emfile", 60),
    ];
    let mut random = Random(5);
    let cases: Vec<(&str, u64)> = kinds
        .iter()
        .flat_map(|(kind, calls)| (0..faults).map(|_| (*kind, random.below(*calls))).collect::<Vec<_>>())
        .collect();
    let (queue, told) = (Mutex::new(cases.iter().enumerate()), Mutex::new(0));
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                while let Some((number, (kind, at))) = { queue.lock().unwrap().next() } {
                    let folder = home.path().join(format!("{number}"));
                    std::fs::create_dir_all(&folder).unwrap();
                    let output = Command::new(std::env::current_exe().unwrap())
                        .args(["faults::the_writer_whose_disk_has_faults", "--exact"])
                        .env("ANNUNCIATOR_FAULTY_WRITER", &folder)
                        .env("LD_PRELOAD", &library)
                        .envs([("FAULT", *kind), ("FAULT_AT", &at.to_string())])
                        .output()
                        .unwrap();
                    let what = format!("{kind} at {at}");
                    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stdout));
                    let came = std::fs::read_to_string(folder.join("came-to")).unwrap();
                    let returned: u64 = came.split(' ').next().unwrap().parse().unwrap();
                    let Opened { mut store, loss, .. } = DiskStore::open(&folder).unwrap();
                    let found = content(&mut store).unwrap();
                    let is_there = found == after(returned) || found == after(returned + 1);
                    assert!(is_there || loss.is_some(), "{what}: it is silently wrong after {came}");
                    *told.lock().unwrap() += usize::from(loss.is_some());
                    drop(store);
                    std::fs::remove_dir_all(folder).unwrap();
                }
            });
        }
    });
    println!("{} faults: {} losses told, 0 silent", cases.len(), told.into_inner().unwrap());
}
