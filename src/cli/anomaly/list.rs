//! `annunciator anomaly list`: what was found, newest first; or the models that look for it.

use super::build::Models;
use super::model::{self, ModelState};
use crate::cli::Failure;
use crate::cli::output::table::Cell;
use crate::cli::output::terminal::{Look, Paper, json_line, local_time, printable, value};
use crate::cli::remote::{Remote, accepted, print_table, put};
use crate::cli::time_arg::Period;
use crate::client::{Client, Command};
use crate::domain::time::Stamp;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::io::Write as _;

/// Anomalies in one answer: what the daemon gives at most.
const PAGE: u64 = 1_000;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    remote: Remote,
    /// Only of models whose name fits; * and ? stand for anything (in quotes, or the shell takes them)
    #[arg(value_name = "MODEL")]
    model: Option<String>,
    /// Only of things that fit
    #[arg(long, value_name = "THING")]
    thing: Option<String>,
    #[command(flatten)]
    period: Period,
    /// Only those that are not over
    #[arg(long)]
    open: bool,
    /// So many, the newest
    #[arg(long, value_name = "N", default_value_t = 50, conflicts_with = "all")]
    limit: u64,
    /// All that are kept
    #[arg(long)]
    all: bool,
    /// The models themselves: how each of them is, and how many anomalies a day it would have raised
    #[arg(long, conflicts_with_all = ["thing", "from", "to", "open", "limit", "all"])]
    models: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Which anomalies.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Query<'a> {
    pub(super) model: Option<&'a str>,
    pub(super) thing: Option<&'a str>,
    pub(super) period: Period,
    pub(super) open: bool,
}

/// An anomaly as the daemon has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Anomaly {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    model: String,
    #[serde(default)]
    thing: String,
    from: String,
    to: Option<String>,
    #[serde(default)]
    pub(super) open: bool,
    score: Option<f64>,
    index: Option<f64>,
    pub(super) severity: Option<String>,
    #[serde(default)]
    alarm: Value,
}

/// One page of the answer.
#[derive(Deserialize)]
struct Page {
    anomalies: Vec<Box<RawValue>>,
    #[serde(default)]
    next: Option<Value>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut client = args.remote.open()?;
    if args.models {
        return models(args, &mut client);
    }
    let query =
        Query { model: args.model.as_deref(), thing: args.thing.as_deref(), period: args.period, open: args.open };
    let limit = if args.all { u64::MAX } else { args.limit };
    let mut rows = Vec::new();
    fetch(&mut client, query, limit, |anomaly| {
        if args.json {
            std::io::stdout().write_all(json_line(anomaly).as_bytes())?;
        } else {
            rows.push(serde_json::from_str::<Anomaly>(anomaly)?.row());
        }
        Ok(())
    })?;
    print_table(HEAD, &rows, Paper::stdout())
}

fn models(args: &Args, client: &mut Client) -> Result<(), Failure> {
    let mut command = Command::new();
    put(&mut command, "model", args.model.as_deref());
    let Models { models } = accepted(client.request("anomaly-model", command)?)?.read()?;
    let mut rows = Vec::new();
    for model in &models {
        if args.json {
            std::io::stdout().write_all(json_line(model.get()).as_bytes())?;
        } else {
            rows.push(serde_json::from_str::<ModelState>(model.get())?.row());
        }
    }
    print_table(model::HEAD, &rows, Paper::stdout())
}

/// Asks for the newest anomalies that fit, page by page, each as JSON.
pub(super) fn fetch(
    client: &mut Client,
    query: Query<'_>,
    limit: u64,
    mut take: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (mut left, mut before) = (limit, None);
    while left > 0 {
        let mut command = Command::new();
        put(&mut command, "model", query.model);
        put(&mut command, "thing", query.thing);
        put(&mut command, "from", query.period.from.map(|stamp| stamp.to_string()));
        put(&mut command, "to", query.period.to.map(|stamp| stamp.to_string()));
        put(&mut command, "open", query.open.then_some(true));
        put(&mut command, "limit", Some(left.min(PAGE)));
        put(&mut command, "before", before.clone());
        let Page { anomalies, next } = accepted(client.request("anomaly-list", command)?)?.read()?;
        for anomaly in &anomalies {
            take(anomaly.get())?;
        }
        left = left.saturating_sub(anomalies.len() as u64);
        match next.filter(|next| !next.is_null() && Some(next) != before.as_ref()) {
            Some(next) => before = Some(next),
            None => break,
        }
    }
    Ok(())
}

/// The headline of a list of anomalies.
const HEAD: [&str; 9] = ["SEVERITY", "MODEL", "THING", "FROM", "TO", "SCORE", "INDEX", "ID", "ALARM"];

impl Anomaly {
    fn row(&self) -> [Cell; HEAD.len()] {
        let severity = self.severity.as_deref().unwrap_or("–");
        let figure = |figure: Option<f64>| figure.map(|figure| format!("{figure:.1}")).unwrap_or_default();
        let to = match (&self.to, self.open) {
            (_, true) => Cell::new(Look::Warning, "open"),
            (Some(to), false) => Cell::plain(local_time(to)),
            (None, false) => Cell::plain(""),
        };
        [
            Cell::new(Look::of_severity(severity), printable(severity)),
            Cell::plain(printable(&self.model)),
            Cell::plain(printable(&self.thing)),
            Cell::plain(local_time(&self.from)),
            to,
            Cell::plain(figure(self.score)),
            Cell::plain(figure(self.index)),
            Cell::plain(if self.id.is_null() { String::new() } else { value(&self.id) }),
            Cell::plain(if self.alarm.is_null() { String::new() } else { value(&self.alarm) }),
        ]
    }

    /// From when to when; none: it says no time that can be read. An open one has no end.
    pub(super) fn times(&self) -> Option<(Stamp, Option<Stamp>)> {
        let to = self.to.as_deref().filter(|_| !self.open).and_then(|to| Stamp::parse(to).ok());
        Some((Stamp::parse(&self.from).ok()?, to))
    }
}
