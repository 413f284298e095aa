//! `base/commands/<verb>`: commands of operators, parsed and checked. [`crate::api::execute`] carries them out.
//!
//! A refusal names the mistake and what would be accepted, and repeats the request's name if it has one.

mod anomalies;

pub use anomalies::{AnomalyCommand, AnomalyQuery, Deleted, MAX_IMPORTED, ModelQuery, Set};

use super::reply;
use crate::config::parse_duration;
use crate::domain::engine::{Signature, State, Verb};
use crate::domain::history::{Entered, HistoryQuery};
use crate::domain::model::{Selector, Share};
use crate::domain::text::clip;
use crate::domain::time::{Span, Stamp};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Maximum size of a command in bytes. An operator's comment is a few lines.
const MAX_COMMAND: usize = 64 * 1024;
/// Maximum size of a command that imports samples, in bytes: five thousand of them, with all digits.
const MAX_IMPORT: usize = 256 * 1024;
/// Maximum size of a comment in bytes: it is stored and published with each alarm that a command changes.
pub const MAX_COMMENT: usize = 1_024;
/// Maximum size in bytes of an operator's name (`by`).
pub const MAX_BY: usize = 256;
/// Maximum size in bytes of a request's name as JSON: it is kept until the answer is sent.
const MAX_REQUEST: usize = 1_024;
/// Maximum size in bytes of a refusal's reason, which repeats the faulty input.
const MAX_REASON: usize = 1_024;
/// Maximum number of entries in one answer: with 1 KiB each, a megabyte. Further requests get the rest.
pub const MAX_LISTED: usize = 1_000;
/// Default number of entries in one answer to `history`.
const LISTED_EVENTS: usize = 50;

/// A command of an operator, with the name of the request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The name, repeated in the answer; null if the request has none.
    pub name: Value,
    /// The parsed command.
    pub command: Command,
}

/// The commands of operators.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// A change to one alarm, or to all that fit a pattern.
    Alarms {
        /// The kind of change.
        verb: Verb,
        /// The alarm's id, or a pattern over ids.
        alarm: String,
        /// The operator's name and comment, as far as given.
        who: Signature,
    },
    /// A query for the present states of alarms.
    List(ListQuery),
    /// A query for the reasons of one alarm's state.
    Explain {
        /// The alarm's id.
        alarm: String,
    },
    /// A command that needs more than the engine.
    Daemon(DaemonCommand),
}

impl Command {
    /// True if an instance with this share of the things answers a command that was published to all instances. If one
    /// of them is enough, that is the owner of the alarm or thing, and the first instance for a test delivery.
    pub(crate) fn concerns(&self, share: Share) -> bool {
        match self {
            Command::Alarms { alarm, .. } | Command::Explain { alarm } => share.concerns(alarm),
            Command::List(query) => query.alarm.as_ref().is_none_or(|alarm| share.concerns(alarm)),
            // Each instance has a history (alarms move between instances), a configuration and figures of its own.
            Command::Daemon(DaemonCommand::History(_) | DaemonCommand::Reload | DaemonCommand::Stats) => true,
            Command::Daemon(DaemonCommand::TestReaction { .. }) => share.is_first(),
            // Each instance has models of its own things.
            Command::Daemon(DaemonCommand::Anomaly(command)) => command.thing().is_none_or(|thing| share.has(thing)),
        }
    }
}

/// The commands that need more than the engine: the history, the configuration, models or receivers.
#[derive(Debug, Clone, PartialEq)]
pub enum DaemonCommand {
    /// A query for past changes of alarms.
    History(HistoryQuery),
    /// An order to read the configuration again.
    Reload,
    /// A query for the performance of the alarm system.
    Stats,
    /// A test delivery to a reaction's real receiver.
    TestReaction {
        /// The reaction's name.
        reaction: String,
    },
    /// A command about models and their anomalies.
    Anomaly(AnomalyCommand),
}

/// The filter and the page of a `list` command.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListQuery {
    /// An alarm's id, or a pattern over ids; `None`: all alarms.
    pub alarm: Option<String>,
    /// The accepted states; empty: all.
    pub states: Vec<State>,
    /// Only active (true) or only inactive (false) alarms; `None`: both.
    pub active: Option<bool>,
    /// Maximum number of alarms in the answer.
    pub limit: usize,
    /// Only alarms whose ids sort after this one.
    pub after: Option<String>,
}

/// A command that is not carried out, with the reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The request's name; null if it has none.
    pub name: Value,
    /// The reason in words, clipped to 1 KiB.
    pub error: String,
}

impl Refusal {
    fn new(name: Value, error: &str) -> Refusal {
        Refusal { name, error: clip(error, MAX_REASON).into_owned() }
    }

    /// The answer's payload.
    pub fn render(self) -> Vec<u8> {
        reply::refused(self.name, self.error)
    }
}

/// Members that every command may carry besides its own. Commands that do not record `by` and `comment` ignore them, so
/// that clients may always send them.
const ANY: [&str; 4] = ["request", "time", "by", "comment"];

/// The parser of one verb's members. The span is the longest time for which an alarm may be shelved.
type Read = fn(&Fields, Span) -> Result<Command, String>;

/// A verb, which is the last level of the topic of its commands.
struct Word {
    name: &'static str,
    members: &'static [&'static str],
    /// Maximum size of its commands in bytes.
    most: usize,
    read: Read,
}

const fn word(name: &'static str, members: &'static [&'static str], read: Read) -> Word {
    Word { name, members, most: MAX_COMMAND, read }
}

const ON_ALARMS: &[&str] = &["alarm", "by", "comment"];

/// All verbs that the daemon accepts.
const WORDS: [Word; 18] = [
    word("acknowledge", ON_ALARMS, |fields, _| fields.on_alarms(Verb::Acknowledge)),
    word("enable", ON_ALARMS, |fields, _| fields.on_alarms(Verb::Enable)),
    word("disable", ON_ALARMS, |fields, _| fields.on_alarms(Verb::Disable)),
    word("shelve", &["alarm", "for", "by", "comment"], |fields, max_shelve| {
        fields.on_alarms(Verb::Shelve(fields.shelving(max_shelve)?))
    }),
    word("unshelve", ON_ALARMS, |fields, _| fields.on_alarms(Verb::Unshelve)),
    word("list", &["alarm", "state", "active", "limit", "after"], |fields, _| fields.list().map(Command::List)),
    word("history", &["alarm", "thing", "state", "from", "to", "occurrence", "limit", "before"], |fields, _| {
        fields.history().map(DaemonCommand::History).map(Command::Daemon)
    }),
    word("explain", &["alarm"], |fields, _| Ok(Command::Explain { alarm: fields.required("alarm")? })),
    word("reload", &[], |_, _| Ok(Command::Daemon(DaemonCommand::Reload))),
    word("stats", &[], |_, _| Ok(Command::Daemon(DaemonCommand::Stats))),
    word("test-reaction", &["reaction"], |fields, _| {
        Ok(Command::Daemon(DaemonCommand::TestReaction { reaction: fields.required("reaction")? }))
    }),
    word("anomaly-build", &["model", "from", "to", "cancel"], |fields, _| fields.build().map(about_models)),
    word("anomaly-reprocess", &["model", "from", "to", "things", "alarms"], |fields, _| {
        fields.reprocess().map(about_models)
    }),
    word("anomaly-refresh", &["model", "set", "things"], |fields, _| fields.refresh().map(about_models)),
    word("anomaly-list", &["model", "thing", "from", "to", "open", "limit", "before"], |fields, _| {
        fields.anomalies().map(about_models)
    }),
    word("anomaly-delete", &["id", "model", "thing", "from", "to"], |fields, _| {
        fields.deleted().map(AnomalyCommand::Delete).map(about_models)
    }),
    word("anomaly-model", &["model", "thing", "property", "from", "to", "points"], |fields, _| {
        fields.models().map(about_models)
    }),
    Word {
        most: MAX_IMPORT,
        ..word("anomaly-import", &["model", "thing", "property", "samples"], |fields, _| {
            fields.import().map(about_models)
        })
    },
];

fn about_models(command: AnomalyCommand) -> Command {
    Command::Daemon(DaemonCommand::Anomaly(command))
}

/// The names of all verbs, as in topics.
pub fn verbs() -> impl Iterator<Item = &'static str> {
    WORDS.iter().map(|word| word.name)
}

/// Parses a command. `max_shelve` is the longest time for which an alarm may be shelved.
///
/// # Errors
/// The command is retained, too large or malformed, its verb is unknown, or one of its members is wrong.
pub fn parse(verb: &str, payload: &[u8], retained: bool, max_shelve: Span) -> Result<Request, Refusal> {
    let unnamed = |error: String| Refusal::new(Value::Null, &error);
    let word = WORDS.iter().find(|word| word.name == verb);
    let most = word.map_or(MAX_COMMAND, |word| word.most);
    if payload.len() > most {
        return Err(unnamed(format!("a command has at most {most} bytes, this one has {}", payload.len())));
    }
    let read: Result<Value, _> = serde_json::from_slice(payload);
    let name = read.as_ref().map_or(Ok(Value::Null), name_of).map_err(unnamed)?;
    let refuse = |error: String| Refusal::new(name.clone(), &error);
    if retained {
        return Err(refuse("a command must not be retained: it would be carried out again at each connect".into()));
    }
    let Some(word) = word else {
        let known = verbs().collect::<Vec<&str>>().join(", ");
        return Err(refuse(format!("unknown command {:?}; known are {known}", clip(verb, 64))));
    };
    let fields = match read {
        Ok(Value::Object(fields)) => Fields { verb: word.name, members: word.members, fields },
        Ok(other) => {
            return Err(refuse(format!("not a command: it is a JSON object like {{\"request\":\"r1\"}}, not {other}")));
        }
        Err(error) => return Err(refuse(format!("not a command, which is a JSON object: {error}"))),
    };
    let command = fields.check().and_then(|()| (word.read)(&fields, max_shelve)).map_err(refuse)?;
    Ok(Request { name, command })
}

/// The request's name, null if it has none. Fails if the name is longer than [`MAX_REQUEST`].
fn name_of(command: &Value) -> Result<Value, String> {
    let name = command.get("request").cloned().unwrap_or_default();
    let is_short = match &name {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => text.len() <= MAX_REQUEST,
        Value::Array(_) | Value::Object(_) => name.to_string().len() <= MAX_REQUEST,
    };
    if is_short { Ok(name) } else { Err(format!("\"request\" has more than {MAX_REQUEST} bytes")) }
}

/// Refuses a command before its members are parsed; the request's name is taken from the payload if possible.
pub fn refuse(payload: &[u8], error: &str) -> Refusal {
    let read: Value =
        if payload.len() <= MAX_COMMAND { serde_json::from_slice(payload).unwrap_or_default() } else { Value::Null };
    Refusal::new(name_of(&read).unwrap_or_default(), error)
}

/// Checks the age of a command and parses it. `max_age` applies to commands that carry their `time`.
///
/// # Errors
/// The command is too old, or [`parse`] refuses it.
pub fn admit(
    verb: &str,
    payload: &[u8],
    retained: bool,
    now: Stamp,
    (max_age, max_shelve): (Span, Span),
) -> Result<Request, Refusal> {
    check_age(payload, now, max_age).and_then(|()| parse(verb, payload, retained, max_shelve))
}

/// Checks the `time` of a command, if it carries one. The broker keeps commands while the daemon is away, and an order
/// that was right then may be wrong now.
///
/// # Errors
/// `time` is more than `max_age` ago, or it is not an RFC 3339 text.
pub fn check_age(payload: &[u8], now: Stamp, max_age: Span) -> Result<(), Refusal> {
    // A command that is too large or malformed is refused by the parser.
    let Some(Ok(Value::Object(fields))) = (payload.len() <= MAX_IMPORT).then(|| serde_json::from_slice(payload)) else {
        return Ok(());
    };
    let given = match fields.get("time") {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::String(text)) => Stamp::parse(text).map_err(|error| refuse(payload, &format!("time: {error}")))?,
        Some(other) => {
            let error = format!("\"time\" is {other}; it has to be a text like \"2026-05-01T12:00:00Z\"");
            return Err(refuse(payload, &error));
        }
    };
    let age = now - given;
    if age > max_age {
        let error = format!("given {age} ago, which is more than {max_age} (command_max_age); it is {now} here");
        return Err(refuse(payload, &error));
    }
    Ok(())
}

/// The members of one command, and the names that its verb accepts.
struct Fields {
    verb: &'static str,
    members: &'static [&'static str],
    fields: Map<String, Value>,
}

impl Fields {
    fn check(&self) -> Result<(), String> {
        match self.fields.keys().find(|key| !self.members.contains(&key.as_str()) && !ANY.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) if self.members.is_empty() => Err(format!("{} takes no {key:?}", self.verb)),
            Some(key) => Err(format!("{} takes no {key:?}; it takes {}", self.verb, self.members.join(", "))),
        }
    }

    fn on_alarms(&self, verb: Verb) -> Result<Command, String> {
        let alarm = self.required("alarm")?;
        let said = |member: &str, most: usize| match self.text(member)? {
            Some(text) if text.len() > most => {
                Err(format!("{member:?} has {} bytes; it can have {most} at most", text.len()))
            }
            text => Ok(text.map(Arc::from)),
        };
        let who = Signature { by: said("by", MAX_BY)?, comment: said("comment", MAX_COMMENT)? };
        if verb == Verb::Acknowledge && who.by.as_deref().is_none_or(|by| by.trim().is_empty()) {
            return Err("acknowledge needs \"by\": who takes note of the alarm".into());
        }
        Ok(Command::Alarms { verb, alarm, who })
    }

    fn shelving(&self, longest: Span) -> Result<Span, String> {
        let wanted = match self.value("for") {
            None => return Err("shelve needs \"for\": how long, like \"30m\"".into()),
            Some(Value::String(text)) => parse_duration(text)?,
            Some(Value::Number(number)) => match number.as_i64() {
                Some(millis) => Span::from_millis(millis),
                None => return Err(format!("\"for\" is {number}: write it like \"30m\", or as whole milliseconds")),
            },
            Some(other) => return Err(format!("\"for\" is {other}: write it like \"30m\"")),
        };
        if wanted <= Span::ZERO || wanted > longest {
            return Err(format!("an alarm can be shelved for up to {longest} (max_shelve), not for {wanted}"));
        }
        Ok(wanted)
    }

    fn list(&self) -> Result<ListQuery, String> {
        Ok(ListQuery {
            alarm: self.text("alarm")?,
            states: self.words("state", State::ALL.into_iter(), State::as_str)?,
            active: match self.value("active") {
                None => None,
                Some(Value::Bool(active)) => Some(*active),
                Some(other) => return Err(format!("\"active\" is {other}; it can be true or false")),
            },
            limit: self.limit(MAX_LISTED)?,
            after: self.text("after")?,
        })
    }

    fn history(&self) -> Result<HistoryQuery, String> {
        Ok(HistoryQuery {
            alarm: self.pattern("alarm")?,
            thing: self.pattern("thing")?,
            states: self.words("state", Entered::all(), Entered::as_str)?,
            from: self.stamp("from")?,
            to: self.stamp("to")?,
            occurrence: self.number("occurrence")?,
            limit: self.limit(LISTED_EVENTS)?,
            before: self.number("before")?,
        })
    }

    /// The member; `None` if it is absent or null.
    fn value(&self, member: &str) -> Option<&Value> {
        self.fields.get(member).filter(|value| !value.is_null())
    }

    fn text(&self, member: &str) -> Result<Option<String>, String> {
        match self.value(member) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(format!("{member:?} is {other}; it has to be a text")),
        }
    }

    /// The text of a name, or of a valid pattern over names.
    fn pattern(&self, member: &str) -> Result<Option<String>, String> {
        let text = self.text(member)?;
        match text.as_deref().map(Selector::parse) {
            Some(Err(error)) => Err(format!("{member:?}: {error}")),
            Some(Ok(_)) | None => Ok(text),
        }
    }

    fn stamp(&self, member: &str) -> Result<Option<Stamp>, String> {
        let Some(text) = self.text(member)? else { return Ok(None) };
        Stamp::parse(&text).map(Some).map_err(|error| format!("{member:?}: {error}"))
    }

    fn required(&self, member: &str) -> Result<String, String> {
        let given = self.text(member)?.filter(|text| !text.is_empty());
        given.ok_or_else(|| format!("{} needs {member:?}", self.verb))
    }

    fn number(&self, member: &str) -> Result<Option<u64>, String> {
        let Some(value) = self.value(member) else { return Ok(None) };
        value.as_u64().map(Some).ok_or_else(|| format!("{member:?} is {value}; it has to be a whole number"))
    }

    fn limit(&self, default: usize) -> Result<usize, String> {
        let limit = self.number("limit")?.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        match limit.unwrap_or(default) {
            limit @ 1..=MAX_LISTED => Ok(limit),
            other => {
                Err(format!("\"limit\" is {other}; it can be 1 to {MAX_LISTED}, and \"next\" in the answer leads on"))
            }
        }
    }

    /// One word or a list of words out of `all`; empty if the member is absent.
    fn words<T: Copy>(
        &self,
        member: &str,
        all: impl Iterator<Item = T> + Clone,
        spelled: impl Fn(T) -> &'static str,
    ) -> Result<Vec<T>, String> {
        let given = match self.value(member) {
            None => return Ok(Vec::new()),
            Some(Value::Array(words)) => words.as_slice(),
            Some(word) => std::slice::from_ref(word),
        };
        let known = |word: &Value| {
            let found = all.clone().find(|known| word.as_str() == Some(spelled(*known)));
            found.ok_or_else(|| {
                let words: Vec<&str> = all.clone().map(&spelled).collect();
                format!("{member:?} is {word}; it can be {}", words.join(", "))
            })
        };
        given.iter().map(known).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOURS: Span = Span::from_secs(8 * 3_600);

    fn refused(verb: &str, payload: &str) -> String {
        parse(verb, payload.as_bytes(), false, HOURS).unwrap_err().error
    }

    /// Every word in backticks of a table's cell that is a name and not an example of a value.
    fn named(cell: &str) -> Vec<&str> {
        cell.split('`').skip(1).step_by(2).filter(|word| !word.starts_with('"')).collect()
    }

    #[test]
    fn the_manual_lists_each_verb_with_its_members() {
        let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
        let (_, table) = manual.split_once("| verb | members | what it does |").unwrap();
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let listed: Vec<(&str, Vec<&str>)> = rows
            .flat_map(|row| {
                let mut cells = row.split('|').skip(1);
                let (names, members) = (cells.next().unwrap(), named(cells.next().unwrap()));
                named(names).into_iter().map(move |name| (name, members.clone()))
            })
            .collect();
        assert_eq!(listed.len(), WORDS.len());
        for word in WORDS {
            let row = listed.iter().find(|(name, _)| *name == word.name);
            assert_eq!(row.map(|(_, members)| members.as_slice()), Some(word.members), "{}", word.name);
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_work() {
        for (verb, payload, wanted) in [
            ("acknowledge", r#"{"alarm":"a/b/c"}"#, "acknowledge needs \"by\": who takes note of the alarm"),
            ("acknowledge", r#"{"alarm":"a/b/c","by":" "}"#, "acknowledge needs \"by\": who takes note of the alarm"),
            ("acknowledge", r#"{"by":"kim"}"#, "acknowledge needs \"alarm\""),
            ("disable", r#"{"alarm":""}"#, "disable needs \"alarm\""),
            ("explain", r#"{"alarm":7}"#, "\"alarm\" is 7; it has to be a text"),
            ("list", r#"{"alarms":"*"}"#, "list takes no \"alarms\"; it takes alarm, state, active, limit, after"),
            ("reload", r#"{"alarm":"*"}"#, "reload takes no \"alarm\""),
            (
                "list",
                r#"{"state":"on"}"#,
                "\"state\" is \"on\"; it can be off, enabled, idled, activated, acknowledged",
            ),
            ("shelve", r#"{"alarm":"*"}"#, "shelve needs \"for\": how long, like \"30m\""),
            ("shelve", r#"{"alarm":"*","for":"9h"}"#, "an alarm can be shelved for up to 8h (max_shelve), not for 9h"),
            ("shelve", r#"{"alarm":"*","for":0}"#, "an alarm can be shelved for up to 8h (max_shelve), not for 0s"),
            (
                "history",
                r#"{"limit":5000}"#,
                "\"limit\" is 5000; it can be 1 to 1000, and \"next\" in the answer leads on",
            ),
            ("history", "[]", "not a command: it is a JSON object like {\"request\":\"r1\"}, not []"),
        ] {
            assert_eq!(refused(verb, payload), wanted, "{verb} {payload}");
        }
        assert!(refused("explode", "{}").starts_with("unknown command \"explode\"; known are acknowledge, enable,"));
        assert!(refused("list", "{").starts_with("not a command, which is a JSON object: "));
        let long = |member: &str, length: usize| {
            let text = "x".repeat(length);
            refused("shelve", &format!(r#"{{"alarm":"*","for":"1m","{member}":"{text}"}}"#))
        };
        assert_eq!(long("comment", 1_025), "\"comment\" has 1025 bytes; it can have 1024 at most");
        assert_eq!(long("by", 257), "\"by\" has 257 bytes; it can have 256 at most");
        assert_eq!(long("request", 1_025), "\"request\" has more than 1024 bytes");
        assert!(long(&"y".repeat(50_000), 1).len() <= MAX_REASON, "what is wrong is repeated in part");
        let pattern = format!(r#"{{"thing":"{}*"}}"#, "x".repeat(300));
        assert_eq!(refused("history", &pattern), "\"thing\": a pattern has at most 256 bytes, this one has 301");
        let retained = parse("list", br#"{"request":7}"#, true, HOURS).unwrap_err();
        assert_eq!(retained.name, 7);
    }

    #[test]
    fn what_is_right_is_understood() {
        let request =
            parse("shelve", br#"{"alarm":"a/*","for":"1h 30m","by":"kim","request":"r1"}"#, false, HOURS).unwrap();
        assert_eq!(request.name, "r1");
        let Command::Alarms { verb, alarm, who } = request.command else { panic!() };
        assert_eq!((verb, alarm.as_str()), (Verb::Shelve(Span::from_secs(5_400)), "a/*"));
        assert_eq!(who.by.as_deref(), Some("kim"));
        let request =
            parse("reload", br#"{"by":"kim","comment":"new limits","time":"1970-01-01T00:00:01Z"}"#, false, HOURS);
        assert_eq!(request.unwrap().command, Command::Daemon(DaemonCommand::Reload));
        let request =
            parse("history", br#"{"state":["activated","shelved"],"from":"1970-01-01T00:00:01Z"}"#, false, HOURS);
        let Command::Daemon(DaemonCommand::History(query)) = request.unwrap().command else { panic!() };
        assert_eq!(query.states, [Entered::State(State::Activated), Entered::Shelved]);
        assert_eq!((query.from, query.limit), (Some(Stamp::from_micros(1_000_000)), 50));
    }

    #[test]
    fn a_command_that_says_when_it_was_given_must_not_be_old() {
        let now = Stamp::parse("2026-05-01T12:00:00Z").unwrap();
        let check = |payload: &str| check_age(payload.as_bytes(), now, Span::from_secs(60));
        for fine in [
            r#"{"time":"2026-05-01T11:59:00Z"}"#,
            r#"{"time":"2026-05-01T14:00:00+02:00"}"#,
            r#"{"time":"2030-01-01T00:00:00Z"}"#,
            r#"{"time":null}"#,
            r#"{"alarm":"a"}"#,
            "not json",
        ] {
            assert_eq!(check(fine), Ok(()), "{fine}");
        }
        let Refusal { name, error } = check(r#"{"time":"2026-05-01T11:58:59.5Z","request":"r1"}"#).unwrap_err();
        assert_eq!((name, error.starts_with("given 1m 500ms ago")), (Value::from("r1"), true), "{error}");
        for wrong in [r#"{"time":"yesterday"}"#, r#"{"time":5}"#] {
            assert!(check(wrong).unwrap_err().error.contains("time"), "{wrong}");
        }
    }
}
