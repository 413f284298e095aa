//! `annunciator anomaly score`: finds out whether a sensor suits, with a series of its values and nothing else.
//!
//! It learns on the first part and streams the rest through the same code as live data: each row is scored and written
//! before the next one is read, so its memory does not grow with the series.

use super::csv_row::{Layout, Row, Rows};
use super::drawing::{Drawing, Sheet};
use crate::cli::{Failure, say};
use crate::domain::anomaly::detector::{Detector, Evidence};
use crate::domain::anomaly::interval::{Anomaly, Change, Follower};
use crate::domain::anomaly::model::LEAST_SEGMENTS;
use crate::domain::anomaly::series::Sample;
use crate::domain::model::Severity;
use crate::domain::time::{Span, Stamp};
use anyhow::Context as _;
use serde_json::json;
use std::borrow::Cow;
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
    #[command(flatten)]
    layout: Layout,
    /// Rows of timestamp,value, separated by commas, semicolons or tabs; - for standard input
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
                crate::domain::anomaly::share_of(of.map_or(SHARE_OF, |of| of.min(SHARE_OF)), percent / 100.0)
            }
            Train::Rows(rows) => rows,
        }
    }
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let name = args.series.display().to_string();
    let source = Source::open(&args.series, &args.layout).with_context(|| format!("cannot read {name}"))?;
    let mut drawing = args.plot.as_deref().map(Drawing::create).transpose()?;
    let scored = score(args, &name, source, drawing.as_mut().map(|drawing| &mut drawing.sheet));
    // A series that breaks off is drawn up to there: it may show why.
    let drawn = drawing.map_or(Ok(()), |drawing| drawing.finish("annunciator anomaly score"));
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
    fn open(path: &Path, layout: &Layout) -> std::io::Result<Source> {
        if path == Path::new("-") {
            return Ok(Source { input: Box::new(std::io::stdin().lock()), rows: None });
        }
        let file = std::fs::File::open(path)?;
        let rows = if file.metadata()?.is_file() { Some(count(std::fs::File::open(path)?, layout)?) } else { None };
        Ok(Source { input: Box::new(BufReader::with_capacity(1 << 16, file)), rows })
    }
}

/// How many rows a file has, the heading not counted.
fn count(file: std::fs::File, layout: &Layout) -> std::io::Result<usize> {
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
    let has_heading = Rows::new(first.as_slice(), layout).next().is_ok_and(|row| row.is_none()) && !first.is_empty();
    Ok((lines + usize::from(is_open)).saturating_sub(usize::from(has_heading)))
}

fn score(args: &Args, name: &str, source: Source, mut sheet: Option<&mut Sheet>) -> anyhow::Result<()> {
    let train = args.train.rows(source.rows);
    let is_live = source.rows.is_none();
    let mut rows = Rows::new(source.input, &args.layout);
    let mut output = BufWriter::new(std::io::stdout().lock());
    writeln!(output, "timestamp,value,score")?;
    output.flush()?;
    if let Some(sheet) = &mut sheet {
        sheet.begin_series("series");
    }
    let mut past = Vec::new();
    while rows.count < train as u64 {
        let Some(row) = rows.next()? else { break };
        write(&mut output, &row, 0.0, is_live)?;
        let Some(sample) = row.sample() else { continue };
        if let Some(sheet) = &mut sheet {
            sheet.value(sample.at, sample.value);
        }
        past.push(sample);
    }
    output.flush()?;
    if let Some(column) = rows.chosen() {
        say(&format!("{name}: the values are those of the column {column:?}; --column takes another one"));
    }
    let mut detector = learn(&past, &rows, source.rows)?;
    let mut teller = Teller { json: args.json, series: name, why: None };
    teller.learnt(&past, &detector);
    drop(past);
    let thresholds = detector.thresholds().clone();
    if let Some(sheet) = &mut sheet {
        sheet.learnt(Some(sheet.end()), format!("learnt on the first {train} rows, until {}", sheet.end()));
        thresholds.least.iter().for_each(|(severity, least)| sheet.threshold(severity.as_str(), *least));
    }
    let mut follower = Follower::new(thresholds, Span::ZERO, detector.segment());
    let (mut latest, mut is_open) = (Stamp::from_micros(i64::MIN), false);
    while let Some(row) = rows.next()? {
        let reading = row.sample().map(|sample| (sample, detector.observe(sample)));
        write(&mut output, &row, reading.map_or(0.0, |(_, reading)| reading.onset), is_live)?;
        let Some((sample, reading)) = reading else { continue };
        // A row that is earlier than the one before does not take an anomaly back.
        latest = latest.max(sample.at);
        let change = follower.observe(latest, reading.score);
        if let Some(sheet) = &mut sheet {
            sheet.value(latest, sample.value);
            sheet.score(latest, reading.score);
            match &change {
                Change::Grown(anomaly) if !is_open => sheet.anomaly_begins(anomaly.from),
                Change::Ended(anomaly) => sheet.anomaly_ends(anomaly.to),
                Change::None | Change::Grown(_) => {}
            }
        }
        is_open = match change {
            Change::None => is_open,
            Change::Grown(_) => true,
            Change::Ended(_) => false,
        };
        teller.tell(&change, reading.evidence);
    }
    output.flush()?;
    if let Some(open) = follower.open() {
        teller.anomaly(open, false);
    }
    if rows.late > 0 {
        say(&format!("{name}: {} rows are earlier than the one before them", rows.late));
    }
    if rows.missing > 0 {
        say(&format!("{name}: {} rows have no value; their score is 0", rows.missing));
    }
    Ok(())
}

/// Learns, or says what would help.
fn learn<R: BufRead>(past: &[Sample], rows: &Rows<R>, all: Option<usize>) -> anyhow::Result<Detector> {
    anyhow::ensure!(rows.count > 0 || all.is_some_and(|all| all > 0), "there are no rows in it: timestamp,value");
    // A few rows may be late; a table that has its newest row first has all of them late but that one.
    anyhow::ensure!(
        rows.late * 4 <= rows.count,
        "the rows are not in the order of time ({} of the first {} are earlier than the one before): sort them first",
        rows.late,
        rows.count
    );
    let all = all.map(|all| format!(" of {all}")).unwrap_or_default();
    let missing = rows.count - past.len() as u64;
    let missing = if missing > 0 { format!(" ({missing} of them without a value)") } else { String::new() };
    let rows = format!("the first {} rows{all}{missing}", rows.count);
    anyhow::ensure!(
        past.len() >= LEAST_SEGMENTS,
        "{rows} are too few to learn from: at least {LEAST_SEGMENTS} are needed, some hundreds are better (--train)"
    );
    Detector::learn(past).with_context(|| format!("nothing can be learnt from {rows}"))
}

fn write(output: &mut impl std::io::Write, row: &Row, score: f64, now: bool) -> std::io::Result<()> {
    writeln!(output, "{},{},{score:.4}", field(&row.timestamp), field(&row.text))?;
    if now { output.flush() } else { Ok(()) }
}

/// A field as it was written, in quotes where the output would take it for two (RFC 4180).
fn field(text: &str) -> Cow<'_, str> {
    if text.contains(',') { Cow::Owned(format!("\"{text}\"")) } else { Cow::Borrowed(text) }
}

/// Tells anomalies to people, or to their programs.
struct Teller<'a> {
    json: bool,
    series: &'a str,
    /// What made the open anomaly one.
    why: Option<Evidence>,
}

impl Teller<'_> {
    /// What is to be known of the past before anomalies are told: how many there would have been in it.
    fn learnt(&self, past: &[Sample], detector: &Detector) {
        let (from, to) = past.first().zip(past.last()).map(|(first, last)| (first.at, last.at)).unwrap_or_default();
        let (rows, per_day) = (past.len(), detector.anomalies_per_day());
        let unusual = detector.thresholds().unusual;
        let problem = detector.without_segments();
        if self.json {
            let line = json!({
                "series": self.series, "learnt": rows, "from": from.to_string(), "to": to.to_string(),
                "anomalies_per_day": per_day, "unusual": unusual, "without_segments": problem.map(ToString::to_string),
            });
            return say(&line.to_string());
        }
        let name = self.series;
        if let Some(problem) = problem {
            say(&format!("{name}: the course of the values is not compared with the past: {problem}"));
        }
        say(&format!(
            "{name}: learnt on {rows} rows from {from} to {to}; in the second half of them there would have been {} \
             anomalies a day (score {unusual:.2} and above)",
            super::model::per_day(per_day)
        ));
    }

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
