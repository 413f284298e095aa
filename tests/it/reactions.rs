//! Reactions against real receivers: what an alarm causes arrives, once, whatever happens on the way.

mod delivery;
mod mail;
mod online;
mod rules;
mod webhook;

use crate::support::servers::Server;
use crate::support::{Daemon, Watcher, config};
use serde_json::Value;

/// A standard alarm on `pressure` of any thing above 15 that names these reactions.
fn alarm(reactions: &str) -> String {
    format!(
        "[[alarm]]\nthing = \"press-*\"\nproperty = \"pressure\"\nlevel = \"hi\"\ntype = \"standard\"\noperator = \">\"\n\
         limit = 15\nseverity = \"critical\"\ntitle = \"Too much pressure\"\nreactions = [{reactions}]\n\n"
    )
}

/// A daemon with one webhook reaction, `hook`, that has these keys too.
fn with_hook(broker: u16, server: &Server, keys: &str) -> Daemon {
    let hook = format!(
        "[[reaction]]\nname = \"hook\"\ntype = \"webhook\"\nurl = \"http://127.0.0.1:{}/alarms\"\n{keys}\n\n",
        server.port
    );
    Daemon::with(&config(broker, &(alarm("\"hook\"") + &hook)))
}

/// The next report about a reaction with this outcome.
fn report(watcher: &mut Watcher, reaction: &str, outcome: &str) -> Value {
    let topic = format!("annunciator/gw/reactions/{reaction}");
    watcher
        .next(&format!("{reaction} {outcome}"), |seen| seen.topic == topic && seen.json()["outcome"] == outcome)
        .json()
}

/// The id of the delivery that a webhook server has received.
fn id(request: &Value) -> String {
    request["headers"]["idempotency-key"].as_str().unwrap().to_owned()
}

/// The event in the body of a request.
fn event(request: &Value) -> Value {
    serde_json::from_str(request["body"].as_str().unwrap()).unwrap()
}
