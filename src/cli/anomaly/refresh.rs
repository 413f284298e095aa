//! `annunciator anomaly refresh`: whether a model looks at live data, and the one look that is wanted now.

use super::model::Refresh;
use crate::cli::output::terminal::printable;
use crate::cli::remote::{Remote, accepted, print_json, put};
use crate::cli::{Failure, say};
use crate::client::Command;
use serde::Deserialize;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    remote: Remote,
    /// The model's name
    #[arg(value_name = "MODEL")]
    model: String,
    /// Whether it looks at live data; now: once, whatever it does otherwise
    #[arg(value_name = "on|off|now")]
    set: Set,
    /// Only things that fit; * and ? stand for anything. May be given several times [default: all of the model]
    #[arg(long = "thing", value_name = "THING")]
    things: Vec<String>,
    /// The daemon's answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Set {
    /// Again and again, as the configuration says
    On,
    /// Not any more
    Off,
    /// Once, at once
    Now,
}

/// What the daemon says.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    refresh: Refresh,
    /// That there may be more alarms than anybody can look at.
    warning: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut client = args.remote.open()?;
    let mut command = Command::new();
    let set = match args.set {
        Set::On => "on",
        Set::Off => "off",
        Set::Now => "now",
    };
    put(&mut command, "model", Some(args.model.as_str()));
    put(&mut command, "set", Some(set));
    put(&mut command, "things", (!args.things.is_empty()).then(|| args.things.clone()));
    let reply = client.request("anomaly-refresh", command)?;
    if args.json {
        return print_json(reply);
    }
    let Answer { refresh, warning } = accepted(reply)?.read()?;
    say(&format!("{}: refresh is {}", args.model, refresh.words()));
    if let Some(warning) = warning {
        say(&format!("warning: {}", printable(&warning)));
    }
    Ok(())
}
