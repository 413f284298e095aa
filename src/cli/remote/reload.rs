//! `annunciator reload`: the running daemon reads its configuration again.

use super::super::output::table::Cell;
use super::super::output::terminal::{Look, Paper, printable};
use super::super::{Failure, say};
use super::{Remote, accepted, ask_each, print_json, print_table};
use crate::client::{Command, Reply};
use serde::Deserialize;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    remote: Remote,
    /// The daemon's answer as JSON
    #[arg(long)]
    json: bool,
}

/// What became of the alarms.
#[derive(Deserialize)]
struct Reloaded {
    #[serde(default)]
    added: Vec<String>,
    #[serde(default)]
    removed: Vec<String>,
    #[serde(default)]
    changed: Vec<String>,
    #[serde(default)]
    kept: u64,
}

/// Why nothing became of them.
#[derive(Deserialize)]
struct Rejected {
    #[serde(default)]
    problems: Vec<Problem>,
}

#[derive(Deserialize)]
struct Problem {
    file: String,
    line: Option<u64>,
    column: Option<u64>,
    severity: String,
    message: String,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut everybody = args.remote.open_all()?;
    let (_, outcome) = ask_each(everybody.about(None), |client| show(args, client.request("reload", Command::new())?))?;
    outcome
}

fn show(args: &Args, reply: Reply) -> Result<(), Failure> {
    let is_rejected = reply.error().is_some() && has_problems(&reply)?;
    if args.json {
        let printed = print_json(reply);
        return if is_rejected { Err(Failure::Config) } else { printed };
    }
    if is_rejected {
        return Err(explain(&reply)?);
    }
    let Reloaded { added, removed, changed, kept } = accepted(reply)?.read()?;
    let mut rows = Vec::new();
    for (word, look, alarms) in
        [("added", Look::Good, added), ("changed", Look::Warning, changed), ("removed", Look::Faint, removed)]
    {
        rows.extend(alarms.iter().map(|alarm| [Cell::new(look, word), Cell::plain(printable(alarm))]));
    }
    say(&format!("reloaded: {} alarms added, changed or removed, {kept} kept as they were", rows.len()));
    print_table(["", "ALARM"], &rows, Paper::stdout())
}

fn has_problems(reply: &Reply) -> Result<bool, Failure> {
    Ok(!reply.read::<Rejected>()?.problems.is_empty())
}

/// Says what is wrong with the daemon's configuration, as `check` would.
fn explain(reply: &Reply) -> Result<Failure, Failure> {
    for Problem { file, line, column, severity, message } in reply.read::<Rejected>()?.problems {
        let place: String = [line, column].into_iter().flatten().map(|number| format!(":{number}")).collect();
        say(&format!("{file}{place}: {severity}: {message}"));
    }
    say(&format!("annunciator: {}", reply.error().unwrap_or("nothing was changed")));
    Ok(Failure::Config)
}
