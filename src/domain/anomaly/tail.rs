//! How rare a distance is, judged by the largest ones of its own past.
//!
//! The largest two percent of what came before lie over a threshold; how far over it they reach on average says how fast
//! the tail thins out, and so how rare something is that was never seen. Only the largest values of the past are kept,
//! block by block; the oldest block is forgotten when a new one begins, so that a new normal becomes normal.

use super::real;

/// Values of one block.
const BLOCK: usize = 500;
/// Blocks that are remembered: 8,000 values, a month of values every five minutes.
const BLOCKS: usize = 16;
/// The largest values of a block that are kept: four times as many as make the tail, should they all fall into one.
const KEPT: usize = 40;
/// The tail: one value in fifty. Fewer, and it is a matter of luck; more, and it is no tail.
const SHARE: f64 = 0.02;
/// A tail is judged by five values at least.
const LEAST: usize = 5;
/// Before that many values nothing is known, so nothing is rare.
const SETTLED: usize = 20;
/// The shape of the tail: a little heavier than an exponential, as sums of many causes are.
const HEAVINESS: f64 = 0.05;
/// The mean excess is never taken for less than this: a resolution of one percent of the scale is nothing unusual.
const FINEST: f64 = 0.01;

/// The tail of a stream of distances.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tail {
    /// Blocks, oldest first: how many values, and the largest of them in ascending order.
    blocks: Vec<(usize, Vec<f64>)>,
    /// The largest of all blocks, in ascending order.
    largest: Vec<f64>,
}

impl Tail {
    /// The score of a distance: −log₁₀ of how often it is expected to be reached. 0 where it is nothing unusual.
    pub fn score(&self, distance: f64) -> f64 {
        let count = self.count();
        let above = self.largest.len() - self.largest.partition_point(|kept| *kept < distance);
        if count < SETTLED || above == self.largest.len() {
            return 0.0;
        }
        let size = super::share_of(count, SHARE).max(LEAST).min(self.largest.len().saturating_sub(1));
        let (below, tail) = self.largest.split_at(self.largest.len() - size);
        let threshold = below.last().copied().unwrap_or_default();
        if distance <= threshold {
            return -(real(above + 1) / real(count + 1)).log10();
        }
        let excess = tail.iter().map(|kept| kept - threshold).sum::<f64>() / real(size);
        let beyond = (distance - threshold) / excess.max(FINEST);
        (HEAVINESS * beyond).ln_1p() / HEAVINESS / std::f64::consts::LN_10 - (real(size + 1) / real(count + 1)).log10()
    }

    /// Remembers a distance, a finite number.
    pub fn push(&mut self, distance: f64) {
        if self.blocks.last().is_none_or(|(count, _)| *count == BLOCK) {
            if self.blocks.len() == BLOCKS {
                let (_, forgotten) = self.blocks.remove(0);
                forgotten.into_iter().for_each(|value| take(&mut self.largest, value));
            }
            self.blocks.push((0, Vec::new()));
        }
        let Some((count, kept)) = self.blocks.last_mut() else { return };
        *count += 1;
        if kept.len() == KEPT {
            if kept[0] >= distance {
                return;
            }
            take(&mut self.largest, kept.remove(0));
        }
        put(kept, distance);
        put(&mut self.largest, distance);
    }

    /// How many distances it is judged by.
    pub fn count(&self) -> usize {
        self.blocks.iter().map(|(count, _)| count).sum()
    }

    /// What it consists of, to be stored: blocks, oldest first.
    pub fn blocks(&self) -> &[(usize, Vec<f64>)] {
        &self.blocks
    }

    /// The tail with these blocks; what cannot be one is left out.
    pub fn from_blocks(blocks: Vec<(usize, Vec<f64>)>) -> Tail {
        let is_block = |(count, kept): &(usize, Vec<f64>)| {
            *count <= BLOCK && kept.len() <= KEPT && kept.is_sorted() && kept.iter().all(|value| value.is_finite())
        };
        let blocks: Vec<(usize, Vec<f64>)> = blocks.into_iter().filter(is_block).take(BLOCKS).collect();
        let mut largest: Vec<f64> = blocks.iter().flat_map(|(_, kept)| kept).copied().collect();
        largest.sort_by(f64::total_cmp);
        Tail { blocks, largest }
    }
}

fn put(sorted: &mut Vec<f64>, value: f64) {
    sorted.insert(sorted.partition_point(|other| *other < value), value);
}

fn take(sorted: &mut Vec<f64>, value: f64) {
    let place = sorted.partition_point(|other| *other < value);
    if place < sorted.len() {
        sorted.remove(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Values of an exponential distribution with mean 1, in an order that has nothing to do with their size.
    fn exponential(count: usize) -> impl Iterator<Item = f64> {
        (0..count).map(move |n| -(1.0 - (real(n * 7_919 % count) + 0.5) / real(count)).ln())
    }

    #[test]
    fn what_was_reached_once_in_a_thousand_scores_three() {
        let mut tail = Tail::default();
        exponential(8_000).for_each(|value| tail.push(value));
        for (score, tolerance) in [(2.0, 0.1), (3.0, 0.2), (4.0, 0.5)] {
            // Of an exponential distribution, the value with this rarity.
            let value = score * std::f64::consts::LN_10;
            assert!((tail.score(value) - score).abs() < tolerance, "{} instead of {score}", tail.score(value));
        }
        assert!(tail.score(0.5) <= 0.0, "half of all values are larger");
    }

    #[test]
    fn nothing_is_rare_before_anything_is_known() {
        let mut tail = Tail::default();
        (0..SETTLED - 1).for_each(|_| tail.push(0.0));
        assert!(tail.score(1e9) <= 0.0);
        tail.push(0.0);
        assert!(tail.score(1e9) > 3.0);
    }

    #[test]
    fn a_new_normal_becomes_normal() {
        let mut tail = Tail::default();
        exponential(8_000).for_each(|value| tail.push(value));
        assert!(tail.score(30.0) > 6.0);
        exponential(8_000).for_each(|value| tail.push(20.0 + value));
        assert!(tail.score(22.0) < 2.0);
        assert_eq!(tail.count(), BLOCK * BLOCKS);
    }

    proptest! {
        #[test]
        fn what_is_further_scores_no_less(values in prop::collection::vec(0.0..10.0, 30..1_500), a in 0.0..20.0, b in 0.0..20.0) {
            let mut tail = Tail::default();
            values.iter().for_each(|value| tail.push(*value));
            let (near, far) = (f64::min(a, b), f64::max(a, b));
            prop_assert!(tail.score(near) >= 0.0);
            prop_assert!(tail.score(near) <= tail.score(far) + 1e-9);
        }

        #[test]
        fn it_is_the_same_after_being_stored(values in prop::collection::vec(0.0..10.0, 0..1_500)) {
            let mut tail = Tail::default();
            values.iter().for_each(|value| tail.push(*value));
            prop_assert_eq!(Tail::from_blocks(tail.blocks().to_vec()), tail);
        }
    }
}
