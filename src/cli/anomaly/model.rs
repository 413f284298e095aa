//! A model as its retained topic has it, and how it is shown.

use crate::cli::output::table::{Cell, render};
use crate::cli::output::terminal::{Look, Paper, local_time, printable, value};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The headline of a list of models.
pub(super) const HEAD: [&str; 8] = ["MODEL", "STATE", "REVISION", "BUILT", "SAMPLES", "PER DAY", "OPEN", "REMARK"];

/// The headline of the things that have models of their own.
const OF_THINGS: [&str; 6] = ["THING", "SAMPLES", "SEGMENTS", "CLUSTERS", "PER DAY", "THRESHOLDS"];

/// What is known of a model. What a daemon does not say is not there.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(super) struct ModelState {
    pub(super) model: String,
    #[serde(default)]
    pub(super) state: String,
    progress: Option<f64>,
    pub(super) error: Option<String>,
    pub(super) revision: Option<u64>,
    built_at: Option<String>,
    from: Option<String>,
    to: Option<String>,
    samples: Option<u64>,
    segments: Option<u64>,
    clusters: Option<u64>,
    #[serde(default)]
    pub(super) thresholds: BTreeMap<String, Option<f64>>,
    anomalies_per_day: Option<f64>,
    refresh: Option<Refresh>,
    history: Option<History>,
    open: Option<u64>,
    /// That there may be more alarms than anybody can look at.
    warning: Option<String>,
    /// Where each thing has a model of its own.
    #[serde(default)]
    things: Vec<OfThing>,
}

/// What was learnt of one thing.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
struct OfThing {
    thing: String,
    samples: Option<u64>,
    segments: Option<u64>,
    clusters: Option<u64>,
    #[serde(default)]
    thresholds: BTreeMap<String, Option<f64>>,
    anomalies_per_day: Option<f64>,
}

/// How a model looks at live data.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(super) struct Refresh {
    #[serde(default)]
    on: bool,
    #[serde(default)]
    every: Value,
    #[serde(default)]
    alarms: bool,
    #[serde(default)]
    save: bool,
    last: Option<String>,
    next: Option<String>,
}

/// What is kept of the past.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
struct History {
    #[serde(default)]
    samples: u64,
    bytes: Option<u64>,
    from: Option<String>,
    to: Option<String>,
}

impl ModelState {
    /// None: it is no model.
    pub(super) fn read(json: &[u8]) -> Option<ModelState> {
        serde_json::from_slice(json).ok()
    }

    /// Whether a build is waiting or going on.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.state.as_str(), "queued" | "building")
    }

    /// How far the work on it is, 0 … 1.
    pub(super) fn share(&self) -> f64 {
        self.progress.unwrap_or_default().clamp(0.0, 1.0)
    }

    /// Whether it was built or tried anew since.
    pub(super) fn is_news_to(&self, before: &ModelState) -> bool {
        (&self.state, self.revision, &self.built_at, &self.error)
            != (&before.state, before.revision, &before.built_at, &before.error)
    }

    /// As a row of a list.
    pub(super) fn row(&self) -> [Cell; HEAD.len()] {
        let count = |count: Option<u64>| Cell::plain(count.map(|count| count.to_string()).unwrap_or_default());
        let look = match self.state.as_str() {
            "ready" => Look::Good,
            "failed" => Look::Error,
            "queued" | "building" => Look::Info,
            _ => Look::Plain,
        };
        let state = match self.state.as_str() {
            "building" => format!("building {:.0} %", self.share() * 100.0),
            state => printable(state).into_owned(),
        };
        let open = self.open.unwrap_or_default();
        let last = match (&self.error, &self.refresh) {
            (Some(error), _) => Cell::new(Look::Error, printable(error)),
            (None, Some(refresh)) => Cell::plain(format!("refresh {}", refresh.words())),
            (None, None) => Cell::plain(""),
        };
        [
            Cell::plain(printable(&self.model)),
            Cell::new(look, state),
            count(self.revision),
            Cell::plain(self.built_at.as_deref().map(local_time).unwrap_or_default()),
            count(self.samples),
            Cell::plain(self.anomalies_per_day.map(per_day).unwrap_or_default()),
            Cell::new(if open > 0 { Look::Warning } else { Look::Plain }, open.to_string()),
            last,
        ]
    }

    /// All that is known of it, a line for each kind.
    pub(super) fn text(&self, paper: Paper) -> String {
        let mut text = String::new();
        let mut line = |name: &str, words: String| {
            if !words.is_empty() {
                let padding = " ".repeat(12_usize.saturating_sub(name.len()));
                text.push_str(&format!("{}{padding}{words}\n", paper.paint(Look::Strong, name)));
            }
        };
        line("MODEL", printable(&self.model).into_owned());
        line("state", self.state_words());
        line("learnt", self.learnt_words());
        line("thresholds", self.threshold_words());
        line("anomalies", self.anomaly_words());
        line("refresh", self.refresh.as_ref().map(Refresh::words).unwrap_or_default());
        line("history", self.history.as_ref().map(History::words).unwrap_or_default());
        line("warning", self.warning.as_deref().map(printable).unwrap_or_default().into_owned());
        if !self.things.is_empty() {
            let rows: Vec<_> = self.things.iter().map(OfThing::row).collect();
            text.push('\n');
            text.push_str(&render(OF_THINGS, &rows, paper));
        }
        text
    }

    fn state_words(&self) -> String {
        let state = match self.state.as_str() {
            "building" => format!("building, {:.0} %", self.share() * 100.0),
            state => printable(state).into_owned(),
        };
        let revision = self.revision.map(|revision| format!(", revision {revision}")).unwrap_or_default();
        let built = self.built_at.as_deref().map(|at| format!(", built {}", local_time(at))).unwrap_or_default();
        let error = self.error.as_deref().map(|error| format!(": {}", printable(error))).unwrap_or_default();
        format!("{state}{revision}{built}{error}")
    }

    fn learnt_words(&self) -> String {
        let counts = [(self.samples, "samples"), (self.segments, "segments"), (self.clusters, "clusters")];
        let counts: Vec<String> =
            counts.into_iter().filter_map(|(count, what)| Some(format!("{} {what}", count?))).collect();
        let period = period(self.from.as_deref(), self.to.as_deref());
        [period, counts.join(", ")].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
    }

    fn threshold_words(&self) -> String {
        threshold_words(&self.thresholds)
    }

    /// From which score on a thing has an anomaly, and of which severity, lowest first.
    pub(super) fn levels(&self, thing: &str) -> Vec<(&str, f64)> {
        let own = self.things.iter().find(|of| of.thing == thing);
        levels(own.map_or(&self.thresholds, |of| &of.thresholds))
    }

    fn anomaly_words(&self) -> String {
        let figure = self.anomalies_per_day.map(|figure| format!("{} a day in what it learnt from", per_day(figure)));
        let open = self.open.map(|open| format!("{open} open"));
        figure.into_iter().chain(open).collect::<Vec<_>>().join(", ")
    }
}

impl OfThing {
    fn row(&self) -> [Cell; OF_THINGS.len()] {
        let count = |count: Option<u64>| Cell::plain(count.map(|count| count.to_string()).unwrap_or_default());
        [
            Cell::plain(printable(&self.thing)),
            count(self.samples),
            count(self.segments),
            count(self.clusters),
            Cell::plain(self.anomalies_per_day.map(per_day).unwrap_or_default()),
            Cell::plain(threshold_words(&self.thresholds)),
        ]
    }
}

fn levels(thresholds: &BTreeMap<String, Option<f64>>) -> Vec<(&str, f64)> {
    let known = thresholds.iter().filter_map(|(name, least)| Some((name.as_str(), (*least)?)));
    let mut levels: Vec<(&str, f64)> = known.collect();
    // What is unusual comes before the severity that has the same threshold.
    levels.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| (a.0 != "unusual").cmp(&(b.0 != "unusual"))));
    levels
}

fn threshold_words(thresholds: &BTreeMap<String, Option<f64>>) -> String {
    let words = levels(thresholds).into_iter().map(|(name, least)| format!("{} {least:.2}", printable(name)));
    words.collect::<Vec<_>>().join(", ")
}

impl Refresh {
    /// Whether it is on, how often, and what it does.
    pub(super) fn words(&self) -> String {
        if !self.on {
            return "off".to_owned();
        }
        let every = if self.every.is_null() { String::new() } else { format!(" every {}", value(&self.every)) };
        let alarms = if self.alarms { ", with alarms" } else { ", without alarms" };
        let save = if self.save { ", publishes scores" } else { "" };
        let time = |name: &str, at: &Option<String>| {
            at.as_deref().map(|at| format!(", {name} {}", local_time(at))).unwrap_or_default()
        };
        format!("on{every}{alarms}{save}{}{}", time("last", &self.last), time("next", &self.next))
    }
}

impl History {
    fn words(&self) -> String {
        let bytes = self.bytes.map(|bytes| format!(" in {}", size(bytes))).unwrap_or_default();
        let period = period(self.from.as_deref(), self.to.as_deref());
        let gap = if period.is_empty() { "" } else { " " };
        format!("{} samples{bytes}{gap}{period}", self.samples)
    }
}

fn period(from: Option<&str>, to: Option<&str>) -> String {
    let from = from.map(|from| format!("from {}", local_time(from)));
    let to = to.map(|to| format!("to {}", local_time(to)));
    from.into_iter().chain(to).collect::<Vec<_>>().join(" ")
}

/// How many in a day, with the digits that matter.
pub(super) fn per_day(figure: f64) -> String {
    if figure >= 10.0 { format!("{figure:.0}") } else { format!("{figure:.1}") }
}

/// Bytes as people count them.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{}.{} KiB", bytes >> 10, ((bytes & 1_023) * 10) >> 10),
        _ => format!("{}.{} MiB", bytes >> 20, (((bytes >> 10) & 1_023) * 10) >> 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PAPER: Paper = Paper { is_terminal: false, is_coloured: false };

    #[test]
    fn what_is_known_is_shown_and_nothing_else() {
        let model = json!({
            "model": "boiler", "state": "ready", "progress": 1, "revision": 3, "samples": 43200, "segments": 720,
            "clusters": 5, "thresholds": { "warning": 3.5, "critical": 5.5, "unusual": 3.5, "info": null },
            "anomalies_per_day": 0.25, "open": 1, "history": { "samples": 50000, "bytes": 160_000 },
            "refresh": { "on": true, "every": "15m", "alarms": true, "save": false }, "warning": "a storm",
            "things": [
                { "thing": "a", "samples": 43100, "anomalies_per_day": 12.4, "thresholds": { "unusual": 4 } },
                { "thing": "b", "samples": 100, "clusters": 2 },
            ],
        });
        let model = ModelState::read(model.to_string().as_bytes()).unwrap();
        let want = "\
MODEL       boiler
state       ready, revision 3
learnt      43200 samples, 720 segments, 5 clusters
thresholds  unusual 3.50, warning 3.50, critical 5.50
anomalies   0.2 a day in what it learnt from, 1 open
refresh     on every 15m, with alarms
history     50000 samples in 156.2 KiB
warning     a storm

THING  SAMPLES  SEGMENTS  CLUSTERS  PER DAY  THRESHOLDS
a      43100                        12       unusual 4.00
b      100                2
";
        assert_eq!(model.text(PAPER), want);
        assert_eq!(model.levels("a"), [("unusual", 4.0)]);
        assert_eq!(model.levels("c").len(), 3, "those of the model");
        let bare = ModelState::read(br#"{"model":"a","state":"queued"}"#).unwrap();
        assert_eq!(bare.text(PAPER), "MODEL       a\nstate       queued\n");
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!([0, 1_023, 1_536, 10 << 20].map(size), ["0 B", "1023 B", "1.5 KiB", "10.0 MiB"]);
    }
}
