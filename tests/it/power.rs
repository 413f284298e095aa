//! The power goes at any system call, and what was not synced is lost, reordered and torn.
//!
//! A process that writes the real store, sled included, is recorded: every write, every sync, every name that it makes or
//! removes ([`recorder.c`](power/recorder.c)). From the recording comes what may be on the disk at any instant of it
//! ([`cut`]); the store is opened on hundreds of those, and has to hold each commit that had returned.

mod cut;
mod kills;

use crate::support::traffic::Random;
use annunciator::io::store::disk::{DiskStore, Opened};
use annunciator::io::store::{Batch, Store};
use cut::{Disk, Survives};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

/// Recordings one after the other, each on what a cut of the one before has left.
const LIVES: u64 = 4;
/// Commits in each: several logs are filled, and worked into both databases.
const COMMITS: u64 = 260;
/// Bytes of a log: with some thirty thousand a commit, a recording has several.
const LOG: u64 = 2 << 20;
/// Cuts of each recording in the ordinary suite; `ANNUNCIATOR_CUTS` asks for more.
const CUTS: usize = 100;
/// Steps of a recording for which a drive may lie.
const LIES: usize = 120;
/// Where the writer notes which commit has returned. It is not part of what is cut.
const MARKS: &str = "marks";

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// The batch with this number: the same in the writer and for whoever checks.
fn batch(number: u64) -> Batch {
    let mut random = Random(number);
    let mut batch = Batch::default();
    batch.put(b"n".to_vec(), number.to_be_bytes().to_vec());
    for _ in 0..=random.below(6) {
        let key = vec![b'a' + u8::try_from(random.below(3)).unwrap(), u8::try_from(random.below(8)).unwrap()];
        if random.below(4) == 0 {
            batch.delete(key);
        } else {
            // Large enough that logs are full after some fifty commits.
            let length = random.index(20_000);
            batch.put(key, vec![u8::try_from(random.below(256)).unwrap(); length]);
        }
    }
    batch
}

/// What the store holds after the commits up to this one.
fn after(number: u64) -> Map {
    let mut map = Map::new();
    for (key, value) in (1..=number).flat_map(|number| batch(number).entries) {
        match value {
            Some(value) => map.insert(key.to_vec(), value.to_vec()),
            None => map.remove(&*key),
        };
    }
    map
}

fn content(store: &mut DiskStore) -> Map {
    store.scan(b"", b"", usize::MAX).unwrap().into_iter().collect()
}

/// The number of the last commit that is in the store.
fn last_commit(map: &Map) -> u64 {
    map.get(b"n".as_slice()).map_or(0, |value| u64::from_be_bytes(value[..].try_into().unwrap()))
}

/// The process that is recorded.
fn write(folder: &Path) {
    let mut store = DiskStore::open(folder).unwrap().store.with_logs_of(LOG);
    let last = last_commit(&content(&mut store));
    let mut marks = std::fs::File::create(folder.join(MARKS)).unwrap();
    for number in last + 1..=last + COMMITS {
        store.commit(batch(number)).unwrap();
        marks.write_all(&number.to_le_bytes()).unwrap();
    }
}

/// Runs the writer on a folder and returns its recording.
fn record(library: &Path, folder: &Path) -> Vec<cut::Step> {
    let log = folder.with_extension("recording");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["power::what_had_returned_is_there_after_hundreds_of_power_cuts", "--exact"])
        .env("ANNUNCIATOR_WRITER", folder)
        .env("LD_PRELOAD", library)
        .env("RECORD_ROOT", folder)
        .env("RECORD_LOG", &log)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    cut::read(&log)
}

/// Opens the store on what a cut has left: it holds what had returned, perhaps one commit more; one in four goes on.
fn survives(folder: &Path, returned: u64, what: &str) -> u64 {
    let Opened { mut store, trouble, .. } = DiskStore::open(folder).unwrap();
    assert_eq!(trouble, None, "{what}");
    let map = content(&mut store);
    let last = last_commit(&map);
    assert!((returned..=returned + 1).contains(&last), "{what}: commit {returned} had returned, the last is {last}");
    assert!(map == after(last), "{what}: not what commit {last} has left");
    if !last.is_multiple_of(4) {
        return last;
    }
    store.commit(batch(last + 1)).unwrap();
    drop(store);
    let mut store = DiskStore::open(folder).unwrap().store;
    assert!(content(&mut store) == after(last + 1), "{what}: the next commit is lost");
    last
}

/// The disk at a step of a recording whose drive has lied since an earlier one.
fn lying(begin: &Disk, recording: &[cut::Step], since: usize, place: usize) -> Disk {
    let mut disk = begin.clone();
    recording[..since].iter().for_each(|step| disk.play(step));
    recording[since..place].iter().for_each(|step| disk.play_without_sync(step));
    disk
}

/// Opens the store on what a drive has left that lied: earlier writes may be missing and later ones be there. Either it
/// says that something is missing, or it holds what some commit has left, and in both cases it goes on.
fn is_told(folder: &Path, returned: u64, what: &str) -> bool {
    let Opened { mut store, trouble, .. } = DiskStore::open(folder).unwrap();
    let map = content(&mut store);
    let last = last_commit(&map);
    assert!(last <= returned + 1, "{what}: commit {returned} had returned, the last is {last}");
    assert!(trouble.is_some() || map == after(last), "{what}: not what commit {last} has left, and nothing is said");
    let mut more = Batch::default();
    more.put(b"more".to_vec(), b"more".to_vec());
    store.commit(more).unwrap();
    drop(store);
    let mut store = DiskStore::open(folder).unwrap().store;
    let mut map = map;
    map.insert(b"more".to_vec(), b"more".to_vec());
    assert!(content(&mut store) == map, "{what}: what was there, or came then, is lost");
    trouble.is_some()
}

#[test]
fn what_had_returned_is_there_after_hundreds_of_power_cuts() {
    if let Some(folder) = std::env::var_os("ANNUNCIATOR_WRITER") {
        return write(Path::new(&folder));
    }
    let cuts = std::env::var("ANNUNCIATOR_CUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(CUTS);
    let home = tempfile::tempdir().unwrap();
    let library = home.path().join("recorder.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/power/recorder.c");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl").status().unwrap();
    assert!(built.success());
    let mut folder = home.path().join("life-0");
    std::fs::create_dir(&folder).unwrap();
    let (mut steps, mut lost, mut lied, mut told) = (0, 0, 0, 0);
    for life in 0..LIVES {
        let mut disk = Disk::of(&folder);
        let begin = disk.clone();
        let recording = record(&library, &folder);
        steps += recording.len();
        let mut random = Random(life);
        let mut places: Vec<usize> = (0..cuts).map(|_| random.index(recording.len())).collect();
        places.sort_unstable();
        let begun = last_of(&disk, &folder, home.path());
        let (mut returned, mut marks) = (begun, None);
        let (mut states, mut lies) = (Vec::new(), Vec::new());
        for (place, step) in recording.iter().enumerate() {
            for _ in places.iter().filter(|cut| **cut == place) {
                let kind = [Survives::Nothing, Survives::Everything, Survives::Some, Survives::Some][random.index(4)];
                let to = home.path().join(format!("cut-{life}-{}", states.len()));
                disk.cut(kind, &mut random, &folder, &to);
                states.push((to, returned, format!("life {life}, before step {place}: {kind:?} of the rest survives")));
            }
            if places.contains(&place) && states.len().is_multiple_of(5) {
                let since = place - random.index(place.min(LIES) + 1);
                let to = home.path().join(format!("lie-{life}-{}", lies.len()));
                lying(&begin, &recording, since, place).cut(Survives::Some, &mut random, &folder, &to);
                lies.push((to, returned, format!("life {life}, before step {place}: no sync was true since {since}")));
            }
            marks = marks.or(step.creates(MARKS));
            if let Some(mark) = step.written_to(marks) {
                returned = u64::from_le_bytes(mark.try_into().unwrap());
            }
            disk.play(step);
        }
        assert_eq!(returned, begun + COMMITS, "the recording is whole");
        // The next life begins on what one of the cuts has left.
        let next = states[random.index(states.len())].0.clone();
        let queue = Mutex::new(states.iter());
        let more = Mutex::new(0);
        std::thread::scope(|threads| {
            for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
                threads.spawn(|| {
                    while let Some((to, returned, what)) = { queue.lock().unwrap().next() } {
                        *more.lock().unwrap() += survives(to, *returned, what) - returned;
                        if *to != next {
                            std::fs::remove_dir_all(to).unwrap();
                        }
                    }
                });
            }
        });
        lost += more.into_inner().unwrap();
        for (to, returned, what) in &lies {
            told += usize::from(is_told(to, *returned, what));
            std::fs::remove_dir_all(to).unwrap();
        }
        lied += lies.len();
        let _ = std::fs::remove_file(next.join(MARKS));
        folder = next;
    }
    println!(
        "{} power cuts in {LIVES} recordings of {steps} writes, syncs and names, {} commits: 0 lost; of those that had \
         not returned {lost} were there",
        cuts * usize::try_from(LIVES).unwrap(),
        LIVES * COMMITS
    );
    println!("{lied} cuts of a drive that lied: {told} told, the others are as some commit has left them");
    assert!(lied > 10 && told > 0 && told < lied, "the lies show in both ways");
}

/// The last commit on a disk that nothing has happened to yet.
fn last_of(disk: &Disk, root: &Path, home: &Path) -> u64 {
    let to = home.join("before");
    disk.cut(Survives::Nothing, &mut Random(0), root, &to);
    let last = last_commit(&content(&mut DiskStore::open(&to).unwrap().store));
    std::fs::remove_dir_all(to).unwrap();
    last
}
