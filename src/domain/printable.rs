//! Texts that come from outside, as they are shown to people: on a terminal and in a mail.
//!
//! Two ids that differ must not look alike, and nothing in them may be obeyed or turn the text around it. So control
//! characters, characters that change the direction of writing, invisible ones, accents that stand alone, and whatever
//! Unicode writes in another way (its form NFC) are shown by their numbers: `é` of one character stays, `e` with an accent
//! behind it is shown as `e\u{301}`. What is stored and what programs get is never changed.

use icu_normalizer::{ComposingNormalizer, ComposingNormalizerBorrowed};
use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory, GeneralCategoryGroup};
use icu_properties::{CodePointMapData, CodePointSetData};
use std::borrow::Cow;

/// The text with everything escaped that is no plain character.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let nfc = ComposingNormalizer::new_nfc();
    let is_normal = text.is_ascii() || nfc.is_normalized(text);
    if is_normal && !text.contains(is_deceptive) {
        return Cow::Borrowed(text);
    }
    let (shown, has_escaped) = escaped(text, |before, c| is_deceptive(c) || !is_normal && is_unstable(&nfc, before, c));
    // Where no neighbours explain it, characters further apart belong together.
    if is_normal || has_escaped { Cow::Owned(shown) } else { Cow::Owned(escaped(text, |_, c| !c.is_ascii()).0) }
}

/// The text with those characters escaped, and whether there were any. Each is looked at with the one before it.
fn escaped(text: &str, must_be: impl Fn(Option<char>, char) -> bool) -> (String, bool) {
    let mut shown = String::with_capacity(text.len() + 8);
    let (mut before, mut has_escaped) = (None, false);
    for c in text.chars() {
        if must_be(before, c) {
            shown.extend(c.escape_default());
            has_escaped = true;
        } else {
            shown.push(c);
        }
        before = Some(c);
    }
    (shown, has_escaped)
}

/// Whether Unicode writes this character in another way, alone or behind this one.
fn is_unstable(nfc: &ComposingNormalizerBorrowed<'_>, before: Option<char>, c: char) -> bool {
    let changes = |text: &[char]| !nfc.is_normalized(&text.iter().collect::<String>());
    !c.is_ascii() && (changes(&[c]) || before.is_some_and(|before| !changes(&[before]) && changes(&[before, c])))
}

/// Whether a character is none that people see as it is.
pub(crate) fn is_deceptive(c: char) -> bool {
    // ASCII is most of what there is.
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    let is_accent = matches!(c,
        '\u{0300}'..='\u{036f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}');
    // A pattern of Braille without a dot is a space in all but name.
    is_accent || is_unseen(c) || c == '\u{2800}'
}

/// Whether nothing is seen of a character, or nothing but a space.
fn is_unseen(c: char) -> bool {
    let unseen = GeneralCategoryGroup::Separator.union(GeneralCategoryGroup::Other);
    let category = CodePointMapData::<GeneralCategory>::new().get(c);
    c != ' ' && unseen.contains(category) || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}

/// A cell of a table for a spreadsheet: what one would calculate (`=1+1`, `@SUM(1)`, `+1-1`) has an apostrophe before it,
/// which makes it a text there. Some overlook spaces and what is not seen before it. Numbers stay numbers.
pub(crate) fn uncalculated(cell: &str) -> Cow<'_, str> {
    let seen = cell.trim_start_matches(|c: char| c.is_whitespace() || is_deceptive(c));
    let begins = seen.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']) || cell.starts_with(['\t', '\r', '\n']);
    if begins && cell.parse::<f64>().is_err() { Cow::Owned(format!("'{cell}")) } else { Cow::Borrowed(cell) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_interpreted_or_looks_like_something_else_gets_through() {
        for same in
            ["boiler-7 · Kessel", "Kühlung", "ボイラー", "котёл", "غلاية", "보일러", "কাজ", "מַיִם", "หม้อไอน้ำ", "½ µm² Å"]
        {
            assert_eq!(printable(same), same);
        }
        assert_eq!(printable("a\x1b[2Jb\r\n\u{9b}31m\u{202e}"), "a\\u{1b}[2Jb\\r\\n\\u{9b}31m\\u{202e}");
        assert_eq!(printable("Ku\u{308}hlung"), "Ku\\u{308}hlung", "it is not the other one");
        assert_eq!(printable("a\u{200b}b\u{ad}"), "a\\u{200b}b\\u{ad}");
        assert_eq!(printable("\u{304b}\u{3099}"), "か\\u{3099}", "が in two characters");
        assert_eq!(printable("\u{1112}\u{1161}\u{11ab}"), "\u{1112}\\u{1161}\u{11ab}", "한 in three");
        for other in ["\u{212b}", "\u{2126}", "\u{212a}", "\u{fb2a}", "\u{f900}", "\u{5e9}\u{5c1}\u{5b8}"] {
            let shown = printable(other);
            assert!(shown.contains("\\u{"), "{other} has another way of being written: {shown}");
        }
        for unseen in "\u{a0}\u{2003}\u{3000}\u{2800}\u{3164}\u{115f}\u{ffa0}\u{180e}\u{fe0f}\u{fff9}\u{17b4}\u{1bca0}\u{1d173}\u{e0041}\u{206a}\u{2028}\u{e000}".chars() {
            let shown = printable(&format!("a{unseen}b")).into_owned();
            assert_eq!(shown, format!("a{}b", unseen.escape_default()));
        }
    }

    #[test]
    fn a_spreadsheet_calculates_nothing() {
        for (cell, shown) in [
            ("=HYPERLINK(\"http://x\")", "'=HYPERLINK(\"http://x\")"),
            ("@SUM(1)", "'@SUM(1)"),
            ("+1+1", "'+1+1"),
            ("-2+3", "'-2+3"),
            ("\t=1", "'\t=1"),
            (" =1", "' =1"),
            ("\u{a0}\u{feff}=1", "'\u{a0}\u{feff}=1"),
            ("\0\u{b}@1", "'\0\u{b}@1"),
            (" a", " a"),
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
