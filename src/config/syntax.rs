//! From text to TOML, however broken the text is.
//!
//! The parser goes on after a mistake, but what it makes of a broken statement says nothing about what was meant. So
//! the first mistake is noted, its statement is taken out (spaces keep every other place where it was) and the rest is
//! parsed again. What remains is what the person wrote; and where something was taken out is known, so that nobody is
//! told to add what is there.

use super::pieces::{self, Piece};
use super::report::{Place, Problem, Problems};
use std::ops::Range;
use toml::de::DeTable;

/// More mistakes than anyone wants to read in one go: most likely it is no TOML at all.
const MAX_MISTAKES: usize = 50;

/// A text without its broken statements.
pub(super) struct Mended {
    /// TOML, as long as the original.
    pub(super) text: String,
    /// What was taken out, in bytes.
    pub(super) broken: Vec<Range<usize>>,
}

/// A text as TOML; none: there are mistakes in it, and [`mend`] finds out which.
pub(super) fn parse(text: &str) -> Option<Vec<Piece<'_>>> {
    if let Some(pieces) = pieces::parse(text) {
        return Some(pieces);
    }
    let (root, errors) = DeTable::parse_recoverable(text);
    errors.is_empty().then(|| vec![Piece { offset: 0, root: root.into_inner() }])
}

/// Takes out what is no TOML, noting each mistake once.
pub(super) fn mend(file: usize, text: &str, problems: &mut Problems) -> Mended {
    let mut mended = Mended { text: text.to_owned(), broken: Vec::new() };
    while let Some((span, message)) = first_error(&mended.text) {
        let mistake = Mistake::of(&mended.text, span, &message);
        let Mistake { place, message, help, statement } = mistake;
        problems.add(Problem::error(Place { file, span: place }, format!("not TOML: {message}"), help));
        let nothing_left = mended.text[statement.clone()].trim().is_empty();
        if nothing_left || mended.broken.len() == MAX_MISTAKES {
            // Nothing can be trusted.
            mended.broken.push(0..text.len());
            mended.text.clear();
            break;
        }
        mended.text = without(&mended.text, &statement);
        mended.broken.push(statement);
    }
    mended
}

fn first_error(text: &str) -> Option<(Range<usize>, String)> {
    let (_, errors) = DeTable::parse_recoverable(text);
    let places = errors.iter().map(|error| (error.span().unwrap_or(0..0), error.message()));
    places.min_by_key(|(span, _)| span.start).map(|(span, message)| (span, message.replace('\n', ", ")))
}

/// Spaces instead of a stretch; line ends stay.
fn without(text: &str, stretch: &Range<usize>) -> String {
    let blank = |line: &str| line.bytes().map(|byte| if byte == b'\r' { '\r' } else { ' ' }).collect::<String>();
    let lines: Vec<String> = text[stretch.clone()].split('\n').map(blank).collect();
    format!("{}{}{}", &text[..stretch.start], lines.join("\n"), &text[stretch.end..])
}

/// One mistake: where it is shown, in which words, and what of the text is lost by it.
struct Mistake {
    place: Range<usize>,
    message: String,
    help: &'static str,
    statement: Range<usize>,
}

impl Mistake {
    fn of(text: &str, span: Range<usize>, message: &str) -> Mistake {
        let start = floor(text, span.start);
        let place = start..floor(text, span.end).max(start);
        let line = line_at(text, start);
        if is_in_list_or_table(message) {
            return Mistake::between_brackets(text, place, message);
        }
        if message.starts_with("invalid multi-line") && start == text.len() {
            let quotes = if message.contains("literal") { "'''" } else { "\"\"\"" };
            let open = text.rfind(quotes).unwrap_or(line.start);
            let message = format!("the closing {quotes} is missing");
            let statement = line_at(text, open).start..text.len();
            return Mistake { place: open..(open + 3).min(text.len()), message, help: "", statement };
        }
        let is_header = text[line.clone()].trim_start().starts_with('[');
        let statement = if is_header { line.start..section_end(text, line.end) } else { closed(text, line) };
        let before = text[statement.start.min(start)..start].trim_end();
        let (message, help) = in_words(message, before, &text[place.clone()], is_header);
        Mistake { place, message, help, statement }
    }

    /// A list or an inline table may run on over the following lines, so the mistake is noticed late.
    fn between_brackets(text: &str, place: Range<usize>, message: &str) -> Mistake {
        let line = line_at(text, place.start);
        let mut first = line.clone();
        let mut open = depth(&text[line.start..place.start]);
        while open <= 0 && first.start > 0 {
            first = line_at(text, first.start - 1);
            open += depth(&text[first.clone()]);
        }
        if open <= 0 {
            first = line.clone();
        }
        let is_elsewhere = first.start < line.start && (place.start == text.len() || begins_statement(text, &line));
        if is_elsewhere || message.starts_with("unclosed") {
            let value = text[first.clone()].find('=').map_or(0, |equals| equals + 1);
            let open = text[first.clone()][value..].find(['[', '{']).map_or(first.start, |at| first.start + value + at);
            let what =
                if text[open..].starts_with('{') { "table is not closed by }" } else { "list is not closed by ]" };
            let end = if is_elsewhere && place.start < text.len() { line.start } else { line.end };
            let message = format!("this {what}");
            return Mistake { place: open..first.end, message, help: "", statement: first.start..end };
        }
        let end = closed(text, first.clone()).end.max(line.end);
        Mistake { place, message: message.to_owned(), help: "", statement: first.start..end }
    }
}

/// What the parser says while it is between brackets.
fn is_in_list_or_table(message: &str) -> bool {
    ["array elements", "in array", "key-value pairs", "inline table"].iter().any(|part| message.contains(part))
        || message.split(',').next() == Some("unclosed array")
}

/// The parser's words where they are clear, better ones where they are not. A value is not repeated: it may be secret.
fn in_words(message: &str, before: &str, found: &str, is_header: bool) -> (String, &'static str) {
    let one_value = "text stands in quotes, numbers have a decimal point, booleans are true and false";
    let (words, help) = match message.split(',').next().unwrap_or(message) {
        "duplicate key" if is_header => ("this section is given twice", "put what belongs to it together"),
        "duplicate key" => ("this key is given twice", "leave one of them out"),
        _ if before.ends_with('=') && found.is_empty() => ("the value is missing", ""),
        "string values must be quoted" | "invalid boolean" => ("this is no value", one_value),
        "unexpected key or value" if !is_header => {
            ("more than one value", "one key = value on each line; a decimal point, no comma")
        }
        "invalid basic string" | "invalid literal string" if found.is_empty() => ("the closing quote is missing", ""),
        _ => (message, ""),
    };
    (words.trim_end_matches(", expected nothing").to_owned(), help)
}

/// The line around a place, without its end.
fn line_at(text: &str, place: usize) -> Range<usize> {
    let start = text[..place].rfind('\n').map_or(0, |newline| newline + 1);
    start..text[place..].find('\n').map_or(text.len(), |newline| place + newline)
}

fn next_line(text: &str, line: &Range<usize>) -> Option<Range<usize>> {
    (line.end < text.len()).then(|| line_at(text, line.end + 1))
}

/// Whether the line is a header or has a key.
fn begins_statement(text: &str, line: &Range<usize>) -> bool {
    let line = text[line.clone()].trim_start();
    let key = line.split_once('=').map_or("", |(key, _)| key.trim_end());
    let is_key = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "-_.\"'".contains(c));
    line.starts_with('[') || is_key
}

/// By how many brackets more are opened than closed.
fn depth(line: &str) -> i32 {
    line.chars().map(|c| i32::from("[{".contains(c)) - i32::from("]}".contains(c))).sum()
}

/// The line, and the lines that its open brackets go on over.
fn closed(text: &str, line: Range<usize>) -> Range<usize> {
    let mut open = depth(&text[line.clone()]);
    let mut last = line.clone();
    while open > 0 {
        match next_line(text, &last) {
            Some(next) if !begins_statement(text, &next) => {
                open += depth(&text[next.clone()]);
                last = next;
            }
            _ => break,
        }
    }
    line.start..last.end
}

/// Where the section ends whose header ends at `place`: before the next header, or with the text.
pub(super) fn section_end(text: &str, place: usize) -> usize {
    let mut line = line_at(text, floor(text, place));
    while let Some(next) = next_line(text, &line) {
        if text[next.clone()].trim_start().starts_with('[') {
            return next.start;
        }
        line = next;
    }
    text.len()
}

/// The nearest place at or before `place` that is between two characters.
fn floor(text: &str, place: usize) -> usize {
    (0..=place.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mended(text: &str) -> (String, usize) {
        let mut problems = Problems::default();
        let file = problems.add_file(std::path::Path::new("x"), text);
        let Mended { text, .. } = mend(file, text, &mut problems);
        (text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("|"), problems.count().0)
    }

    #[test]
    fn what_is_not_broken_stays() {
        for (text, left, mistakes) in [
            ("a = 1\nb = \nc = 3", "a = 1|c = 3", 1),
            ("a = 1\nb = 5s\nc = 10%\nd = 3", "a = 1|d = 3", 2),
            ("a = 1\nb 2\nc = 3", "a = 1|c = 3", 1),
            ("a = \"x\nb = 2", "b = 2", 1),
            ("a = 1\na = 2\nb = 3", "a = 1|b = 3", 1),
            ("a = [1, 2\nb = 3\n[c]\nd = 4", "b = 3|[c]|d = 4", 1),
            ("a = [\n  1,\n  2\nb = 3\n[[c]]\nd = 4", "b = 3|[[c]]|d = 4", 1),
            ("a = [\n  1\n  2\n]\nb = 3", "b = 3", 1),
            ("a = [1, x,\n  2]\nb = 3", "b = 3", 1),
            ("a = [\n  1,\n]\nb = { x = 1 y = 2 }\nc = 3", "a = [|1,|]|c = 3", 1),
            ("a = { b = 1, c = 2\nd = 3\n[[e]]", "d = 3|[[e]]", 1),
            ("a = [1,", "", 1),
            ("[a\nb = 1\n[c]\nd = 2", "[c]|d = 2", 1),
            ("[a]\nb = 1\n[a]\nb = 2\n[c]", "[a]|b = 1|[c]", 1),
            ("a = 1\nb = '''\nx = 2\n[c]\n", "a = 1", 1),
        ] {
            assert_eq!(mended(text), (left.to_owned(), mistakes), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_left_is_toml_of_the_same_length(text in "([a-c\"'\\[\\]{}=,.# \t\r\nä0-9-]|\\[\\[a\\]\\]\n|a = |\"\"\"){0,40}") {
            let mut problems = Problems::default();
            let file = problems.add_file(std::path::Path::new("x"), &text);
            let mended = mend(file, &text, &mut problems);
            prop_assert!(first_error(&mended.text).is_none());
            prop_assert!(mended.text.is_empty() || mended.text.len() == text.len());
            prop_assert_eq!(mended.broken.is_empty(), !problems.has_errors());
        }
    }
}
