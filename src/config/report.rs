//! Problems of a configuration, and how people and editors see them.
//!
//! For people: `FILE:LINE:COLUMN: error: what`, the line with a mark under the place, and what would be right. For
//! programs: one JSON object a line.

use serde::Serialize;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

/// A stretch of a file's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub(crate) file: usize,
    pub(crate) span: Range<usize>,
}

/// How much a problem matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// The configuration cannot be used.
    Error,
    /// A file or secret that it names cannot be used. That is an error of `check`; the daemon starts all the same, and
    /// reads it again whenever it needs it.
    Unusable,
    /// It can, but probably not as it is meant.
    Warning,
}

impl Weight {
    fn as_str(self) -> &'static str {
        match self {
            Weight::Error | Weight::Unusable => "error",
            Weight::Warning => "warning",
        }
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    place: Place,
    weight: Weight,
    message: String,
    help: String,
    shows_source: bool,
}

impl Problem {
    /// An error, and what would be right.
    pub(crate) fn error(place: Place, message: impl Into<String>, help: impl Into<String>) -> Problem {
        Problem { place, weight: Weight::Error, message: message.into(), help: help.into(), shows_source: true }
    }

    /// A file or secret that cannot be used.
    pub(crate) fn unusable(place: Place, message: impl Into<String>, help: impl Into<String>) -> Problem {
        Problem { weight: Weight::Unusable, ..Problem::error(place, message, help) }
    }

    /// A warning, and what would be better.
    pub(crate) fn warning(place: Place, message: impl Into<String>, help: impl Into<String>) -> Problem {
        Problem { place, weight: Weight::Warning, message: message.into(), help: help.into(), shows_source: true }
    }

    /// The same, without the line of the file: there is a secret in it.
    pub(crate) fn without_source(self) -> Problem {
        Problem { shows_source: false, ..self }
    }
}

/// All problems of a configuration, and the texts they are in.
#[derive(Debug, Default)]
pub struct Problems {
    files: Vec<File>,
    problems: Vec<Problem>,
}

/// A file of the configuration, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    name: String,
    text: String,
    /// Where each line but the first begins. A file may have a million lines and a hundred thousand mistakes.
    lines: Vec<usize>,
}

impl File {
    /// The number of the line in which this byte is, from 1.
    fn line(&self, byte: usize) -> usize {
        self.lines.partition_point(|start| *start <= byte) + 1
    }
}

impl Problems {
    pub(crate) fn add_file(&mut self, path: &Path, text: &str) -> usize {
        let lines = text.match_indices('\n').map(|(newline, _)| newline + 1).collect();
        self.files.push(File { name: path.display().to_string(), text: text.to_owned(), lines });
        self.files.len() - 1
    }

    /// Notes that a file is no UTF-8 from this byte on.
    pub(crate) fn add_undecodable(&mut self, path: &Path, bytes: &[u8], error: std::str::Utf8Error) {
        let file = self.add_file(path, &String::from_utf8_lossy(bytes));
        let start = error.valid_up_to();
        let place = Place { file, span: start..start + char::REPLACEMENT_CHARACTER.len_utf8() };
        self.add(Problem::error(place, "this is no UTF-8 text", "save the file in UTF-8"));
    }

    pub(crate) fn add_unreadable(&mut self, path: &Path, error: &std::io::Error) {
        let file = self.add_file(path, "");
        let place = Place { file, span: 0..0 };
        self.add(Problem::error(place, format!("cannot read it: {error}"), "check the path and the permissions"));
    }

    pub(crate) fn add(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Whether with one of them the configuration cannot be used.
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.weight == Weight::Error)
    }

    /// Whether one of them is in one of these stretches of the first file.
    pub(crate) fn touch(&self, extents: &[Range<usize>]) -> bool {
        let is_in = |span: &Range<usize>, extent: &Range<usize>| span.start < extent.end && extent.start <= span.end;
        let spans = self.problems.iter().map(|problem| &problem.place).filter(|place| place.file == 0);
        spans.into_iter().any(|place| extents.iter().any(|extent| is_in(&place.span, extent)))
    }

    /// Takes what was found in the same files elsewhere.
    pub(crate) fn append(&mut self, mut others: Problems) {
        self.problems.append(&mut others.problems);
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// How many errors and how many warnings.
    pub fn count(&self) -> (usize, usize) {
        let errors = self.problems.iter().filter(|problem| problem.weight != Weight::Warning).count();
        (errors, self.problems.len() - errors)
    }

    /// In the order of the text.
    pub(crate) fn sorted(mut self) -> Problems {
        self.problems.sort_by_key(|p| (p.place.file, p.place.span.start, p.weight == Weight::Warning));
        self.problems.dedup();
        self
    }

    /// `FILE:LINE` of a place.
    pub(crate) fn line(&self, place: &Place) -> String {
        let file = &self.files[place.file];
        format!("{}:{}", file.name, file.line(place.span.start))
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for problem in &self.problems {
            let Location { file, line, column, source, width } = self.locate(problem);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{file}:{line}:{column}: {}: {}", problem.weight.as_str(), problem.message);
            if !source.trim().is_empty() && problem.shows_source && !may_hold_a_secret(source) {
                let gutter = line.to_string().len();
                let indent: String =
                    source.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
                let _ = writeln!(text, " {line} | {}", source.trim_end());
                let _ = writeln!(text, " {:gutter$} | {indent}{}", "", "^".repeat(width.max(1)));
            }
            if !problem.help.is_empty() {
                let _ = writeln!(text, "   = {}", problem.help);
            }
        }
        text
    }

    /// For programs: one JSON object a line.
    pub fn to_json_lines(&self) -> String {
        let line = |line: &Line| serde_json::to_string(line).unwrap_or_default() + "\n";
        self.to_lines().iter().map(line).collect()
    }

    /// For programs, one by one.
    pub fn to_lines(&self) -> Vec<Line> {
        let line = |problem: &Problem| {
            let Location { file, line, column, .. } = self.locate(problem);
            let message = match problem.help.as_str() {
                "" => problem.message.clone(),
                help => format!("{}; {help}", problem.message),
            };
            Line { file: file.to_owned(), line, column, severity: problem.weight.as_str(), message }
        };
        self.problems.iter().map(line).collect()
    }

    fn locate(&self, problem: &Problem) -> Location<'_> {
        let File { name: file, text, .. } = &self.files[problem.place.file];
        let start = problem.place.span.start.min(text.len());
        let before = text.get(..start).unwrap_or("");
        let line = self.files[problem.place.file].line(start);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        // A byte order mark is no character of the first line.
        let line_start = if text[line_start..].starts_with('\u{feff}') { line_start + 3 } else { line_start };
        let source = text.get(line_start..).unwrap_or("").lines().next().unwrap_or("");
        let marked = text.get(start..problem.place.span.end.min(text.len())).unwrap_or("");
        Location {
            file,
            line,
            column: before.get(line_start..).unwrap_or("").chars().count() + 1,
            source,
            width: marked.lines().next().unwrap_or("").chars().count(),
        }
    }
}

/// A problem as programs see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    file: String,
    line: usize,
    column: usize,
    severity: &'static str,
    message: String,
}

/// Whether a line has to stay where it is. It may be broken or in the wrong place, so its words decide.
fn may_hold_a_secret(line: &str) -> bool {
    let line = line.to_lowercase();
    let is_url_with_a_user = line.contains("://") && line.contains('@');
    is_url_with_a_user || ["pass", "pwd", "secret", "token", "credential"].iter().any(|word| line.contains(word))
}

struct Location<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    source: &'a str,
    width: usize,
}
