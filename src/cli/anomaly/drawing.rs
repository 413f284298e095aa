//! The picture that is asked for with `--plot`: the series with its anomalies, and the scores with the thresholds.

use crate::anomaly::detector::Reading;
use crate::anomaly::interval::Change;
use crate::anomaly::series::Sample;
use crate::anomaly::threshold::Thresholds;
use crate::plot::{self, Lane, Level, Light, Panel, Picture, Reading as Point, Thin, Turn};
use crate::time::Stamp;
use anyhow::Context as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Scores are drawn up to here: what is expected once in 10¹² values never happens, and would flatten all others.
const HIGHEST: f64 = 12.0;

pub(super) struct Drawing {
    path: PathBuf,
    file: std::fs::File,
    start: Option<Stamp>,
    end: Stamp,
    values: Thin<Point>,
    scores: Thin<Point>,
    anomalies: Thin<Turn>,
    count: u64,
    is_open: bool,
    learnt: Option<(usize, Stamp, Thresholds)>,
}

impl Drawing {
    /// Makes the file, before time is spent on the series.
    pub(super) fn create(path: &Path) -> anyhow::Result<Drawing> {
        let file = std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Drawing {
            path: path.to_owned(),
            file,
            start: None,
            end: Stamp::default(),
            values: Thin::default(),
            scores: Thin::default(),
            anomalies: Thin::default(),
            count: 0,
            is_open: false,
            learnt: None,
        })
    }

    /// A row, with what was said of it.
    pub(super) fn push(&mut self, sample: Sample, reading: Option<Reading>) {
        // A row that is earlier than the one before is drawn where that one is.
        self.end = if self.start.is_none() { sample.at } else { self.end.max(sample.at) };
        self.start = self.start.or(Some(sample.at));
        self.values.push(self.end, Point::of(sample.value));
        if let Some(reading) = reading {
            self.scores.push(self.end, Point::of(reading.score.min(HIGHEST)));
        }
    }

    /// Learning is over.
    pub(super) fn learnt(&mut self, rows: usize, thresholds: Thresholds) {
        self.learnt = Some((rows, self.end, thresholds));
    }

    /// What the latest score changed.
    pub(super) fn follow(&mut self, change: &Change) {
        match change {
            Change::None => {}
            Change::Grown(_) if self.is_open => {}
            Change::Grown(anomaly) => {
                self.is_open = true;
                self.count += 1;
                self.turn(anomaly.from, Light::Activated);
            }
            Change::Ended(anomaly) => {
                self.is_open = false;
                self.turn(anomaly.to, Light::Idled);
            }
        }
    }

    fn turn(&mut self, at: Stamp, to: Light) {
        let activated = (to == Light::Activated).then_some(at);
        self.anomalies.push(at, Turn { to, worst: to, activated, late_acknowledgement: false });
    }

    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        let name = self.path.display().to_string();
        let svg = plot::draw(&self.picture()).with_context(|| format!("cannot draw {name}"))?;
        self.file.write_all(svg.as_bytes()).with_context(|| format!("cannot write {name}"))
    }

    fn picture(&mut self) -> Picture {
        let start = self.start.unwrap_or_default();
        let (note, begins, levels) = match self.learnt.take() {
            Some((rows, at, thresholds)) => {
                (format!("learnt on the first {rows} rows, until {at}"), at, levels(&thresholds))
            }
            None => ("nothing was learnt".to_owned(), start, Vec::new()),
        };
        let lane = Lane {
            name: "anomalies".into(),
            words: format!("come when the score reaches the lowest threshold ({note})"),
            begins,
            light: Light::Enabled,
            turns: std::mem::take(&mut self.anomalies),
            waits: Thin::default(),
            means: Thin::default(),
            activations: self.count,
        };
        let values = std::mem::take(&mut self.values);
        let scores = std::mem::take(&mut self.scores);
        let series = Panel { title: "series".into(), values, lanes: vec![lane], ..Panel::default() };
        let title = "score: expected once in 10^score values".into();
        let scores = Panel { title, values: scores, levels, ..Panel::default() };
        Picture {
            heading: format!("annunciator anomaly score · {} … {}", start, self.end),
            start,
            end: self.end,
            panels: vec![series, scores],
            ..Picture::default()
        }
    }
}

fn levels(thresholds: &Thresholds) -> Vec<Level> {
    let level = |(severity, least): &(crate::model::Severity, f64)| Level {
        low: *least,
        high: *least,
        alarms: vec![severity.as_str().to_owned()],
    };
    thresholds.least.iter().map(level).collect()
}
