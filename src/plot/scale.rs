//! Where a time or a value lies on the paper, and which of them get a label.
//!
//! Labels fall on round numbers: of seconds, minutes, hours, days in UTC, and of decimals. A recording that begins
//! with 1970 was written by hand: its times are read as seconds.

use super::words;
use crate::domain::time::{Span, Stamp};

/// Labels on the time axis at most; the longest takes 75 pixels.
const TIME_LABELS: i64 = 11;
/// Labels on the value axis, roughly.
const VALUE_LABELS: f64 = 6.0;
const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// The time axis.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeScale {
    start: Stamp,
    length: f64,
    left: f64,
    width: f64,
}

impl TimeScale {
    /// Lays `start` to `end` over the pixels from `left` on.
    pub(crate) fn new(start: Stamp, end: Stamp, left: f64, width: f64) -> TimeScale {
        TimeScale { start, length: (end - start).as_secs_f64().max(1e-6), left, width }
    }

    /// The pixel of a time, inside the axis.
    pub(crate) fn x(&self, at: Stamp) -> f64 {
        self.left + ((at - self.start).as_secs_f64() / self.length).clamp(0.0, 1.0) * self.width
    }

    /// The first pixel.
    pub(crate) fn left(&self) -> f64 {
        self.left
    }

    /// The last pixel.
    pub(crate) fn right(&self) -> f64 {
        self.left + self.width
    }
}

/// Round times between `start` and `end`, with what is written beside each.
pub(crate) fn time_labels(start: Stamp, end: Stamp) -> Vec<(Stamp, String)> {
    let step = time_step((end - start).as_micros());
    let by_hand = words::is_by_hand(start);
    let mut labels: Vec<(Stamp, String)> = Vec::new();
    let mut at = start.as_micros().div_euclid(step).saturating_mul(step);
    while at <= end.as_micros() && labels.len() <= 20 {
        if at >= start.as_micros() {
            let here = Stamp::from_micros(at);
            let before = labels.last().map(|(before, _)| before.as_micros().div_euclid(DAY));
            let text =
                if by_hand { words::time(here, start) } else { clock(here, step, before != Some(at.div_euclid(DAY))) };
            labels.push((here, text));
        }
        let Some(next) = at.checked_add(step) else { break };
        at = next;
    }
    labels
}

/// `12:00`, `12:00:05`, `12:00:05.25`; with the date where it is new.
fn clock(at: Stamp, step: i64, new_date: bool) -> String {
    let text = at.to_string();
    let Some((date, time)) = text.split_once('T') else { return text };
    let time = time.trim_end_matches('Z');
    let time = if step % (60 * SECOND) == 0 { time.get(..5).unwrap_or(time) } else { time };
    match (step % DAY == 0, new_date) {
        (true, _) => date.to_owned(),
        (false, true) => format!("{date} {time}"),
        (false, false) => time.to_owned(),
    }
}

/// The smallest round step that needs no more labels than there is room for.
fn time_step(length: i64) -> i64 {
    let fine = (0..6).flat_map(|power| [1, 2, 5].map(|n| n * 10_i64.pow(power)));
    let coarse = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200];
    let days = (0..9).flat_map(|power| [1, 2, 5].map(|n| n * 10_i64.pow(power)));
    fine.chain(coarse.map(|seconds| seconds * SECOND))
        .chain(days.map_while(|days| DAY.checked_mul(days)))
        .find(|step| length / step < TIME_LABELS)
        .unwrap_or(i64::MAX)
}

/// The value axis.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ValueScale {
    low: f64,
    high: f64,
    top: f64,
    height: f64,
}

impl ValueScale {
    /// Lays all of `values` over the pixels from `top` on, with a little room at both ends.
    pub(crate) fn new(values: impl Iterator<Item = f64>, top: f64, height: f64) -> ValueScale {
        // Half the range of f64 is still a number after the room is added.
        let (mut low, mut high) = values
            .map(|value| value.clamp(-f64::MAX / 4.0, f64::MAX / 4.0))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let room = (high - low) * 0.08;
        let room = if room > 0.0 { room } else { (high.abs() * 0.1).max(0.5) };
        ValueScale { low: low - room, high: high + room, top, height }
    }

    /// The pixel of a value, inside the axis.
    pub(crate) fn y(&self, value: f64) -> f64 {
        self.top + (1.0 - ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)) * self.height
    }

    /// Round values, with what is written beside each.
    pub(crate) fn labels(&self) -> Vec<(f64, String)> {
        let rough = (self.high - self.low) / VALUE_LABELS;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|step| *step >= rough).unwrap_or(rough);
        let first = (self.low / step).ceil();
        (0..10)
            .map(|n| (first + f64::from(n)) * step)
            .take_while(|value| *value <= self.high)
            // What should be 0 may be a rounding error away from it.
            .map(|value| if value.abs() < step / 1e6 { 0.0 } else { value })
            .map(|value| (value, words::number(value)))
            .collect()
    }
}

/// A little later than `start`, if `end` is not: an axis has a length.
pub(crate) fn end_of_axis(start: Stamp, end: Stamp) -> Stamp {
    if end > start { end } else { start + Span::from_secs(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(start: &str, end: &str) -> Vec<String> {
        let [start, end] = [start, end].map(|text| Stamp::parse(text).unwrap());
        time_labels(start, end).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn times_are_labelled_at_round_places() {
        assert_eq!(
            labels("2026-05-01T23:59:52Z", "2026-05-02T00:00:07Z")[..5],
            ["2026-05-01 23:59:52", "23:59:54", "23:59:56", "23:59:58", "2026-05-02 00:00:00"]
        );
        assert_eq!(labels("2026-05-01T11:58:00Z", "2026-05-01T14:10:00Z")[..2], ["2026-05-01 12:00", "12:15"]);
        assert_eq!(labels("2026-05-01T11:58:00Z", "2026-05-09T14:10:00Z")[..2], ["2026-05-02", "2026-05-03"]);
        assert_eq!(labels("1970-01-01T00:00:00Z", "1970-01-01T00:00:21Z")[..3], ["0 s", "2 s", "4 s"]);
        assert_eq!(labels("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.9Z")[1], "0.1 s");
    }

    #[test]
    fn every_length_of_time_has_a_few_labels() {
        let start = Stamp::parse("2026-05-01T00:00:00Z").unwrap();
        for power in 0..17 {
            for n in [1, 3, 7] {
                let count = time_labels(start, Stamp::from_micros(start.as_micros() + n * 10_i64.pow(power))).len();
                assert!(count <= 12 && (power == 0 || count >= 2), "{count} for {n} · 10^{power} µs");
            }
        }
    }

    #[test]
    fn any_two_values_make_a_scale() {
        for (low, high) in [(12.0, 26.0), (0.0, 0.0), (-f64::MAX, f64::MAX), (1e-300, 2e-300), (1e9, 1e9)] {
            let scale = ValueScale::new([low, high].into_iter(), 10.0, 100.0);
            assert!(scale.y(low) >= scale.y(high) && scale.y(high) >= 10.0 && scale.y(low) <= 110.0, "{low} {high}");
            assert!(scale.labels().len() <= 10);
        }
        let texts: Vec<String> =
            ValueScale::new([12.0, 26.0].into_iter(), 0.0, 1.0).labels().into_iter().map(|l| l.1).collect();
        assert_eq!(texts, ["15", "20", "25"]);
    }
}
