//! `annunciator anomaly delete`: anomalies that are not to count any more, with their alarms as the configuration says.

use super::build::Models;
use super::model::ModelState;
use crate::cli::remote::{Remote, accepted, print_json, put};
use crate::cli::time_arg::Period;
use crate::cli::{Failure, say};
use crate::client::{Client, Command};
use serde::Deserialize;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    remote: Remote,
    /// The id of one anomaly, as `list` shows it; or a model, all of whose anomalies are meant
    #[arg(value_name = "ID|MODEL")]
    what: String,
    /// Of a model: only of things that fit; * and ? stand for anything
    #[arg(long, value_name = "THING")]
    thing: Option<String>,
    #[command(flatten)]
    period: Period,
    /// The daemon's answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Deleted {
    #[serde(default)]
    deleted: u64,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut client = args.remote.open()?;
    let has_conditions = args.thing.is_some() || args.period.from.is_some() || args.period.to.is_some();
    let is_model = has_conditions || is_model(&mut client, &args.what)?;
    let mut command = Command::new();
    put(&mut command, if is_model { "model" } else { "id" }, Some(args.what.as_str()));
    put(&mut command, "thing", args.thing.as_deref());
    put(&mut command, "from", args.period.from.map(|stamp| stamp.to_string()));
    put(&mut command, "to", args.period.to.map(|stamp| stamp.to_string()));
    let reply = client.request("anomaly-delete", command)?;
    if args.json {
        return print_json(reply);
    }
    let Deleted { deleted } = accepted(reply)?.read()?;
    say(&match deleted {
        0 => "nothing was there to be deleted".to_owned(),
        1 => "1 anomaly deleted".to_owned(),
        count => format!("{count} anomalies deleted"),
    });
    Ok(())
}

/// Whether there is a model of this name. What is none may be an id; these have slashes.
fn is_model(client: &mut Client, name: &str) -> Result<bool, Failure> {
    let mut command = Command::new();
    put(&mut command, "model", Some(name));
    let reply = client.request("anomaly-model", command)?;
    if reply.error().is_some() && name.contains('/') {
        return Ok(false);
    }
    let Models { models } = accepted(reply)?.read()?;
    let mut names = models.iter().filter_map(|model| ModelState::read(model.get().as_bytes()));
    Ok(names.any(|state| state.model == name))
}
