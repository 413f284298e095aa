//! One ordered view of pairs that lie in several places: a snapshot, what is being compacted, what has changed since.
//!
//! Where two places have a key, the newer one counts; a change without a value hides the pair. Nothing is copied before
//! it is asked for, and the view can be read from either end.

use super::super::small_bytes::SmallBytes;
use super::super::{Pair, StoreError};
use std::cmp::Ordering;
use std::ops::Bound;

/// Behind all keys that begin with `prefix`.
pub(crate) fn after(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}

type Change<'a> = (&'a SmallBytes, &'a Option<SmallBytes>);

/// Two lists of changes in one order; where both have a key, the newer one counts.
pub(crate) fn newer_first<'a>(
    newer: impl Iterator<Item = Change<'a>>,
    older: impl Iterator<Item = Change<'a>>,
    order: impl Fn(&[u8], &[u8]) -> Ordering,
) -> impl Iterator<Item = Change<'a>> {
    let (mut newer, mut older) = (newer.peekable(), older.peekable());
    std::iter::from_fn(move || {
        let first = match (newer.peek(), older.peek()) {
            (Some((newer, _)), Some((older, _))) => order(newer, older),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        match first {
            Ordering::Less => newer.next(),
            Ordering::Greater => older.next(),
            Ordering::Equal => {
                older.next();
                newer.next()
            }
        }
    })
}

/// What is stored, under what has changed since.
pub(crate) fn merged<'a>(
    stored: impl Iterator<Item = Result<Pair, StoreError>>,
    changes: impl Iterator<Item = Change<'a>>,
    order: impl Fn(&[u8], &[u8]) -> Ordering,
) -> impl Iterator<Item = Result<Pair, StoreError>> {
    let (mut stored, mut changes) = (stored.peekable(), changes.peekable());
    std::iter::from_fn(move || {
        loop {
            let first = match (stored.peek(), changes.peek()) {
                (None, None) => return None,
                (Some(Err(_)), _) | (Some(Ok(_)), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(Ok((key, _))), Some((changed, _))) => order(key, changed),
            };
            match first {
                Ordering::Less => return stored.next(),
                // A pair that was changed since does not count.
                Ordering::Equal => drop(stored.next()),
                Ordering::Greater => {
                    if let Some((key, Some(value))) = changes.next() {
                        return Some(Ok((key.to_vec(), value.to_vec())));
                    }
                }
            }
        }
    })
}
