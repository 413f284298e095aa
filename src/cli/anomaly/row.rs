//! Rows of a series: `timestamp,value`.
//!
//! A time is RFC 3339, or the same without a zone, which is read as UTC, or seconds since 1970. Further columns are
//! ignored. A first row whose value is no number names the columns.

use crate::anomaly::series::Sample;
use crate::time::Stamp;
use std::io::{BufRead, Read as _};

/// A line longer than this is no row of a series.
const MAX_LINE: u64 = 1 << 16;

/// A row, and its fields as they were written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) sample: Sample,
    pub(super) timestamp: String,
    pub(super) value: String,
}

/// Reads rows one by one; of a file or a pipe, no further than it is asked.
pub(super) struct Rows<R> {
    input: R,
    line: Vec<u8>,
    number: u64,
    last: Option<Stamp>,
    /// Rows whose time was earlier than that of the row before.
    pub(super) late: u64,
}

impl<R: BufRead> Rows<R> {
    pub(super) fn new(input: R) -> Rows<R> {
        Rows { input, line: Vec::new(), number: 0, last: None, late: 0 }
    }

    /// The next row; none at the end.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Row>> {
        loop {
            self.line.clear();
            if (&mut self.input).take(MAX_LINE).read_until(b'\n', &mut self.line)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            let text = String::from_utf8_lossy(&self.line);
            let text = text.trim_start_matches('\u{feff}').trim();
            if text.is_empty() {
                continue;
            }
            match parse(text) {
                Ok(row) => {
                    let at = row.sample.at;
                    self.late += u64::from(self.last.replace(at).is_some_and(|last| at < last));
                    return Ok(Some(row));
                }
                Err(_) if self.number == 1 && is_heading(text) => {}
                Err(problem) => anyhow::bail!("line {}: {problem}", self.number),
            }
        }
    }
}

fn is_heading(text: &str) -> bool {
    text.split_once(',').is_some_and(|(timestamp, _)| stamp(timestamp.trim()).is_err())
}

fn parse(text: &str) -> Result<Row, String> {
    let mut fields = text.split(',').map(str::trim);
    let (Some(timestamp), Some(value)) = (fields.next(), fields.next()) else {
        return Err(format!("{text:?} is not a row of timestamp,value"));
    };
    let number = value.parse().ok().filter(|number: &f64| number.is_finite());
    let number = number.ok_or_else(|| format!("{value:?} is not a finite number"))?;
    let sample = Sample { at: stamp(timestamp)?, value: number };
    Ok(Row { sample, timestamp: timestamp.to_owned(), value: value.to_owned() })
}

fn stamp(text: &str) -> Result<Stamp, String> {
    if let Ok(seconds) = text.parse::<f64>()
        && seconds.abs() < 1e12
    {
        return Ok(from_seconds(seconds));
    }
    let text = text.replacen(' ', "T", 1);
    Stamp::parse(&text).or_else(|problem| Stamp::parse(&format!("{text}Z")).map_err(|_| problem))
}

#[expect(clippy::cast_possible_truncation, reason = "less than 10¹² seconds, in microseconds")]
fn from_seconds(seconds: f64) -> Stamp {
    Stamp::from_micros((seconds * 1e6).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Result<Vec<(i64, f64)>, String> {
        let mut rows = Rows::new(text.as_bytes());
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(|problem| problem.to_string())? {
            found.push((row.sample.at.as_micros(), row.sample.value));
        }
        Ok(found)
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        let half_past = 1_424_979_060_000_000;
        for time in
            ["2015-02-26 19:31:00", "2015-02-26T19:31:00Z", "2015-02-26 20:31:00+01:00", "1424979060", "1424979060.0"]
        {
            assert_eq!(rows(&format!("timestamp,value\n{time}, 1.5,x\n\n")), Ok(vec![(half_past, 1.5)]), "{time}");
        }
        assert_eq!(rows("\u{feff}0,1\r\n1,2"), Ok(vec![(0, 1.0), (1_000_000, 2.0)]));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        assert_eq!(rows("timestamp,value\n0,1\n1,NaN\n"), Err("line 3: \"NaN\" is not a finite number".into()));
        assert_eq!(rows("0,1\n1\n"), Err("line 2: \"1\" is not a row of timestamp,value".into()));
        assert!(rows("0,1\nyesterday,1\n").unwrap_err().starts_with("line 2: "));
        assert!(rows("0,x\n").unwrap_err().starts_with("line 1: "), "a row is no heading because its value is wrong");
    }
}
