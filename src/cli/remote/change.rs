//! The verbs that change alarms: they differ in a word.

use super::super::output::terminal::Paper;
use super::super::{Failure, say};
use super::{Outcomes, Remote, Signature, accepted, ask_each, print_json, print_table};
use crate::client::Command;
use serde_json::Value;

/// Which alarms, and who changes them.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
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

impl Args {
    /// Whether it is known who asks.
    pub(crate) fn is_signed(&self) -> bool {
        self.signature.name().is_some()
    }
}

/// Asks for the change of each alarm or pattern. A refusal keeps none of the others from being asked for.
pub(crate) fn run(verb: &str, args: &Args, further: &[(&str, Value)]) -> Result<(), Failure> {
    let mut everybody = args.remote.open_all()?;
    let (mut rows, mut refusals, mut more) = (Vec::new(), Vec::new(), 0);
    for alarm in &args.alarms {
        let mut command = Command::new();
        command.insert("alarm".to_owned(), Value::from(alarm.as_str()));
        for (name, value) in further {
            command.insert((*name).to_owned(), value.clone());
        }
        args.signature.sign(&mut command);
        let concerned = everybody.about(Some(alarm));
        let (replies, outcome) = ask_each(concerned, |client| Ok(client.request(verb, command.clone())?))?;
        // Of several instances it is enough that one has alarms that fit.
        let (mut replies, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.error().is_none());
        if replies.is_empty() {
            replies.extend(refused.into_iter().take(1));
        }
        for reply in replies {
            if !args.json && reply.error().is_none() {
                let Outcomes { alarms, not_listed } = reply.read()?;
                rows.extend(alarms.iter().map(super::Outcome::row));
                more += not_listed;
            }
            let shown = if args.json { print_json(reply) } else { accepted(reply).map(drop) };
            match shown {
                Err(Failure::Run(error)) if error.downcast_ref::<std::io::Error>().is_none() => {
                    refusals.push(error.to_string());
                }
                other => other?,
            }
        }
        if let Err(Failure::Run(error)) = outcome {
            refusals.push(error.to_string());
        }
    }
    print_table(["ALARM", "STATE", ""], &rows, Paper::stdout())?;
    if more > 0 {
        say(&format!("annunciator: and {more} more, which are not listed"));
    }
    if refusals.is_empty() { Ok(()) } else { Err(Failure::Run(anyhow::anyhow!(refusals.join("\nannunciator: ")))) }
}
