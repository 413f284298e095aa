//! What operators want of alarms, carried out on the engine.
//!
//! Commands that need more than the engine (the history, the configuration) are carried out by [`crate::daemon`]; in a
//! recording there is neither. Reading a command is in [`crate::wire::command`].

use crate::engine::{AlarmIx, Answer, Engine, Signature, Step, Verb};
use crate::explain;
use crate::model::{Glob, Share};
use crate::time::Now;
use crate::wire::command::{Command, ListQuery, Request};
use crate::wire::reaction::Explained as ToldReaction;
use crate::wire::reply::{self, Outcome};
use crate::wire::state;
use serde::Serialize;

/// Alarms that are named to somebody who gave a pattern where one alarm is wanted.
const SUGGESTED: usize = 5;

/// Carries out a command and gives the answer's payload.
///
/// # Errors
/// The request itself, if it needs more than the engine: for whoever has that.
pub fn execute(
    request: Request,
    gateway: &str,
    engine: &mut Engine,
    now: Now,
    step: &mut Step,
) -> Result<Vec<u8>, Box<Request>> {
    execute_and_tell(request, gateway, engine, &|_, _| Vec::new(), now, step)
}

/// The same, where `reactions` has something to say of an alarm's reactions.
pub(crate) fn execute_and_tell(
    request: Request,
    gateway: &str,
    engine: &mut Engine,
    reactions: &dyn Fn(&Engine, AlarmIx) -> Vec<ToldReaction>,
    now: Now,
    step: &mut Step,
) -> Result<Vec<u8>, Box<Request>> {
    let Request { name, command } = request;
    let answer = match command {
        Command::Alarms { verb, alarm, who } => alarms(&name, verb, &alarm, &who, engine, now, step),
        Command::List(query) => list(&name, &query, gateway, engine),
        Command::Explain { alarm } => match find(engine, &alarm) {
            Some(ix) => Ok(reply::answer(&name, None, explain::explain(engine, ix, reactions(engine, ix), now))),
            None => Err(unexplained(engine, &alarm)),
        },
        command @ (Command::History(_)
        | Command::Reload
        | Command::Stats
        | Command::TestReaction { .. }
        | Command::Anomaly(_)) => {
            return Err(Box::new(Request { name, command }));
        }
    };
    Ok(answer.unwrap_or_else(|error| reply::refused(name, error)))
}

/// Whether an instance answers a command that was given to all of them. What one alone can do, one does: the owner of an
/// alarm, or the first of all for what is not about alarms.
pub(crate) fn is_ours(share: Share, command: &Command) -> bool {
    match command {
        Command::Alarms { alarm, .. } | Command::Explain { alarm } => share.concerns(alarm),
        Command::List(query) => query.alarm.as_ref().is_none_or(|alarm| share.concerns(alarm)),
        // Another one may have had the alarm in former times.
        Command::History(_) | Command::Reload | Command::Stats => true,
        Command::TestReaction { .. } => share.is_first(),
        // Each has models of its own things.
        Command::Anomaly(command) => command.thing().is_none_or(|thing| share.has(thing)),
    }
}

/// The alarm with this id. Parts that are percent-encoded in ids may be written as they are, too, if that can mean one
/// alarm only.
fn find(engine: &Engine, wanted: &str) -> Option<AlarmIx> {
    engine.find(wanted).or_else(|| {
        let is_wanted = |ix: &AlarmIx| {
            let view = engine.view(*ix);
            let rest = wanted.strip_prefix(&**view.thing()).and_then(|rest| rest.strip_prefix('/'));
            let rest = rest
                .and_then(|rest| rest.strip_prefix(&*view.definition().property))
                .and_then(|rest| rest.strip_prefix('/'));
            rest == Some(&*view.definition().level)
        };
        let mut found = engine.alarms().filter(is_wanted);
        let first = found.next();
        first.filter(|_| found.next().is_none())
    })
}

/// The alarms that a command names, by id or by pattern.
fn named(engine: &Engine, wanted: &str, with_latent: bool) -> Result<Vec<AlarmIx>, String> {
    let Some(glob) = Glob::parse(wanted) else {
        return find(engine, wanted).map(|ix| vec![ix]).ok_or_else(|| unknown(engine, wanted));
    };
    let mut found = engine.all_alarms();
    found.retain(|ix| with_latent || !engine.view(*ix).is_latent());
    found.retain(|ix| glob.matches(engine.view(*ix).id().as_str()));
    if found.is_empty() { Err(format!("no alarm matches {wanted:?}")) } else { Ok(found) }
}

/// Why there is nothing to explain. Whoever gives a pattern is told the ids that they can choose from.
fn unexplained(engine: &Engine, wanted: &str) -> String {
    if Glob::parse(wanted).is_none() {
        return unknown(engine, wanted);
    }
    match named(engine, wanted, true).as_deref() {
        Err(error) => error.clone(),
        Ok(found) => {
            let shown = found.iter().take(SUGGESTED).map(|ix| engine.view(*ix).id().as_str());
            let shown = shown.collect::<Vec<&str>>().join(", ");
            let more = if found.len() > SUGGESTED { ", …" } else { "" };
            format!("explain takes one alarm, not a pattern; {wanted} stands for {shown}{more}")
        }
    }
}

fn unknown(engine: &Engine, wanted: &str) -> String {
    match nearest(engine, wanted) {
        Some(near) => format!("no alarm {wanted}; did you mean {near}?"),
        None => format!("no alarm {wanted}"),
    }
}

fn alarms(
    name: &serde_json::Value,
    verb: Verb,
    wanted: &str,
    who: &Signature,
    engine: &mut Engine,
    now: Now,
    step: &mut Step,
) -> Result<Vec<u8>, String> {
    #[derive(Serialize)]
    struct Body<'a> {
        alarms: Vec<Outcome<'a>>,
    }
    // What is put aside or switched stays so when its first anomaly comes; there is nothing to acknowledge before.
    let alarms = named(engine, wanted, verb != Verb::Acknowledge)?;
    let answers: Vec<(AlarmIx, Answer)> =
        alarms.into_iter().map(|ix| (ix, engine.command(ix, verb, who, now, step))).collect();
    // A pattern means "those that can be"; a name means that one.
    let ok = answers.iter().any(|(_, answer)| refusal(*answer).is_none());
    let error = if ok { None } else { answers.first().map(|(ix, answer)| complaint(engine, *ix, *answer)) };
    let outcomes = answers.iter().map(|(ix, answer)| {
        let view = engine.view(*ix);
        Outcome {
            alarm: view.id().as_str(),
            state: view.state().as_str(),
            changed: *answer == Answer::Done,
            shelved_until: view.shelving().map(|shelving| shelving.until),
            error: refusal(*answer),
        }
    });
    Ok(reply::answer(name, error, Body { alarms: outcomes.collect() }))
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
    format!("{} {what} (it is {})", view.id(), view.state())
}

fn list(name: &serde_json::Value, query: &ListQuery, gateway: &str, engine: &Engine) -> Result<Vec<u8>, String> {
    #[derive(Serialize)]
    struct Body<'a, T: Serialize> {
        alarms: Vec<T>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next: Option<&'a str>,
    }
    let ListQuery { alarm, states, active, limit, after } = query;
    let wanted = match alarm.as_deref().map(|wanted| Glob::parse(wanted).ok_or(wanted)) {
        None => None,
        Some(Ok(glob)) => Some(Ok(glob)),
        Some(Err(id)) => Some(Err(find(engine, id).ok_or_else(|| unknown(engine, id))?)),
    };
    let mut found = engine
        .alarms_by_id(after.as_deref())
        .filter(|ix| match &wanted {
            None => true,
            Some(Ok(glob)) => glob.matches(engine.view(*ix).id().as_str()),
            Some(Err(only)) => ix == only,
        })
        .map(|ix| engine.view(ix))
        .filter(|view| states.is_empty() || states.contains(&view.state()))
        .filter(|view| active.is_none_or(|active| active == view.state().is_active()));
    let listed: Vec<_> = found.by_ref().take(*limit).collect();
    let next = found.next().and(listed.last()).map(|view| view.id().as_str());
    let alarms = listed.iter().map(|view| state::payload(*view, gateway)).collect();
    Ok(reply::answer(name, None, Body { alarms, next }))
}

/// The alarm whose id looks most like what was written.
fn nearest(engine: &Engine, wanted: &str) -> Option<String> {
    /// Longer texts are no typing errors, and comparing costs the product of the lengths.
    const LONGEST: usize = 128;
    if wanted.len() > LONGEST {
        return None;
    }
    engine
        .all_alarms()
        .into_iter()
        .map(|ix| engine.view(ix).id().to_string())
        .filter(|id| id.len().abs_diff(wanted.len()) <= wanted.len() / 3)
        .map(|id| (strsim::damerau_levenshtein(&id, wanted), id))
        .filter(|(distance, _)| *distance <= wanted.len() / 3)
        .min()
        .map(|(_, id)| id)
}
