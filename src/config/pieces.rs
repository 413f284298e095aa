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

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// Bytes of a piece, about: with what the parser needs for it, a small part of what the daemon may take.
const PIECE: usize = 1 << 20;

/// What a piece of a text says.
#[derive(Debug)]
pub(super) struct Piece<'t> {
    /// Where it begins. Places in it are counted from here.
    pub(super) offset: usize,
    pub(super) root: DeTable<'t>,
}

/// The text as TOML; none: it has mistakes, or cannot be parsed in pieces.
pub(super) fn parse(text: &str) -> Option<Vec<Piece<'_>>> {
    parse_by(text, PIECE)
}

fn parse_by(text: &str, length: usize) -> Option<Vec<Piece<'_>>> {
    let mut pieces: Vec<Piece<'_>> = Vec::new();
    let mut start = 0;
    while start < text.len() || pieces.is_empty() {
        let end = next_cut(text, start, length);
        let (root, errors) = DeTable::parse_recoverable(&text[start..end]);
        if !errors.is_empty() {
            return None;
        }
        let piece = Piece { offset: start, root: root.into_inner() };
        if !pieces.iter().all(|other| go_together(text, other, &piece)) {
            return None;
        }
        pieces.push(piece);
        start = end;
    }
    Some(pieces)
}

/// Whether the sections that stand in both are lists that go on.
fn go_together(text: &str, one: &Piece<'_>, other: &Piece<'_>) -> bool {
    other.root.iter().all(|(key, value)| {
        let is_list = |piece: &Piece<'_>, value: &DeValue<'_>| match value {
            DeValue::Array(array) => stand_below_headers(&text[piece.offset..], array),
            _ => false,
        };
        one.root
            .get(key.get_ref().as_ref())
            .is_none_or(|known| is_list(one, known.get_ref()) && is_list(other, value.get_ref()))
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::ops::Range;

    fn moved(span: &Range<usize>, by: usize) -> Range<usize> {
        span.start + by..span.end + by
    }

    fn moved_value(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
        let span = moved(&value.span(), by);
        let value = match value.into_inner() {
            DeValue::Array(array) => {
                DeValue::Array(array.into_iter().map(|element| moved_value(element, by)).collect())
            }
            DeValue::Table(table) => DeValue::Table(
                table
                    .into_iter()
                    .map(|(key, value)| {
                        (Spanned::new(moved(&key.span(), by), key.into_inner()), moved_value(value, by))
                    })
                    .collect(),
            ),
            plain => plain,
        };
        Spanned::new(span, value)
    }

    /// What all pieces say together, with places of the whole text.
    fn together(pieces: Vec<Piece<'_>>) -> DeTable<'_> {
        let mut whole = DeTable::new();
        for Piece { offset, root } in pieces {
            for (key, value) in root {
                let (key, value) =
                    (Spanned::new(moved(&key.span(), offset), key.into_inner()), moved_value(value, offset));
                match (whole.get_mut(key.get_ref().as_ref()).map(Spanned::get_mut), value) {
                    (Some(DeValue::Array(known)), value) => {
                        let DeValue::Array(more) = value.into_inner() else { panic!("{key:?}") };
                        more.into_iter().for_each(|element| known.push(element));
                    }
                    (_, value) => {
                        whole.insert(key, value);
                    }
                }
            }
        }
        whole
    }

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
        assert!(pieces.len() > 5);
        let pieces = together(pieces);
        assert_eq!(format!("{pieces:?}"), format!("{:?}", whole(&text).unwrap().get_ref()));
        let DeValue::Array(alarms) = pieces["alarm"].get_ref() else { panic!() };
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
                prop_assert_eq!(format!("{:?}", together(pieces)), format!("{:?}", whole.unwrap().get_ref()));
            }
        }
    }
}
