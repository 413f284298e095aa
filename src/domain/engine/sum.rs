//! A sum of floats without rounding, to which values can be added and from which they can be taken again.
//!
//! A running `sum += new - old` drifts: after 10⁸ samples the mean would be off by more than the sensor's
//! resolution, and an alarm on it would be wrong for ever. Here the sum is a fixed-point number wide enough
//! for every finite `f64` (the "small superaccumulator" of R. M. Neal, *Fast Exact Summation Using Small and
//! Large Superaccumulators*, 2015): adding and taking away are exact, so there is nothing that could drift, and
//! the result does not depend on the order in which samples came.

/// Bits of a chunk that belong to the number; the rest of its 64 takes up carries.
const CHUNK_BITS: usize = 32;
/// 2098 bits from the smallest subnormal to the largest finite number, and 64 more for as many summands as
/// anybody can count.
const CHUNKS: usize = 68;
/// Additions until the carries have to be passed on: each adds less than 2³² to a chunk, and 2³⁰ of them
/// stay clear of the sign bit.
const ADDITIONS_UNTIL_CARRY: u32 = 1 << 30;

/// Chunks that are kept at hand. Sensor data touches three or four; what goes beyond has all of them.
const NEAR: usize = 6;

/// An exact sum of finite floats.
#[derive(Debug, Clone)]
pub(crate) struct ExactSum {
    /// Chunk `base + i` weighs 2^(32·(base + i) − 1074).
    near: [i64; NEAR],
    base: usize,
    /// All chunks, once those at hand were not enough.
    far: Option<Box<[i64; CHUNKS]>>,
    /// The chunks that were ever touched: `low..high`.
    low: usize,
    high: usize,
    additions: u32,
}

impl Default for ExactSum {
    fn default() -> ExactSum {
        ExactSum { near: [0; NEAR], base: 0, far: None, low: CHUNKS, high: 0, additions: 0 }
    }
}

impl ExactSum {
    /// Adds a finite number.
    pub(crate) fn add(&mut self, value: f64) {
        self.accumulate(value, value.is_sign_negative());
    }

    /// Takes away a finite number that was added before.
    pub(crate) fn subtract(&mut self, value: f64) {
        self.accumulate(value, !value.is_sign_negative());
    }

    fn accumulate(&mut self, value: f64, negative: bool) {
        let bits = value.to_bits();
        let fraction = bits & ((1 << 52) - 1);
        let exponent = (bits >> 52) & 0x7ff;
        // Subnormals have the weight of exponent 1 and no hidden bit.
        let (mantissa, position) = if exponent == 0 { (fraction, 0) } else { (fraction | 1 << 52, exponent - 1) };
        if mantissa == 0 {
            return;
        }
        if self.additions == ADDITIONS_UNTIL_CARRY {
            self.carry();
        }
        self.additions += 1;
        let first = usize::try_from(position).unwrap_or(0) / CHUNK_BITS;
        let shifted = u128::from(mantissa) << (position % 32);
        self.reach(first, first + 3);
        for (chunk, piece) in self.chunks(first, first + 3).iter_mut().zip(0..) {
            let part = i64::from(low_word(shifted >> (32 * piece)));
            *chunk += if negative { -part } else { part };
        }
    }

    /// Takes note that these chunks are touched, and sees to it that they are there.
    fn reach(&mut self, low: usize, high: usize) {
        if self.far.is_none() {
            if self.low >= self.high {
                // A chunk below for values that are a little smaller, two above for larger ones and carries.
                self.base = low.saturating_sub(1).min(CHUNKS - NEAR);
            }
            if low < self.base || high > self.base + NEAR {
                let mut all = Box::new([0; CHUNKS]);
                all[self.base..self.base + NEAR].copy_from_slice(&self.near);
                self.far = Some(all);
            }
        }
        self.low = self.low.min(low);
        self.high = self.high.max(high);
    }

    fn chunks(&mut self, from: usize, to: usize) -> &mut [i64] {
        match &mut self.far {
            Some(all) => &mut all[from..to],
            None => &mut self.near[from - self.base..to - self.base],
        }
    }

    /// Brings every chunk but the top one into 0 … 2³²−1.
    fn carry(&mut self) {
        self.additions = 0;
        let (low, high) = (self.low, self.high);
        if low >= high {
            return;
        }
        let mut carry = 0;
        for chunk in self.chunks(low, high) {
            let whole = *chunk + carry;
            carry = whole >> CHUNK_BITS;
            *chunk = whole & 0xffff_ffff;
        }
        if carry == -1 {
            // Let the sign stay in the top chunk: a chain of −1 would only climb to the end of the array.
            self.chunks(high - 1, high)[0] -= 1 << CHUNK_BITS;
        } else if carry != 0 {
            self.reach(high, high + 1);
            self.chunks(high, high + 1)[0] += carry;
        }
    }

    /// The sum divided by `count`: the sum is rounded once, to the nearest float, and so is the quotient.
    pub(crate) fn mean(&mut self, count: usize) -> f64 {
        self.carry();
        let (low, high) = (self.low, self.high);
        if low >= high {
            return 0.0;
        }
        let chunks = self.chunks(low, high);
        let Some(top) = chunks.iter().rposition(|chunk| *chunk != 0) else { return 0.0 };
        // Four chunks are 128 bits: where the top one leaves room for the sign, they are one number.
        if top < 4 && chunks[top].unsigned_abs() < 1 << 30 {
            let whole = chunks[..=top].iter().rev().fold(0_i128, |sum, chunk| (sum << CHUNK_BITS) + i128::from(*chunk));
            return quotient(whole < 0, whole.unsigned_abs(), false, low, count);
        }
        let negative = chunks[top] < 0;
        // The magnitude: for a negative sum the two's complement, chunk by chunk.
        let mut words = [0_u64; CHUNKS];
        let mut borrow = 0;
        for (i, chunk) in chunks.iter().enumerate().take(top + 1) {
            let signed = if negative { -chunk - borrow } else { *chunk };
            borrow = i64::from(negative && signed < 0);
            words[i] = u64::from(low_word_of(signed)) + if i == top { high_word_of(signed) << 32 } else { 0 };
        }
        let Some(top) = (0..=top).rev().find(|i| words[*i] != 0) else { return 0.0 };
        // The top chunk may be wider than 32 bits by the sign's room, so 33 + 32 + 32 bits at most.
        let lowest = top.saturating_sub(2);
        let head = words[lowest..=top].iter().rev().fold(0, |head, word| (head << CHUNK_BITS) + u128::from(*word));
        let sticky = words[..lowest].iter().any(|word| *word != 0);
        quotient(negative, head, sticky, low + lowest, count)
    }
}

/// A magnitude in units of a chunk, and whether there is something below it, rounded and divided.
#[expect(clippy::cast_precision_loss, reason = "the mantissa has 53 bits; more than 2⁵³ samples do not exist")]
fn quotient(negative: bool, head: u128, sticky: bool, chunk: usize, count: usize) -> f64 {
    let width = 128 - head.leading_zeros();
    let excess = width.saturating_sub(53);
    let mut mantissa = u64::try_from(head >> excess).unwrap_or(0);
    if excess > 0 {
        let half = 1_u128 << (excess - 1);
        let rest = head & ((half << 1) - 1);
        if rest > half || (rest == half && (sticky || mantissa & 1 == 1)) {
            mantissa += 1;
        }
    }
    let exponent = i32::try_from(excess).unwrap_or(0) + 32 * i32::try_from(chunk).unwrap_or(0) - 1074;
    let quotient = mantissa as f64 / count as f64;
    scale(if negative { -quotient } else { quotient }, exponent)
}

fn low_word(wide: u128) -> u32 {
    u32::try_from(wide & 0xffff_ffff).unwrap_or(0)
}

fn low_word_of(chunk: i64) -> u32 {
    u32::try_from(chunk & 0xffff_ffff).unwrap_or(0)
}

fn high_word_of(chunk: i64) -> u64 {
    u64::try_from(chunk >> 32).unwrap_or(0)
}

/// `value · 2^exponent`, in steps that neither overflow nor lose bits on the way.
fn scale(mut value: f64, mut exponent: i32) -> f64 {
    while exponent > 0 {
        let step = exponent.min(1000);
        value *= power_of_two(step);
        exponent -= step;
    }
    while exponent < 0 {
        let step = exponent.max(-1000);
        value *= power_of_two(step);
        exponent -= step;
    }
    value
}

/// 2^exponent for a normal exponent (−1022 … 1023).
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(u64::try_from(exponent + 1023).unwrap_or(0) << 52)
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "exactness is what is tested")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mean_of(values: &[f64]) -> f64 {
        let mut sum = ExactSum::default();
        values.iter().for_each(|v| sum.add(*v));
        sum.mean(values.len())
    }

    #[test]
    fn sums_that_a_float_loses() {
        assert_eq!(mean_of(&[1e16, 1.0, -1e16]), 1.0 / 3.0);
        assert_eq!(mean_of(&[0.1; 10]), 0.1);
        assert_eq!(mean_of(&[f64::MAX, f64::MAX]), f64::MAX);
        assert_eq!(mean_of(&[-f64::MAX, -f64::MAX, -f64::MAX]), -f64::MAX);
        assert_eq!(mean_of(&[5e-324]), 5e-324);
        assert_eq!(mean_of(&[-5e-324]), -5e-324);
        assert_eq!(mean_of(&[1.0, -1.0]), 0.0);
        assert_eq!(mean_of(&[-0.0]), 0.0);
        assert_eq!(mean_of(&[20.0, 21.0, 22.0]), 21.0);
    }

    #[test]
    fn millions_of_samples_leave_no_drift() {
        // A window of seven over a signal that a float cannot hold exactly; the carries are forced on the way.
        let mut sum = ExactSum { additions: ADDITIONS_UNTIL_CARRY - 1_000, ..ExactSum::default() };
        let signal = |i: u32| f64::from(i % 1_009) * 0.1 + 1e6 / f64::from(i % 97 + 1) - 3e5;
        let mut window = std::collections::VecDeque::new();
        for i in 0..3_000_000 {
            window.push_back(signal(i));
            sum.add(signal(i));
            if window.len() > 7 {
                sum.subtract(window.pop_front().unwrap());
            }
        }
        let window: Vec<f64> = window.into();
        assert_eq!(sum.mean(7), mean_of(&window));
        for value in &window {
            sum.subtract(*value);
        }
        assert_eq!(sum.mean(1), 0.0, "what was added is gone to the last bit");
    }

    /// Integers times a common power of two: their sum is exact in `i128`.
    fn scaled() -> impl Strategy<Value = (Vec<i64>, i32)> {
        (proptest::collection::vec(-(1_i64 << 53)..(1_i64 << 53), 1..20), -1000..900_i32)
    }

    proptest! {
        #[test]
        #[expect(clippy::cast_precision_loss, reason = "the conversion from i128 rounds to nearest even, which is wanted")]
        fn agrees_with_integer_arithmetic((integers, exponent) in scaled()) {
            let values: Vec<f64> = integers.iter().map(|i| scale(*i as f64, exponent)).collect();
            let exact: i128 = integers.iter().map(|i| i128::from(*i)).sum();
            let want = scale(exact as f64 / values.len() as f64, exponent);
            prop_assert_eq!(mean_of(&values), want);
        }

        #[test]
        fn what_was_taken_away_is_gone(
            keep in proptest::collection::vec(-1e300..1e300_f64, 1..9),
            gone in proptest::collection::vec(proptest::num::f64::NORMAL, 0..9),
        ) {
            let mut sum = ExactSum::default();
            gone.iter().for_each(|v| sum.add(*v));
            keep.iter().for_each(|v| sum.add(*v));
            gone.iter().for_each(|v| sum.subtract(*v));
            prop_assert_eq!(sum.mean(keep.len()), mean_of(&keep));
        }
    }
}
