//! `annunciator anomaly build`: the daemon learns anew what is normal, and shows how far it is.
//!
//! The answer to the command says only that the work is queued; what becomes of it is on the model's retained topic. That
//! may be old, so a state counts as the end of this build if a beginning was seen before it, if it differs from what was
//! there, or if the daemon was asked.

use super::super::output::progress::{Progress, say_at_interrupt};
use super::model::ModelState;
use crate::cli::output::terminal::{Paper, json_line, printable};
use crate::cli::remote::{Remote, accepted, print_json, put};
use crate::cli::time_arg::Period;
use crate::cli::{Failure, say};
use crate::client::{Client, Command, Reply};
use crate::domain::time::Span;
use anyhow::anyhow;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::io::Write as _;

/// When nothing was heard of the model for so long, the daemon is asked.
const TICK: Span = Span::from_secs(5);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    remote: Remote,
    /// The model's name
    #[arg(value_name = "MODEL")]
    model: String,
    #[command(flatten)]
    period: Period,
    /// Do not wait until it is built
    #[arg(long)]
    no_wait: bool,
    /// Give up a build that is queued or going on
    #[arg(long, conflicts_with_all = ["from", "to", "no_wait"])]
    cancel: bool,
    /// The model as JSON, as its retained topic has it; without waiting, the daemon's answer
    #[arg(long)]
    json: bool,
}

/// What the daemon says of models.
#[derive(Deserialize)]
pub(super) struct Models {
    #[serde(default)]
    pub(super) models: Vec<Box<RawValue>>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut client = args.remote.open()?;
    let topic = client.topics().model(&args.model);
    let waits = !args.no_wait && !args.cancel;
    if waits {
        client.follow(vec![topic.clone()])?;
    }
    let mut command = Command::new();
    put(&mut command, "model", Some(args.model.as_str()));
    put(&mut command, "from", args.period.from.map(|stamp| stamp.to_string()));
    put(&mut command, "to", args.period.to.map(|stamp| stamp.to_string()));
    put(&mut command, "cancel", args.cancel.then_some(true));
    let reply = client.request("anomaly-build", command)?;
    if !waits {
        return answer(args, reply);
    }
    if args.json && reply.error().is_some() {
        return print_json(reply);
    }
    accepted(reply)?;
    let name = &args.model;
    say_at_interrupt(format!("{name}: still building; `annunciator anomaly build {name} --cancel` ends that"))?;
    let done = Waiting { model: &args.model, topic, before: None, has_begun: false }.wait(&mut client)?;
    let state = ModelState::read(done.as_bytes()).unwrap_or_default();
    let text = if args.json { json_line(&done) } else { state.text(Paper::stdout()) };
    if args.json || state.state == "ready" {
        std::io::stdout().write_all(text.as_bytes())?;
    }
    match (state.state.as_str(), state.error) {
        ("ready", _) => Ok(()),
        ("cancelled", _) => Err(Failure::Run(anyhow!("{name}: the build was cancelled"))),
        (_, error) => {
            let error = error.unwrap_or_else(|| "without a reason".to_owned());
            Err(Failure::Run(anyhow!("{name}: the build has failed: {error}")))
        }
    }
}

/// Says what the daemon said, and does not wait for more.
fn answer(args: &Args, reply: Reply) -> Result<(), Failure> {
    if args.json {
        return print_json(reply);
    }
    let state: ModelState = accepted(reply)?.read()?;
    say(&format!("{}: {}", args.model, printable(&state.state)));
    Ok(())
}

/// Waits for the end of a build.
struct Waiting<'a> {
    model: &'a str,
    topic: String,
    /// What the model was before.
    before: Option<ModelState>,
    has_begun: bool,
}

impl Waiting<'_> {
    /// The model as it is when the build has ended.
    fn wait(mut self, client: &mut Client) -> Result<String, Failure> {
        let mut progress = Progress::new();
        let status = client.topics().status();
        let mut is_online = true;
        loop {
            let Some(message) = client.next(TICK)? else {
                if is_online && let Some(done) = self.ask(client)? {
                    return Ok(done);
                }
                continue;
            };
            if message.topic == status {
                let is_back = client.status().is_some_and(|status| status.state == "online");
                if is_back != is_online {
                    progress.clear();
                    say(if is_back { "the daemon is online again" } else { "the daemon is offline; waiting for it" });
                }
                is_online = is_back;
            } else if let (true, Some(state)) = (message.topic == self.topic, ModelState::read(&message.payload)) {
                if state.is_busy() {
                    let words = format!("{}: {}", self.model, state.state);
                    progress.show(&words, (state.state == "building").then(|| state.share()));
                }
                if self.is_end(&state, message.retained) {
                    return Ok(String::from_utf8_lossy(&message.payload).into_owned());
                }
            }
        }
    }

    fn is_end(&mut self, state: &ModelState, is_old: bool) -> bool {
        if state.is_busy() {
            self.has_begun = true;
            return false;
        }
        if is_old && self.before.is_none() && !self.has_begun {
            self.before = Some(state.clone());
            return false;
        }
        self.has_begun || self.before.as_ref().is_none_or(|before| state.is_news_to(before))
    }

    /// How the model is now, if nobody works on it.
    fn ask(&self, client: &mut Client) -> Result<Option<String>, Failure> {
        let mut command = Command::new();
        put(&mut command, "model", Some(self.model));
        let Models { models } = accepted(client.request("anomaly-model", command)?)?.read()?;
        let own = models.iter().filter_map(|json| Some((json, ModelState::read(json.get().as_bytes())?)));
        let mut own = own.filter(|(_, state)| state.model == self.model && !state.is_busy());
        Ok(own.next().map(|(json, _)| json.get().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(states: &[(&str, u64, bool)]) -> Option<usize> {
        let mut waiting = Waiting { model: "m", topic: String::new(), before: None, has_begun: false };
        states.iter().position(|(state, revision, is_old)| {
            let json = serde_json::json!({ "model": "m", "state": state, "revision": revision });
            waiting.is_end(&ModelState::read(json.to_string().as_bytes()).unwrap(), *is_old)
        })
    }

    #[test]
    fn an_old_state_is_not_the_end_of_a_new_build() {
        assert_eq!(
            ends(&[("ready", 1, true), ("queued", 1, false), ("building", 1, false), ("ready", 2, false)]),
            Some(3)
        );
        assert_eq!(ends(&[("ready", 1, true), ("ready", 1, false)]), None, "its history has grown");
        assert_eq!(ends(&[("ready", 1, true), ("ready", 2, false)]), Some(1), "it was that fast");
        assert_eq!(ends(&[("failed", 1, true), ("building", 1, false), ("failed", 1, false)]), Some(2));
        assert_eq!(ends(&[("queued", 1, true), ("cancelled", 1, false)]), Some(1));
        assert_eq!(ends(&[("failed", 0, false)]), Some(0));
    }
}
