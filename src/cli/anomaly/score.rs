//! `annunciator anomaly score`: finds out whether a sensor suits, with a series of its values and nothing else.
//!
//! It learns on the first part and streams the rest through the same code as live data: each row is scored and written
//! before the next one is read, so its memory does not grow with the series.

use super::drawing::Drawing;
use super::row::{Row, Rows};
use crate::anomaly::detector::{Detector, Evidence};
use crate::anomaly::interval::{Anomaly, Change, Follower};
use crate::cli::{Failure, say};
use crate::model::Severity;
use crate::time::Span;
use anyhow::Context as _;
use serde_json::json;
use std::io::{BufRead, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A share is taken of so many rows at most, and of as many if nobody knows how many will come: what a share is for is
/// to have seen enough, and 15 % of 5,000 are enough. (The Numenta Anomaly Benchmark has the same rule.)
const SHARE_OF: usize = 5_000;
/// Rows that are learnt on at most: they are held in memory.
const MOST_ROWS: usize = 1_000_000;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Rows to learn on: a share of the series (of its first 5,000 rows, if it is longer), or a number
    #[arg(long, value_name = "15%", default_value = "15%")]
    train: Train,
    /// Draw the series, its scores, the thresholds and the anomalies into this file
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Tell anomalies as JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Rows of timestamp,value; - for standard input
    #[arg(value_name = "SERIES.csv")]
    series: PathBuf,
}

/// How much of a series is for learning.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Train {
    Percent(f64),
    Rows(usize),
}

impl FromStr for Train {
    type Err = String;

    fn from_str(text: &str) -> Result<Train, String> {
        let wrong = || format!("{text:?} is neither a percentage, as 15%, nor a number of rows up to {MOST_ROWS}");
        match text.strip_suffix('%') {
            Some(percent) => {
                let percent = percent.trim().parse().ok().filter(|percent| *percent > 0.0 && *percent < 100.0);
                percent.map(Train::Percent).ok_or_else(wrong)
            }
            None => text.parse().ok().filter(|rows| (1..=MOST_ROWS).contains(rows)).map(Train::Rows).ok_or_else(wrong),
        }
    }
}

impl Train {
    /// How many rows that is, of so many.
    fn rows(self, of: Option<usize>) -> usize {
        match self {
            Train::Percent(percent) => {
                crate::anomaly::share_of(of.map_or(SHARE_OF, |of| of.min(SHARE_OF)), percent / 100.0)
            }
            Train::Rows(rows) => rows,
        }
    }
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let name = args.series.display().to_string();
    let source = Source::open(&args.series).with_context(|| format!("cannot read {name}"))?;
    let mut drawing = args.plot.as_deref().map(Drawing::create).transpose()?;
    let scored = score(args, &name, source, drawing.as_mut());
    // A series that breaks off is drawn up to there: it may show why.
    let drawn = drawing.map_or(Ok(()), Drawing::finish);
    scored.with_context(|| name)?;
    Ok(drawn?)
}

/// Where the rows come from.
struct Source {
    input: Box<dyn BufRead>,
    /// How many rows there are, if they can be counted before they are read.
    rows: Option<usize>,
}

impl Source {
    fn open(path: &Path) -> std::io::Result<Source> {
        if path == Path::new("-") {
            return Ok(Source { input: Box::new(std::io::stdin().lock()), rows: None });
        }
        let file = std::fs::File::open(path)?;
        let rows = if file.metadata()?.is_file() { Some(count(std::fs::File::open(path)?)?) } else { None };
        Ok(Source { input: Box::new(BufReader::new(file)), rows })
    }
}

/// How many rows a file has, the heading not counted.
fn count(file: std::fs::File) -> std::io::Result<usize> {
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let (mut lines, mut first, mut is_open) = (0, Vec::new(), false);
    loop {
        let bytes = reader.fill_buf()?;
        let Some(last) = bytes.last() else { break };
        if lines == 0 {
            first.extend(bytes.iter().take_while(|byte| **byte != b'\n').take(1 << 16));
        }
        lines += bytes.iter().filter(|byte| **byte == b'\n').count();
        is_open = *last != b'\n';
        let read = bytes.len();
        reader.consume(read);
    }
    let has_heading = Rows::new(first.as_slice()).next().is_ok_and(|row| row.is_none()) && !first.is_empty();
    Ok((lines + usize::from(is_open)).saturating_sub(usize::from(has_heading)))
}

fn score(args: &Args, name: &str, source: Source, mut drawing: Option<&mut Drawing>) -> anyhow::Result<()> {
    let train = args.train.rows(source.rows);
    let is_live = source.rows.is_none();
    let mut rows = Rows::new(source.input);
    let mut output = BufWriter::new(std::io::stdout().lock());
    writeln!(output, "timestamp,value,score")?;
    output.flush()?;
    let mut past = Vec::new();
    while past.len() < train {
        let Some(row) = rows.next()? else { break };
        write(&mut output, &row, 0.0, is_live)?;
        if let Some(drawing) = &mut drawing {
            drawing.push(row.sample, None);
        }
        past.push(row.sample);
    }
    output.flush()?;
    let mut detector = Detector::learn(&past)
        .with_context(|| format!("nothing can be learnt from the first {} rows (--train)", past.len()))?;
    drop(past);
    if let Some(problem) = detector.without_segments() {
        say(&format!("{name}: the course of the values is not compared with the past: {problem}"));
    }
    let thresholds = detector.thresholds().clone();
    let mut teller = Teller { json: args.json, series: name, why: None };
    let mut follower = Follower::new(thresholds.clone(), Span::ZERO, detector.segment());
    if let Some(drawing) = &mut drawing {
        drawing.learnt(train, thresholds);
    }
    while let Some(row) = rows.next()? {
        let reading = detector.observe(row.sample);
        write(&mut output, &row, reading.onset, is_live)?;
        let change = follower.observe(row.sample.at, reading.score);
        if let Some(drawing) = &mut drawing {
            drawing.push(row.sample, Some(reading));
            drawing.follow(&change);
        }
        teller.tell(&change, reading.evidence);
    }
    output.flush()?;
    if let Some(open) = follower.open() {
        teller.anomaly(open, false);
    }
    if rows.late > 0 {
        say(&format!("{name}: {} rows are earlier than the one before them", rows.late));
    }
    Ok(())
}

fn write(output: &mut impl std::io::Write, row: &Row, score: f64, now: bool) -> std::io::Result<()> {
    writeln!(output, "{},{},{score:.4}", row.timestamp, row.value)?;
    if now { output.flush() } else { Ok(()) }
}

/// Tells anomalies to people, or to their programs.
struct Teller<'a> {
    json: bool,
    series: &'a str,
    /// What made the open anomaly one.
    why: Option<Evidence>,
}

impl Teller<'_> {
    fn tell(&mut self, change: &Change, evidence: Evidence) {
        match change {
            Change::None => {}
            Change::Grown(_) => self.why = Some(evidence),
            Change::Ended(anomaly) => self.anomaly(anomaly, true),
        }
    }

    fn anomaly(&mut self, anomaly: &Anomaly, is_over: bool) {
        let Anomaly { from, to, score, index, severity } = anomaly;
        let severity = severity.map_or("info", Severity::as_str);
        let why = self.why.take().map_or("", Evidence::as_str);
        let text = if self.json {
            json!({
                "series": self.series, "from": from.to_string(), "to": to.to_string(), "over": is_over,
                "severity": severity, "score": score, "index": index, "reason": why,
            })
            .to_string()
        } else {
            let until = if is_over { format!("to {to}") } else { format!("to {to}, not over") };
            format!("anomaly ({severity}) from {from} {until}: score {score:.1}, index {index:.1}, {why}")
        };
        say(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_a_long_series_is_one_of_5000_rows() {
        let rows = |text: &str, of| text.parse::<Train>().unwrap().rows(of);
        assert_eq!((rows("15%", Some(1_000)), rows("15%", Some(20_000)), rows("15 %", None)), (150, 750, 750));
        assert_eq!(rows("2000", Some(20_000)), 2_000);
        for wrong in ["0%", "100%", "0", "-1", "many", "nan%", "2000000"] {
            assert!(wrong.parse::<Train>().is_err(), "{wrong}");
        }
    }
}
