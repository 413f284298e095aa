//! Numbers in the order of names that are kept elsewhere: a directory that does not repeat what it lists.
//!
//! Whoever asks says how the name behind a number lies to the one they mean. Numbers lie in blocks, so that a new one
//! moves few others.

use std::cmp::Ordering;

/// Numbers in one block: one kibibyte. Fewer would make more blocks, which are moved, too.
const BLOCK: usize = 256;

/// Numbers by name.
#[derive(Debug)]
pub(super) struct Index<T> {
    /// None is empty.
    blocks: Vec<Vec<T>>,
}

impl<T> Default for Index<T> {
    fn default() -> Index<T> {
        Index { blocks: Vec::new() }
    }
}

impl<T: Copy> Index<T> {
    /// The number whose name is equal.
    pub(super) fn find(&self, compare: impl Fn(T) -> Ordering) -> Option<T> {
        let block = self.blocks.get(self.block_of(&compare))?;
        let place = block.binary_search_by(|number| compare(*number)).ok()?;
        Some(block[place])
    }

    /// Adds a number whose name is not there.
    pub(super) fn insert(&mut self, number: T, compare: impl Fn(T) -> Ordering) {
        let index = self.block_of(&compare);
        let Some(block) = self.blocks.get_mut(index) else {
            self.blocks.push(vec![number]);
            return;
        };
        let place = block.partition_point(|other| compare(*other).is_lt());
        if block.len() < BLOCK {
            block.insert(place, number);
            return;
        }
        // Names that come in order fill their blocks.
        let mut upper = block.split_off(if place == BLOCK { BLOCK } else { BLOCK / 2 });
        match place.checked_sub(block.len()) {
            Some(place) => upper.insert(place, number),
            None => block.insert(place, number),
        }
        self.blocks.insert(index + 1, upper);
    }

    /// Takes a number out.
    pub(super) fn remove(&mut self, compare: impl Fn(T) -> Ordering) {
        let index = self.block_of(&compare);
        let Some(block) = self.blocks.get_mut(index) else { return };
        if let Ok(place) = block.binary_search_by(|number| compare(*number)) {
            block.remove(place);
            if block.is_empty() {
                self.blocks.remove(index);
            }
        }
    }

    /// The names stay and have other numbers.
    pub(super) fn renumber(&mut self, new: impl Fn(T) -> T) {
        self.blocks.iter_mut().flatten().for_each(|number| *number = new(*number));
    }

    /// All numbers whose names are greater, in their order.
    pub(super) fn after<'a>(&'a self, compare: &dyn Fn(T) -> Ordering) -> impl Iterator<Item = T> + use<'a, T> {
        let index = self.block_of(&compare);
        let place = self.blocks.get(index).map_or(0, |block| block.partition_point(|number| compare(*number).is_le()));
        self.blocks.iter().skip(index).flatten().skip(place).copied()
    }

    /// The block in which the name is, if it is anywhere.
    fn block_of(&self, compare: &impl Fn(T) -> Ordering) -> usize {
        let later = self.blocks.partition_point(|block| block.first().is_some_and(|first| compare(*first).is_le()));
        later.saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn filled(names: impl IntoIterator<Item = u32>) -> (Index<u32>, BTreeSet<u32>) {
        let (mut index, mut set) = (Index::default(), BTreeSet::new());
        for name in names {
            if set.insert(name) {
                index.insert(name, |other| other.cmp(&name));
            }
        }
        (index, set)
    }

    proptest! {
        #[test]
        fn it_is_an_ordered_set(names in proptest::collection::vec(0..4_000_u32, 0..2_000), wanted in 0..4_000_u32) {
            let (index, set) = filled(names);
            prop_assert_eq!(index.find(|other| other.cmp(&wanted)), set.get(&wanted).copied());
            let after: Vec<u32> = index.after(&|other| other.cmp(&wanted)).collect();
            prop_assert_eq!(after, set.range(wanted + 1..).copied().collect::<Vec<u32>>());
            let all: Vec<u32> = index.after(&|_| Ordering::Greater).collect();
            prop_assert_eq!(&all, &set.iter().copied().collect::<Vec<u32>>());
            let (mut index, mut set) = (index, set);
            for gone in all.iter().filter(|number| *number % 3 > 0).chain([&wanted]) {
                index.remove(|other| other.cmp(gone));
                set.remove(gone);
                prop_assert_eq!(index.find(|other| other.cmp(gone)), None);
            }
            let left: Vec<u32> = index.after(&|_| Ordering::Greater).collect();
            prop_assert_eq!(left, set.into_iter().collect::<Vec<u32>>());
        }
    }

    #[test]
    fn names_that_come_in_order_fill_their_blocks() {
        let (index, _) = filled(0..10_000);
        assert_eq!(index.blocks.len(), 10_000_usize.div_ceil(BLOCK));
    }
}
