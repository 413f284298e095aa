//! Which things an instance of a sharded gateway evaluates.
//!
//! Every thing has one owner among `count` instances, found from its id alone: nobody has to be asked, and whoever knows
//! the id and the count knows the owner. The id's FNV-1a (64 bit) is the key of a jump consistent hash (Lamping and Veach,
//! 2014), here in whole numbers: with one instance more, only the things that go to the new one change their owner.
//!
//! What this computes is part of the contract: it is the same in every release and on every processor.

/// The part of all things that one instance evaluates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    index: u32,
    count: u32,
}

impl Default for Share {
    fn default() -> Share {
        Share { index: 0, count: 1 }
    }
}

impl Share {
    /// The part of the instance with this index, from 0, among so many.
    pub fn new(index: u32, count: u32) -> Share {
        Share { index, count: count.max(1) }
    }

    /// Whether the instance evaluates this thing.
    pub fn has(self, thing: &str) -> bool {
        self.count == 1 || owner(thing, self.count) == self.index
    }
}

impl Share {
    /// Whether the instance has a say about what is wanted: an alarm's id, or a pattern over ids. A pattern that names its
    /// thing is for the thing's owner, any other is for everybody.
    pub fn concerns(self, wanted: &str) -> bool {
        self.count == 1 || owner_of_alarm(wanted, self.count).is_none_or(|owner| owner == self.index)
    }

    /// Whether it is the one that does what has to be done once.
    pub fn is_first(self) -> bool {
        self.index == 0
    }
}

/// The index of the instance that has all alarms that are wanted: one by its id, or those that fit a pattern. None:
/// several may have some.
pub fn owner_of_alarm(wanted: &str, count: u32) -> Option<u32> {
    let thing = wanted.split('/').next().filter(|thing| !thing.contains(['*', '?']))?;
    Some(owner(&super::encoding::decode(thing), count))
}

/// The index of the instance that evaluates a thing, among `count` of them.
///
/// ```
/// use annunciator::domain::model::owner;
/// let owners = |thing| [2, 3, 4, 16, 1000].map(|count| owner(thing, count));
/// assert_eq!(owners("a"), [1, 2, 2, 12, 163]);
/// assert_eq!(owners("boiler-7"), [1, 1, 3, 7, 214]);
/// assert_eq!(owners("press-1"), [0, 0, 0, 0, 813]);
/// assert_eq!(owners("Kühlung/3"), [1, 2, 2, 11, 690]);
/// ```
pub fn owner(thing: &str, count: u32) -> u32 {
    let mut key = super::fnv(thing);
    let (mut owner, mut next) = (0, 0);
    while next < u64::from(count) {
        owner = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = ((owner + 1) << 31) / ((key >> 33) + 1);
    }
    u32::try_from(owner).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_thing_has_one_owner_and_the_shares_are_alike() {
        let things: Vec<String> = (0..30_000).map(|number| format!("line-{}/pump-{number}", number % 7)).collect();
        for count in [1, 2, 3, 4, 7, 16, 100] {
            let mut sizes: BTreeMap<u32, usize> = BTreeMap::new();
            for thing in &things {
                let owners: Vec<u32> = (0..count).filter(|index| Share::new(*index, count).has(thing)).collect();
                assert_eq!(owners, [owner(thing, count)]);
                *sizes.entry(owners[0]).or_default() += 1;
            }
            let fair = things.len() / count as usize;
            let is_fair = |size: &usize| (fair * 3 / 4..=fair * 5 / 4 + 1).contains(size);
            assert!(sizes.len() == count as usize && sizes.values().all(is_fair), "{count}: {sizes:?}");
        }
    }

    #[test]
    fn who_is_asked_about_alarms() {
        for (wanted, thing) in [
            ("boiler-7/temperature/HH", Some("boiler-7")),
            ("boiler-7/*", Some("boiler-7")),
            ("line%2F1/p/l", Some("line/1")),
            ("boiler-7", Some("boiler-7")),
            ("boiler-?/p/l", None),
            ("*", None),
        ] {
            assert_eq!(owner_of_alarm(wanted, 16), thing.map(|thing| owner(thing, 16)), "{wanted}");
        }
    }

    #[test]
    fn one_instance_more_takes_its_share_and_nothing_else_moves() {
        for thing in (0..2_000).map(|number| format!("boiler-{number}")) {
            for count in 1..20 {
                let (before, after) = (owner(&thing, count), owner(&thing, count + 1));
                assert!(after == before || after == count, "{thing}: {before} {after}");
            }
        }
    }
}
