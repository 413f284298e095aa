//! What is usual at this time of the day, from the days before.
//!
//! A day has ninety-six slots; of each the means of the last seven days are kept, so that a weekend finds a weekend.
//! It knows days in UTC and nothing else of calendars: where clocks are changed, two days a year are unusual.

use crate::domain::time::{Span, Stamp};
use std::collections::VecDeque;

/// Slots of a day: quarters of an hour.
pub(crate) const SLOTS: usize = 96;
/// Days that are remembered.
const DAYS: usize = 7;
const SLOT: Span = Span::from_secs(900);

/// How far a value is from those of the same time on other days.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Distance {
    /// From the nearest of them.
    pub nearest: f64,
    /// From the middle one.
    pub usual: f64,
}

/// The days before.
#[derive(Debug, Clone, PartialEq)]
pub struct Season {
    days: Vec<VecDeque<f64>>,
    /// The slot that is being filled, the sum of its values and their number.
    present: (usize, f64, f64),
}

/// The days before as plain data.
#[derive(Debug, Clone, PartialEq)]
pub struct SeasonMemory {
    /// Of each slot of a day the means of the days before, the oldest first.
    pub days: Vec<Vec<f64>>,
    /// The slot that is being filled, the sum of its values and their number.
    pub present: (usize, f64, f64),
}

impl Default for Season {
    fn default() -> Season {
        Season { days: vec![VecDeque::new(); SLOTS], present: (0, 0.0, 0.0) }
    }
}

impl Season {
    /// Remembers a value, and says how far it is from those of the days before at that time, a quarter of an hour
    /// earlier or later. None: no such day is known.
    pub fn observe(&mut self, at: Stamp, value: f64) -> Option<Distance> {
        let slot = slot(at);
        if slot != self.present.0 {
            let (before, sum, count) = std::mem::replace(&mut self.present, (slot, 0.0, 0.0));
            if count > 0.0 {
                let days = &mut self.days[before];
                days.push_back(sum / count);
                if days.len() > DAYS {
                    days.pop_front();
                }
            }
        }
        self.present.1 += value;
        self.present.2 += 1.0;
        let near = [slot + SLOTS - 1, slot, slot + 1].map(|near| &self.days[near % SLOTS]);
        let mut known: Vec<f64> = near.into_iter().flatten().copied().collect();
        known.sort_by(f64::total_cmp);
        let middle = *known.get(known.len() / 2)?;
        let nearest = known.iter().map(|known| (value - known).abs()).fold(f64::INFINITY, f64::min);
        Some(Distance { nearest, usual: (value - middle).abs() })
    }

    /// What is remembered, as plain data.
    pub(super) fn memory(&self) -> SeasonMemory {
        SeasonMemory {
            days: self.days.iter().map(|days| days.iter().copied().collect()).collect(),
            present: self.present,
        }
    }

    /// What was remembered; what cannot be a day is left out.
    pub(super) fn recalled(memory: SeasonMemory) -> Season {
        let mut days: Vec<VecDeque<f64>> = memory.days.into_iter().map(VecDeque::from).collect();
        days.resize(SLOTS, VecDeque::new());
        days.iter_mut().for_each(|days| days.truncate(DAYS));
        let (slot, sum, count) = memory.present;
        Season { days, present: (slot.min(SLOTS - 1), sum, count) }
    }
}

fn slot(at: Stamp) -> usize {
    let since_midnight = at.as_micros().rem_euclid(SLOT.as_micros() * 96);
    usize::try_from(since_midnight / SLOT.as_micros()).unwrap_or_default() % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_compared_with_the_same_time_of_other_days() {
        let mut season = Season::default();
        let at = |day: i64, slot: i64| Stamp::from_micros((day * 96 + slot) * SLOT.as_micros());
        let usual = |slot: i64| if slot < 48 { 1.0 } else { 5.0 };
        for day in 0..3 {
            for slot in 0..96 {
                let distance = season.observe(at(day, slot), usual(slot));
                assert_eq!(distance.is_none(), (day, slot) == (0, 0), "day {day}, slot {slot}: {distance:?}");
            }
        }
        assert_eq!(season.observe(at(3, 10), 5.0), Some(Distance { nearest: 4.0, usual: 4.0 }));
        assert_eq!(season.observe(at(3, 60), 5.0), Some(Distance { nearest: 0.0, usual: 0.0 }));
    }
}
