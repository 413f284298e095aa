//! The picture that is asked for with `--plot`: series with their anomalies, and the scores with the thresholds.
//!
//! It is filled as the data comes, from a file or from a daemon, and drawn at the end.

use crate::domain::time::Stamp;
use crate::plot::{self, Lane, Legend, Level, Light, Panel, Picture, Reading as Point, Thin, Turn};
use anyhow::Context as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Scores are drawn up to here: what is expected once in 10¹² values never happens, and would flatten all others.
const HIGHEST: f64 = 12.0;

/// A file that a picture goes into.
pub(super) struct Drawing {
    path: PathBuf,
    file: std::fs::File,
    /// What is on it.
    pub(super) sheet: Sheet,
}

impl Drawing {
    /// Makes the file, before time is spent on anything else.
    pub(super) fn create(path: &Path) -> anyhow::Result<Drawing> {
        let file = std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Drawing { path: path.to_owned(), file, sheet: Sheet::default() })
    }

    /// Draws what was put on the sheet, under this heading.
    pub(super) fn finish(mut self, heading: &str) -> anyhow::Result<()> {
        let name = self.path.display();
        let svg = plot::draw(&self.sheet.picture(heading)).with_context(|| format!("cannot draw {name}"))?;
        self.file.write_all(svg.as_bytes()).with_context(|| format!("cannot write {name}"))
    }
}

/// What is to be drawn.
#[derive(Default)]
pub(super) struct Sheet {
    start: Option<Stamp>,
    end: Stamp,
    series: Vec<(String, Thin<Point>)>,
    scores: Thin<Point>,
    anomalies: Thin<Turn>,
    count: u64,
    /// Since when anomalies could be found; none: from the beginning.
    begins: Option<Stamp>,
    /// What a reader has to know of the series.
    note: String,
    levels: Vec<Level>,
}

impl Sheet {
    /// Values that come next are those of this series.
    pub(super) fn begin_series(&mut self, name: &str) {
        self.series.push((name.to_owned(), Thin::default()));
    }

    /// A value. One that is earlier than the one before is drawn where that one is.
    pub(super) fn value(&mut self, at: Stamp, value: f64) {
        self.start = Some(self.start.map_or(at, |start| start.min(at)));
        self.end =
            if self.series.iter().all(|(_, values)| values.buckets().is_empty()) { at } else { self.end.max(at) };
        if let Some((_, values)) = self.series.last_mut() {
            values.push(at, Point::of(value));
        }
    }

    pub(super) fn score(&mut self, at: Stamp, score: f64) {
        self.scores.push(at, Point::of(score.min(HIGHEST)));
    }

    /// The time at which the latest value was.
    pub(super) fn end(&self) -> Stamp {
        self.end
    }

    /// Anomalies can be found from then on, for a reason that is noted.
    pub(super) fn learnt(&mut self, begins: Option<Stamp>, note: String) {
        (self.begins, self.note) = (begins, note);
    }

    /// The least score of a severity.
    pub(super) fn threshold(&mut self, severity: &str, least: f64) {
        let least = (least * 100.0).round() / 100.0;
        self.levels.push(Level { low: least, high: least, alarms: vec![severity.to_owned()] });
    }

    /// An anomaly begins.
    pub(super) fn anomaly_begins(&mut self, at: Stamp) {
        self.count += 1;
        self.turn(at, Light::Activated);
    }

    /// It is over.
    pub(super) fn anomaly_ends(&mut self, at: Stamp) {
        self.turn(at, Light::Idled);
    }

    fn turn(&mut self, at: Stamp, to: Light) {
        let activated = (to == Light::Activated).then_some(at);
        self.anomalies.push(at, Turn { to, worst: to, activated, late_acknowledgement: false });
    }

    fn picture(&mut self, heading: &str) -> Picture {
        let start = self.start.unwrap_or_default();
        let lane = Lane {
            name: "anomalies".into(),
            words: "come when the score reaches the lowest threshold".into(),
            begins: self.begins.unwrap_or(start),
            light: Light::Enabled,
            turns: std::mem::take(&mut self.anomalies),
            waits: Thin::default(),
            means: Thin::default(),
            activations: self.count,
        };
        let series = std::mem::take(&mut self.series);
        let mut panels: Vec<Panel> =
            series.into_iter().map(|(title, values)| Panel { title, values, ..Panel::default() }).collect();
        if let Some(first) = panels.first_mut() {
            first.lanes.push(lane);
            first.note = std::mem::take(&mut self.note);
        }
        let title = "score: expected once in 10^score values".into();
        let (values, levels) = (std::mem::take(&mut self.scores), std::mem::take(&mut self.levels));
        panels.push(Panel { title, values, levels, ..Panel::default() });
        Picture {
            heading: format!("{heading} · {start} … {}", self.end),
            legend: Legend::Anomalies,
            start,
            end: self.end,
            panels,
            ..Picture::default()
        }
    }
}
