//! Power cuts as a type: what a cut may do to files between two syncs, done to them, hundreds of times.

use super::*;
use crate::io::store::record;
use std::collections::BTreeMap;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// A small generator with a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// What the power was cut in the middle of.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// Writing a frame: so many of its bytes reached the disk, and what follows may be anything.
    Frame { whole: bool },
    /// Beginning a log: its file exists, its content does not.
    NewLog,
    /// Writing a snapshot: sled's files may hold anything.
    Snapshot(Damage),
    /// After a snapshot was compacted, before the old log was removed.
    OldLog,
}

/// What may have become of a snapshot that was being written.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Truncated,
    Overwritten,
    Missing,
    EmptySnapshot,
}

fn all(store: &mut DiskStore) -> Map {
    store.scan(b"", b"", usize::MAX).unwrap().into_iter().collect()
}

fn apply(map: &mut Map, batch: &Batch) {
    for (key, value) in &batch.entries {
        match value {
            Some(value) => map.insert(key.to_vec(), value.to_vec()),
            None => map.remove(&**key),
        };
    }
}

fn batch(random: &mut Random) -> Batch {
    let mut batch = Batch::default();
    for _ in 0..=random.below(5) {
        let key = match random.below(4) {
            0 => record::key(record::SOFT, u32::try_from(random.below(60)).unwrap()).to_vec(),
            kind => vec![b'a' + u8::try_from(kind).unwrap(), u8::try_from(random.below(40)).unwrap()],
        };
        if random.below(4) == 0 {
            batch.delete(key);
        } else {
            batch.put(key, vec![u8::try_from(random.below(256)).unwrap(); random.below(300)]);
        }
    }
    batch
}

/// The log that is being written, and where the last commit in it ends.
fn log_of(store: &DiskStore) -> (PathBuf, u64) {
    (wal::path(&store.folder, store.wal.number()), store.wal.len())
}

fn damage(folder: &Path, damage: Damage, random: &mut Random) {
    match damage {
        Damage::Missing => {
            let _ = std::fs::remove_dir_all(folder);
            return;
        }
        Damage::EmptySnapshot => {
            std::fs::create_dir_all(folder).unwrap();
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.file_name().unwrap().to_string_lossy().starts_with("snap.") {
                    std::fs::write(path, b"").unwrap();
                }
            }
            std::fs::write(folder.join("snap.00000000000000FF.generating"), b"half").unwrap();
            return;
        }
        Damage::Truncated | Damage::Overwritten => {}
    }
    for name in ["db", "conf"] {
        let path = folder.join(name);
        let Ok(mut bytes) = std::fs::read(&path) else { continue };
        if matches!(damage, Damage::Truncated) {
            bytes.truncate(random.below(bytes.len() + 1));
        } else {
            let from = random.below(bytes.len() + 1);
            bytes[from..].fill(0x5a);
        }
        std::fs::write(path, bytes).unwrap();
    }
}

/// Runs a store through commits and cuts, and compares it with a map after each.
fn life(seed: u64, cuts: usize) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(seed);
    let mut want = Map::new();
    let mut store = DiskStore::open(dir.path()).unwrap().store;
    let mut commits = 0;
    for number in 0..cuts {
        for _ in 0..random.below(40) {
            let batch = batch(&mut random);
            apply(&mut want, &batch);
            store.commit(batch).unwrap();
            commits += 1;
            if random.below(15) == 0 {
                store.finish_compaction(true);
                store.rotate().unwrap();
            }
        }
        let kinds = [
            Cut::Frame { whole: false },
            Cut::Frame { whole: true },
            Cut::NewLog,
            Cut::Snapshot(Damage::Truncated),
            Cut::Snapshot(Damage::Overwritten),
            Cut::Snapshot(Damage::Missing),
            Cut::Snapshot(Damage::EmptySnapshot),
            Cut::OldLog,
        ];
        let cut = kinds[random.below(kinds.len())];
        let was_compacting = store.worker.is_some();
        store.finish_compaction(true);
        let folder = store.folder.clone();
        match cut {
            Cut::Frame { whole } => {
                let (path, end) = log_of(&store);
                let batch = batch(&mut random);
                store.wal.append(&batch).unwrap();
                drop(store);
                let mut bytes = std::fs::read(&path).unwrap();
                let end = usize::try_from(end).unwrap();
                if whole {
                    // It is there as a whole although nobody was told: that is allowed, too.
                    apply(&mut want, &batch);
                } else {
                    // Behind the frame there are only zeros.
                    let length = 8 + postcard::to_allocvec(&batch.entries).unwrap().len();
                    bytes.truncate(end + random.below(length));
                }
                bytes.extend(vec![u8::try_from(random.below(256)).unwrap(); random.below(600)]);
                std::fs::write(path, bytes).unwrap();
            }
            Cut::NewLog => {
                let next = store.wal.number() + 1;
                drop(store);
                std::fs::write(wal::path(&folder, next), vec![0; random.below(16)]).unwrap();
            }
            Cut::Snapshot(kind) => {
                // The snapshot whose turn it is: begin to write it, and let the cut do its worst.
                let target = store.newest.map_or(Side::A, |(side, _)| side.other()).folder(&folder);
                store.wal = wal::Wal::create(&folder, store.wal.number() + 1, None, store.wal.len()).unwrap();
                drop(store);
                damage(&target, kind, &mut random);
            }
            Cut::OldLog => {
                let (path, _) = log_of(&store);
                let kept = std::fs::read(&path).unwrap();
                store.rotate().unwrap();
                store.finish_compaction(true);
                drop(store);
                std::fs::write(path, kept).unwrap();
            }
        }
        let opened = DiskStore::open(dir.path()).unwrap();
        assert_eq!(opened.trouble, None, "seed {seed}, cut {number}: {cut:?}");
        store = opened.store;
        assert!(
            all(&mut store) == want,
            "seed {seed}, cut {number} ({cut:?}, compacting {was_compacting}): not what was committed"
        );
    }
    commits
}

#[test]
fn hundreds_of_power_cuts_lose_nothing_that_was_confirmed() {
    let (lives, cuts) = (40, 12);
    let commits: usize = (0..lives).map(|seed| life(seed, cuts)).sum();
    println!("{lives} stores with {cuts} power cuts each, {commits} commits: 0 lost");
}

#[test]
fn what_comes_and_goes_does_not_make_it_grow() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = DiskStore::open(dir.path()).unwrap().store;
    let mut sizes = Vec::new();
    for round in 0..120_u32 {
        for key in 0..200_u32 {
            let mut batch = Batch::default();
            batch.put([b"a".as_slice(), &key.to_be_bytes()].concat(), vec![round.to_be_bytes()[3]; 200]);
            batch.put([b"o".as_slice(), &(round * 200 + key).to_be_bytes()].concat(), vec![7; 400]);
            if round > 0 {
                batch.delete([b"o".as_slice(), &((round - 1) * 200 + key).to_be_bytes()].concat());
            }
            store.wal.append(&batch).unwrap();
            for (key, value) in &batch.entries {
                store.recent.insert(key.clone(), value.clone());
            }
        }
        store.rotate().unwrap();
        store.finish_compaction(true);
        sizes.push(size(dir.path()));
    }
    let (early, late) = (sizes[20..40].iter().max().unwrap(), sizes[100..].iter().max().unwrap());
    println!("{early} bytes after 40 compactions, {late} after 120");
    assert!(late < &(early * 2), "it grows: {sizes:?}");
}

fn size(folder: &Path) -> u64 {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() { size(&path) } else { path.metadata().unwrap().len() }
        })
        .sum()
}

#[test]
fn a_second_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = DiskStore::open(dir.path()).unwrap();
    let error = DiskStore::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::InUse(_)), "{error}");
}

#[test]
fn pages_are_the_same_whether_from_the_log_or_from_a_base() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = DiskStore::open(dir.path()).unwrap().store;
    let mut first = Batch::default();
    (0..10).for_each(|n| first.put(vec![b'o', n], vec![n]));
    first.put(vec![b'p'], vec![0]);
    store.commit(first).unwrap();
    store.rotate().unwrap();
    let mut second = Batch::default();
    (0..10).step_by(3).for_each(|n| second.delete(vec![b'o', n]));
    second.put(vec![b'o', 4], vec![44]);
    second.put(vec![b'o', 20], vec![20]);
    store.commit(second).unwrap();
    let page = store.scan(b"o", &[b'o', 2], 4).unwrap();
    assert_eq!(page, [(2, 2), (4, 44), (5, 5), (7, 7)].map(|(k, v)| (vec![b'o', k], vec![v])));
    let rest = store.scan(b"o", &[b'o', 8], 99).unwrap();
    assert_eq!(rest, [(8, 8), (20, 20)].map(|(k, v)| (vec![b'o', k], vec![v])));
}

/// In memory, in what is being compacted, or in a snapshot: a page is that of a plain map, from either end.
#[test]
fn pages_are_those_of_a_plain_map_wherever_the_pairs_are() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = DiskStore::open(dir.path()).unwrap().store;
    let mut plain: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut random = 7_u64;
    let mut next = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u8::try_from((random >> 33) % bound).unwrap()
    };
    for round in 0..120 {
        let mut batch = Batch::default();
        for _ in 0..next(6) {
            let key = vec![next(4), next(40)];
            if next(3) == 0 {
                plain.remove(&key);
                batch.delete(key);
            } else {
                plain.insert(key.clone(), vec![round]);
                batch.put(key, vec![round]);
            }
        }
        store.commit(batch).unwrap();
        if next(8) == 0 && store.worker.is_none() {
            store.rotate().unwrap();
        }
        let prefix = vec![next(4)];
        let (from, limit) = (vec![prefix[0], next(40)], usize::from(next(9)));
        let pair = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
        let fits = |(key, _): &(&Vec<u8>, &Vec<u8>)| key.starts_with(&prefix);
        let ahead: Vec<Pair> = plain.range(from.clone()..).filter(fits).take(limit).map(pair).collect();
        assert_eq!(store.scan(&prefix, &from, limit).unwrap(), ahead, "round {round}");
        let back: Vec<Pair> = plain.range(..from.clone()).rev().filter(fits).take(limit).map(pair).collect();
        assert_eq!(store.scan_back(&prefix, &from, limit).unwrap(), back, "round {round}");
    }
}

#[test]
fn only_if_both_bases_are_gone_is_something_lost_and_then_it_is_said() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=4_usize {
        let mut store = DiskStore::open(dir.path()).unwrap().store;
        for _ in 0..3 {
            let mut batch = Batch::default();
            batch.put(b"a".to_vec(), b"x".to_vec());
            store.commit(batch).unwrap();
            store.rotate().unwrap();
            store.finish_compaction(true);
        }
        drop(store);
        for side in [Side::A, Side::B] {
            std::fs::write(side.folder(&dir.path().join(FOLDER)).join("conf"), b"this is no database").unwrap();
        }
        let Opened { mut store, trouble, loss } = DiskStore::open(dir.path()).unwrap();
        assert!(trouble.unwrap().contains("moved to"));
        assert!(loss.unwrap().is_beyond_use);
        assert_eq!(all(&mut store), Map::from([(b"a".to_vec(), b"x".to_vec())]), "what the last logs say is there");
        drop(store);
        let kept = std::fs::read_dir(dir.path()).unwrap().filter(|e| e.as_ref().unwrap().path().is_dir()).count() - 1;
        assert_eq!(kept, round.min(QUARANTINES));
    }
}

#[test]
fn events_that_came_and_went_are_gone_whatever_was_compacted_in_between() {
    let dir = tempfile::tempdir().unwrap();
    let outbound_event = |number: u64| [&[OUTBOUND_EVENTS][..], &number.to_be_bytes()].concat();
    let mut want = Map::new();
    let mut random = Random(11);
    let mut store = DiskStore::open(dir.path()).unwrap().store;
    let mut next = 0;
    for round in 0..400 {
        let mut batch = Batch::default();
        for _ in 0..random.below(4) {
            batch.put(outbound_event(next), vec![7; 20]);
            next += 1;
        }
        let waiting: Vec<Vec<u8>> = want.keys().cloned().collect();
        for key in waiting {
            match random.below(3) {
                0 => batch.delete(key),
                // After a failure of the disk all that is held in memory is written again.
                1 if round % 50 == 0 => batch.put(key, vec![7; 20]),
                _ => {}
            }
        }
        apply(&mut want, &batch);
        store.commit(batch).unwrap();
        if random.below(10) == 0 {
            store.finish_compaction(true);
            store.rotate().unwrap();
        }
        if random.below(40) == 0 {
            drop(store);
            store = DiskStore::open(dir.path()).unwrap().store;
        }
        assert_eq!(all(&mut store), want, "round {round}");
    }
}

#[test]
fn after_a_log_with_very_many_changes_both_bases_follow_and_memory_holds_none_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut batch = Batch::default();
    for number in 0..u32::try_from(FOLLOWED_AT_ONCE).unwrap() + 1 {
        batch.put([&b"a"[..], &number.to_be_bytes()].concat(), vec![1; 200]);
    }
    let mut want = Map::new();
    apply(&mut want, &batch);
    let mut store = DiskStore::open(dir.path()).unwrap().store.with_logs_of(2 << 20);
    store.commit(batch).unwrap();
    // The first snapshot, and with the next commit the other one as its copy.
    store.finish_compaction(true);
    store.commit(Batch::default()).unwrap();
    store.finish_compaction(true);
    assert!(store.recent.is_empty() && store.compacting.is_empty() && store.behind.is_empty());
    assert_eq!(store.other, store.newest.map(|(_, last_log)| last_log));
    let used = store.wal.number();
    assert!(wal::list(&store.folder).unwrap().into_iter().all(|number| number == used || Some(number) == store.spare));
    assert_eq!(all(&mut store), want);
    drop(store);
    assert_eq!(all(&mut DiskStore::open(dir.path()).unwrap().store), want);
}

#[test]
fn a_store_whose_soft_records_lie_alone_is_read_and_packed_as_it_is_compacted() {
    let dir = tempfile::tempdir().unwrap();
    let soft = |handle: u32, value: &[u8]| (record::key(record::SOFT, handle).to_vec(), value.to_vec());
    let mut store = DiskStore::open(dir.path()).unwrap().store;
    for _ in 0..2 {
        store.rotate().unwrap();
        store.finish_compaction(true);
    }
    let folder = store.folder.clone();
    drop(store);
    let lying = |side: Side| sled::open(side.folder(&folder)).unwrap().scan_prefix(b"s").count();
    for side in [Side::A, Side::B] {
        let old = sled::open(side.folder(&folder)).unwrap();
        for (key, value) in (1..500).map(|handle| soft(handle, b"\x01old")) {
            old.insert(key, value).unwrap();
        }
        old.flush().unwrap();
    }
    let mut want: Map = (1..500).map(|handle| soft(handle, b"\x01old")).collect();
    let mut store = DiskStore::open(dir.path()).unwrap().store;
    assert_eq!(all(&mut store), want);
    // What changes in one log and in the next meets in the same pages.
    for (step, value) in [(2, b"\x01one"), (3, b"\x01two"), (1, b"\x01all")] {
        let mut batch = Batch::default();
        for (key, value) in (1..500).step_by(step).map(|handle| soft(handle, value)) {
            batch.put(key, value);
        }
        batch.delete(record::key(record::SOFT, 7));
        apply(&mut want, &batch);
        store.commit(batch).unwrap();
        store.rotate().unwrap();
        store.finish_compaction(true);
        assert_eq!(all(&mut store), want);
    }
    store.rotate().unwrap();
    drop(store);
    assert!(lying(Side::A) < 50 && lying(Side::B) < 50);
    assert_eq!(all(&mut DiskStore::open(dir.path()).unwrap().store), want);
}

#[test]
fn a_base_that_was_being_written_is_made_anew_even_if_it_can_be_opened() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(3);
    let mut want = Map::new();
    let mut store = DiskStore::open(dir.path()).unwrap().store;
    for _ in 0..4 {
        for _ in 0..30 {
            let batch = batch(&mut random);
            apply(&mut want, &batch);
            store.commit(batch).unwrap();
        }
        store.rotate().unwrap();
        store.finish_compaction(true);
    }
    // It opens, and has silently lost most of what it had.
    let side = store.newest.unwrap().0.other();
    let folder = store.folder.clone();
    drop(store);
    std::fs::write(side.mark(&folder), []).unwrap();
    let snapshot = Snapshot::open(&side.folder(&folder)).unwrap();
    let keys: Vec<_> = snapshot.range((Bound::Unbounded, Bound::Unbounded)).map(|pair| pair.unwrap().0).collect();
    snapshot.apply(keys.iter().skip(3).map(|key| (&**key, None))).unwrap();
    drop(snapshot);
    let mut store = DiskStore::open(dir.path()).unwrap().store;
    for _ in 0..3 {
        assert!(all(&mut store) == want);
        store.rotate().unwrap();
        store.finish_compaction(true);
    }
    assert!(!side.mark(&folder).exists());
    assert!(all(&mut store) == want);
}

/// What may become of a file while nobody looks.
#[derive(Debug, Clone, Copy)]
enum Spoilt {
    Bit,
    Page,
    Cut,
    Zeroed,
    Deleted,
}

fn spoil(path: &Path, how: Spoilt, random: &mut Random) {
    let mut bytes = std::fs::read(path).unwrap();
    // Where something is: most of a file that was made in advance is empty.
    let length = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1).min(bytes.len().max(1));
    let place = random.below(length);
    match how {
        Spoilt::Bit => bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
        Spoilt::Page => bytes.iter_mut().skip(place / 4_096 * 4_096).take(4_096).for_each(|byte| *byte = !*byte),
        Spoilt::Cut => bytes.truncate(place),
        Spoilt::Zeroed => bytes.fill(0),
        Spoilt::Deleted => return std::fs::remove_file(path).unwrap(),
    }
    std::fs::write(path, bytes).unwrap();
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<PathBuf> =
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    all.sort();
    all
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Cases of damage to one store in the ordinary suite; `ANNUNCIATOR_DAMAGES` asks for more.
const DAMAGES: usize = 40;

/// Stores of every size, each with an event in every commit, and one file of it damaged: either everything is there, or it
/// is said that something is not, and then no number can be given out again.
#[test]
fn damage_of_any_file_is_told_unless_nothing_is_lost() {
    let damages = std::env::var("ANNUNCIATOR_DAMAGES").ok().and_then(|n| n.parse().ok()).unwrap_or(DAMAGES);
    let (mut told, mut healed, mut beyond) = (0, 0, 0);
    for compactions in 0..4_u64 {
        let home = tempfile::tempdir().unwrap();
        let mut random = Random(compactions + 1);
        let (mut want, mut next) = (Map::new(), 0_u64);
        let mut store = DiskStore::open(home.path()).unwrap().store;
        for round in 0..=compactions {
            for _ in 0..30 {
                next += 1;
                let mut batch = Batch::default();
                batch.put(record::POSITION.to_vec(), next.to_be_bytes().to_vec());
                let handle = u32::try_from(random.below(20)).unwrap();
                batch.put(
                    record::key(record::LASTING, handle),
                    vec![u8::try_from(random.below(256)).unwrap(); random.below(300)],
                );
                batch.put(
                    record::key(record::SOFT, handle),
                    vec![u8::try_from(random.below(256)).unwrap(); random.below(900)],
                );
                apply(&mut want, &batch);
                store.commit(batch).unwrap();
                store.confirm(next, true);
            }
            if round < compactions {
                store.rotate().unwrap();
                store.finish_compaction(true);
            }
        }
        drop(store);
        let all_files = files(home.path());
        for number in 0..damages {
            let copied = tempfile::tempdir().unwrap();
            copy(home.path(), copied.path());
            let path = &all_files[number % all_files.len()];
            let kinds = [Spoilt::Bit, Spoilt::Bit, Spoilt::Page, Spoilt::Cut, Spoilt::Zeroed, Spoilt::Deleted];
            let how = kinds[number / all_files.len() % kinds.len()];
            let name = path.strip_prefix(home.path()).unwrap();
            spoil(&copied.path().join(name), how, &mut random);
            let Opened { mut store, trouble, loss } = DiskStore::open(copied.path()).unwrap();
            let what = format!("{compactions} compactions, {how:?} of {}: {trouble:?}", name.display());
            let mut found = all(&mut store);
            let number =
                |map: &Map| map.get(record::POSITION).map(|value| u64::from_be_bytes(value[..].try_into().unwrap()));
            let Some(loss) = loss else {
                assert!(found == want, "{what}: it is silently wrong");
                healed += 1;
                continue;
            };
            assert!(
                loss.is_open || number(&found) == Some(next),
                "{what}: {:?} is not the last number, {next} was",
                number(&found)
            );
            for (key, value) in &found {
                let is_later = record::handle_of(key)
                    .is_some_and(|handle| key[0] == record::LASTING && loss.rewritten.contains(&handle));
                assert!(!is_later || want.get(key) == Some(value), "{what}: it was said to be as published");
            }
            told += 1;
            beyond += usize::from(loss.is_beyond_use);
            // The daemon's first write says that it was told; from then on it is a store like any other.
            let mut batch = Batch::default();
            batch.entries.extend(loss.told.map(|(key, value)| (key.into(), Some(value.into()))));
            batch.put(record::key(record::LASTING, 1), b"new".to_vec());
            apply(&mut found, &batch);
            store.commit(batch).unwrap();
            store.confirm(next + 1, true);
            drop(store);
            let Opened { mut store, trouble, .. } = DiskStore::open(copied.path()).unwrap();
            assert_eq!(trouble, None, "{what}: it is told again");
            assert!(all(&mut store) == found, "{what}: it has changed since");
        }
    }
    println!("{told} losses told, {beyond} of them beyond use; {healed} times nothing was lost");
    assert!(told > damages / 4 && healed > damages / 4);
}

#[test]
fn what_the_disk_refused_is_known_to_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = DiskStore::open(dir.path()).unwrap().store;
    store.commit(Batch::default()).unwrap();
    store.confirm(7, true);
    store.confirm(9, false);
    drop(store);
    let Opened { store, loss, .. } = DiskStore::open(dir.path()).unwrap();
    let loss = loss.unwrap();
    assert!(loss.is_open && loss.next_seq == 9 && loss.told.is_none(), "{loss:?}");
    drop(store);
    let Opened { mut store, loss, .. } = DiskStore::open(dir.path()).unwrap();
    assert!(loss.is_some(), "nobody has written since");
    store.commit(Batch::default()).unwrap();
    store.confirm(9, true);
    drop(store);
    assert_eq!(DiskStore::open(dir.path()).unwrap().loss, None);
}

#[test]
fn a_pipe_in_the_store_is_moved_and_keeps_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = DiskStore::open(dir.path()).unwrap().store;
    let mut batch = Batch::default();
    batch.put(b"a".to_vec(), b"x".to_vec());
    store.commit(batch).unwrap();
    drop(store);
    let pipe = dir.path().join(FOLDER).join(format!("wal-{:020}", 2));
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
    let Opened { mut store, trouble, .. } = DiskStore::open(dir.path()).unwrap();
    assert_eq!((trouble, all(&mut store).len()), (None, 1));
    assert_eq!(moved_aside(dir.path()).len(), 1);
}

#[test]
fn nobody_else_may_read_a_store_whoever_made_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let state_dir = dir.path().join("state");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let mut store = DiskStore::open(&state_dir).unwrap().store;
    store.rotate().unwrap();
    drop(store);
    // As an earlier release has left it.
    for path in files(&state_dir) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    for folder in [&state_dir, &state_dir.join(FOLDER)] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    drop(DiskStore::open(&state_dir).unwrap());
    assert_eq!((mode(&state_dir), mode(&state_dir.join(FOLDER))), (0o700, 0o700));
    // What sled makes new is as the program's umask has it; nobody else gets that far.
    let ours = files(&state_dir).into_iter().filter(|path| !path.to_string_lossy().contains("/snap."));
    assert_eq!(ours.filter(|file| mode(file) != 0o600).collect::<Vec<_>>(), Vec::<PathBuf>::new());
    assert_eq!(mode(&state_dir.join(FOLDER).join("a")), 0o700);
    std::fs::write(state_dir.join("somebody else's"), "").unwrap();
    std::fs::set_permissions(&state_dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    drop(DiskStore::open(&state_dir).unwrap());
    assert_eq!(mode(&state_dir), 0o755, "others may work in it");
}
