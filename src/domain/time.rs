//! Points and lengths of time, in microseconds.
//!
//! Two clocks are kept apart by type. A [`Moment`] lies on the engine's own time line, which never
//! steps: everything that waits is measured on it. A [`Stamp`] is wall-clock time, which people and
//! other machines read and which NTP may move at will. A [`Now`] is one reading of both; it is the
//! only bridge between them. Who asks the operating system for them: [`crate::io::clock`].

use std::fmt;
use std::ops::{Add, Sub};

/// A length of time in microseconds. Arithmetic saturates: no duration that a person can write overflows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(i64);

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);

    /// A span of `micros` microseconds.
    pub const fn from_micros(micros: i64) -> Span {
        Span(micros)
    }

    /// A span of `millis` milliseconds.
    pub const fn from_millis(millis: i64) -> Span {
        Span(millis.saturating_mul(1_000))
    }

    /// A span of `secs` seconds.
    pub const fn from_secs(secs: i64) -> Span {
        Span(secs.saturating_mul(1_000_000))
    }

    /// The length in microseconds.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The length in seconds, for people.
    #[expect(clippy::cast_precision_loss, reason = "shown to people, who do not count microseconds beyond 285 years")]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The span for `tokio` and `std`; a negative one is zero.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_micros(u64::try_from(self.0).unwrap_or(0))
    }
}

impl Add for Span {
    type Output = Span;
    fn add(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }
}

impl Sub for Span {
    type Output = Span;
    fn sub(self, other: Span) -> Span {
        Span(self.0.saturating_sub(other.0))
    }
}

/// As a person would write it: `1h 30m`, `5s`, `250ms`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0.unsigned_abs();
        let mut gap = if self.0 < 0 { "-" } else { "" };
        for (unit, size) in
            [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("µs", 1)]
        {
            if rest >= size {
                write!(f, "{gap}{}{unit}", rest / size)?;
                rest %= size;
                gap = " ";
            }
        }
        Ok(())
    }
}

/// A point on the engine's own time line, in microseconds. The line goes on over restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(i64);

impl Moment {
    /// Before every other: a machine whose clock has lost the year may begin its time line before 1970.
    pub const BEGINNING: Moment = Moment(i64::MIN);

    /// After every other.
    pub const END: Moment = Moment(i64::MAX);

    /// The point `micros` microseconds after the line's origin.
    pub const fn from_micros(micros: i64) -> Moment {
        Moment(micros)
    }

    /// Microseconds since the line's origin.
    pub const fn as_micros(self) -> i64 {
        self.0
    }
}

impl Add<Span> for Moment {
    type Output = Moment;
    fn add(self, span: Span) -> Moment {
        Moment(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Moment {
    type Output = Moment;
    fn sub(self, span: Span) -> Moment {
        Moment(self.0.saturating_sub(span.0))
    }
}

impl Sub for Moment {
    type Output = Span;
    fn sub(self, earlier: Moment) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

/// The day on which this version was finished: a wall clock that shows an earlier one has not been set. It is written down
/// and not taken from the build, so that the same source gives the same program.
const RELEASED: Stamp = Stamp(1_785_542_400_000_000);

/// A wall-clock time: microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp(i64);

impl Stamp {
    /// The time `micros` microseconds after 1970 began, in UTC.
    pub const fn from_micros(micros: i64) -> Stamp {
        Stamp(micros)
    }

    /// Microseconds since 1970 began, in UTC.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whether a clock that is right can show it.
    pub fn is_plausible(self) -> bool {
        self >= RELEASED
    }

    /// Reads RFC 3339, and the form mosquitto writes: `2026-11-20T14:57:26.654925Z+0000`, where the
    /// `Z` is only a outbound event and the offset behind it is the one that holds.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Stamp, String> {
        let odd = match text.rsplit_once('Z') {
            Some((time, offset)) if !offset.is_empty() => Some(format!("{time}{offset}")),
            _ => None,
        };
        let stamp: jiff::Timestamp =
            odd.as_deref().unwrap_or(text).parse().map_err(|e| format!("{text:?} is not an RFC 3339 time: {e}"))?;
        Ok(Stamp(stamp.as_microsecond()))
    }
}

impl Sub for Stamp {
    type Output = Span;
    fn sub(self, earlier: Stamp) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Sub<Span> for Stamp {
    type Output = Stamp;
    fn sub(self, span: Span) -> Stamp {
        Stamp(self.0.saturating_sub(span.0))
    }
}

impl Add<Span> for Stamp {
    type Output = Stamp;
    fn add(self, span: Span) -> Stamp {
        Stamp(self.0.saturating_add(span.0))
    }
}

/// RFC 3339 in UTC, with as many digits as it needs, at most six: `2026-05-01T12:00:14Z`.
impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A clock outside the years that jiff knows (−9999 to 9999) shows as the nearest of them.
        let stamp = jiff::Timestamp::from_microsecond(self.0).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        });
        write!(f, "{stamp}")
    }
}

/// One reading of both clocks at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Where the engine's time line stands.
    pub at: Moment,
    /// What the wall clock shows at that moment.
    pub wall: Stamp,
}

impl Now {
    /// What the wall clock would have shown at `moment`, had it run all the time as it runs now.
    pub fn stamp(self, moment: Moment) -> Stamp {
        self.wall - (self.at - moment)
    }

    /// Where on the time line `stamp` lies, by the clock as it runs now.
    pub fn moment(self, stamp: Stamp) -> Moment {
        self.at - (self.wall - stamp)
    }

    /// The same clocks, read at `moment`.
    pub fn moved_to(self, moment: Moment) -> Now {
        Now { at: moment, wall: self.stamp(moment) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_of_the_release_is_that_of_this_version() {
        let (version, day) = ("0.1.0", "2026-08-01T00:00:00Z");
        assert_eq!(env!("CARGO_PKG_VERSION"), version, "a new version has a new day");
        assert_eq!(RELEASED.to_string(), day);
        assert!(
            crate::io::clock::wall().is_plausible(),
            "the clock of this machine is wrong, or the day is in the future"
        );
    }

    #[test]
    fn stamps_read_what_mosquitto_writes() {
        let want = Stamp::from_micros(1_795_186_646_654_925);
        for text in [
            "2026-11-20T14:57:26.654925Z+0000",
            "2026-11-20T14:57:26.654925Z",
            "2026-11-20T15:57:26.654925Z+0100",
            "2026-11-20T15:57:26.654925+01:00",
        ] {
            assert_eq!(Stamp::parse(text), Ok(want), "{text}");
        }
        assert!(Stamp::parse("yesterday").is_err());
        assert_eq!(want.to_string(), "2026-11-20T14:57:26.654925Z");
        assert_eq!(Stamp::from_micros(14_000_000).to_string(), "1970-01-01T00:00:14Z");
        assert_eq!(Stamp::from_micros(i64::MAX).to_string(), jiff::Timestamp::MAX.to_string());
    }

    #[test]
    fn spans_read_as_people_write_them() {
        assert_eq!(Span::from_secs(5_400).to_string(), "1h 30m");
        assert_eq!(Span::from_millis(250).to_string(), "250ms");
        assert_eq!(Span::ZERO.to_string(), "0s");
    }
}
