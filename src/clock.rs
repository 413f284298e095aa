//! The one place that asks the operating system for the time.
//!
//! The engine's time line runs on the monotonic clock, which no NTP step moves. After a restart it goes on where the
//! store last saw it, moved on by the time that has passed since, as far as that can be known: on the same boot of the
//! machine exactly, after a reboot by the wall clock, and if that went backwards not at all.

use crate::time::{Moment, Now, Span, Stamp};
use rustix::time::{ClockId, clock_gettime};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A gap longer than this, by the wall clock alone, is a clock that was wrong before or is wrong now.
const LONGEST_GAP: Span = Span::from_secs(10 * 366 * 86_400);

/// A reading that a later run of the daemon can be measured against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// Where the time line stood.
    pub at: Moment,
    /// What the wall clock showed.
    pub wall: Stamp,
    /// Which boot of the machine it was.
    pub boot_id: String,
    /// How long the machine had been running, sleep included.
    pub uptime: Span,
}

/// The running time line.
#[derive(Debug, Clone)]
pub struct Clock {
    started: Instant,
    base: Moment,
    boot_id: String,
}

impl Clock {
    /// A time line that goes on from where an earlier run left it; a new one begins at the wall-clock time.
    pub fn start(last: Option<&Anchor>) -> Clock {
        let boot_id = boot_id();
        let base = match last {
            None => Moment::from_micros(wall().as_micros()),
            Some(anchor) => anchor.at + gap_since(anchor, &boot_id),
        };
        Clock { started: monotonic(), base, boot_id }
    }

    /// One reading of both clocks.
    pub fn now(&self) -> Now {
        Now { at: self.at(), wall: wall() }
    }

    /// Where the time line stands.
    pub fn at(&self) -> Moment {
        let elapsed = monotonic().saturating_duration_since(self.started);
        self.base + Span::from_micros(i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX))
    }

    /// The monotonic instant of a moment, for timers of the run time; a moment that has passed is now.
    pub fn instant(&self, moment: Moment) -> Instant {
        let ahead = (moment - self.at()).to_std();
        let now = monotonic();
        now.checked_add(ahead).unwrap_or(now)
    }

    /// What a later run needs to know.
    pub fn anchor(&self) -> Anchor {
        let Now { at, wall } = self.now();
        Anchor { at, wall, boot_id: self.boot_id.clone(), uptime: uptime() }
    }
}

/// How much time has passed since the anchor was taken.
fn gap_since(anchor: &Anchor, boot_id: &str) -> Span {
    let gap = if anchor.boot_id == boot_id && !boot_id.is_empty() {
        Span::from_micros(uptime().as_micros() - anchor.uptime.as_micros())
    } else {
        wall() - anchor.wall
    };
    if gap < Span::ZERO || gap > LONGEST_GAP { Span::ZERO } else { gap }
}

/// A random number that the kernel gives each boot; empty where there is none.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

fn uptime() -> Span {
    let time = clock_gettime(ClockId::Boottime);
    Span::from_micros(time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1_000))
}

#[expect(clippy::disallowed_methods, reason = "this is the file that asks")]
fn monotonic() -> Instant {
    Instant::now()
}

/// The wall clock, which may show any time: before 1970 it is negative.
#[expect(clippy::disallowed_methods, reason = "this is the file that asks")]
pub fn wall() -> Stamp {
    let micros = |duration: std::time::Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    Stamp::from_micros(match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => micros(since),
        Err(before) => -micros(before.duration()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor(boot_id: &str, wall_ago: Span, uptime_ago: Span) -> Anchor {
        Anchor {
            at: Moment::from_micros(1_000),
            wall: wall() - wall_ago,
            boot_id: boot_id.to_owned(),
            uptime: Span::from_micros(uptime().as_micros() - uptime_ago.as_micros()),
        }
    }

    fn gap_secs(anchor: &Anchor) -> i64 {
        (Clock::start(Some(anchor)).at() - anchor.at).as_micros() / 1_000_000
    }

    #[test]
    fn on_the_same_boot_the_wall_clock_is_not_asked() {
        let stepped = anchor(&boot_id(), Span::from_secs(-3_600), Span::from_secs(7));
        assert_eq!(gap_secs(&stepped), 7);
    }

    #[test]
    fn after_a_reboot_the_wall_clock_tells_unless_it_is_absurd() {
        assert_eq!(gap_secs(&anchor("other", Span::from_secs(90), Span::from_secs(-5))), 90);
        assert_eq!(gap_secs(&anchor("other", Span::from_secs(-90), Span::ZERO)), 0, "the clock went back");
        assert_eq!(gap_secs(&anchor("other", Span::from_secs(56 * 366 * 86_400), Span::ZERO)), 0, "it was 1970 before");
    }
}
