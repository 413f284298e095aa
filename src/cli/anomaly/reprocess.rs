//! `annunciator anomaly reprocess`: a model looks at a part of the past, once, and what it finds there replaces what was
//! known of it.

use super::super::output::progress::{Progress, say_at_interrupt};
use super::build::Models;
use super::model::ModelState;
use crate::cli::remote::{Remote, accepted, print_json, put};
use crate::cli::time_arg::time_or_ago;
use crate::cli::{Failure, say};
use crate::client::Command;
use crate::domain::time::Stamp;
use serde::Deserialize;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    remote: Remote,
    /// The model's name
    #[arg(value_name = "MODEL")]
    model: String,
    /// Where to begin: RFC 3339, or how long ago (7d)
    #[arg(long, value_name = "TIME", value_parser = time_or_ago)]
    from: Stamp,
    /// Where to end: RFC 3339, or how long ago (1h)
    #[arg(long, value_name = "TIME", value_parser = time_or_ago)]
    to: Stamp,
    /// Only things that fit; * and ? stand for anything. May be given several times [default: all of the model]
    #[arg(long = "thing", value_name = "THING")]
    things: Vec<String>,
    /// Let what is found have alarms, too; they start no reactions
    #[arg(long)]
    alarms: bool,
    /// The daemon's answer as JSON
    #[arg(long)]
    json: bool,
}

/// What was done.
#[derive(Deserialize)]
struct Reprocessed {
    #[serde(default)]
    things: u64,
    #[serde(default)]
    anomalies: u64,
    #[serde(default)]
    alarms: u64,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if args.from > args.to {
        say("annunciator: --from is later than --to");
        return Err(Failure::Config);
    }
    let mut client = args.remote.open()?;
    let topic = client.topics().model(&args.model);
    client.follow(vec![topic.clone()])?;
    // Whether anybody is there, and knows the model, is known at once; the work may take its time then.
    let mut question = Command::new();
    put(&mut question, "model", Some(args.model.as_str()));
    let _: Models = accepted(client.request("anomaly-model", question)?)?.read()?;
    let mut command = Command::new();
    put(&mut command, "model", Some(args.model.as_str()));
    put(&mut command, "from", Some(args.from.to_string()));
    put(&mut command, "to", Some(args.to.to_string()));
    put(&mut command, "things", (!args.things.is_empty()).then(|| args.things.clone()));
    put(&mut command, "alarms", args.alarms.then_some(true));
    let name = &args.model;
    say_at_interrupt(format!("the daemon goes on; `annunciator anomaly list {name}` shows what it has found"))?;
    let mut progress = Progress::new();
    let words = format!("{}: reprocessing", args.model);
    progress.show(&words, None);
    let reply = client.request_patiently("anomaly-reprocess", command, |message| {
        let state = (message.topic == topic).then(|| ModelState::read(&message.payload)).flatten();
        if let Some(state) = state.filter(|_| !message.retained) {
            progress.show(&words, Some(state.share()));
        }
    })?;
    drop(progress);
    if args.json {
        return print_json(reply);
    }
    let Reprocessed { things, anomalies, alarms } = accepted(reply)?.read()?;
    say(&format!("{}: {anomalies} anomalies on {things} things, {alarms} alarms", args.model));
    Ok(())
}
