//! `annunciator explain`: why an alarm is as it is.

use super::super::Failure;
use super::super::output::terminal::printable;
use super::{Remote, accepted, ask_each, print_json, put};
use crate::client::Command;
use serde::Deserialize;
use std::io::Write as _;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    remote: Remote,
    /// The daemon's answer as JSON, with all that it explains
    #[arg(long)]
    json: bool,
    /// The alarm's thing/property/level
    #[arg(value_name = "ALARM")]
    alarm: String,
}

#[derive(Deserialize)]
struct Explained {
    text: String,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut everybody = args.remote.open_all()?;
    let mut command = Command::new();
    put(&mut command, "alarm", Some(args.alarm.as_str()));
    let (replies, outcome) =
        ask_each(everybody.about(Some(&args.alarm)), |client| Ok(client.request("explain", command.clone())?))?;
    for reply in replies {
        if args.json {
            print_json(reply)?;
            continue;
        }
        let Explained { text } = accepted(reply)?.read()?;
        let mut stdout = std::io::stdout().lock();
        for line in text.lines() {
            writeln!(stdout, "{}", printable(line))?;
        }
    }
    outcome
}
