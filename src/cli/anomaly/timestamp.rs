//! Times in tables: RFC 3339, the same without seconds or without a zone, or a count since 1970.

use crate::domain::time::Stamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use std::str::FromStr;

/// A count since 1970 below this is one of seconds: that is the year 5138. In milliseconds it is 1973.
const SECONDS: f64 = 1e11;
/// Below this it is one of milliseconds, below the next of microseconds, else of nanoseconds.
const MILLISECONDS: f64 = 1e14;
const MICROSECONDS: f64 = 1e17;
const NANOSECONDS: f64 = 9e18;

/// Where times are of that name no zone.
#[derive(Debug, Clone)]
pub(super) struct Zone(TimeZone);

impl Default for Zone {
    fn default() -> Zone {
        Zone(TimeZone::UTC)
    }
}

impl FromStr for Zone {
    type Err = String;

    fn from_str(name: &str) -> Result<Zone, String> {
        match name {
            "UTC" | "utc" => Ok(Zone::default()),
            "local" => Ok(Zone(TimeZone::system())),
            name => TimeZone::get(name).map(Zone).map_err(|_| {
                format!("{name:?} is no time zone that this system knows; it can be UTC, local, or like Europe/Vienna")
            }),
        }
    }
}

/// Reads a time.
pub(super) fn stamp(text: &str, zone: &Zone) -> Result<Stamp, String> {
    if let Ok(count) = text.parse::<f64>()
        && count.abs() < NANOSECONDS
    {
        return Ok(from_count(count));
    }
    let wrong = || {
        format!(
            "{text:?} is not a time: write it like 2026-05-01T12:00:14Z, 2026-05-01 12:00:14 (UTC, unless --zone says \
             otherwise), or as seconds or milliseconds since 1970"
        )
    };
    let name = text.trim_end_matches(" UTC").trim_end_matches(" Z");
    if name.len() < text.len() {
        return civil(name, &Zone::default()).ok_or_else(wrong);
    }
    Stamp::parse(&text.replacen(' ', "T", 1)).ok().or_else(|| civil(text, zone)).ok_or_else(wrong)
}

fn civil(text: &str, zone: &Zone) -> Option<Stamp> {
    let time: DateTime = text.parse().ok()?;
    let time = zone.0.to_ambiguous_zoned(time).compatible().ok()?;
    Some(Stamp::from_micros(time.timestamp().as_microsecond()))
}

#[expect(clippy::cast_possible_truncation, reason = "below 9·10¹⁸ in any unit, so in microseconds, too")]
fn from_count(count: f64) -> Stamp {
    let size = count.abs();
    let in_micros = match size {
        _ if size < SECONDS => count * 1e6,
        _ if size < MILLISECONDS => count * 1e3,
        _ if size < MICROSECONDS => count,
        _ => count / 1e3,
    };
    Stamp::from_micros(in_micros.round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_and_programs_write_them() {
        let half_past = Ok(Stamp::from_micros(1_424_979_060_000_000));
        for text in [
            "2015-02-26 19:31:00",
            "2015-02-26 19:31",
            "2015-02-26T19:31:00Z",
            "2015-02-26T19:31:00.000000Z+0000",
            "2015-02-26 20:31:00+01:00",
            "2015-02-26 19:31:00 UTC",
            "1424979060",
            "1424979060.0",
            "1424979060000",
            "1424979060000000",
            "1424979060000000000",
        ] {
            assert_eq!(stamp(text, &Zone::default()), half_past, "{text}");
        }
        let day = Stamp::parse("2015-02-26T00:00:00Z");
        assert_eq!(stamp("2015-02-26", &Zone::default()), day);
        assert!(stamp("26.2.2015 19:31", &Zone::default()).unwrap_err().contains("write it like"));
    }

    #[test]
    fn a_zone_holds_for_times_that_name_none() {
        let vienna: Zone = "Europe/Vienna".parse().unwrap();
        for text in ["2015-02-26 20:31:00", "2015-02-26T19:31:00Z", "1424979060", "2015-02-26 19:31:00 UTC"] {
            assert_eq!(stamp(text, &vienna), Ok(Stamp::from_micros(1_424_979_060_000_000)), "{text}");
        }
        assert!("Mars/Olympus".parse::<Zone>().unwrap_err().contains("no time zone"));
    }
}
