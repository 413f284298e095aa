//! The verbs that change alarms: they differ in a word.

use super::Failure;
use super::remote::{Outcomes, Remote, Signature, accepted, print_json, print_table};
use super::terminal::Paper;
use crate::client::Command;
use serde_json::Value;

/// Which alarms, and who changes them.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    signature: Signature,
    /// The daemon's answer as JSON, one object for each ALARM
    #[arg(long)]
    json: bool,
    /// thing/property/level; * and ? stand for anything (in quotes, or the shell takes them)
    #[arg(value_name = "ALARM", required = true)]
    alarms: Vec<String>,
}

/// Asks for the change of each alarm or pattern. A refusal keeps none of the others from being asked for.
pub(super) fn run(verb: &str, args: &Args, further: &[(&str, Value)]) -> Result<(), Failure> {
    let mut client = args.remote.open()?;
    let (mut rows, mut refusals) = (Vec::new(), Vec::new());
    for alarm in &args.alarms {
        let mut command = Command::new();
        command.insert("alarm".to_owned(), Value::from(alarm.as_str()));
        for (name, value) in further {
            command.insert((*name).to_owned(), value.clone());
        }
        args.signature.sign(&mut command);
        let reply = client.request(verb, command)?;
        if !args.json && reply.error().is_none() {
            rows.extend(reply.read::<Outcomes>()?.alarms.iter().map(super::remote::Outcome::row));
        }
        let shown = if args.json { print_json(reply) } else { accepted(reply).map(drop) };
        match shown {
            Err(Failure::Run(error)) if error.downcast_ref::<std::io::Error>().is_none() => {
                refusals.push(error.to_string());
            }
            other => other?,
        }
    }
    print_table(["ALARM", "STATE", ""], &rows, Paper::stdout())?;
    if refusals.is_empty() { Ok(()) } else { Err(Failure::Run(anyhow::anyhow!(refusals.join("\nannunciator: ")))) }
}
