use super::*;
use crate::io::store::Pair;

/// A store whose every batch is on its disk at once.
#[derive(Default)]
struct Memory(BTreeMap<Vec<u8>, Vec<u8>>);

impl Store for Memory {
    fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
        for (key, value) in &batch.entries {
            match value {
                Some(value) => self.0.insert(key.to_vec(), value.to_vec()),
                None => self.0.remove(&**key),
            };
        }
        Ok(())
    }

    fn scan(&mut self, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        let pairs = self.0.range(from.to_vec()..).take_while(|(key, _)| key.starts_with(prefix)).take(limit);
        Ok(pairs.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn scan_back(&mut self, prefix: &[u8], before: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        let pairs = self.0.range(..before.to_vec()).rev().take_while(|(key, _)| key.starts_with(prefix)).take(limit);
        Ok(pairs.map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

const MUCH: Bounds = Bounds { age: Span::from_secs(1_000_000), bytes: u64::MAX };

fn sample(second: i64) -> Sample {
    Sample { at: Stamp::from_micros(second * 1_000_000), value: f64::from(i32::try_from(second % 50).unwrap()) / 10.0 }
}

fn write(samples: &mut Samples, store: &mut Memory, now: i64) {
    let mut batch = Batch::default();
    samples.write(Stamp::from_micros(now * 1_000_000), &mut batch);
    store.commit(batch).unwrap();
    samples.stored();
}

fn read(samples: &Samples, store: &mut Memory, property: &str, seconds: (i64, i64)) -> Vec<i64> {
    let range = (Stamp::from_micros(seconds.0 * 1_000_000), Stamp::from_micros(seconds.1 * 1_000_000));
    let mut found = Vec::new();
    let mut each = |read: Sample| {
        let second = read.at.as_micros() / 1_000_000;
        assert_eq!(read, sample(second));
        found.push(second);
    };
    let mut reader = samples.plan("boiler-7", property, range).reader();
    let mut fetch = |keys: Vec<Vec<u8>>| reader::fetch(store, &keys);
    while let Some(sample) = reader.next(&mut fetch).unwrap() {
        each(sample);
    }
    found
}

#[test]
fn what_was_kept_is_there_after_a_restart_and_found_by_its_time() {
    let mut store = Memory::default();
    let mut samples = Samples::open(&mut store, MUCH).unwrap();
    for second in 0..5_000 {
        samples.push("boiler-7", "temperature", sample(second));
        samples.push("boiler-7", "temperature/2", sample(second));
        if second % 700 == 0 {
            write(&mut samples, &mut store, second);
        }
    }
    assert_eq!(read(&samples, &mut store, "temperature", (4_000, 4_999)), (4_000..5_000).collect::<Vec<_>>());
    write(&mut samples, &mut store, 5_000);
    for samples in [samples, Samples::open(&mut store, MUCH).unwrap()] {
        assert_eq!(read(&samples, &mut store, "temperature", (0, 9_999)), (0..5_000).collect::<Vec<_>>());
        assert_eq!(read(&samples, &mut store, "temperature/2", (1_500, 2_600)), (1_500..=2_600).collect::<Vec<_>>());
        assert_eq!(read(&samples, &mut store, "pressure", (0, 9_999)), [0; 0]);
        assert_eq!(samples.bytes() / 10_000, 1, "a byte or two for each sample");
    }
}

#[test]
fn nothing_is_written_while_nothing_changes() {
    let mut store = Memory::default();
    let mut samples = Samples::open(&mut store, MUCH).unwrap();
    samples.push("boiler-7", "temperature", sample(1));
    write(&mut samples, &mut store, 1);
    let mut batch = Batch::default();
    samples.write(Stamp::default(), &mut batch);
    assert!(batch.is_empty());
}

#[test]
fn what_is_too_old_or_too_much_goes_oldest_first() {
    let mut store = Memory::default();
    let mut samples = Samples::open(&mut store, Bounds { age: Span::from_secs(5_000), ..MUCH }).unwrap();
    (0..10_240).for_each(|second| samples.push("boiler-7", "temperature", sample(second)));
    write(&mut samples, &mut store, 10_240);
    assert_eq!(read(&samples, &mut store, "temperature", (0, 20_000)), (5_120..10_240).collect::<Vec<_>>());

    let bytes = samples.bytes() / 2;
    let mut samples = Samples::open(&mut store, Bounds { bytes, ..MUCH }).unwrap();
    write(&mut samples, &mut store, 10_240);
    assert!(samples.bytes() <= bytes);
    assert_eq!(read(&samples, &mut store, "temperature", (0, 20_000)), (8_192..10_240).collect::<Vec<_>>());

    (10_240..10_300).for_each(|second| samples.push("boiler-7", "temperature", sample(second)));
    write(&mut samples, &mut store, 2_000_000);
    assert!(store.0.is_empty() && samples.bytes() == 0, "all of it is older than a million seconds");
    samples.push("boiler-7", "temperature", sample(2_000_000));
    write(&mut samples, &mut store, 2_000_000);
    assert_eq!(read(&samples, &mut store, "temperature", (0, 3_000_000)), [2_000_000]);
}

#[test]
fn a_damaged_block_costs_its_samples_and_nothing_else() {
    let mut store = Memory::default();
    let mut samples = Samples::open(&mut store, MUCH).unwrap();
    (0..3_072).for_each(|second| samples.push("boiler-7", "temperature", sample(second)));
    write(&mut samples, &mut store, 3_072);
    let second = store.0.values_mut().nth(1).unwrap();
    second[20] ^= 1;
    let samples = Samples::open(&mut store, MUCH).unwrap();
    assert_eq!(samples.damaged(), 1);
    assert_eq!(
        read(&samples, &mut store, "temperature", (0, 9_999)),
        (0..1_024).chain(2_048..3_072).collect::<Vec<_>>()
    );
}

#[test]
fn what_the_disk_refuses_is_written_again() {
    let mut store = Memory::default();
    let mut samples = Samples::open(&mut store, MUCH).unwrap();
    for second in 0..3_000 {
        samples.push("boiler-7", "temperature", sample(second));
        if second % 300 == 299 {
            let mut batch = Batch::default();
            samples.write(Stamp::default(), &mut batch);
            // Nobody knows whether it was written: every third time it was, and it was not told.
            match second / 300 % 3 {
                0 => {
                    store.commit(batch).unwrap();
                    samples.stored();
                }
                1 => samples.failed(),
                _ => {
                    store.commit(batch).unwrap();
                    samples.failed();
                }
            }
        }
    }
    write(&mut samples, &mut store, 3_000);
    let bytes = samples.bytes();
    let samples = Samples::open(&mut store, MUCH).unwrap();
    assert_eq!((samples.damaged(), samples.count(), samples.bytes()), (0, 3_000, bytes));
    assert_eq!(read(&samples, &mut store, "temperature", (0, 9_999)), (0..3_000).collect::<Vec<_>>());
}

#[test]
fn the_past_is_taken_where_nothing_is_kept_and_read_in_its_order() {
    let mut store = Memory::default();
    let mut samples = Samples::open(&mut store, MUCH).unwrap();
    (5_000..5_100).for_each(|second| samples.push("boiler-7", "temperature", sample(second)));
    let past = |seconds: std::ops::Range<i64>| seconds.map(sample).collect::<Vec<_>>();
    assert_eq!(samples.import("boiler-7", "temperature", past(0..5_050)), 5_000);
    assert_eq!(samples.import("boiler-7", "temperature", past(0..5_200)), 100, "only what came after");
    write(&mut samples, &mut store, 6_000);
    assert_eq!(samples.count(), 5_200);
    for samples in [samples, Samples::open(&mut store, MUCH).unwrap()] {
        assert_eq!(read(&samples, &mut store, "temperature", (0, 9_999)), (0..5_200).collect::<Vec<_>>());
    }
}

#[test]
fn a_clock_that_is_set_back_costs_no_order() {
    let mut store = Memory::default();
    let mut samples = Samples::open(&mut store, MUCH).unwrap();
    for second in (0..100).chain(50..150) {
        samples.push("boiler-7", "temperature", sample(second));
    }
    write(&mut samples, &mut store, 150);
    assert_eq!(read(&samples, &mut store, "temperature", (0, 9_999)), (0..150).collect::<Vec<_>>());
}
