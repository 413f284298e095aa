//! Bytes that are few in most cases, and cost no allocation then.
//!
//! A write of a few alarms' changes has dozens of pairs. And between two compactions the store holds what has changed in memory, with 100,000 alarms twice as many pairs. Their keys have
//! five bytes, and half of the values have fewer than [`PLACE`].

use serde::{Serialize, Serializer};
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::Deref;

/// So many lie in place. With them it is as large as a vector on 64 bits is without its content.
const PLACE: usize = 22;

/// Bytes that do not change.
#[derive(Debug, Clone)]
pub enum SmallBytes {
    /// How many, and they themselves.
    Here(u8, [u8; PLACE]),
    /// More than there is place for.
    Apart(Box<[u8]>),
}

impl From<&[u8]> for SmallBytes {
    fn from(bytes: &[u8]) -> SmallBytes {
        let mut place = [0; PLACE];
        match (u8::try_from(bytes.len()), place.get_mut(..bytes.len())) {
            (Ok(length), Some(target)) => {
                target.copy_from_slice(bytes);
                SmallBytes::Here(length, place)
            }
            _ => SmallBytes::Apart(bytes.into()),
        }
    }
}

impl From<Vec<u8>> for SmallBytes {
    fn from(bytes: Vec<u8>) -> SmallBytes {
        if bytes.len() > PLACE {
            SmallBytes::Apart(bytes.into_boxed_slice())
        } else {
            SmallBytes::from(bytes.as_slice())
        }
    }
}

impl<const LENGTH: usize> From<[u8; LENGTH]> for SmallBytes {
    fn from(bytes: [u8; LENGTH]) -> SmallBytes {
        SmallBytes::from(bytes.as_slice())
    }
}

impl Deref for SmallBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            SmallBytes::Here(length, place) => &place[..usize::from(*length)],
            SmallBytes::Apart(bytes) => bytes,
        }
    }
}

impl Borrow<[u8]> for SmallBytes {
    fn borrow(&self) -> &[u8] {
        self
    }
}

/// As bytes: as a list of numbers it would be written one by one.
impl Serialize for SmallBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self)
    }
}

impl PartialEq for SmallBytes {
    fn eq(&self, other: &SmallBytes) -> bool {
        **self == **other
    }
}

impl Eq for SmallBytes {}

impl PartialOrd for SmallBytes {
    fn partial_cmp(&self, other: &SmallBytes) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SmallBytes {
    fn cmp(&self, other: &SmallBytes) -> Ordering {
        (**self).cmp(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    #[test]
    fn it_needs_two_bytes_besides_even_where_there_may_be_none() {
        assert_eq!(size_of::<Option<SmallBytes>>(), PLACE + 2);
    }

    proptest! {
        #[test]
        fn it_holds_what_it_was_made_of_and_is_ordered_like_it(a: Vec<u8>, b: Vec<u8>, length in 0..2 * PLACE, c in any::<u8>()) {
            let even = vec![c; length];
            for bytes in [&a, &b, &even] {
                assert_eq!(&*SmallBytes::from(bytes.as_slice()), bytes.as_slice());
                assert_eq!(SmallBytes::from(a.as_slice()).cmp(&SmallBytes::from(bytes.as_slice())), a.cmp(bytes));
            }
        }
    }
}
