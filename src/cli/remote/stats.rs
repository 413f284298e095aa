//! `annunciator stats`: how well the alarms of a running daemon serve people.

use super::super::Failure;
use super::super::output::table::{Cell, render};
use super::super::output::terminal::{Look, Paper, local_time, printable};
use super::{Remote, accepted, ask_each, print_json};
use crate::client::Command;
use serde::Deserialize;
use std::io::Write as _;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    remote: Remote,
    /// The daemon's answer as JSON
    #[arg(long)]
    json: bool,
}

/// The answer.
#[derive(Deserialize)]
struct Stats {
    from: String,
    to: String,
    last_10_minutes: u64,
    peak_10_minutes: u64,
    mean_10_minutes: f64,
    last_day: u64,
    flood_share: f64,
    standing: u64,
    shelved: u64,
    stale: u64,
    chattering: u64,
    fleeting: u64,
    flood: Option<Flood>,
    worst: Worst,
    #[serde(default)]
    partial: bool,
}

#[derive(Deserialize)]
struct Flood {
    since: String,
}

#[derive(Deserialize)]
struct Worst {
    frequent: Vec<Counted>,
    chattering: Vec<Counted>,
    fleeting: Vec<Counted>,
    stale: Vec<Stale>,
}

#[derive(Deserialize)]
struct Counted {
    alarm: String,
    activations: u64,
    #[serde(default)]
    fleeting: u64,
    share: f64,
}

#[derive(Deserialize)]
struct Stale {
    alarm: String,
    since: String,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut everybody = args.remote.open_all()?;
    let (_, outcome) = ask_each(everybody.about(None), |client| {
        let reply = client.request("stats", Command::new())?;
        if args.json { print_json(reply) } else { show(&accepted(reply)?.read()?, client.gateway()) }
    })?;
    outcome
}

fn show(stats: &Stats, gateway: &str) -> Result<(), Failure> {
    let paper = Paper::stdout();
    let mut text = format!("From {} to {}\n\n", local_time(&stats.from), local_time(&stats.to));
    // One of several instances.
    if gateway.contains('/') {
        text.insert_str(0, &format!("{}\n", printable(gateway)));
    }
    text.push_str(&render(["FIGURE", "VALUE", "TARGET", ""], &figures(stats), paper));
    let alarms = alarms(&stats.worst);
    if !alarms.is_empty() {
        text.push('\n');
        text.push_str(&render(["WHAT", "HOW OFTEN", "SHARE", "ALARM"], &alarms, paper));
    }
    if stats.partial {
        text.push_str("\nThere were so many different alarms that rare ones were not counted one by one.\n");
    }
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// The figures, and what ISA-18.2 asks of them for one operator: what is acceptable, not what is good.
fn figures(stats: &Stats) -> Vec<[Cell; 4]> {
    let flood = stats.flood.as_ref().map(|flood| format!("flood since {}", local_time(&flood.since)));
    let row = |name: &str, value: String, is_fine: bool, target: &str, remark: Option<String>| {
        let look = if is_fine { Look::Plain } else { Look::Warning };
        [
            Cell::plain(name),
            Cell::new(look, value),
            Cell::new(Look::Faint, target),
            Cell::new(Look::Error, remark.unwrap_or_default()),
        ]
    };
    let count =
        |name: &str, number: u64, most: u64, target: &str| row(name, number.to_string(), number <= most, target, None);
    let share = stats.flood_share;
    vec![
        row(
            "alarms in the last 10 minutes",
            stats.last_10_minutes.to_string(),
            stats.last_10_minutes <= 10,
            "up to 10",
            flood,
        ),
        count("most in 10 minutes", stats.peak_10_minutes, 10, "up to 10"),
        row("mean in 10 minutes", stats.mean_10_minutes.to_string(), stats.mean_10_minutes <= 2.0, "1 to 2", None),
        count("alarms in a day", stats.last_day, 300, "150 to 300"),
        row("time in floods", percent(share), share < 0.01, "under 1 %", None),
        count("chattering alarms", stats.chattering, 0, "none"),
        count("fleeting alarms", stats.fleeting, 0, "none"),
        count("stale alarms", stats.stale, 4, "under 5"),
        count("standing alarms", stats.standing, u64::MAX, ""),
        count("shelved alarms", stats.shelved, u64::MAX, ""),
    ]
}

fn alarms(worst: &Worst) -> Vec<[Cell; 4]> {
    let counted = |what: &'static str, count: fn(&Counted) -> u64| {
        move |entry: &Counted| {
            let alarm = printable(&entry.alarm).into_owned();
            [what.to_owned(), count(entry).to_string(), percent(entry.share), alarm].map(Cell::plain)
        }
    };
    let stale = |stale: &Stale| {
        let since = format!("since {}", local_time(&stale.since));
        ["stale".to_owned(), since, String::new(), printable(&stale.alarm).into_owned()].map(Cell::plain)
    };
    let frequent = worst.frequent.iter().map(counted("frequent", |entry| entry.activations));
    let chattering = worst.chattering.iter().map(counted("chattering", |entry| entry.activations));
    let fleeting = worst.fleeting.iter().map(counted("fleeting", |entry| entry.fleeting));
    frequent.chain(chattering).chain(fleeting).chain(worst.stale.iter().map(stale)).collect()
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
