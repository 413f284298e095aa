//! Commands of operators on alarms, carried out on the engine.
//!
//! A command is carried out in slices: a pattern may stand for a hundred thousand alarms, and between two slices the
//! daemon goes on evaluating. An answer is bounded in bytes; a list that is longer names its next page.
//!
//! Commands that need more than the engine (the history, the configuration) are carried out by [`crate::daemon`]; the
//! replay of a recording has neither. [`crate::api::commands`] parses commands.

use crate::api::commands::{Command, DaemonCommand, ListQuery, MAX_LISTED, Request};
use crate::api::explain;
use crate::api::reaction::Explained as ToldReaction;
use crate::api::reply::{self, Outcome};
use crate::api::state;
use crate::domain::engine::{AlarmIx, Answer, Effects, Engine, Signature, Verb};
use crate::domain::model::{AlarmId, Selector};
use crate::domain::text::clip;
use crate::domain::time::Now;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Maximum number of matching ids in the error for a pattern where one alarm is needed.
const SUGGESTED: usize = 5;
/// Maximum size in bytes of the list in one answer: with the rest of the answer, all brokers and clients accept it.
pub(crate) const PAGE_BYTES: usize = 256 << 10;
/// Pairs of bytes that are compared to find the id that an operator may have meant: about ten milliseconds.
const COMPARISONS: usize = 4_000_000;
/// Maximum number of bytes of a name that an error repeats.
const NAMED: usize = 256;

/// The function that describes the reactions of an alarm, for `explain`.
type TellReactions<'a> = &'a dyn Fn(&Engine, AlarmIx) -> Vec<ToldReaction>;

/// Carries out a command and returns the payload of the answer.
///
/// # Errors
/// The command needs more than the engine: it is given back with the request's name.
pub fn execute(
    request: Request,
    gateway: &str,
    engine: &mut Engine,
    now: Now,
    effects: &mut Effects,
) -> Result<Vec<u8>, Box<(Value, DaemonCommand)>> {
    let mut task = Task::of(request)?;
    loop {
        if let Some(answer) = task.advance(usize::MAX, PAGE_BYTES, gateway, engine, &|_, _| Vec::new(), now, effects) {
            return Ok(answer);
        }
    }
}

/// A command that is being carried out.
#[derive(Debug)]
pub(crate) struct Task {
    name: Value,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Change { verb: Verb, wanted: String, who: Signature, begun: Option<Change> },
    List { query: ListQuery, begun: Option<Listing> },
    Explain { wanted: String },
}

/// The progress of a command that changes alarms.
#[derive(Debug)]
struct Change {
    /// Alarms that are left, in reverse order: the next one is last.
    left: Vec<AlarmIx>,
    /// The pattern that ids must fit; `None`: all alarms in `left` are meant.
    selector: Option<Selector>,
    /// Alarms that the answer lists, with the engine's result.
    told: Vec<(AlarmIx, Answer)>,
    /// Number of further alarms, beyond [`MAX_LISTED`].
    not_listed: usize,
    changed: usize,
    /// True if at least one alarm has not refused the command.
    ok: bool,
}

/// The progress of a `list` command.
#[derive(Debug, Default)]
struct Listing {
    /// The pattern that ids must fit; `None`: every alarm.
    selector: Option<Selector>,
    /// The last alarm that an earlier slice visited.
    after: Option<AlarmId>,
    /// The alarms found so far, as JSON objects separated by commas.
    listed: String,
    count: usize,
    last: Option<AlarmId>,
}

impl Task {
    /// The task of a command. A command that needs more than the engine is given back with the request's name.
    pub(crate) fn of(request: Request) -> Result<Task, Box<(Value, DaemonCommand)>> {
        let Request { name, command } = request;
        let work = match command {
            Command::Alarms { verb, alarm, who } => Work::Change { verb, wanted: alarm, who, begun: None },
            Command::List(query) => Work::List { query, begun: None },
            Command::Explain { alarm } => Work::Explain { wanted: alarm },
            Command::Daemon(command) => return Err(Box::new((name, command))),
        };
        Ok(Task { name, work })
    }

    /// True if the command changes alarms; false for a query.
    pub(crate) fn is_change(&self) -> bool {
        match self.work {
            Work::Change { .. } => true,
            Work::List { .. } | Work::Explain { .. } => false,
        }
    }

    /// True if some alarms may have been changed. The remaining ones are known by indices, which are valid until the
    /// engine renumbers its alarms.
    pub(crate) fn has_begun_to_change(&self) -> bool {
        matches!(self.work, Work::Change { begun: Some(_), .. })
    }

    /// The request's name, for another answer.
    pub(crate) fn into_name(self) -> Value {
        self.name
    }

    /// Visits up to `looks` more alarms. Returns the answer when it is complete, with up to `page` bytes of alarms.
    #[expect(clippy::too_many_arguments, reason = "a step of the engine for a command of a gateway")]
    pub(crate) fn advance(
        &mut self,
        looks: usize,
        page: usize,
        gateway: &str,
        engine: &mut Engine,
        reactions: TellReactions<'_>,
        now: Now,
        effects: &mut Effects,
    ) -> Option<Vec<u8>> {
        let Task { name, work } = self;
        let answer = match work {
            Work::Change { verb, wanted, who, begun } => {
                change(name, *verb, wanted, who, begun, (looks, page), engine, now, effects)
            }
            Work::List { query, begun } => list(name, query, begun, looks, page, gateway, engine),
            Work::Explain { wanted } => match find(engine, wanted) {
                Some(ix) => {
                    Ok(Some(reply::answer(name, None, explain::explain(engine, ix, reactions(engine, ix), now))))
                }
                None => Err(unexplained(engine, wanted)),
            },
        };
        answer.unwrap_or_else(|error| Some(reply::refused(name.clone(), error)))
    }
}

/// The alarm with this id. Percent-encoded parts of an id may also be written unencoded, if only one alarm fits.
fn find(engine: &Engine, wanted: &str) -> Option<AlarmIx> {
    /// Maximum number of slashes in an unencoded id: with more, there are too many ways to split it.
    const SLASHES: usize = 12;
    if let Some(found) = engine.find(wanted) {
        return Some(found);
    }
    let slashes: Vec<usize> = wanted.match_indices('/').map(|(place, _)| place).take(SLASHES + 1).collect();
    if slashes.len() > SLASHES {
        return None;
    }
    let ends =
        slashes.iter().enumerate().flat_map(|(first, end)| slashes[first + 1..].iter().map(move |next| (*end, *next)));
    let ids = ends
        .map(|(thing, property)| AlarmId::new(&wanted[..thing], &wanted[thing + 1..property], &wanted[property + 1..]));
    let mut found = ids.filter_map(|id| engine.find(id.as_str())).filter(|ix| !engine.view(*ix).is_latent());
    let first = found.next();
    first.filter(|_| found.next().is_none())
}

/// The target of a command: one alarm, or all that fit a pattern.
enum Meant {
    One(AlarmIx),
    Fitting(Selector),
}

/// Finds the target of a command. An exact id takes precedence over the pattern that the same text may be.
fn meant(engine: &Engine, wanted: &str) -> Result<Meant, String> {
    if let Some(one) = find(engine, wanted) {
        return Ok(Meant::One(one));
    }
    match Selector::parse(wanted)? {
        Selector::One(name) => find(engine, &name).map(Meant::One).ok_or_else(|| unknown(engine, wanted)),
        fitting @ Selector::Fitting(_) => Ok(Meant::Fitting(fitting)),
    }
}

/// The error of an `explain` without a single alarm. For a pattern, it lists some of the ids that fit.
fn unexplained(engine: &Engine, wanted: &str) -> String {
    match Selector::parse(wanted) {
        Err(error) => error,
        Ok(Selector::One(_)) => unknown(engine, wanted),
        Ok(fitting @ Selector::Fitting(_)) => {
            let ids = engine.all_alarms().into_iter().map(|ix| engine.view(ix).id().as_str());
            let found: Vec<&str> = ids.filter(|id| fitting.fits(id)).take(SUGGESTED + 1).collect();
            if found.is_empty() {
                return format!("no alarm matches {wanted:?}");
            }
            let shown = found.get(..SUGGESTED).unwrap_or(&found).join(", ");
            let more = if found.len() > SUGGESTED { ", …" } else { "" };
            format!("explain takes one alarm, not a pattern; {wanted} stands for {shown}{more}")
        }
    }
}

fn unknown(engine: &Engine, wanted: &str) -> String {
    let named = clip(wanted, NAMED);
    match nearest(engine, wanted) {
        Some(near) => format!("no alarm {named}; did you mean {near}?"),
        None => format!("no alarm {named}"),
    }
}

#[expect(clippy::too_many_arguments, reason = "a step of the engine for a command")]
fn change(
    name: &Value,
    verb: Verb,
    wanted: &str,
    who: &Signature,
    begun: &mut Option<Change>,
    (looks, page): (usize, usize),
    engine: &mut Engine,
    now: Now,
    effects: &mut Effects,
) -> Result<Option<Vec<u8>>, String> {
    let change = match begun {
        Some(change) => change,
        None => {
            let (mut left, selector) = match meant(engine, wanted)? {
                Meant::One(one) => (vec![one], None),
                Meant::Fitting(selector) => (engine.all_alarms(), Some(selector)),
            };
            left.reverse();
            begun.insert(Change { left, selector, told: Vec::new(), not_listed: 0, changed: 0, ok: false })
        }
    };
    let Change { left, selector, told, not_listed, changed, ok } = change;
    let rest = left.len().saturating_sub(looks);
    for ix in left.drain(rest..).rev() {
        let view = engine.view(ix);
        // A latent alarm, whose first anomaly is yet to come, can be shelved or disabled, but has nothing to
        // acknowledge.
        let counts = selector.is_none() || !view.is_latent() || verb != Verb::Acknowledge;
        if !counts || selector.as_ref().is_some_and(|selector| !selector.fits(view.id().as_str())) {
            continue;
        }
        let answer = engine.command(ix, verb, who, now, effects);
        *ok |= refusal(answer).is_none();
        *changed += usize::from(answer == Answer::Done);
        if told.len() < MAX_LISTED {
            told.push((ix, answer));
        } else {
            *not_listed += 1;
        }
    }
    if !left.is_empty() {
        return Ok(None);
    }
    if told.is_empty() {
        return Err(format!("no alarm matches {wanted:?}"));
    }
    Ok(Some(outcomes(name, change, page, engine)))
}

/// The answer to a change that was carried out.
fn outcomes(name: &Value, change: &Change, page: usize, engine: &Engine) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        alarms: Vec<Outcome<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        changed: Option<usize>,
        #[serde(skip_serializing_if = "Option::is_none")]
        not_listed: Option<usize>,
    }
    /// Bytes that an outcome may have besides the alarm's id.
    const REST: usize = 160;
    // A pattern means those alarms that accept the command. It fails only if all of them have refused it.
    let error = match change.told.first() {
        Some((ix, answer)) if !change.ok => Some(complaint(engine, *ix, *answer)),
        Some(_) | None => None,
    };
    let mut bytes = 0;
    let outcomes = change.told.iter().map(|(ix, answer)| {
        let view = engine.view(*ix);
        Outcome {
            alarm: view.id().as_str(),
            state: view.state().as_str(),
            changed: *answer == Answer::Done,
            shelved_until: view.shelving().map(|shelving| shelving.until),
            error: refusal(*answer),
        }
    });
    let alarms: Vec<Outcome<'_>> = outcomes
        .take_while(|outcome| {
            bytes += outcome.alarm.len() + REST;
            bytes <= page
        })
        .collect();
    let not_listed = change.told.len() - alarms.len() + change.not_listed;
    let is_short = not_listed == 0;
    let (changed, not_listed) = ((!is_short).then_some(change.changed), (!is_short).then_some(not_listed));
    reply::answer(name, error, Body { alarms, changed, not_listed })
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

/// Visits up to `looks` more alarms. The answer is complete at the limit, at `page` bytes, or after the last alarm.
fn list(
    name: &Value,
    query: &ListQuery,
    begun: &mut Option<Listing>,
    looks: usize,
    page: usize,
    gateway: &str,
    engine: &Engine,
) -> Result<Option<Vec<u8>>, String> {
    let ListQuery { alarm, states, active, limit, after } = query;
    let listing = match begun {
        Some(listing) => listing,
        None => {
            let selector = match alarm.as_deref().map(|wanted| meant(engine, wanted)).transpose()? {
                None => None,
                Some(Meant::One(ix)) => Some(Selector::One(engine.view(ix).id().to_string())),
                Some(Meant::Fitting(selector)) => Some(selector),
            };
            begun.insert(Listing { selector, ..Listing::default() })
        }
    };
    let from = listing.after.as_ref().map(AlarmId::as_str).or(after.as_deref()).map(str::to_owned);
    let only = match &listing.selector {
        Some(Selector::One(id)) => Some(engine.find(id).filter(|_| from.as_deref().is_none_or(|from| *from < **id))),
        Some(Selector::Fitting(_)) | None => None,
    };
    let all = only.is_none().then(|| engine.alarms_by_id(from.as_deref())).into_iter().flatten();
    let mut is_more = false;
    let (mut left, mut seen) = (looks, None);
    for ix in all.chain(only.flatten()) {
        if left == 0 {
            listing.after = seen.map(|ix| engine.view(ix).id().clone());
            return Ok(None);
        }
        (left, seen) = (left - 1, Some(ix));
        let view = engine.view(ix);
        let is_wanted = listing.selector.as_ref().is_none_or(|selector| selector.fits(view.id().as_str()))
            && (states.is_empty() || states.contains(&view.state()))
            && active.is_none_or(|active| active == view.state().is_active());
        if !is_wanted {
            continue;
        }
        let listed = serde_json::to_string(&state::payload(view, gateway)).unwrap_or_default();
        let has_room = listing.count < *limit && listing.listed.len() + listed.len() <= page;
        if !has_room && listing.count > 0 {
            is_more = true;
            break;
        }
        listing.listed.push_str(if listing.count > 0 { "," } else { "" });
        listing.listed.push_str(&listed);
        listing.count += 1;
        listing.last = Some(view.id().clone());
    }
    #[derive(Serialize)]
    struct Body<'a> {
        alarms: Box<RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next: Option<&'a str>,
    }
    let alarms = RawValue::from_string(format!("[{}]", listing.listed)).map_err(|error| error.to_string())?;
    let next = listing.last.as_ref().filter(|_| is_more).map(AlarmId::as_str);
    Ok(Some(reply::answer(name, None, Body { alarms, next })))
}

/// The id most similar to `wanted`, within the bound of [`COMPARISONS`]; `None` if none is similar enough.
fn nearest(engine: &Engine, wanted: &str) -> Option<String> {
    /// Maximum length of a text to compare, in bytes: the cost is the product of the lengths.
    const LONGEST: usize = 128;
    if wanted.len() > LONGEST {
        return None;
    }
    let mut left = COMPARISONS;
    engine
        .numbered_alarms()
        .map(|ix| engine.view(ix).id().as_str())
        .filter(|id| id.len().abs_diff(wanted.len()) <= wanted.len() / 3)
        .map_while(|id| {
            left = left.checked_sub(id.len() * wanted.len())?;
            Some((strsim::osa_distance(id, wanted), id))
        })
        .filter(|(distance, _)| *distance <= wanted.len() / 3)
        .min()
        .map(|(_, id)| id.to_owned())
}
