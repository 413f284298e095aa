//! Times as people give them: RFC 3339, or how long ago.

use crate::config::parse_duration;
use crate::domain::time::Stamp;
use crate::io::clock;

/// RFC 3339, or how long ago.
pub(super) fn time_or_ago(text: &str) -> Result<Stamp, String> {
    let length = text.strip_suffix("ago").unwrap_or(text).trim();
    if let Ok(length) = parse_duration(length) {
        return Ok(clock::wall() - length);
    }
    Stamp::parse(text).map_err(|_| {
        format!("{text:?} is neither a time (2026-05-01T12:00:14Z) nor how long ago something was (2h, 30m)")
    })
}

/// From when to when, where either may be left open.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(super) struct Period {
    /// Only from then on: RFC 3339, or how long ago (30d)
    #[arg(long, value_name = "TIME", value_parser = time_or_ago)]
    pub(super) from: Option<Stamp>,
    /// Only until then: RFC 3339, or how long ago (2h)
    #[arg(long, value_name = "TIME", value_parser = time_or_ago)]
    pub(super) to: Option<Stamp>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Span;

    #[test]
    fn times_are_given_or_counted_back() {
        assert_eq!(time_or_ago("1970-01-01T00:00:14Z"), Ok(Stamp::from_micros(14_000_000)));
        for text in ["2h", "2h ago", "2 hours ago"] {
            let then = time_or_ago(text).unwrap();
            let ago = clock::wall() - then;
            assert!((Span::from_secs(7_200)..Span::from_secs(7_260)).contains(&ago), "{text}: {ago}");
        }
        assert!(time_or_ago("yesterday").unwrap_err().contains("neither"));
    }
}
