//! `annunciator anomaly show`: what a model has learnt, and a thing as the model sees it.

use super::super::output::progress::Progress;
use super::build::Models;
use super::drawing::Drawing;
use super::list::{Anomaly, Query, fetch};
use super::model::ModelState;
use crate::cli::output::terminal::{Paper, local_time, printable};
use crate::cli::remote::{Remote, accepted, print_json, put};
use crate::cli::time_arg::Period;
use crate::cli::{Failure, say};
use crate::client::{Client, Command, Reply};
use crate::domain::time::Stamp;
use anyhow::anyhow;
use serde::Deserialize;
use std::io::Write as _;
use std::path::PathBuf;

/// Points of a series that are asked for: two for each column of pixels.
const POINTS: u64 = 2_000;
/// Anomalies that are drawn at most: more than one for each column of pixels.
const MOST_DRAWN: u64 = 1_000;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    remote: Remote,
    /// The model's name; * and ? stand for anything (in quotes, or the shell takes them)
    #[arg(value_name = "MODEL")]
    model: String,
    /// Also how this thing was, and what its scores were
    #[arg(long, value_name = "THING")]
    thing: Option<String>,
    /// Of a model with several properties: only this one [default: all]
    #[arg(long, value_name = "PROPERTY", requires = "thing")]
    property: Option<String>,
    #[command(flatten)]
    period: Period,
    /// Draw the series, its scores, the thresholds and the anomalies into this file
    #[arg(long, value_name = "FILE.svg", requires = "thing")]
    plot: Option<PathBuf>,
    /// The daemon's answer as JSON
    #[arg(long)]
    json: bool,
}

/// Values of a property, with the scores that they had.
#[derive(Debug, Deserialize)]
struct Series {
    #[serde(default)]
    thing: String,
    #[serde(default)]
    property: String,
    #[serde(default)]
    rows: Vec<(i64, f64, Option<f64>)>,
}

#[derive(Deserialize)]
struct Answer {
    series: Option<Series>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let config = args.remote.load_what_is_right()?;
    let mut client = args.remote.connect(&config)?;
    let drawing = args.plot.as_deref().map(Drawing::create).transpose()?;
    // Whether anybody is there, and knows the model, is known at once; values and scores may take their time then.
    let mut first = accepted(client.request("anomaly-model", question(args))?)?;
    if args.thing.is_some() {
        first = accepted(ask(args, &mut client, args.property.as_deref())?)?;
    }
    if args.json && drawing.is_none() {
        return print_json(first);
    }
    let mut models = Vec::new();
    for model in &first.read::<Models>()?.models {
        models.push(serde_json::from_str::<ModelState>(model.get())?);
    }
    let mut series: Vec<Series> = first.read::<Answer>()?.series.into_iter().collect();
    let model = config.anomalies.iter().find(|model| *model.name == *args.model);
    let shown = series.first().map(|series| series.property.clone()).filter(|_| args.property.is_none());
    if let Some((model, shown)) = model.zip(shown) {
        for other in model.properties.iter().filter(|other| ***other != *shown) {
            series.extend(accepted(ask(args, &mut client, Some(other))?)?.read::<Answer>()?.series);
        }
    }
    if args.json {
        print_json(first)?;
    } else {
        let paper = Paper::stdout();
        let texts: Vec<String> = models.iter().map(|model| model.text(paper)).collect();
        let lines: String = series.iter().map(Series::line).collect();
        let gap = if lines.is_empty() { "" } else { "\n" };
        std::io::stdout().write_all(format!("{}{gap}{lines}", texts.join("\n")).as_bytes())?;
    }
    match (drawing, models.as_slice()) {
        (None, _) => Ok(()),
        (Some(drawing), [model]) => draw(args, &mut client, drawing, model, &series),
        (Some(_), models) => Err(Failure::Run(anyhow!("a picture is of one model, {} fit", models.len()))),
    }
}

fn question(args: &Args) -> Command {
    let mut command = Command::new();
    put(&mut command, "model", Some(args.model.as_str()));
    command
}

/// Asks for the values and scores of a property.
fn ask(args: &Args, client: &mut Client, property: Option<&str>) -> Result<Reply, Failure> {
    let mut command = question(args);
    put(&mut command, "thing", args.thing.as_deref());
    put(&mut command, "property", property);
    put(&mut command, "from", args.period.from.map(|stamp| stamp.to_string()));
    put(&mut command, "to", args.period.to.map(|stamp| stamp.to_string()));
    put(&mut command, "points", Some(POINTS));
    let mut progress = Progress::new();
    if progress.is_watched() {
        progress.show("the daemon looks at the past", None);
    }
    Ok(client.request_patiently("anomaly-model", command, |_| ())?)
}

fn draw(
    args: &Args,
    client: &mut Client,
    mut drawing: Drawing,
    model: &ModelState,
    series: &[Series],
) -> Result<(), Failure> {
    if series.iter().all(|series| series.rows.is_empty()) {
        let thing = args.thing.as_deref().unwrap_or_default();
        return Err(Failure::Run(anyhow!("there is no history of {thing} in this time, so there is nothing to draw")));
    }
    let sheet = &mut drawing.sheet;
    for series in series {
        sheet.begin_series(&format!("{}/{}", series.thing, series.property));
        series.rows.iter().for_each(|(millis, value, _)| sheet.value(stamp(*millis), *value));
    }
    for (millis, _, score) in series.first().iter().flat_map(|series| &series.rows) {
        if let Some(score) = score {
            sheet.score(stamp(*millis), *score);
        }
    }
    let levels = model.levels(args.thing.as_deref().unwrap_or_default());
    let is_a_severity = |unusual: f64| levels.iter().any(|(name, least)| *name != "unusual" && *least <= unusual);
    for (name, least) in levels.iter().filter(|(name, least)| *name != "unusual" || !is_a_severity(*least)) {
        sheet.threshold(name, *least);
    }
    let query = Query { model: Some(&model.model), thing: args.thing.as_deref(), period: args.period, open: false };
    let mut times = Vec::new();
    fetch(client, query, MOST_DRAWN, |anomaly| {
        times.extend(serde_json::from_str::<Anomaly>(anomaly)?.times());
        Ok(())
    })?;
    times.sort_unstable();
    let end = sheet.end();
    for (from, to) in times.into_iter().filter(|(from, _)| *from <= end) {
        sheet.anomaly_begins(from);
        to.into_iter().for_each(|to| sheet.anomaly_ends(to));
    }
    let revision = model.revision.map(|revision| format!("revision {revision}")).unwrap_or_default();
    sheet.learnt(None, revision);
    drawing.finish(&format!("{} · {}", model.model, args.thing.as_deref().unwrap_or_default()))?;
    if let Some(file) = &args.plot {
        say(&format!("drawn into {}", file.display()));
    }
    Ok(())
}

impl Series {
    fn line(&self) -> String {
        let name = format!("{}/{}", printable(&self.thing), printable(&self.property));
        let times = self.rows.first().zip(self.rows.last());
        let Some((first, last)) = times else { return format!("{name}: nothing is kept of this time\n") };
        let values = self.rows.iter().map(|(_, value, _)| *value);
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let scored = self.rows.iter().filter_map(|(millis, _, score)| Some((*millis, (*score)?)));
        let worst = scored.max_by(|a, b| a.1.total_cmp(&b.1));
        let worst = worst.map(|(millis, score)| format!("; highest score {score:.2} at {}", local(millis)));
        format!("{name}: {low} to {high} from {} to {}{}\n", local(first.0), local(last.0), worst.unwrap_or_default())
    }
}

fn stamp(millis: i64) -> Stamp {
    Stamp::from_micros(millis.saturating_mul(1_000))
}

fn local(millis: i64) -> String {
    local_time(&stamp(millis).to_string())
}
