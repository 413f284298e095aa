//! Samples as few bytes: differences of differences of times, and differences of values.
//!
//! Times as in Gorilla (Pelkonen et al., "Gorilla: a fast, scalable, in-memory time series database", VLDB 2015). Values
//! that are decimals, as those of sensors are, become whole numbers and then differences (the idea of ALP: Afroozeh,
//! Kuffó and Boncz, SIGMOD 2024); all others are combined by exclusive or, as in Gorilla. Nothing is lost: what comes
//! out is what went in, bit for bit.

use crate::domain::anomaly::series::Sample;
use crate::domain::time::Stamp;

/// Units of time that are tried, in microseconds, the coarsest first: a second, a millisecond.
const UNITS: [i64; 3] = [1_000_000, 1_000, 1];
/// Powers of ten that are tried: sensors have few digits behind the point.
const POWERS: [f64; 7] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];
/// In the place of a power: the values are no decimals.
const NO_POWER: u8 = 15;
/// Whole numbers up to here have all their digits in a float.
const WHOLE: f64 = 9_007_199_254_740_992.0;
/// Bits of the classes of whole numbers; the class is written in unary.
const CLASSES: [u8; 6] = [0, 6, 12, 20, 32, 64];

/// Writes samples as bytes.
pub fn encode(samples: &[Sample]) -> Vec<u8> {
    let unit = (0_u8..).zip(UNITS).find(|(_, unit)| samples.iter().all(|sample| sample.at.as_micros() % unit == 0));
    let (unit_place, unit) = unit.unwrap_or((2, 1));
    let power = (0_u8..).zip(POWERS).find(|(_, power)| samples.iter().all(|s| whole(s.value, *power).is_some()));
    let mut bits = Writer::default();
    bits.put(u64::from(unit_place), 4);
    bits.put(u64::from(power.map_or(NO_POWER, |(place, _)| place)), 4);
    let (mut time, mut pause, mut number) = (0_i64, 0_i64, 0_i64);
    let mut exclusive = Exclusive::default();
    for sample in samples {
        let at = sample.at.as_micros() / unit;
        let since = at.wrapping_sub(time);
        bits.put_whole(since.wrapping_sub(pause));
        (time, pause) = (at, since);
        match power.and_then(|(_, power)| whole(sample.value, power)) {
            Some(value) => {
                bits.put_whole(value - number);
                number = value;
            }
            None => exclusive.put(&mut bits, sample.value),
        }
    }
    bits.bytes
}

/// Reads so many samples; none if these bytes are not theirs.
pub fn decode(bytes: &[u8], count: usize) -> Option<Vec<Sample>> {
    let mut bits = Reader { bytes, at: 0 };
    let unit = *UNITS.get(usize::try_from(bits.take(4)?).ok()?)?;
    let power = usize::try_from(bits.take(4)?).ok()?;
    let power = if power == usize::from(NO_POWER) { None } else { Some(*POWERS.get(power)?) };
    let (mut time, mut pause, mut number) = (0_i64, 0_i64, 0_i64);
    let mut exclusive = Exclusive::default();
    // A count that was damaged must not take memory: each sample has two bits at least.
    let mut samples = Vec::with_capacity(count.min(bytes.len() * 4));
    for _ in 0..count {
        pause = pause.wrapping_add(bits.take_whole()?);
        time = time.wrapping_add(pause);
        let value = match power {
            Some(power) => {
                number = number.wrapping_add(bits.take_whole()?);
                real(number) / power
            }
            None => exclusive.take(&mut bits)?,
        };
        samples.push(Sample { at: Stamp::from_micros(time.checked_mul(unit)?), value });
    }
    Some(samples)
}

/// The whole number that a decimal is, if the reader makes exactly that of it. Zero below zero is none: whole numbers have
/// only one zero.
fn whole(value: f64, power: f64) -> Option<i64> {
    let scaled = (value * power).round();
    let number = (scaled.abs() < WHOLE).then(|| truncated(scaled))?;
    ((real(number) / power).to_bits() == value.to_bits()).then_some(number)
}

#[expect(clippy::cast_possible_truncation, reason = "a whole number of at most 53 bits")]
fn truncated(value: f64) -> i64 {
    value as i64
}

#[expect(clippy::cast_precision_loss, reason = "written from a float that holds it")]
fn real(value: i64) -> f64 {
    value as f64
}

/// Values that have sign, exponent and first digits in common with the one before: only what differs is written.
#[derive(Default)]
struct Exclusive {
    before: u64,
    /// Leading zeros and length of what differed last.
    window: Option<(u32, u32)>,
}

impl Exclusive {
    fn put(&mut self, bits: &mut Writer, value: f64) {
        let difference = value.to_bits() ^ std::mem::replace(&mut self.before, value.to_bits());
        if difference == 0 {
            return bits.put(0, 1);
        }
        let (leading, trailing) = (difference.leading_zeros(), difference.trailing_zeros());
        match self.window {
            Some((zeros, length)) if leading >= zeros && trailing >= 64 - zeros - length => {
                bits.put(0b10, 2);
                bits.put(difference >> (64 - zeros - length), length);
            }
            Some(_) | None => {
                let length = 64 - leading - trailing;
                bits.put(0b11, 2);
                bits.put(u64::from(leading), 6);
                bits.put(u64::from(length - 1), 6);
                bits.put(difference >> trailing, length);
                self.window = Some((leading, length));
            }
        }
    }

    fn take(&mut self, bits: &mut Reader<'_>) -> Option<f64> {
        if bits.take(1)? == 1 {
            if bits.take(1)? == 1 {
                let leading = u32::try_from(bits.take(6)?).ok()?;
                self.window = Some((leading, u32::try_from(bits.take(6)?).ok()? + 1));
            }
            let (leading, length) = self.window?;
            self.before ^= bits.take(length)? << 64_u32.checked_sub(leading + length)?;
        }
        Some(f64::from_bits(self.before))
    }
}

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    /// Bits of the last byte that are taken.
    used: u32,
}

impl Writer {
    /// Writes the lowest bits of a number, the highest of them first.
    fn put(&mut self, number: u64, bits: u32) {
        for place in (0..bits).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
                self.used = 0;
            }
            if let Some(last) = self.bytes.last_mut()
                && number >> place & 1 == 1
            {
                *last |= 0x80 >> self.used;
            }
            self.used += 1;
        }
    }

    fn put_whole(&mut self, number: i64) {
        let folded = (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned();
        let needed = 64 - folded.leading_zeros();
        for bits in CLASSES.map(u32::from) {
            if needed <= bits {
                // The last class needs no end.
                self.put(0, u32::from(bits < 64));
                return self.put(folded, bits);
            }
            self.put(1, 1);
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, bits: u32) -> Option<u64> {
        let mut number = 0;
        for _ in 0..bits {
            let byte = self.bytes.get(self.at / 8)?;
            number = number << 1 | u64::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(number)
    }

    fn take_whole(&mut self) -> Option<i64> {
        let mut class = 0;
        while class + 1 < CLASSES.len() && self.take(1)? == 1 {
            class += 1;
        }
        let folded = self.take(u32::from(*CLASSES.get(class)?))?;
        Some((folded >> 1).cast_signed() ^ (folded & 1).cast_signed().wrapping_neg())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bits(samples: &[Sample]) -> Vec<(i64, u64)> {
        samples.iter().map(|sample| (sample.at.as_micros(), sample.value.to_bits())).collect()
    }

    fn bytes_each(samples: &[Sample]) -> f64 {
        let encoded = encode(samples);
        assert_eq!(bits(&decode(&encoded, samples.len()).unwrap()), bits(samples));
        crate::domain::anomaly::real(encoded.len()) / crate::domain::anomaly::real(samples.len())
    }

    /// A value each second, some milliseconds late, that wanders.
    fn sensor(value: impl Fn(f64) -> f64) -> Vec<Sample> {
        let mut wander = 20.0;
        (0..1_024_i64)
            .map(|second| {
                wander += f64::from(i32::try_from(second * 7_919 % 101).unwrap() - 50) / 500.0;
                let at = Stamp::from_micros(1_790_000_000_000_000 + second * 1_000_000 + second * 31 % 7 * 1_000);
                Sample { at, value: value(wander) }
            })
            .collect()
    }

    #[test]
    fn a_sensor_takes_less_than_four_bytes_a_sample() {
        assert!(bytes_each(&sensor(|value| (value * 10.0).round() / 10.0)) < 2.0);
        assert!(bytes_each(&sensor(|value| (value * 1_000.0).round() / 1_000.0)) < 4.0);
        assert!(bytes_each(&sensor(|_| 5.0)) < 1.5);
        assert!(bytes_each(&sensor(|value| value.sqrt())) < 9.0, "all digits of a float cannot be had for less");
    }

    #[test]
    fn zero_below_zero_comes_back_below_zero() {
        let samples = [0.5, -0.0, 0.0, -1.0].map(|value| Sample { at: Stamp::from_micros(0), value });
        let read = decode(&encode(&samples), samples.len());
        assert_eq!(read.map(|read| bits(&read)), Some(bits(&samples)));
    }

    #[test]
    fn what_was_written_is_read_for_ever() {
        let samples = [(0, 1.5), (1_000_000, 1.25), (2_000_000, -3.0)];
        let samples = samples.map(|(at, value)| Sample { at: Stamp::from_micros(at), value });
        let bytes = [2, 97, 44, 130, 177, 99, 81];
        assert_eq!(encode(&samples), bytes);
        assert_eq!(decode(&bytes, 3).map(|read| bits(&read)), Some(bits(&samples)));
    }

    proptest! {
        #[test]
        fn any_samples_come_back_bit_for_bit(
            samples in prop::collection::vec((any::<i64>(), prop::num::f64::ANY), 0..200),
        ) {
            let sample = |(at, value)| Sample { at: Stamp::from_micros(at), value };
            let samples: Vec<Sample> = samples.into_iter().map(sample).collect();
            let read = decode(&encode(&samples), samples.len());
            prop_assert_eq!(read.map(|read| bits(&read)), Some(bits(&samples)));
        }

        #[test]
        fn decimals_come_back_bit_for_bit(
            samples in prop::collection::vec((0..1_000_000_i64, -1_000_000..1_000_000_i32, 0..7_usize), 0..200),
        ) {
            let sample = |(at, value, power): (i64, i32, usize)| {
                Sample { at: Stamp::from_micros(at * 1_000), value: f64::from(value) / POWERS[power] }
            };
            let samples: Vec<Sample> = samples.into_iter().map(sample).collect();
            let read = decode(&encode(&samples), samples.len());
            prop_assert_eq!(read.map(|read| bits(&read)), Some(bits(&samples)));
        }

        #[test]
        fn damaged_bytes_are_no_reason_to_stop(bytes in prop::collection::vec(any::<u8>(), 0..300), count in 0..100_000_usize) {
            let _ = decode(&bytes, count);
        }
    }
}
