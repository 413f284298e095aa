//! Series that stay short, however long the recording is.
//!
//! Each entry is kept as it came until there are too many. Then those of one bucket of time are joined, and the
//! buckets are made twice as wide as often as it takes. Where there is data, a series therefore never has less than
//! [`MOST`] / 4 entries once it has begun to join them: more than the picture has pixels.

use crate::domain::time::{Span, Stamp};

/// Entries of one series at most: four for each pixel of the picture's width.
const MOST: usize = 4096;

/// Something that can swallow what came just after it.
pub trait Merge {
    /// Takes the later one in. What people would look for must not get lost: extremes, and the worst state.
    fn absorb(&mut self, later: Self);
}

/// One entry, or several that are too close together to be told apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Bucket<T> {
    /// When the first of them was.
    pub first: Stamp,
    /// When the last of them was.
    pub last: Stamp,
    /// How many they are.
    pub count: u64,
    /// What they are together.
    pub of: T,
}

/// A bounded series, in the order of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Thin<T> {
    /// Buckets begin at multiples of the width from here.
    origin: Stamp,
    /// Zero: nothing had to be joined yet.
    width: i64,
    buckets: Vec<Bucket<T>>,
}

impl<T> Default for Thin<T> {
    fn default() -> Thin<T> {
        Thin { origin: Stamp::default(), width: 0, buckets: Vec::new() }
    }
}

impl<T: Merge> Thin<T> {
    /// Adds an entry, which is not earlier than the last one.
    pub fn push(&mut self, at: Stamp, of: T) {
        if self.buckets.is_empty() {
            self.origin = at;
        }
        let place = self.place(at);
        match self.buckets.last_mut() {
            Some(bucket) if self.width > 0 && place == bucket_place(self.origin, self.width, bucket.first) => {
                bucket.last = at;
                bucket.count += 1;
                bucket.of.absorb(of);
            }
            Some(_) | None => self.buckets.push(Bucket { first: at, last: at, count: 1, of }),
        }
        if self.buckets.len() > MOST {
            self.widen();
        }
    }

    fn place(&self, at: Stamp) -> i64 {
        bucket_place(self.origin, self.width, at)
    }

    fn widen(&mut self) {
        while self.buckets.len() > MOST / 2 && self.width < i64::MAX {
            self.width = self.width.saturating_mul(2).max(1);
            let mut joined: Vec<Bucket<T>> = Vec::with_capacity(MOST);
            for bucket in std::mem::take(&mut self.buckets) {
                match joined.last_mut() {
                    Some(last) if self.place(last.first) == self.place(bucket.first) => {
                        last.last = bucket.last;
                        last.count += bucket.count;
                        last.of.absorb(bucket.of);
                    }
                    Some(_) | None => joined.push(bucket),
                }
            }
            self.buckets = joined;
        }
    }

    /// What there is, in the order of time.
    pub fn buckets(&self) -> &[Bucket<T>] {
        &self.buckets
    }

    /// How close together entries have to be to have been joined; none: all are as they came.
    pub fn joined_within(&self) -> Option<Span> {
        (self.width > 0).then(|| Span::from_micros(self.width))
    }

    /// How many entries there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.count).sum()
    }
}

fn bucket_place(origin: Stamp, width: i64, at: Stamp) -> i64 {
    (at - origin).as_micros().div_euclid(width.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Range(i64, i64);

    impl Merge for Range {
        fn absorb(&mut self, later: Range) {
            *self = Range(self.0.min(later.0), self.1.max(later.1));
        }
    }

    #[test]
    fn few_entries_stay_as_they_came() {
        let mut thin = Thin::default();
        (0..100).for_each(|n| thin.push(Stamp::from_micros(n * n), Range(n, n)));
        assert_eq!((thin.buckets().len(), thin.joined_within()), (100, None));
    }

    #[test]
    fn a_million_entries_keep_their_extremes_and_their_order() {
        let mut thin = Thin::default();
        for n in 0..1_000_000_i64 {
            let value = if n == 777_777 { -1 } else { n % 1000 };
            thin.push(Stamp::from_micros(n * 1_000_000), Range(value, value));
        }
        let buckets = thin.buckets();
        assert!((MOST / 4..=MOST).contains(&buckets.len()), "{}", buckets.len());
        assert!(buckets.windows(2).all(|pair| pair[0].last < pair[1].first));
        assert_eq!((thin.count(), buckets.iter().map(|b| b.of.0).min()), (1_000_000, Some(-1)));
    }

    #[test]
    fn times_at_the_end_of_the_world_are_no_trap() {
        let mut thin = Thin::default();
        thin.push(Stamp::from_micros(i64::MIN), Range(0, 0));
        (0..10_000).for_each(|n| thin.push(Stamp::from_micros(i64::MAX - 10_000 + n), Range(n, n)));
        assert!(thin.buckets().len() <= MOST);
        assert_eq!(thin.count(), 10_001);
    }
}
