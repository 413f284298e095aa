//! `base/commands/<verb>`: what operators want, and the answer they get.

use super::to_bytes;
use crate::engine::{AlarmIx, Answer, Engine, Signature, Step, Verb};
use crate::model::Glob;
use crate::time::Now;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Bytes that a command may have. An operator's comment is a few lines.
const MAX_COMMAND: usize = 64 * 1024;

/// The verbs that the daemon knows.
const VERBS: [(&str, Verb); 3] =
    [("acknowledge", Verb::Acknowledge), ("enable", Verb::Enable), ("disable", Verb::Disable)];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    alarm: String,
    by: Option<String>,
    comment: Option<String>,
    #[serde(default)]
    request: serde_json::Value,
}

#[derive(Serialize)]
struct Reply<'a> {
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    request: serde_json::Value,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    alarms: Vec<Outcome<'a>>,
}

#[derive(Serialize)]
struct Outcome<'a> {
    alarm: &'a str,
    state: &'a str,
    changed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// Carries out one command and gives the answer's payload. A command that is refused changes nothing.
pub fn execute(verb: &str, payload: &[u8], retained: bool, engine: &mut Engine, now: Now, step: &mut Step) -> Vec<u8> {
    match attempt(verb, payload, retained, engine, now, step) {
        Ok(reply) => reply,
        Err((request, error)) => to_bytes(&Reply { request, ok: false, error: Some(error), alarms: Vec::new() }),
    }
}

fn attempt(
    verb: &str,
    payload: &[u8],
    retained: bool,
    engine: &mut Engine,
    now: Now,
    step: &mut Step,
) -> Result<Vec<u8>, (serde_json::Value, String)> {
    let unnamed = |error: String| (serde_json::Value::Null, error);
    if payload.len() > MAX_COMMAND {
        return Err(unnamed(format!("a command has at most {MAX_COMMAND} bytes, this one has {}", payload.len())));
    }
    let request = serde_json::from_slice::<Request>(payload);
    // Even a command that is malformed gets its own name back, if it has one.
    let name = || {
        let value: serde_json::Value = serde_json::from_slice(payload).unwrap_or_default();
        value.get("request").cloned().unwrap_or_default()
    };
    if retained {
        return Err((name(), "a command must not be retained: it would be carried out again at each connect".into()));
    }
    let Some((_, verb)) = VERBS.iter().find(|(word, _)| *word == verb) else {
        let known: Vec<&str> = VERBS.iter().map(|(word, _)| *word).collect();
        return Err((name(), format!("unknown command {verb:?}; known are {}", known.join(", "))));
    };
    let request = request.map_err(|error| (name(), format!("not a command: {error}")))?;
    if *verb == Verb::Acknowledge && request.by.as_deref().is_none_or(str::is_empty) {
        return Err((request.request, "acknowledge needs \"by\": who takes note of the alarm".into()));
    }
    let who =
        Signature { by: request.by.as_deref().map(Arc::from), comment: request.comment.as_deref().map(Arc::from) };
    let glob = Glob::parse(&request.alarm);
    let alarms: Vec<AlarmIx> = match &glob {
        Some(glob) => engine.alarms().filter(|ix| glob.matches(engine.view(*ix).facts().id.as_str())).collect(),
        None => engine.find(&request.alarm).into_iter().collect(),
    };
    if alarms.is_empty() {
        let error = match (&glob, nearest(engine, &request.alarm)) {
            (Some(_), _) => format!("no alarm matches {:?}", request.alarm),
            (None, Some(near)) => format!("no alarm {}; did you mean {near}?", request.alarm),
            (None, None) => format!("no alarm {}", request.alarm),
        };
        return Err((request.request, error));
    }
    let answers: Vec<(AlarmIx, Answer)> =
        alarms.into_iter().map(|ix| (ix, engine.command(ix, *verb, &who, now, step))).collect();
    // A pattern means "those that can be"; a name means that one.
    let refused = |answer: &Answer| matches!(answer, Answer::AlreadyAcknowledged | Answer::NothingToAcknowledge);
    let ok = answers.iter().any(|(_, answer)| !refused(answer));
    let error = if ok { None } else { answers.first().map(|(ix, answer)| complaint(engine, *ix, *answer)) };
    let outcomes = answers.iter().map(|(ix, answer)| {
        let view = engine.view(*ix);
        Outcome {
            alarm: view.facts().id.as_str(),
            state: view.state().as_str(),
            changed: *answer == Answer::Done,
            error: refusal(*answer),
        }
    });
    Ok(to_bytes(&Reply { request: request.request, ok, error, alarms: outcomes.collect() }))
}

fn refusal(answer: Answer) -> Option<&'static str> {
    match answer {
        Answer::Done | Answer::Already => None,
        Answer::AlreadyAcknowledged => Some("is acknowledged already"),
        Answer::NothingToAcknowledge => Some("has no occurrence that could be acknowledged"),
    }
}

fn complaint(engine: &Engine, ix: AlarmIx, answer: Answer) -> String {
    let view = engine.view(ix);
    let what = refusal(answer).unwrap_or("was not changed");
    format!("{} {what} (it is {})", view.facts().id, view.state())
}

/// The alarm whose id looks most like what was written.
fn nearest(engine: &Engine, wanted: &str) -> Option<String> {
    /// Longer texts are no typing errors, and comparing costs the product of the lengths.
    const LONGEST: usize = 128;
    if wanted.len() > LONGEST {
        return None;
    }
    engine
        .alarms()
        .map(|ix| engine.view(ix).facts().id.to_string())
        .filter(|id| id.len().abs_diff(wanted.len()) <= wanted.len() / 3)
        .map(|id| (strsim::damerau_levenshtein(&id, wanted), id))
        .filter(|(distance, _)| *distance <= wanted.len() / 3)
        .min()
        .map(|(_, id)| id)
}
