//! The answer to `explain`: the reasons for an alarm's state ("why did it fire", "why did it not").
//!
//! Reads the engine and changes nothing. The answer has text for people and data for programs.

use crate::api::reaction::Explained as ToldReaction;
use crate::api::{Plain, PlainNumber, Rfc3339};
use crate::domain::engine::{AlarmIx, AlarmView, Engine, Link, State};
use crate::domain::model::{Condition, OnGap, Operator, Trigger, Value, Verdict};
use crate::domain::time::{Now, Span};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The explanation of one alarm, as text and as data.
#[derive(Serialize)]
pub(crate) struct Explained<'a> {
    alarm: &'a str,
    text: String,
    explanation: Explanation<'a>,
}

#[derive(Serialize)]
struct Explanation<'a> {
    state: &'a str,
    occurrence: u64,
    #[serde(rename = "type")]
    alarm_type: &'a str,
    severity: &'a str,
    activated_when: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    idled_when: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    low: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    high: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    severities: Option<BTreeMap<&'static str, PlainNumber>>,
    observe_time: String,
    on_gap: &'a str,
    value: Option<Plain<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_at: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    average: Option<PlainNumber>,
    #[serde(skip_serializing_if = "Option::is_none")]
    samples: Option<usize>,
    condition: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition_since: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<Running>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<Last<'a>>,
    held_back: Vec<HeldBack>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reactions: Vec<ToldReaction>,
}

/// An observe-time or clear-delay that is running.
#[derive(Serialize)]
struct Running {
    what: &'static str,
    ends: Rfc3339,
    left_ms: i64,
    #[serde(skip)]
    left: Span,
}

/// The latest event of the alarm.
#[derive(Serialize)]
struct Last<'a> {
    seq: u64,
    at: Rfc3339,
    cause: &'a str,
    value: Option<Plain<'a>>,
}

/// A circumstance that keeps the alarm from following its condition, or its reactions from being sent.
#[derive(Serialize)]
struct HeldBack {
    by: &'static str,
    text: String,
}

/// Explains one alarm; the states of its reactions are given by the caller.
pub(crate) fn explain(engine: &Engine, ix: AlarmIx, reactions: Vec<ToldReaction>, now: Now) -> Explained<'_> {
    let view = engine.view(ix);
    let explanation = Explanation { reactions, ..explanation(engine, view, now) };
    Explained { alarm: view.id().as_str(), text: words(view, &explanation), explanation }
}

fn explanation<'a>(engine: &Engine, view: AlarmView<'a>, now: Now) -> Explanation<'a> {
    let (facts, definition) = (view.facts(), view.definition());
    let is_active = view.state().is_active();
    let condition = verdict(view);
    let (low, high) = match definition.trigger.condition() {
        Some(Condition::Number { low, high, .. }) => (Some(*low), Some(*high)),
        Some(Condition::Text { .. } | Condition::Boolean { .. }) | None => (None, None),
    };
    let running = view.timer().map(|timer| Running {
        what: if is_active { "clear-delay" } else { "observe-time" },
        ends: Rfc3339(now.stamp(timer.deadline)),
        left_ms: (timer.deadline - now.at).as_micros() / 1_000,
        left: timer.deadline - now.at,
    });
    let since = match (view.since().filter(|_| is_active), &running) {
        (Some(since), _) => Some(since),
        (None, Some(_)) => Some(now.stamp(view.observed_since())),
        (None, None) => None,
    };
    let averages = matches!(definition.trigger, Trigger::Average { .. });
    Explanation {
        state: view.state().as_str(),
        occurrence: view.occurrence(),
        alarm_type: facts.alarm_type.as_str(),
        severity: facts.severity.as_str(),
        activated_when: activated_when(&definition.trigger),
        idled_when: idled_when(&definition.trigger),
        low,
        high,
        severities: severities(&definition.trigger),
        observe_time: definition.trigger.observe_time().to_string(),
        on_gap: match definition.on_gap {
            OnGap::Pause => "pause",
            OnGap::Count => "count",
            OnGap::Reset => "reset",
        },
        value: view.value().map(Plain),
        value_at: view.value_at().map(Rfc3339),
        average: view.average().map(PlainNumber),
        samples: averages.then(|| view.samples()),
        condition,
        condition_since: since.map(Rfc3339),
        running,
        last: view.last_change().map(|last| Last {
            seq: last.seq,
            at: Rfc3339(last.at),
            cause: last.cause.as_str(),
            value: last.value.as_ref().map(Plain),
        }),
        held_back: held_back(engine, view, now),
        reactions: Vec::new(),
    }
}

/// The least score of each severity; `None` unless the trigger is a score.
fn severities(trigger: &Trigger) -> Option<BTreeMap<&'static str, PlainNumber>> {
    let Trigger::Score { severities, .. } = trigger else { return None };
    Some(severities.iter().map(|(severity, least)| (severity.as_str(), PlainNumber(*least))).collect())
}

/// The state of the condition according to the latest value.
fn verdict(view: AlarmView<'_>) -> &'static str {
    match view.verdict() {
        None | Some(Verdict::WrongType) => "unknown",
        Some(Verdict::Holds) => "holds",
        Some(Verdict::Between) => "between the edges",
        Some(Verdict::Fails) => "does not hold",
    }
}

/// The condition of activation in words: "the value has been above 96 for 2s".
fn activated_when(trigger: &Trigger) -> String {
    if let Some((subject, condition)) = trigger.subject() {
        let span = trigger.observe_time();
        let held = if span == Span::ZERO { String::new() } else { format!(" for {span}") };
        return format!("{subject} is {}{held}", range(condition));
    }
    match trigger {
        Trigger::Anomaly { model } => format!("model {model:?} finds an anomaly of some severity"),
        Trigger::NoValue { observe_time } => format!("no value has come for {observe_time}"),
        Trigger::Standard { .. } | Trigger::Average { .. } | Trigger::Score { .. } => String::new(),
    }
}

/// The condition of return to normal in words: "it is at or below 94"; `None` if any value ends the alarm.
fn idled_when(trigger: &Trigger) -> Option<String> {
    let delay = match trigger.clear_delay() {
        Span::ZERO => String::new(),
        delay => format!(" for {delay}"),
    };
    if matches!(trigger, Trigger::Anomaly { .. }) {
        return Some("the anomaly is over".to_owned());
    }
    trigger.condition().map(|condition| format!("it is {}{delay}", opposite(condition)))
}

fn range(condition: &Condition) -> String {
    match condition {
        Condition::Number { operator, low, high } => match operator {
            Operator::Equal if low < high => format!("from {low} to {high}"),
            Operator::Equal => format!("{low}"),
            Operator::NotEqual if low < high => format!("below {low} or above {high}"),
            Operator::NotEqual => format!("not {low}"),
            Operator::Greater => format!("above {high}"),
            Operator::GreaterOrEqual => format!("at or above {high}"),
            Operator::Less => format!("below {low}"),
            Operator::LessOrEqual => format!("at or below {low}"),
        },
        Condition::Text { equal, limit } => format!("{}{limit:?}", if *equal { "" } else { "not " }),
        Condition::Boolean { equal, limit } => format!("{}{limit}", if *equal { "" } else { "not " }),
    }
}

fn opposite(condition: &Condition) -> String {
    match condition {
        Condition::Number { operator, low, high } => match operator {
            Operator::Equal if low < high => format!("below {low} or above {high}"),
            Operator::Equal => format!("not {low}"),
            Operator::NotEqual if low < high => format!("from {low} to {high}"),
            Operator::NotEqual => format!("{low}"),
            Operator::Greater => format!("at or below {low}"),
            Operator::GreaterOrEqual => format!("below {low}"),
            Operator::Less => format!("at or above {high}"),
            Operator::LessOrEqual => format!("above {high}"),
        },
        Condition::Text { equal, limit } => format!("{}{limit:?}", if *equal { "not " } else { "" }),
        Condition::Boolean { equal, limit } => format!("{}{limit}", if *equal { "not " } else { "" }),
    }
}

fn held_back(engine: &Engine, view: AlarmView<'_>, now: Now) -> Vec<HeldBack> {
    let mut reasons = Vec::new();
    let mut add = |by: &'static str, text: String| reasons.push(HeldBack { by, text });
    if view.state() == State::Off {
        add("off", "it is off: nothing is evaluated until it is enabled".into());
    }
    if let Some(shelving) = view.shelving() {
        let by = shelving.by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
        add(
            "shelved",
            format!("it is shelved until {}{by}: it is evaluated, but reactions are held back", shelving.until),
        );
    }
    match engine.link() {
        Link::Up => {}
        Link::NeverUp => add("gap", "the daemon has not been connected to the broker yet".into()),
        Link::Down { since } => {
            add("gap", format!("nothing can be heard since {}: no deadline passes meanwhile", now.stamp(since)));
        }
    }
    let trigger = &view.definition().trigger;
    let wants_value = trigger.condition().is_some();
    if let (true, Some(got), Some(condition)) = (wants_value, view.mismatch(), trigger.condition()) {
        add(
            "type",
            format!("the latest value is a {got}, the limit is a {}: it does not count", condition.value_type()),
        );
    } else if wants_value && view.value().is_none() {
        add("no value", "no value that counts has come yet: look at the sources, and at the faults topic".into());
    }
    if view.lives_until_told() {
        add("alive", "its liveness topic says that the thing lives, so the clock of silence stands still".into());
    }
    reasons
}

fn words(view: AlarmView<'_>, told: &Explanation<'_>) -> String {
    let facts = view.facts();
    let mut text = String::new();
    let mut say = |line: std::fmt::Arguments<'_>| {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{line}");
    };
    let title = if facts.title.is_empty() { String::new() } else { format!(" ({})", facts.title) };
    say(format_args!(
        "{}{title} watches {} of {}; {}, severity {}.",
        facts.id, facts.property, facts.thing, told.alarm_type, told.severity
    ));
    let back =
        told.idled_when.as_deref().map_or("the next value ends it".to_owned(), |when| format!("it ends when {when}"));
    say(format_args!("It is activated when {}; {back}.", told.activated_when));
    if let Trigger::Score { severities, .. } = &view.definition().trigger {
        let from = severities.iter().map(|(severity, least)| format!("{} from {least}", severity.as_str()));
        let from = from.collect::<Vec<_>>().join(", ");
        say(format_args!("Its severity is {from}; while it is active it may rise and never falls."));
    }
    match &told.last {
        None => say(format_args!("It is {}: there was no event yet.", told.state)),
        // An idled alarm whose latest cause is a command: the only such command is the acknowledgement of an ended
        // occurrence.
        Some(Last { at, cause: "command", seq, .. }) if view.state() == State::Idled => say(format_args!(
            "It is idled; the occurrence that is over was acknowledged at {} (event {seq}, occurrence {}).",
            at.0, told.occurrence
        )),
        Some(Last { at, cause, value, seq }) => say(format_args!(
            "It is {} since {} by {}{} (event {seq}, occurrence {}).",
            told.state,
            at.0,
            match *cause {
                "value" => "a value",
                "command" => "a command",
                "config" => "a change of the configuration",
                "anomaly" => "an anomaly",
                other => other,
            },
            value.as_ref().map(|value| format!(", with value {}", shown(value.0))).unwrap_or_default(),
            told.occurrence
        )),
    }
    match (&told.value, told.average.as_ref()) {
        (Some(value), Some(mean)) => say(format_args!(
            "The latest value is {}, the mean of {} samples {}.",
            shown(value.0),
            told.samples.unwrap_or(0),
            mean.0
        )),
        (Some(value), None) => say(format_args!("The latest value is {}.", shown(value.0))),
        (None, _) => {}
    }
    let since = told.condition_since.as_ref().map(|since| format!(" since {}", since.0)).unwrap_or_default();
    if facts.alarm_type == crate::domain::model::AlarmType::NoValue {
        if let Some(since) = &told.condition_since {
            say(format_args!("The last sign of life, or the start of its clock, was at {}.", since.0));
        }
    } else {
        let since = if told.condition == "holds" { since.as_str() } else { "" };
        say(format_args!(
            "The condition {}{since}.",
            match told.condition {
                "between the edges" => "neither holds nor is it over: the value lies between the edges",
                "unknown" => "is unknown",
                other => other,
            }
        ));
    }
    match &told.running {
        Some(Running { what: "observe-time", ends, left, .. }) => say(format_args!(
            "Its observe-time is running: it will be activated at {} (in {left}), unless the condition ends before.",
            ends.0
        )),
        Some(Running { ends, left, .. }) => say(format_args!(
            "Its clear-delay is running: it will be idled at {} (in {left}), unless the condition comes back before.",
            ends.0
        )),
        None => {}
    }
    for HeldBack { text, .. } in &told.held_back {
        say(format_args!("Note: {text}."));
    }
    for reaction in &told.reactions {
        say(format_args!("Reaction {}.", reaction.to_text()));
    }
    text
}

fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Boolean(boolean) => boolean.to_string(),
        Value::Text(text) => format!("{text:?}"),
    }
}
