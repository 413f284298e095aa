//! Durations as people write them.

use crate::domain::time::Span;

/// Longer than any machine lives, and far from every overflow.
const MAX: Span = Span::from_secs(100 * 366 * 86_400);

/// Reads `"5s"`, `"1h 30m"`, `"250ms"`, `"2 days"` or ISO 8601 (`"PT5S"`).
///
/// # Errors
/// A sentence that says what is wrong with the text.
pub fn parse(text: &str) -> Result<Span, String> {
    let examples = "write it like \"5s\", \"1h 30m\" or \"250ms\"";
    let span: jiff::Span = text.trim().parse().map_err(|_| format!("{text:?} is not a duration: {examples}"))?;
    let exact = span
        .to_duration(jiff::SpanRelativeTo::days_are_24_hours())
        .map_err(|_| format!("{text:?} has no fixed length: days, hours, minutes and seconds have"))?;
    let micros = i64::try_from(exact.as_micros()).map_err(|_| format!("{text:?} is too long"))?;
    if exact.subsec_nanos() % 1_000 != 0 {
        return Err(format!("{text:?} is finer than a microsecond"));
    }
    in_range(Span::from_micros(micros), text)
}

/// Takes whole milliseconds, written as `text`.
pub(super) fn from_millis(millis: i128, text: &str) -> Result<Span, String> {
    let nearest = i64::try_from(millis).unwrap_or(if millis < 0 { i64::MIN } else { i64::MAX });
    in_range(Span::from_millis(nearest), &format!("{text} ms"))
}

fn in_range(span: Span, text: &str) -> Result<Span, String> {
    if span < Span::ZERO {
        return Err(format!("{text} is negative"));
    }
    if span > MAX {
        return Err(format!("{text} is more than a hundred years"));
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        for (text, millis) in [
            ("5s", 5_000),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("1.5s", 1_500),
            ("2 days", 172_800_000),
            ("1d", 86_400_000),
            ("PT5S", 5_000),
            ("0s", 0),
            ("1 week", 604_800_000),
        ] {
            assert_eq!(parse(text), Ok(Span::from_millis(millis)), "{text}");
        }
        for text in ["5", "", "soon", "-5s", "1 month", "200 years", "5 ns"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(from_millis(250, "250"), Ok(Span::from_millis(250)));
        for millis in [-1, i128::MIN, i128::MAX, 4_000_000_000_000] {
            assert!(from_millis(millis, "?").is_err(), "{millis}");
        }
    }
}
