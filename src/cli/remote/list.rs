//! `annunciator list`: the alarms of a running daemon and how they are.

use super::super::Failure;
use super::super::output::table::Cell;
use super::super::output::terminal::{Paper, json_line};
use super::states::AlarmState;
use super::{Remote, accepted, ask_each, print_table, put};
use crate::client::{Client, Command};
use crate::io::clock;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::io::Write as _;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    remote: Remote,
    /// Only alarms whose thing/property/level fits; * and ? stand for anything (in quotes, or the shell takes them)
    #[arg(value_name = "ALARM")]
    alarm: Option<String>,
    /// Only alarms in these states
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = ["off", "enabled", "idled", "activated", "acknowledged"])]
    state: Vec<String>,
    /// Only alarms that are activated or acknowledged
    #[arg(long)]
    active: bool,
    /// One JSON object a line: the alarms as their retained topics have them
    #[arg(long)]
    json: bool,
}

/// One page of the answer.
#[derive(Deserialize)]
struct Page {
    alarms: Vec<Box<RawValue>>,
    next: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut everybody = args.remote.open_all()?;
    let mut rows = Vec::new();
    let (_, outcome) = ask_each(everybody.about(args.alarm.as_deref()), |client| fetch(args, client, &mut rows))?;
    rows.sort_by(|(one, _), (other, _)| one.cmp(other));
    let rows: Vec<[Cell; 6]> = rows.into_iter().map(|(_, row)| row).collect();
    print_table(["SEVERITY", "STATE", "ALARM", "CHANGED", "VALUE", "TITLE"], &rows, Paper::stdout())?;
    outcome
}

/// Asks one instance for its alarms, page by page. JSON is written as it comes; rows are kept, with the alarm's id.
fn fetch(args: &Args, client: &mut Client, rows: &mut Vec<(String, [Cell; 6])>) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let mut command = Command::new();
        put(&mut command, "alarm", args.alarm.as_deref());
        put(&mut command, "state", (!args.state.is_empty()).then(|| args.state.clone()));
        put(&mut command, "active", args.active.then_some(true));
        put(&mut command, "after", after);
        let page: Page = accepted(client.request("list", command)?)?.read()?;
        for alarm in &page.alarms {
            if args.json {
                std::io::stdout().write_all(json_line(alarm.get()).as_bytes())?;
            } else {
                let state: AlarmState = serde_json::from_str(alarm.get())?;
                let row = row(&state);
                rows.push((state.alarm, row));
            }
        }
        // A page that brings nothing would be asked for again for ever.
        match page.next.filter(|_| !page.alarms.is_empty()) {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

fn row(alarm: &AlarmState) -> [Cell; 6] {
    [
        alarm.severity_cell(),
        alarm.state_cell(clock::wall()),
        Cell::plain(alarm.alarm_text()),
        Cell::plain(alarm.at_text()),
        Cell::plain(alarm.value_text()),
        Cell::plain(alarm.title_text()),
    ]
}
