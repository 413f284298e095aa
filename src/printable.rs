//! Texts that come from outside, as they are shown to people: on a terminal and in a mail.
//!
//! Two ids that differ must not look alike, and nothing in them may be obeyed or turn the text around it. So control
//! characters, characters that change the direction of writing, invisible ones, and accents that stand alone are shown
//! by their numbers: `é` of one character stays, `e` with an accent behind it is shown as `e\u{301}`. What is stored and
//! what programs get is never changed.

use std::borrow::Cow;

/// The text with everything escaped that is no plain character.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_deceptive) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_deceptive(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Whether a character is none that people see as it is.
pub(crate) fn is_deceptive(c: char) -> bool {
    // ASCII is most of what there is.
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    let turns_direction =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_invisible =
        matches!(c, '\u{00ad}' | '\u{034f}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{feff}');
    let is_accent = matches!(c,
        '\u{0300}'..='\u{036f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}');
    c.is_control() || turns_direction || is_invisible || is_accent || matches!(c, '\u{2028}' | '\u{2029}')
}

/// A cell of a table for a spreadsheet: what one would calculate (`=1+1`, `@SUM(1)`, `+1-1`) has an apostrophe before it,
/// which makes it a text there. Numbers stay numbers.
pub(crate) fn uncalculated(cell: &str) -> Cow<'_, str> {
    let begins = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    if begins && cell.parse::<f64>().is_err() { Cow::Owned(format!("'{cell}")) } else { Cow::Borrowed(cell) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_obeyed_or_looks_like_something_else_gets_through() {
        for same in ["boiler-7 · Kessel", "Kühlung", "ボイラー", "котёл", "غلاية"] {
            assert_eq!(printable(same), same);
        }
        assert_eq!(printable("a\x1b[2Jb\r\n\u{9b}31m\u{202e}"), "a\\u{1b}[2Jb\\r\\n\\u{9b}31m\\u{202e}");
        assert_eq!(printable("Ku\u{308}hlung"), "Ku\\u{308}hlung", "it is not the other one");
        assert_eq!(printable("a\u{200b}b\u{ad}"), "a\\u{200b}b\\u{ad}");
    }

    #[test]
    fn a_spreadsheet_calculates_nothing() {
        for (cell, shown) in [
            ("=HYPERLINK(\"http://x\")", "'=HYPERLINK(\"http://x\")"),
            ("@SUM(1)", "'@SUM(1)"),
            ("+1+1", "'+1+1"),
            ("-2+3", "'-2+3"),
            ("\t=1", "'\t=1"),
            ("-12.5", "-12.5"),
            ("+3", "+3"),
            ("-1e-7", "-1e-7"),
            ("a=b", "a=b"),
            ("", ""),
        ] {
            assert_eq!(uncalculated(cell), shown);
        }
    }
}
