//! One file of the configuration as sections, whatever stands in their places.
//!
//! What is at the top level is checked here; what is in the tables: [`super::reader`].

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "TOML's kinds of values are not ours: what is no section is refused"
)]

use super::keys::{SECTIONS, Section};
use super::pieces::Piece;
use super::reader::{Table, kind_of, suggestion};
use super::report::{Place, Problem, Problems};
use super::syntax;
use std::collections::BTreeSet;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One file.
pub(super) struct Document<'t> {
    file: usize,
    text: &'t str,
    pieces: Vec<Piece<'t>>,
    empty: DeTable<'t>,
    /// What had to be taken out of the text.
    broken: &'t [Range<usize>],
}

impl<'t> Document<'t> {
    /// The document of a text without a mistake.
    pub(super) fn whole(file: usize, text: &'t str) -> Option<Document<'t>> {
        Some(Document { file, text, pieces: syntax::parse(text)?, empty: DeTable::new(), broken: &[] })
    }

    /// The document of what is left of a text with mistakes.
    pub(super) fn of_rest(file: usize, mended: &'t syntax::Mended) -> Document<'t> {
        let (root, _) = DeTable::parse_recoverable(&mended.text);
        let pieces = vec![Piece { offset: 0, root: root.into_inner() }];
        Document { file, text: &mended.text, pieces, empty: DeTable::new(), broken: &mended.broken }
    }

    /// Whether all of the file could be read.
    pub(super) fn is_whole(&self) -> bool {
        self.broken.is_empty()
    }

    /// Reports what is at the top level and is none of `known`.
    pub(super) fn check_sections(&self, known: &[&'static Section], why: &str, problems: &mut Problems) {
        let mut seen = BTreeSet::new();
        let all = self.pieces.iter().flat_map(|piece| piece.root.iter().map(|entry| (piece.offset, entry)));
        for (offset, (name, value)) in all {
            let at = |span: Range<usize>| Place { file: self.file, span: span.start + offset..span.end + offset };
            let key = name.get_ref().as_ref();
            // One that goes on in another piece is told once, but for what its tables are.
            if !seen.insert(key) && !known.iter().any(|section| section.name == key && section.repeated) {
                continue;
            }
            match known.iter().find(|section| section.name == key) {
                Some(section) => {
                    for (span, message) in misshapen(section, name.span(), value) {
                        problems.add(Problem::error(at(span), message, format!("write {}", section.header())));
                    }
                }
                None if SECTIONS.iter().any(|section| section.name == key) => {
                    problems.add(Problem::error(at(name.span()), format!("{key} cannot stand in this file"), why));
                }
                None if is_section(value.get_ref()) => {
                    let help = suggestion(key, known.iter().map(|section| section.name));
                    problems.add(Problem::error(at(name.span()), format!("unknown section {key}"), help));
                }
                None => {
                    let homes = SECTIONS.iter().filter(|section| section.keys.iter().any(|k| k.name == key));
                    let homes: Vec<String> = homes.map(|section| section.header()).collect();
                    let help = match homes.as_slice() {
                        [] => "every key stands below the header of a section".to_owned(),
                        homes => format!("put it below {}", homes.join(" or ")),
                    };
                    problems.add(Problem::error(at(name.span()), format!("{key} stands outside of any section"), help));
                }
            }
        }
    }

    /// The table of a section that stands once; an empty one where it does not stand.
    pub(super) fn table<'d>(&'d self, section: &'static Section, problems: &mut Problems) -> Table<'d, 't> {
        let table = self.find_all(section).into_iter().next().unwrap_or(Table {
            file: self.file,
            offset: 0,
            section,
            entries: &self.empty,
            start: 0,
            end: 0,
            broken: false,
        });
        // What was taken out may have been this section, anywhere in the file.
        let table = Table { broken: !self.is_whole(), ..table };
        table.check(problems);
        table
    }

    /// The tables of a section that may stand many times.
    pub(super) fn tables<'d>(&'d self, section: &'static Section, problems: &mut Problems) -> Vec<Table<'d, 't>> {
        let tables = self.find_all(section);
        tables.iter().for_each(|table| table.check(problems));
        tables
    }

    /// Where a section is, in bytes; without its header.
    pub(super) fn extents(&self, section: &'static Section) -> Vec<Range<usize>> {
        let extent = |table: Table<'_, '_>| table.start..syntax::section_end(self.text, table.end);
        self.find_all(section).into_iter().map(extent).collect()
    }

    /// The tables of a section, whether written as one or as many: what is in them is looked at in any case.
    fn find_all<'d>(&'d self, section: &'static Section) -> Vec<Table<'d, 't>> {
        let elements = |piece: &'d Piece<'t>| -> Vec<(usize, &'d Spanned<DeValue<'t>>)> {
            match piece.root.get(section.name).map(|value| (value, value.get_ref())) {
                Some((_, DeValue::Array(array))) => array.iter().map(|element| (piece.offset, element)).collect(),
                Some((value, _)) => vec![(piece.offset, value)],
                None => Vec::new(),
            }
        };
        let table = |(offset, element): (usize, &'d Spanned<DeValue<'t>>)| {
            let Range { start, end } = element.span();
            let (start, end) = (start + offset, end + offset);
            let entries = element.get_ref().as_table()?;
            let extent = start..syntax::section_end(self.text, end);
            let broken = self.broken.iter().any(|lost| lost.start < extent.end && extent.start < lost.end);
            Some(Table { file: self.file, offset, section, entries, start, end, broken })
        };
        self.pieces.iter().flat_map(elements).filter_map(table).collect()
    }
}

/// What stands in the place of a section and is none.
fn misshapen(section: &Section, name: Range<usize>, value: &Spanned<DeValue<'_>>) -> Vec<(Range<usize>, String)> {
    let no_section =
        |v: &Spanned<DeValue<'_>>| (v.span(), format!("{} is a section, not {}", section.name, kind_of(v.get_ref())));
    match value.get_ref() {
        DeValue::Table(_) if section.repeated => {
            vec![(name, format!("{} may stand many times, so it is written in double brackets", section.name))]
        }
        DeValue::Table(_) => Vec::new(),
        DeValue::Array(array) if section.repeated => {
            array.iter().filter(|element| !element.get_ref().is_table()).map(no_section).collect()
        }
        DeValue::Array(array) if array.iter().all(|element| element.get_ref().is_table()) => {
            vec![(name, format!("{} stands once, so it is written in single brackets", section.name))]
        }
        _ => vec![no_section(value)],
    }
}

fn is_section(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::Table(_) => true,
        DeValue::Array(array) => array.iter().any(|element| element.get_ref().is_table()),
        _ => false,
    }
}
