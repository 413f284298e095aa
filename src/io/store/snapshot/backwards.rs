//! Reads the pairs of a snapshot from the last to the first, in stretches that are each read forward.
//!
//! sled could go backwards by itself, but what it keeps for that, the greatest key there can be, is a mebibyte of the
//! program. It does not know what the keys mean, only that the eight bytes behind their common prefix are mostly a number:
//! in it a stretch is measured. Any other key is found as well, with more or fewer pairs in a stretch.

use super::super::{Pair, StoreError};
use std::ops::Bound;

/// Pairs that are read at once, at most, wherever keys are numbers.
const STRETCH: usize = 512;
/// With fewer pairs in a stretch the next one is wider, and still has not too many.
const FEW: usize = STRETCH / 8;
/// So many times as wide, or as narrow.
const WIDER: u64 = 4;

type Range = (Bound<Vec<u8>>, Bound<Vec<u8>>);
type Pairs = Result<Vec<Pair>, StoreError>;

/// Pairs with keys from `prefix` on, before `before`, the last one first. `read` gives those of a range, in order, as many
/// as it is asked for; where it cannot, that is the end. So many as `wanted` are looked for at first.
pub(crate) fn backwards(
    prefix: Vec<u8>,
    before: Vec<u8>,
    wanted: usize,
    read: impl Fn(Range, usize) -> Pairs,
) -> impl Iterator<Item = Result<Pair, StoreError>> {
    let mut stretch = Vec::new();
    let mut width = wanted.clamp(1, STRETCH) as u64;
    // What lies below it has not been read; none: nothing does.
    let mut end = (prefix < before).then_some(before);
    let mut refill = move || {
        while let Some(before) = end.take() {
            let begin = number(&prefix, &before).checked_sub(width);
            // Keys that are no numbers can lie so densely that no stretch is narrow enough.
            let most = if width == 1 { usize::MAX } else { STRETCH };
            let from = begin.map_or_else(|| prefix.clone(), |begin| key(&prefix, begin));
            let range = (Bound::Included(from.clone()), Bound::Excluded(before.clone()));
            let pairs = read(range, most.saturating_add(1))?;
            if pairs.len() > most {
                width = (width / WIDER).max(1);
                end = Some(before);
                continue;
            }
            if pairs.len() < FEW {
                width = width.saturating_mul(WIDER);
            }
            if begin.is_some() {
                end = Some(if pairs.is_empty() { closer(&prefix, from, &read)? } else { from });
            }
            if !pairs.is_empty() {
                return Ok(pairs);
            }
        }
        Ok(Vec::new())
    };
    std::iter::from_fn(move || {
        if stretch.is_empty() {
            match refill() {
                Ok(pairs) => stretch = pairs,
                Err(error) => return Some(Err(error)),
            }
        }
        stretch.pop().map(Ok)
    })
}

/// An end close behind the last pair before `end`: numbers can have gaps that no stretch reaches across.
fn closer(prefix: &[u8], end: Vec<u8>, read: impl Fn(Range, usize) -> Pairs) -> Result<Vec<u8>, StoreError> {
    let (mut low, mut high) = (0, number(prefix, &end));
    while high - low > 1 {
        let middle = u64::midpoint(low, high);
        let range = (Bound::Included(key(prefix, middle)), Bound::Excluded(end.clone()));
        let is_empty = read(range, 1)?.is_empty();
        (low, high) = if is_empty { (low, middle) } else { (middle, high) };
    }
    Ok(key(prefix, high).min(end))
}

/// The number behind the prefix; the greatest one where the key does not begin with it, and so lies behind all that do.
fn number(prefix: &[u8], key: &[u8]) -> u64 {
    let Some(rest) = key.strip_prefix(prefix) else { return u64::MAX };
    let mut bytes = [0; 8];
    bytes.iter_mut().zip(rest).for_each(|(byte, of_key)| *byte = *of_key);
    u64::from_be_bytes(bytes)
}

fn key(prefix: &[u8], number: u64) -> Vec<u8> {
    [prefix, &number.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;
    use std::cell::Cell;
    use std::collections::BTreeSet;

    /// What comes of keys, and how many pairs were read for it.
    fn all(keys: &BTreeSet<Vec<u8>>, prefix: &[u8], before: &[u8]) -> (Vec<Vec<u8>>, usize) {
        some(keys, prefix, before, usize::MAX)
    }

    fn some(keys: &BTreeSet<Vec<u8>>, prefix: &[u8], before: &[u8], limit: usize) -> (Vec<Vec<u8>>, usize) {
        let count = Cell::new(0);
        let read = |range: Range, most| {
            let found: Vec<Pair> = keys.range(range).take(most).map(|key| (key.clone(), Vec::new())).collect();
            count.set(count.get() + found.len());
            Ok(found)
        };
        let found = backwards(prefix.to_vec(), before.to_vec(), limit, read).take(limit);
        (found.map(|pair| pair.unwrap().0).collect(), count.get())
    }

    fn expected(keys: &BTreeSet<Vec<u8>>, prefix: &[u8], before: &[u8]) -> Vec<Vec<u8>> {
        let fits = |key: &&Vec<u8>| prefix <= key.as_slice() && key.as_slice() < before;
        keys.iter().rev().filter(fits).cloned().collect()
    }

    fn numbered(numbers: impl Iterator<Item = u64>) -> BTreeSet<Vec<u8>> {
        numbers.map(|number| key(b"h", number)).collect()
    }

    #[test]
    fn dense_and_sparse_numbers_are_read_about_once() {
        for numbers in [
            numbered(0..20_000),
            numbered((0..20_000).map(|number| number * 1_000_000_007)),
            numbered((0..10_000).chain(u64::MAX - 10_000..=u64::MAX)),
        ] {
            let (found, read) = all(&numbers, b"h", b"i");
            assert!(found.iter().eq(numbers.iter().rev()) && found.len() == numbers.len());
            assert!(read < numbers.len() * 2, "{read} of {}", numbers.len());
        }
    }

    #[test]
    fn the_last_one_of_many_costs_a_look_at_each_bit_of_its_number() {
        for numbers in [numbered(0..20_000), numbered((0..20_000).map(|number| number * 1_000_000_007))] {
            let (last, read) = some(&numbers, b"h", b"i", 1);
            assert!(last.iter().eq(numbers.last()) && read < 80, "{read}");
        }
    }

    #[test]
    fn more_keys_than_a_stretch_may_have_the_same_number() {
        let keys = (0..5_000_u16).map(|number| [b"hsamesame".as_slice(), &number.to_be_bytes()].concat()).collect();
        assert_eq!(all(&keys, b"h", b"i").0, expected(&keys, b"h", b"i"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_keys_come_from_the_last_to_the_first(
            keys in btree_set(vec(prop_oneof![Just(0), Just(1), Just(255), any::<u8>()], 0..12), 0..900),
            prefix in vec(prop_oneof![Just(0), Just(1), Just(255)], 0..2),
            before in vec(prop_oneof![Just(0), Just(1), Just(255)], 0..12),
        ) {
            prop_assert_eq!(all(&keys, &prefix, &before).0, expected(&keys, &prefix, &before));
        }
    }
}
