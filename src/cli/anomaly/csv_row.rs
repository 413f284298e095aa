//! Rows of a series, as programs for tables and databases write them: a time, a value, a line for each.
//!
//! Columns are separated by commas, or by semicolons or tabs; with those two a value may have a decimal comma. A first row
//! whose time is none names the columns. What is empty, or no number for a reason that is usual, is a missing value.

use super::timestamp::{Zone, stamp};
use crate::domain::anomaly::series::Sample;
use crate::domain::time::Stamp;
use std::borrow::Cow;
use std::io::{BufRead, Read as _};

/// A line longer than this is no row of a series.
const MAX_LINE: u64 = 1 << 16;
/// What stands for a value that is not there.
const MISSING: [&str; 10] = ["", "-", "nan", "null", "none", "na", "n/a", "inf", "infinity", "#n/a"];

/// How the rows are to be read.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Layout {
    /// The column with the values: its name, or its number from 1 [default: the second]
    #[arg(long, value_name = "COLUMN")]
    pub(super) column: Option<String>,
    /// Times that name no zone are of this one: UTC, local, or a name like Europe/Vienna
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub(super) zone: Zone,
}

/// A row, and its fields as they were written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) at: Stamp,
    /// None: the value is missing.
    pub(super) value: Option<f64>,
    pub(super) timestamp: String,
    pub(super) text: String,
}

impl Row {
    /// None: the value is missing.
    pub(super) fn sample(&self) -> Option<Sample> {
        self.value.map(|value| Sample { at: self.at, value })
    }
}

/// Reads rows one by one; of a file or a pipe, no further than it is asked.
pub(super) struct Rows<R> {
    input: R,
    layout: Layout,
    line: Vec<u8>,
    /// Of the latest row.
    number: u64,
    separator: Option<char>,
    /// The place of the column with the values.
    place: usize,
    last: Option<Stamp>,
    /// Rows that were read.
    pub(super) count: u64,
    /// Rows whose time was earlier than that of the row before.
    pub(super) late: u64,
    /// Rows without a value.
    pub(super) missing: u64,
    /// Names of the columns, if they have any.
    pub(super) heading: Vec<String>,
}

impl<R: BufRead> Rows<R> {
    pub(super) fn new(input: R, layout: &Layout) -> Rows<R> {
        Rows {
            input,
            layout: layout.clone(),
            line: Vec::new(),
            number: 0,
            separator: None,
            place: 1,
            last: None,
            count: 0,
            late: 0,
            missing: 0,
            heading: Vec::new(),
        }
    }

    /// The next row; none at the end.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Row>> {
        loop {
            self.line.clear();
            if (&mut self.input).take(MAX_LINE).read_until(b'\n', &mut self.line)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            let line = std::mem::take(&mut self.line);
            let text = String::from_utf8_lossy(&line);
            let read = self.read(text.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']));
            let row = read.map_err(|problem| anyhow::anyhow!("line {}: {problem}", self.number))?;
            drop(text);
            self.line = line;
            if let Some(row) = row {
                self.count += 1;
                self.late += u64::from(self.last.replace(row.at).is_some_and(|last| row.at < last));
                self.missing += u64::from(row.value.is_none());
                return Ok(Some(row));
            }
        }
    }

    /// None: it is no row.
    fn read(&mut self, text: &str) -> Result<Option<Row>, String> {
        if text.trim().is_empty() || text.starts_with('#') {
            return Ok(None);
        }
        let is_first = self.separator.is_none();
        let separator = *self.separator.get_or_insert_with(|| separator(text));
        let fields = split(text, separator);
        let timestamp = fields.first().map(Cow::as_ref).unwrap_or_default();
        if is_first {
            let is_heading = fields.len() > 1 && stamp(timestamp, &self.layout.zone).is_err();
            let names = if is_heading { fields.as_slice() } else { &[] };
            self.place = place(self.layout.column.as_deref(), names)?;
            if is_heading {
                self.heading = fields.iter().map(|name| name.clone().into_owned()).collect();
                return Ok(None);
            }
        }
        let value = match fields.get(self.place) {
            Some(value) => value,
            None if self.place == 1 => return Err(format!("{text:?} is not a row of timestamp,value")),
            None => return Err(format!("{text:?} has no column {}", self.place + 1)),
        };
        let at = stamp(timestamp, &self.layout.zone)?;
        let (timestamp, text) = (timestamp.to_owned(), value.clone().into_owned());
        Ok(Some(Row { at, value: number(value, separator)?, timestamp, text }))
    }

    /// The name of the column with the values, where there was a choice.
    pub(super) fn chosen(&self) -> Option<&str> {
        let is_a_choice = self.layout.column.is_none() && self.heading.len() > 2;
        self.heading.get(self.place).filter(|_| is_a_choice).map(String::as_str)
    }
}

fn separator(text: &str) -> char {
    [';', '\t'].into_iter().find(|separator| text.contains(*separator)).unwrap_or(',')
}

/// The fields of a line (RFC 4180, without line ends in fields).
fn split(text: &str, separator: char) -> Vec<Cow<'_, str>> {
    if !text.contains('"') {
        return text.split(separator).map(|field| Cow::Borrowed(field.trim())).collect();
    }
    let (mut fields, mut field, mut is_quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            _ if c == separator && !is_quoted => fields.push(Cow::Owned(std::mem::take(&mut field).trim().to_owned())),
            _ => field.push(c),
        }
    }
    fields.push(Cow::Owned(field.trim().to_owned()));
    fields
}

/// Where the values are.
fn place(column: Option<&str>, heading: &[Cow<'_, str>]) -> Result<usize, String> {
    let Some(column) = column else { return Ok(1) };
    if let Some(place) = heading.iter().position(|name| name.eq_ignore_ascii_case(column)) {
        return Ok(place);
    }
    match column.parse::<usize>() {
        Ok(number @ 2..) => Ok(number - 1),
        Ok(_) => {
            Err("the first column has the times; values are in the second or in a later one (--column)".to_owned())
        }
        Err(_) if heading.is_empty() => Err(format!("columns have no names here, so {column:?} cannot be found")),
        Err(_) => Err(format!("there is no column {column:?}; there are {}", heading.join(", "))),
    }
}

/// None: it is missing.
fn number(text: &str, separator: char) -> Result<Option<f64>, String> {
    let number = match text.parse::<f64>() {
        Err(_) if separator != ',' => text.replacen(',', ".", 1).parse(),
        parsed => parsed,
    };
    match number {
        Ok(number) if number.is_finite() => Ok(Some(number)),
        // A number that is too large, and the words for what is none.
        Ok(_) if text.contains(|c: char| c.is_ascii_digit()) => Err(format!("{text:?} is not a finite number")),
        Ok(_) => Ok(None),
        Err(_) if MISSING.iter().any(|word| text.eq_ignore_ascii_case(word)) => Ok(None),
        Err(_) => Err(format!("{text:?} is not a finite number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, column: Option<&str>) -> Result<Vec<(i64, Option<f64>)>, String> {
        let layout = Layout { column: column.map(str::to_owned), ..Layout::default() };
        let mut rows = Rows::new(text.as_bytes(), &layout);
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(|problem| problem.to_string())? {
            found.push((row.at.as_micros() / 1_000_000, row.value));
        }
        Ok(found)
    }

    fn rows(text: &str) -> Result<Vec<(i64, Option<f64>)>, String> {
        read(text, None)
    }

    #[test]
    fn rows_are_read_as_programs_write_them() {
        let two = Ok(vec![(0, Some(1.5)), (1, Some(-2.0))]);
        for text in [
            "0,1.5\n1,-2\n",
            "\u{feff}timestamp,value\r\n0,1.5\r\n\r\n1,-2",
            "Zeit;Wert;Ort\n0;1,5;a\n1;-2;b\n",
            "time\tvalue\n0\t1,5\n1\t-2\n",
            "\"time\",\"value\"\n\"0\",\"1.5\"\n1,\"-2\"\n",
            "# exported\ntime,value\n0, 1.5 ,x\n1,-2e0,y\n",
        ] {
            assert_eq!(rows(text), two, "{text:?}");
        }
        let table = "time,\"inlet, raw\",outlet\n0,7,1.5\n1,8,-2\n";
        assert_eq!(read(table, Some("OUTLET")), two);
        assert_eq!(read(table, Some("3")), two);
        assert_eq!(read(table, Some("inlet, raw")), Ok(vec![(0, Some(7.0)), (1, Some(8.0))]));
    }

    #[test]
    fn a_missing_value_is_a_row_without_one() {
        assert_eq!(
            rows("0,1\n1,NaN\n2,\n3,null\n4,-inf\n5, N/A\n"),
            Ok([(0, Some(1.0)), (1, None), (2, None), (3, None), (4, None), (5, None),].into())
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        assert_eq!(rows("timestamp,value\n0,1\n1,1e999\n"), Err("line 3: \"1e999\" is not a finite number".into()));
        assert_eq!(rows("0,1\n1\n"), Err("line 2: \"1\" is not a row of timestamp,value".into()));
        assert!(rows("0,1\nyesterday,1\n").unwrap_err().starts_with("line 2: "));
        assert!(rows("0,x\n").unwrap_err().starts_with("line 1: "), "a row is no heading because its value is wrong");
        assert_eq!(read("t,a,b\n", Some("c")), Err("line 1: there is no column \"c\"; there are t, a, b".into()));
        assert!(read("0,1\n", Some("c")).unwrap_err().contains("have no names"));
        assert!(read("0,1\n", Some("1")).unwrap_err().contains("has the times"));
        assert_eq!(read("0,1\n", Some("3")), Err("line 1: \"0,1\" has no column 3".into()));
    }
}
