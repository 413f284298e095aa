use super::*;
use crate::io::store::record::{self, SOFT};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use std::collections::BTreeMap;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;
type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

fn key(outbound_event: u8, handle: u32) -> Vec<u8> {
    record::key(outbound_event, handle).to_vec()
}

fn apply(snapshot: &Snapshot, changes: &Changes) {
    snapshot.apply(changes.iter().map(|(key, value)| (key.as_slice(), value.as_deref()))).unwrap();
}

fn all(snapshot: &Snapshot) -> Vec<Pair> {
    snapshot.range((Bound::Unbounded, Bound::Unbounded)).collect::<Result<_, _>>().unwrap()
}

/// How many pairs lie in the snapshot, whatever is in them.
fn lying(snapshot: &Snapshot) -> usize {
    snapshot.db.len()
}

fn soft(handles: impl IntoIterator<Item = u32>, record: &[u8]) -> Changes {
    handles.into_iter().map(|handle| (key(SOFT, handle), Some(record.to_vec()))).collect()
}

fn pairs(changes: &Changes) -> Vec<Pair> {
    changes.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?))).collect()
}

#[test]
fn soft_records_lie_in_few_pairs_and_are_read_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = Snapshot::open(dir.path()).unwrap();
    let mut changes = soft(1..=1_000, b"\x01record");
    apply(&snapshot, &changes);
    assert!(lying(&snapshot) * 10 < 1_000, "{}", lying(&snapshot));
    assert_eq!(all(&snapshot), pairs(&changes));
    changes.values_mut().for_each(|value| *value = None);
    apply(&snapshot, &changes);
    assert_eq!((lying(&snapshot), all(&snapshot)), (0, Vec::new()));
}

#[test]
fn pairs_of_an_earlier_release_are_read_and_are_packed_as_they_change() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = Snapshot::open(dir.path()).unwrap();
    let old = soft((1..=1_000).filter(|handle| handle % 7 != 0), b"\x01old");
    for (key, value) in pairs(&old) {
        snapshot.db.insert(key, value).unwrap();
    }
    snapshot.complete_at(4).unwrap();
    assert_eq!(all(&snapshot), pairs(&old));
    // Some pages are there, and between them single pairs.
    let new = soft((1..=1_000).filter(|handle| handle % 300 == 7), b"\x01new");
    apply(&snapshot, &new);
    let mut want = old.clone();
    want.extend(new);
    let before = lying(&snapshot);
    assert!(before < old.len());
    assert_eq!(all(&snapshot), pairs(&want));
    // A copy has what is there, as it is there.
    let folder = tempfile::tempdir().unwrap();
    let copy = Snapshot::open(folder.path()).unwrap();
    copy.copy(&snapshot).unwrap();
    assert_eq!((all(&copy), lying(&copy), copy.last_log()), (pairs(&want), before - 1, None));
    // With all of them no single pair is left.
    let all_new = soft(1..=1_000, b"\x01newer");
    apply(&snapshot, &all_new);
    assert!(lying(&snapshot) * 10 < 1_000);
    assert_eq!(all(&snapshot), pairs(&all_new));
}

#[test]
fn a_damaged_page_costs_the_records_in_it_until_they_are_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = Snapshot::open(dir.path()).unwrap();
    apply(&snapshot, &soft(0..200, b"\x01record"));
    let page = Page::of(&key(SOFT, 70)).unwrap();
    let mut damaged = snapshot.db.get(page.key()).unwrap().unwrap().to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    snapshot.db.insert(page.key(), damaged).unwrap();
    snapshot.verify().unwrap();
    let mut want = pairs(&soft((0..200).filter(|handle| !page.keys().contains(&key(SOFT, *handle))), b"\x01record"));
    want.push((page.key(), Vec::new()));
    want.sort();
    assert_eq!(all(&snapshot), want);
    apply(&snapshot, &soft([70], b"\x01new"));
    want.retain(|(key, _)| *key != page.key());
    want.push((key(SOFT, 70), b"\x01new".to_vec()));
    want.sort();
    assert_eq!(all(&snapshot), want);
}

#[test]
fn a_base_whose_pages_change_again_and_again_does_not_grow_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let mut sizes = Vec::new();
    for round in 0..40_u32 {
        let snapshot = Snapshot::open(dir.path()).unwrap();
        // What never changes lies between, and has to be moved out of the way.
        let mut changes: Changes = (0..20_000).map(|number| (key(b'a', number), Some(vec![7; 120]))).collect();
        if round > 0 {
            changes.clear();
        }
        let record: Vec<u8> = (0..40).map(|place| place ^ round.to_le_bytes()[0]).collect();
        changes.extend(soft(0..20_000, &record));
        apply(&snapshot, &changes);
        snapshot.complete_at(u64::from(round)).unwrap();
        sizes.push(snapshot.db.size_on_disk().unwrap() >> 10);
    }
    assert!(sizes[39] < sizes[0] * 11 / 5, "{sizes:?}");
}

#[derive(Debug, Clone)]
enum Act {
    Apply(Changes),
    /// Pairs as an earlier release wrote them, where there is no page.
    Old(Vec<u32>),
    Range(Bound<Vec<u8>>, Bound<Vec<u8>>),
    Back(Vec<u8>, Vec<u8>, usize),
    Reopen,
}

fn handle() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0..200_u32, 1 => u32::MAX - 40..=u32::MAX]
}

/// Keys as there are in a store.
fn stored() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => handle().prop_map(|handle| key(SOFT, handle)),
        1 => handle().prop_map(|handle| key(b'r', handle)),
        1 => handle().prop_map(|handle| key(b't', handle)),
        1 => vec(any::<u8>(), 1..3).prop_map(|rest| [b"w".as_slice(), &rest].concat()),
    ]
}

/// Keys that somebody may ask for.
fn asked() -> impl Strategy<Value = Vec<u8>> {
    (stored(), prop_oneof![Just(None), (0..4_usize).prop_map(Some)], any::<bool>()).prop_map(
        |(mut key, cut, longer)| {
            key.truncate(cut.unwrap_or(usize::MAX));
            if longer {
                key.push(0);
            }
            key
        },
    )
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        4 => asked().prop_map(Bound::Included),
        4 => asked().prop_map(Bound::Excluded),
        1 => Just(Bound::Unbounded),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let value = vec(any::<u8>(), 0..40);
    prop_oneof![
        4 => btree_map(stored(), option::weighted(0.7, value), 0..120).prop_map(Act::Apply),
        1 => vec(handle(), 0..20).prop_map(Act::Old),
        4 => (bound(), bound()).prop_map(|(from, to)| Act::Range(from, to)),
        4 => (asked(), asked(), 1..300_usize).prop_map(|(prefix, before, wanted)| Act::Back(prefix, before, wanted)),
        1 => Just(Act::Reopen),
    ]
}

/// What a map has there. It does not like a range that ends before it begins.
fn within(map: &Map, range: &(Bound<Vec<u8>>, Bound<Vec<u8>>)) -> Vec<Pair> {
    map.iter().filter(|(key, _)| range.contains(*key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_base_is_a_map(acts in vec(act(), 1..24)) {
        let dir = tempfile::tempdir().unwrap();
        let mut snapshot = Snapshot::open(dir.path()).unwrap();
        let mut map = Map::new();
        for act in acts {
            match act {
                Act::Apply(changes) => {
                    apply(&snapshot, &changes);
                    for (key, value) in changes {
                        match value {
                            Some(value) => map.insert(key, value),
                            None => map.remove(&key),
                        };
                    }
                }
                Act::Old(handles) => {
                    for key in handles.into_iter().map(|handle| key(SOFT, handle)) {
                        if snapshot.db.get(Page::of(&key).unwrap().key()).unwrap().is_none() {
                            snapshot.db.insert(&key, b"\x01old").unwrap();
                            map.insert(key, b"\x01old".to_vec());
                        }
                    }
                }
                Act::Range(from, to) => {
                    let range = (from, to);
                    let found: Vec<Pair> = snapshot.range(range.clone()).collect::<Result<_, _>>().unwrap();
                    prop_assert_eq!(found, within(&map, &range));
                }
                Act::Back(prefix, before, wanted) => {
                    let found: Vec<Pair> = snapshot.range_back(&prefix, &before, wanted).collect::<Result<_, _>>().unwrap();
                    let mut expected = within(&map, &(Bound::Included(prefix), Bound::Excluded(before)));
                    expected.reverse();
                    prop_assert_eq!(found, expected);
                }
                Act::Reopen => {
                    snapshot.complete_at(1).unwrap();
                    drop(snapshot);
                    snapshot = Snapshot::open(dir.path()).unwrap();
                    snapshot.verify().unwrap();
                }
            }
        }
        prop_assert!(all(&snapshot).into_iter().eq(map));
    }
}
