//! Aligned tables for people.

use super::terminal::{Look, Paper, cut};

/// Between columns.
const GAP: usize = 2;
/// The last column keeps at least this much of a narrow terminal.
const LEAST: usize = 8;

/// One field of a table. Its text is printable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    look: Look,
}

impl Cell {
    pub(crate) fn new(look: Look, text: impl Into<String>) -> Cell {
        Cell { text: text.into(), look }
    }

    pub(crate) fn plain(text: impl Into<String>) -> Cell {
        Cell::new(Look::Plain, text)
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// Columns, each as wide as the widest field that it has had, the last one as wide as the terminal lets it.
#[derive(Debug, Clone)]
pub(crate) struct Columns<const N: usize> {
    head: [Cell; N],
    widths: [usize; N],
    paper: Paper,
    /// Columns of the terminal that may be used.
    limit: Option<usize>,
}

impl<const N: usize> Columns<N> {
    pub(crate) fn new(head: [&str; N], paper: Paper) -> Columns<N> {
        let head = head.map(|title| Cell::new(Look::Strong, title));
        let widths = head.each_ref().map(Cell::width);
        Columns { head, widths, paper, limit: paper.size().map(|(columns, _)| columns) }
    }

    /// The same with so many columns at most.
    pub(crate) fn within(self, limit: usize) -> Columns<N> {
        Columns { limit: Some(limit), ..self }
    }

    /// Makes room for these rows.
    pub(crate) fn fit<'a>(&mut self, rows: impl IntoIterator<Item = &'a [Cell; N]>) {
        for row in rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = cell.width().max(*width);
            }
        }
    }

    /// The headline.
    pub(crate) fn head(&self) -> String {
        self.line(&self.head)
    }

    /// One row, with its line end.
    pub(crate) fn line(&self, row: &[Cell; N]) -> String {
        let before_last: usize = self.widths.iter().take(N.saturating_sub(1)).map(|width| width + GAP).sum();
        let room = self.limit.map_or(usize::MAX, |limit| limit.saturating_sub(before_last).max(LEAST));
        let mut text = String::new();
        let mut padding = 0;
        for (column, (cell, width)) in row.iter().zip(self.widths).enumerate() {
            if cell.text.is_empty() {
                padding += width + GAP;
                continue;
            }
            let shown = if column + 1 == N { cut(&cell.text, room) } else { cell.text.as_str().into() };
            text.push_str(&" ".repeat(padding));
            text.push_str(&self.paper.paint(cell.look, &shown));
            padding = width.saturating_sub(cell.width()) + GAP;
        }
        text.push('\n');
        text
    }
}

/// A whole table.
pub(crate) fn render<const N: usize>(head: [&str; N], rows: &[[Cell; N]], paper: Paper) -> String {
    let mut columns = Columns::new(head, paper);
    columns.fit(rows);
    std::iter::once(columns.head()).chain(rows.iter().map(|row| columns.line(row))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_nothing_trails() {
        let rows = [
            [Cell::plain("boiler-7/t/HH"), Cell::new(Look::Error, "activated"), Cell::plain("")],
            [Cell::plain("ö"), Cell::plain(""), Cell::plain("Druck")],
        ];
        let paper = Paper { is_terminal: false, is_coloured: false };
        assert_eq!(
            render(["ALARM", "STATE", "TITLE"], &rows, paper),
            "ALARM          STATE      TITLE\nboiler-7/t/HH  activated\nö                         Druck\n"
        );
        let coloured = Paper { is_terminal: false, is_coloured: true };
        assert!(render(["A", "B", "C"], &rows, coloured).contains("\x1b[1;31mactivated\x1b[0m\n"));
    }
}
