//! `annunciator test-reaction`: one delivery without an alarm, and what the other side said.

use super::super::Failure;
use super::super::output::terminal::printable;
use super::{Remote, accepted, print_json, put};
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
    /// The name of the [[reaction]]
    #[arg(value_name = "REACTION")]
    reaction: String,
}

#[derive(Deserialize)]
struct Tested {
    #[serde(default)]
    answer: String,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut everybody = args.remote.open_all()?;
    let mut command = Command::new();
    put(&mut command, "reaction", Some(args.reaction.as_str()));
    let reply = everybody.first()?.request("test-reaction", command)?;
    if args.json {
        return print_json(reply);
    }
    let Tested { answer } = accepted(reply)?.read()?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}: delivered: {}", printable(&args.reaction), printable(&answer))?;
    Ok(())
}
