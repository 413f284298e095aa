//! Times of the week: when somebody wants to be told. Pure: the wall-clock time and the zone are arguments.

use super::Zone;
use crate::domain::time::Stamp;

/// A day of the week.
pub type Weekday = jiff::civil::Weekday;

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];
const MINUTES_PER_DAY: u32 = 24 * 60;

/// A set of stretches of the week, such as `mon-fri 08:00-18:00`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours(Vec<Stretch>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stretch {
    /// By the number of the day, Monday first.
    days: [bool; 7],
    /// Minutes since midnight; `until` is not part of it. Until is before from where it goes on after midnight.
    from: u32,
    until: u32,
}

impl Hours {
    /// Whether the moment that `stamp` names lies in one of the stretches.
    pub fn contain(&self, stamp: Stamp, zone: &Zone) -> bool {
        let Ok(time) = jiff::Timestamp::from_microsecond(stamp.as_micros()) else { return true };
        let local = time.to_zoned(zone.0.clone());
        let day = usize::try_from(local.weekday().to_monday_zero_offset()).unwrap_or(0);
        let minute = u32::try_from(i32::from(local.hour()) * 60 + i32::from(local.minute())).unwrap_or(0);
        self.0.iter().any(|stretch| stretch.contains(day, minute))
    }

    /// Adds a stretch that was written by a person.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(texts: impl Iterator<Item = impl AsRef<str>>) -> Result<Hours, (usize, String)> {
        texts
            .enumerate()
            .map(|(index, text)| Stretch::parse(text.as_ref()).map_err(|message| (index, message)))
            .collect::<Result<Vec<_>, _>>()
            .map(Hours)
    }
}

impl Stretch {
    fn contains(&self, day: usize, minute: u32) -> bool {
        let yesterday = (day + 6) % 7;
        if self.from < self.until {
            return self.days[day] && (self.from..self.until).contains(&minute);
        }
        (self.days[day] && minute >= self.from) || (self.days[yesterday] && minute < self.until)
    }

    fn parse(text: &str) -> Result<Stretch, String> {
        let (days, times) = match text.trim().rsplit_once(' ') {
            Some((days, times)) if times.contains(':') => (days, times),
            None if text.contains(':') => ("mon-sun", text.trim()),
            Some(_) | None => (text.trim(), "00:00-24:00"),
        };
        let mut set = [false; 7];
        for part in days.split(',').map(str::trim) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (day(first)?, day(last)?);
            let mut at = first;
            loop {
                set[at] = true;
                if at == last {
                    break;
                }
                at = (at + 1) % 7;
            }
        }
        let (from, until) = times.split_once('-').ok_or_else(|| format!("{times:?} is not like 08:00-18:00"))?;
        let (from, until) = (minutes(from)?, minutes(until)?);
        if from == until {
            return Err(format!("{times:?} is no time at all"));
        }
        Ok(Stretch { days: set, from, until })
    }
}

fn day(text: &str) -> Result<usize, String> {
    let short: String = text.trim().to_lowercase().chars().take(3).collect();
    DAYS.iter()
        .position(|(name, _)| *name == short)
        .ok_or_else(|| format!("{text:?} is no day: mon, tue, wed, thu, fri, sat or sun"))
}

fn minutes(text: &str) -> Result<u32, String> {
    let wrong = || format!("{text:?} is no time of day: 00:00 to 24:00");
    let (hour, minute) = text.trim().split_once(':').ok_or_else(wrong)?;
    let (hour, minute): (u32, u32) = (hour.parse().map_err(|_| wrong())?, minute.parse().map_err(|_| wrong())?);
    let total = hour * 60 + minute;
    if minute > 59 || total > MINUTES_PER_DAY { Err(wrong()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(texts: &[&str]) -> Hours {
        Hours::parse(texts.iter()).unwrap()
    }

    fn zone(name: &str) -> Zone {
        Zone(jiff::tz::TimeZone::get(name).unwrap())
    }

    #[test]
    fn stretches_of_the_week_in_the_local_zone() {
        let work = hours(&["mon-fri 08:00-18:00", "sat 09:00-12:00"]);
        let vienna = zone("Europe/Vienna");
        for (time, inside) in [
            ("2026-11-20T07:00:00Z", true), // Friday, 08:00 in Vienna
            ("2026-11-20T06:59:59Z", false),
            ("2026-11-20T16:59:59Z", true),
            ("2026-11-20T17:00:00Z", false),
            ("2026-11-21T10:59:00Z", true),
            ("2026-11-22T10:00:00Z", false),
        ] {
            assert_eq!(work.contain(Stamp::parse(time).unwrap(), &vienna), inside, "{time}");
        }
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let night = hours(&["fri 22:00-06:00"]);
        let utc = Zone::default();
        for (time, inside) in [
            ("2026-11-20T23:00:00Z", true),
            ("2026-11-21T05:59:00Z", true),
            ("2026-11-21T06:00:00Z", false),
            ("2026-11-21T23:00:00Z", false),
            ("2026-11-20T05:00:00Z", false),
        ] {
            assert_eq!(night.contain(Stamp::parse(time).unwrap(), &utc), inside, "{time}");
        }
        assert!(hours(&["sat-sun"]).contain(Stamp::parse("2026-11-22T23:59:00Z").unwrap(), &utc));
        assert!(hours(&["00:00-24:00"]).contain(Stamp::parse("2026-11-18T12:00:00Z").unwrap(), &utc));
    }

    #[test]
    fn what_is_no_stretch_is_said() {
        for text in ["", "mon 8-18", "monday 25:00-26:00", "xyz 08:00-18:00", "mon 08:00-08:00", "mon 08:60-09:00"] {
            assert!(Hours::parse([text].iter()).is_err(), "{text}");
        }
    }
}
