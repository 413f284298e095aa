//! Lists that weigh little, for what there is of every alarm.
//!
//! A gateway has up to a hundred thousand alarms, and most lists about one of them have one element. [`SmallList`] keeps that in
//! its place; `push` lets a long list grow without holding nearly as much again in reserve.

use std::ops::Deref;

/// A list that has one element in most cases, and costs no allocation then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SmallList<T> {
    /// One element.
    One(T),
    /// None, or several.
    Many(Box<[T]>),
}

impl<T> SmallList<T> {
    /// Puts an element before the one at this place, or at the end.
    pub fn insert(&mut self, place: usize, element: T) {
        let mut all = match std::mem::take(self) {
            SmallList::One(only) => vec![only],
            SmallList::Many(several) => several.into_vec(),
        };
        all.reserve_exact(1);
        all.insert(place, element);
        *self = SmallList::from(all);
    }
}

impl<T> Default for SmallList<T> {
    fn default() -> SmallList<T> {
        SmallList::Many(Box::default())
    }
}

impl<T> Deref for SmallList<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            SmallList::One(only) => std::slice::from_ref(only),
            SmallList::Many(several) => several,
        }
    }
}

impl<T> From<Vec<T>> for SmallList<T> {
    fn from(mut list: Vec<T>) -> SmallList<T> {
        match list.pop() {
            Some(only) if list.is_empty() => SmallList::One(only),
            last => {
                list.extend(last);
                SmallList::Many(list.into_boxed_slice())
            }
        }
    }
}

impl<T> FromIterator<T> for SmallList<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> SmallList<T> {
        SmallList::from(elements.into_iter().collect::<Vec<T>>())
    }
}

impl<'a, T> IntoIterator for &'a SmallList<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> std::slice::Iter<'a, T> {
        self.iter()
    }
}

/// Adds to a list that only grows, with an eighth of its length in reserve at most. To double it, as a vector does by
/// itself, would leave a quarter of it empty on average, for ever.
pub(crate) fn push<T>(list: &mut Vec<T>, element: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / 8 + 8);
    }
    list.push(element);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn few_are_a_list_like_any_other(places in proptest::collection::vec(0..6_usize, 0..6)) {
            let (mut few, mut list) = (SmallList::default(), Vec::new());
            for (number, place) in places.into_iter().enumerate() {
                let place = place.min(list.len());
                few.insert(place, number);
                list.insert(place, number);
                prop_assert_eq!(&*few, &*list);
                prop_assert_eq!(matches!(few, SmallList::One(_)), list.len() == 1);
            }
        }
    }

    #[test]
    fn little_is_held_in_reserve() {
        let mut list = Vec::new();
        for number in 0..10_000 {
            push(&mut list, number);
            assert!(list.capacity() <= list.len() + list.len() / 8 + 8);
        }
    }
}
