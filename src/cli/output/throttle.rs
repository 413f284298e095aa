//! Bounds of the log: a line has so many bytes, a second so many lines.
//!
//! Log lines repeat texts that others have sent, at the rate at which they send. A log that fills the disk, or keeps
//! the daemon from its work, helps nobody: lines beyond a bound are counted and left out, and the next one that is
//! written is preceded by their number. Warnings and errors are counted apart from the rest, so that a flood of news
//! leaves room for bad ones.

use super::journal::{as_warning, is_behind_standard_error};
use crate::domain::text::clip;
use crate::domain::time::Stamp;
use crate::io::clock;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Bytes of a line.
pub(crate) const LINE_BYTES: usize = 1_024;
/// Lines that may come at once: what a start with a hundred faults and problems has to say.
const BURST: i64 = 500;
/// After that, one more for each of these: 20 a second.
const EACH_MICROS: i64 = 50_000;

/// Lets through what the log has room for.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    bad: Mutex<Bucket>,
    other: Mutex<Bucket>,
}

/// Lines that may still be written.
#[derive(Debug)]
struct Bucket {
    left: i64,
    /// Until when it was filled.
    filled: Stamp,
    left_out: u64,
}

impl Default for Bucket {
    fn default() -> Bucket {
        Bucket { left: BURST, filled: Stamp::from_micros(0), left_out: 0 }
    }
}

impl Bucket {
    /// True if one more line may be written; and the number of lines that were left out before it.
    fn take(&mut self, now: Stamp) -> Option<u64> {
        let passed = (now - self.filled).as_micros();
        // A clock that was set back fills nothing, and one that was set ahead no more than there is room for.
        let more = passed / EACH_MICROS;
        if more > 0 || passed < 0 {
            self.left = self.left.saturating_add(more.max(0)).min(BURST);
            self.filled = now;
        }
        if self.left <= 0 {
            self.left_out += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

impl<S: Subscriber> Layer<S> for Throttle {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let is_bad = *event.metadata().level() <= Level::WARN;
        let bucket = if is_bad { &self.bad } else { &self.other };
        let taken = bucket.lock().unwrap_or_else(PoisonError::into_inner).take(clock::wall());
        if let Some(left_out @ 1..) = taken {
            // If that fails, there is nobody left to tell.
            let line = format!("{left_out} lines of the log were left out: there were too many");
            let line = if is_behind_standard_error() { as_warning(&line) } else { line };
            let _ = writeln!(std::io::stderr(), "{line}");
        }
        taken.is_some()
    }
}

/// Standard error, to which each line goes with so many bytes at most.
#[derive(Debug, Default)]
pub(crate) struct ShortLines;

impl Write for ShortLines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        if line.len() <= LINE_BYTES {
            return std::io::stderr().write(line);
        }
        let text = String::from_utf8_lossy(line);
        std::io::stderr().write_all(format!("{}\n", clip(text.trim_end(), LINE_BYTES)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_off_and_counted() {
        let mut bucket = Bucket::default();
        let at = |millis: i64| Stamp::from_micros(1_800_000_000_000_000 + millis * 1_000);
        let taken: Vec<u64> = (0..10_000).filter_map(|line| bucket.take(at(line / 10))).collect();
        assert!((500..=521).contains(&taken.len()), "{} in a second", taken.len());
        let left_out = taken.iter().sum::<u64>() + bucket.take(at(2_000)).unwrap();
        assert_eq!(left_out + taken.len() as u64, 10_000, "each is written or counted");
        assert_eq!(bucket.take(at(-3_600_000)), Some(0), "the clock was set back");
        assert_eq!(bucket.take(at(-3_599_000)), Some(0));
        assert!((0..600).filter(|_| bucket.take(at(3_600_000)).is_some()).count() <= 500);
    }
}
