//! How the soft records of alarms lie in a snapshot: many to a page, because sled costs the same for each pair, however short
//! it is, and with a checkpoint those of all alarms change.
//!
//! Bytes in, bytes out: it knows neither sled nor what is in a record. A page lies under the key of the first handle that
//! may be in it, so the order of pages is that of the pairs in them. No key that is longer begins with their outbound event: it
//! would lie between them. Where there are single pairs of a page, as earlier releases wrote them, there is no page yet.
//!
//! ```text
//!   s handle ── the last bits are 0: that of the page
//!   0xFE checksum [ (the last bits of a handle, its record) … ]
//! ```

use crate::io::store::Pair;
use crate::io::store::record::{SOFT, framed, key, opened};
use crate::io::store::small_bytes::SmallBytes;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Handles to a page. With more of them a change of all costs little less, and one of a few writes much more: sled
/// has up to sixteen pages in a leaf, which is written anew with every eleventh change. It is part of the format: a page
/// lies where its first handle would.
const PER_PAGE: u32 = 16;
/// The version of the frame of a page. Those of records count up from 1 and never come here; a release that knows no pages
/// refuses the store, as it would one with newer records.
const PACKED: u8 = 0xFE;

/// A record in a page.
#[derive(Serialize, Deserialize)]
struct Item<'a> {
    /// The last bits of its handle.
    place: u8,
    #[serde(with = "serde_bytes")]
    record: &'a [u8],
}

/// Which page: by its first handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Page(u32);

impl Page {
    /// The page of a pair; none: it lies alone.
    pub(super) fn of(key: &[u8]) -> Option<Page> {
        handle(key).map(|handle| Page(handle - handle % PER_PAGE))
    }

    /// Where it lies.
    pub(super) fn key(self) -> Vec<u8> {
        key_of(self.0)
    }

    /// Where the pairs would lie that are in it.
    pub(super) fn keys(self) -> RangeInclusive<Vec<u8>> {
        self.key()..=key_of(self.0 + (PER_PAGE - 1))
    }
}

/// What is in a page, while it is rewritten.
#[derive(Debug)]
pub(super) struct Content<'a> {
    records: [Option<&'a [u8]>; PER_PAGE as usize],
}

/// A page whose bytes are not those that were written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damaged;

impl<'a> Content<'a> {
    pub(super) fn new() -> Content<'a> {
        Content { records: [None; PER_PAGE as usize] }
    }

    /// Adds what is stored: the page, or a pair that lies alone in its place.
    pub(super) fn add(&mut self, key: &[u8], value: &'a [u8]) -> Result<(), Damaged> {
        if !is_page(key, value) {
            self.set(key, Some(value));
            return Ok(());
        }
        for Item { place, record } in items(value)? {
            *self.records.get_mut(usize::from(place)).ok_or(Damaged)? = Some(record);
        }
        Ok(())
    }

    /// Sets the record under a key of this page, or removes it.
    pub(super) fn set(&mut self, key: &[u8], record: Option<&'a [u8]>) {
        let place = handle(key).map_or(0, |handle| handle % PER_PAGE);
        self.records[place as usize] = record;
    }

    /// The value of the page; none: nothing is in it.
    pub(super) fn packed(&self) -> Option<SmallBytes> {
        let items: Vec<Item> =
            (0_u8..).zip(self.records).filter_map(|(place, record)| Some(Item { place, record: record? })).collect();
        (!items.is_empty()).then(|| framed(PACKED, &items))
    }
}

/// The pairs in a page; none: the pair lies alone. Of a page that is damaged there is one record that is as damaged.
pub(super) fn unpacked(key: &[u8], value: &[u8]) -> Option<Vec<Pair>> {
    let first = handle(key).filter(|_| is_page(key, value))?;
    let pair = |item: Item| (key_of(first + u32::from(item.place)), item.record.to_vec());
    let pairs = items(value).map(|items| items.into_iter().map(pair).collect());
    // No record has so few bytes.
    Some(pairs.unwrap_or_else(|Damaged| vec![(key.to_vec(), Vec::new())]))
}

/// Where to begin to read, so that nothing is missed from `key` on: the page that it may be in lies before it.
pub(super) fn begin(key: &[u8]) -> Vec<u8> {
    match key.get(..5).and_then(Page::of) {
        Some(page) => page.key(),
        None => key.to_vec(),
    }
}

fn key_of(handle: u32) -> Vec<u8> {
    key(SOFT, handle).to_vec()
}

fn handle(key: &[u8]) -> Option<u32> {
    let (outbound_event, handle) = key.split_first()?;
    handle.try_into().ok().filter(|_| *outbound_event == SOFT).map(u32::from_be_bytes)
}

fn is_page(key: &[u8], value: &[u8]) -> bool {
    value.first() == Some(&PACKED) && handle(key).is_some_and(|handle| handle.is_multiple_of(PER_PAGE))
}

fn items(value: &[u8]) -> Result<Vec<Item<'_>>, Damaged> {
    let (_, body) = opened(value).ok_or(Damaged)?;
    let items: Vec<Item> = postcard::from_bytes(body).map_err(|_| Damaged)?;
    let is_in_order = items.is_sorted_by(|a, b| a.place < b.place);
    let fits = items.last().is_none_or(|item| u32::from(item.place) < PER_PAGE);
    Some(items).filter(|_| is_in_order && fits).ok_or(Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::store::record::{self, Unreadable, unframe};
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn key(outbound_event: u8, handle: u32) -> Vec<u8> {
        record::key(outbound_event, handle).to_vec()
    }

    fn content<'a>(pairs: impl IntoIterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>) -> Content<'a> {
        let mut content = Content::new();
        pairs.into_iter().for_each(|(key, record)| content.set(key, Some(record)));
        content
    }

    #[test]
    fn only_soft_records_lie_in_pages() {
        for alone in [&b"s"[..], b"s\0\0\0", b"s\0\0\0\0\0", b"a\0\0\0\0", b"t\0\0\0\0", b""] {
            assert_eq!(Page::of(alone), None);
            assert_eq!(
                begin(alone.strip_suffix(b"\0\0").unwrap_or(alone)),
                alone.strip_suffix(b"\0\0").unwrap_or(alone)
            );
        }
        for (handle, first, last) in [(0, 0, 15), (15, 0, 15), (16, 16, 31), (u32::MAX, u32::MAX - 15, u32::MAX)] {
            let page = Page::of(&key(SOFT, handle)).unwrap();
            assert_eq!(page.keys(), key(SOFT, first)..=key(SOFT, last));
        }
    }

    #[test]
    fn reading_begins_at_the_page_that_may_have_the_key() {
        assert_eq!(begin(b"s\0\0\0\x45"), b"s\0\0\0\x40");
        assert_eq!(begin(b"s\0\0\0\x45\0"), b"s\0\0\0\x40");
        assert_eq!(begin(b"s\0\0\x01"), b"s\0\0\x01");
        assert_eq!(begin(b"w\0\0\0\x45"), b"w\0\0\0\x45");
    }

    /// Handle 65 with the record 1 2 3, and handle 79 with 4.
    #[test]
    fn a_page_looks_as_it_always_did() {
        let body = [2, 1, 3, 1, 2, 3, 15, 1, 4];
        let mut bytes = vec![0xFE];
        bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        let pairs = BTreeMap::from([(key(SOFT, 65), vec![1, 2, 3]), (key(SOFT, 79), vec![4])]);
        assert_eq!(content(&pairs).packed().as_deref(), Some(bytes.as_slice()));
        assert_eq!(unpacked(&key(SOFT, 64), &bytes), Some(pairs.into_iter().collect()));
    }

    #[test]
    fn a_release_that_knows_no_pages_takes_them_for_something_newer() {
        let (key, record) = (key(SOFT, 3), vec![1]);
        let page = content([(&key, &record)]).packed().unwrap();
        assert!(matches!(unframe::<Vec<u8>>(&page), Err(Unreadable::Newer(PACKED))));
    }

    #[test]
    fn a_page_with_nothing_in_it_is_none() {
        let (key, record) = (key(SOFT, 64), vec![1]);
        let mut content = content([(&key, &record)]);
        content.set(&key, None);
        assert_eq!(content.packed(), None);
    }

    #[test]
    fn records_lie_alone_where_no_page_can() {
        assert_eq!(unpacked(&key(SOFT, 64), &[1, 2, 3]), None);
        assert_eq!(unpacked(&key(SOFT, 65), &[PACKED, 2, 3]), None);
        assert_eq!(unpacked(&key(b'a', 64), &[PACKED, 2, 3]), None);
    }

    #[test]
    fn places_that_no_page_has_are_damage() {
        for places in [&[16][..], &[255], &[3, 2], &[3, 3]] {
            let items: Vec<Item> = places.iter().map(|place| Item { place: *place, record: &[1] }).collect();
            let page = framed(PACKED, &items);
            assert_eq!(unpacked(&key(SOFT, 0), &page), Some(vec![(key(SOFT, 0), Vec::new())]));
            assert_eq!(Content::new().add(&key(SOFT, 0), &page), Err(Damaged));
        }
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_out(
            page in (0..=u32::MAX / PER_PAGE).prop_map(|number| Page(number * PER_PAGE)),
            records in btree_map(0..PER_PAGE, vec(any::<u8>(), 0..300), 0..17),
        ) {
            let pairs: BTreeMap<_, _> =
                records.into_iter().map(|(place, record)| (key(SOFT, page.0 + place), record)).collect();
            let packed = content(&pairs).packed();
            prop_assert_eq!(packed.is_none(), pairs.is_empty());
            if let Some(packed) = packed {
                let mut again = Content::new();
                prop_assert_eq!(again.add(&page.key(), &packed), Ok(()));
                prop_assert_eq!(again.packed(), Some(packed.clone()));
                prop_assert_eq!(unpacked(&page.key(), &packed), Some(pairs.into_iter().collect()));
            }
        }

        #[test]
        fn a_page_that_is_damaged_is_one_record_that_is(
            records in vec(vec(any::<u8>(), 0..40), 1..16),
            cut in 1_usize..200,
            flipped in 1_usize..200,
        ) {
            let pairs: BTreeMap<_, _> = (0..).map(|handle| key(SOFT, handle)).zip(records).collect();
            let packed = content(&pairs).packed().unwrap().to_vec();
            let mut other = packed.clone();
            let place = 1 + (flipped - 1) % (other.len() - 1);
            other[place] ^= 0x10;
            for damaged in [&packed[..1 + (cut - 1) % (packed.len() - 1)], &other] {
                prop_assert_eq!(unpacked(&key(SOFT, 0), damaged), Some(vec![(key(SOFT, 0), Vec::new())]));
            }
        }

        #[test]
        fn no_bytes_make_it_fall_over(bytes in vec(any::<u8>(), 0..200)) {
            let page = framed(PACKED, &serde_bytes::Bytes::new(&bytes));
            let mut body = vec![PACKED];
            body.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
            body.extend_from_slice(&bytes);
            for value in [page.to_vec(), body, [&[PACKED][..], &bytes].concat()] {
                let pairs = unpacked(&key(SOFT, u32::MAX - 15), &value).unwrap();
                prop_assert!(pairs.is_sorted_by(|a, b| a.0 < b.0));
            }
        }
    }
}
