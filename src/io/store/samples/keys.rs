//! Under which keys the blocks of a property lie.

use crate::api::topics::{decode, encode};

/// The first byte of all of them.
pub(super) const KIND: u8 = b'p';

/// Encoded names contain no zero, so no prefix is the beginning of another one.
pub(super) fn prefix(thing: &str, property: &str) -> Vec<u8> {
    let mut prefix = vec![KIND];
    prefix.extend_from_slice(format!("{}/{}\0", encode(thing), encode(property)).as_bytes());
    prefix
}

pub(super) fn key(prefix: &[u8], number: u64) -> Vec<u8> {
    [prefix, &number.to_be_bytes()].concat()
}

pub(super) fn part_key(prefix: &[u8], number: u64, part: u16) -> Vec<u8> {
    [prefix, &number.to_be_bytes(), &part.to_be_bytes()].concat()
}

pub(super) fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// The thing and the property of a prefix.
pub(super) fn names(prefix: &[u8]) -> Option<(String, String)> {
    let text = std::str::from_utf8(prefix.get(1..)?.strip_suffix(&[0])?).ok()?;
    let (thing, property) = text.split_once('/')?;
    Some((decode(thing).into_owned(), decode(property).into_owned()))
}
