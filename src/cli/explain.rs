//! `annunciator explain`: why an alarm is as it is.

use super::Failure;
use super::remote::{Remote, accepted, print_json, put};
use super::terminal::printable;
use crate::client::Command;
use serde::Deserialize;
use std::io::Write as _;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
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

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut client = args.remote.open()?;
    let mut command = Command::new();
    put(&mut command, "alarm", Some(args.alarm.as_str()));
    let reply = client.request("explain", command)?;
    if args.json {
        return print_json(reply);
    }
    let Explained { text } = accepted(reply)?.read()?;
    let mut stdout = std::io::stdout().lock();
    for line in text.lines() {
        writeln!(stdout, "{}", printable(line))?;
    }
    Ok(())
}
