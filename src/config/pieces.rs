//! Parses a long text piece by piece, because a parser needs twenty times the length of what it parses for a moment.
//!
//! A piece begins at a header in double brackets at the beginning of a line (`[[alarm]]`): it begins a new table, whatever
//! stands before it. So the tables of all pieces are those of the text, unless such a line stands inside of a string or a
//! list of several lines, or a section is continued in another piece than it was begun in. Then a piece is no TOML by
//! itself, or a section stands in two pieces: there is no result, and the caller parses the text as a whole.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "TOML's kinds of values are not ours: all that have no parts are treated alike"
)]

use std::ops::Range;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// Bytes of a piece, about: with what the parser needs for it, a small part of what the daemon may take.
const PIECE: usize = 1 << 20;

/// The text as TOML; none: it has mistakes, or cannot be parsed in pieces.
pub(super) fn parse(text: &str) -> Option<Spanned<DeTable<'_>>> {
    parse_by(text, PIECE)
}

fn parse_by(text: &str, piece: usize) -> Option<Spanned<DeTable<'_>>> {
    let mut root = DeTable::new();
    let mut start = 0;
    loop {
        let end = next_cut(text, start, piece);
        let (table, errors) = DeTable::parse_recoverable(&text[start..end]);
        if !errors.is_empty() {
            return None;
        }
        if start == 0 && end == text.len() {
            return Some(table);
        }
        for (key, value) in table.into_inner() {
            let (key, value) = (Spanned::new(moved(&key.span(), start), key.into_inner()), moved_value(value, start));
            match (root.get_mut(key.get_ref().as_ref()).map(Spanned::get_mut), value) {
                (None, value) => {
                    root.insert(key, value);
                }
                (Some(DeValue::Array(known)), value) => match value.into_inner() {
                    DeValue::Array(more) if stand_below_headers(text, known) && stand_below_headers(text, &more) => {
                        more.into_iter().for_each(|element| known.push(element));
                    }
                    _ => return None,
                },
                (Some(_), _) => return None,
            }
        }
        if end == text.len() {
            return Some(Spanned::new(0..end, root));
        }
        start = end;
    }
}

/// The end of the piece that begins at `start`.
fn next_cut(text: &str, start: usize, piece: usize) -> usize {
    let mut from = (start + piece).min(text.len());
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let is_header = |at: &usize| {
        let line = text[*at..].lines().next().unwrap_or_default();
        line.starts_with("[[") && !line.contains(['.', '"', '\''])
    };
    let lines = text[from..].match_indices('\n').map(|(newline, _)| from + newline + 1);
    lines.take_while(|line| *line < text.len()).find(is_header).unwrap_or(text.len())
}

/// True for an array whose elements were written as sections.
fn stand_below_headers(text: &str, array: &DeArray<'_>) -> bool {
    let is_section =
        |element: &Spanned<DeValue<'_>>| element.get_ref().is_table() && text[element.span().start..].starts_with("[[");
    !array.is_empty() && array.iter().all(is_section)
}

fn moved(span: &Range<usize>, by: usize) -> Range<usize> {
    span.start + by..span.end + by
}

fn moved_value(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let span = moved(&value.span(), by);
    let value = match value.into_inner() {
        DeValue::Array(array) => DeValue::Array(array.into_iter().map(|element| moved_value(element, by)).collect()),
        DeValue::Table(table) => DeValue::Table(
            table
                .into_iter()
                .map(|(key, value)| (Spanned::new(moved(&key.span(), by), key.into_inner()), moved_value(value, by)))
                .collect(),
        ),
        plain => plain,
    };
    Spanned::new(span, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(text: &str) -> Option<Spanned<DeTable<'_>>> {
        let (root, errors) = DeTable::parse_recoverable(text);
        errors.is_empty().then_some(root)
    }

    #[test]
    fn tables_and_their_places_are_those_of_the_whole_text() {
        let mut text = "# names\n[gateway]\nid = \"ü\"\n".to_owned();
        for number in 0..50 {
            text += &format!(
                "\n[[alarm]]\nthing = [\"a-{number}\", \"ü\"]\nvalues = {{ x = {number}, y = [1, 2] }}\n[alarm.more]\nz = 1\n"
            );
            text += if number % 7 == 0 { "[[source]]\ntopic = 't'\n" } else { "" };
        }
        let pieces = parse_by(&text, 100).unwrap();
        assert_eq!(format!("{:?}", pieces.get_ref()), format!("{:?}", whole(&text).unwrap().get_ref()));
        let DeValue::Array(alarms) = pieces.get_ref()["alarm"].get_ref() else { panic!() };
        assert_eq!(alarms.len(), 50);
    }

    #[test]
    fn what_means_something_else_in_pieces_has_no_result() {
        let filler = "x = 1\n".repeat(2);
        for text in [
            "[[a]]\nb = '''\n[[a]]\n'''\n",
            "[[a]]\nb = [\n[[a]]\n]\n",
            "[g]\nx = 1\n[[a]]\n[g]\ny = 1\n",
            "a = []\n[[a]]\n",
            "a = [{ x = 1 }]\n[[a]]\n",
            "a = [[[1]]]\n[[a]]\n",
            "[[a]]\nx = 1\n[[b]]\n[a.c]\ny = 1\n",
        ] {
            assert!(parse_by(text, 1).is_none(), "{text}");
        }
        assert!(parse_by(&format!("[a]\n{filler}[[a]]\n"), 1).is_none());
    }

    proptest! {
        #[test]
        fn a_result_is_that_of_the_whole_text(
            text in "(\\[\\[a\\]\\]\n|\\[\\[b\\]\\]\n|\\[a\\]\n|\\[a.c\\]\n|\\[\\[a.c\\]\\]\n|x = 1\n|y = [1,\n2]\n|s = '''\n|'''\n|a = \\[\\]\n|# ü\n){0,12}",
            piece in 1_usize..30,
        ) {
            if let Some(pieces) = parse_by(&text, piece) {
                let whole = whole(&text);
                prop_assert!(whole.is_some(), "{text}");
                prop_assert_eq!(format!("{:?}", pieces.get_ref()), format!("{:?}", whole.unwrap().get_ref()));
            }
        }
    }
}
