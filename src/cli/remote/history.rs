//! `annunciator history`: what has happened, and with `--follow` what happens.
//!
//! Without `--follow` newest first, as the daemon gives it, page by page; with it in the order of time, so that the
//! present joins on at the end.

mod entry;

use super::super::output::table::Columns;
use super::super::output::terminal::{Paper, json_line};
use super::super::time_arg::time_or_ago;
use super::super::{Failure, say};
use super::{Everybody, Remote, accepted, ask_each, put};
use crate::client::{Client, Command, Message};
use crate::domain::model::Glob;
use crate::domain::time::{Span, Stamp};
use entry::{Entry, HEAD};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

/// Events in one answer: what the daemon gives at most.
const PAGE: u64 = 1_000;
/// Between two looks whether the daemon is still there.
const TICK: Span = Span::from_secs(5);
/// Numbers of events that are remembered, so that what the broker brings twice is shown once.
const REMEMBERED: usize = 4_096;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    remote: Remote,
    /// Only alarms whose thing/property/level fits; * and ? stand for anything (in quotes, or the shell takes them)
    #[arg(value_name = "ALARM")]
    alarm: Option<String>,
    /// Only alarms of things that fit
    #[arg(long, value_name = "THING")]
    thing: Option<String>,
    /// Only changes to these states
    #[arg(long, value_name = "STATE", value_delimiter = ',',
          value_parser = ["off", "enabled", "idled", "activated", "acknowledged", "shelved", "unshelved",
                        "delivered", "failed", "dropped"])]
    state: Vec<String>,
    /// Only from then on: RFC 3339, or how long ago (2h)
    #[arg(long, value_name = "TIME", value_parser = time_or_ago)]
    from: Option<Stamp>,
    /// Only until then: RFC 3339, or how long ago (30m)
    #[arg(long, value_name = "TIME", value_parser = time_or_ago, conflicts_with = "follow")]
    to: Option<Stamp>,
    /// Only this occurrence of the alarm
    #[arg(long, value_name = "N")]
    occurrence: Option<u64>,
    /// So many events, the newest
    #[arg(long, value_name = "N", default_value_t = 50, conflicts_with = "all")]
    limit: u64,
    /// All events that are kept
    #[arg(long, conflicts_with = "follow")]
    all: bool,
    /// Go on with what happens, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// The same as --format jsonl
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

/// How history is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Aligned columns, for people
    Table,
    /// One JSON object a line, as the event topics have them
    Jsonl,
    /// Comma-separated values (RFC 4180) with a headline
    Csv,
}

/// One page of the answer.
#[derive(Deserialize)]
struct Page {
    events: Vec<Box<RawValue>>,
    #[serde(default)]
    next: Option<Value>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut everybody = args.remote.open_all()?;
    let format = if args.json { Format::Jsonl } else { args.format };
    let mut printer = Printer::new(format, Paper::stdout());
    printer.begin()?;
    if args.follow {
        return follow(args, &mut everybody, &mut printer);
    }
    let limit = if args.all { u64::MAX } else { args.limit };
    if let [client] = everybody.about(None) {
        return fetch(args, client, limit, |events| printer.print(events.iter().map(|event| event.get())));
    }
    let (events, outcome) = merge(args, &mut everybody, limit)?;
    printer.print(events.iter().map(String::as_str))?;
    outcome
}

/// The newest events of all instances, in the order of time.
fn merge(args: &Args, everybody: &mut Everybody, limit: u64) -> Result<(Vec<String>, Result<(), Failure>), Failure> {
    let mut events: Vec<(Stamp, String)> = Vec::new();
    let (_, outcome) = ask_each(everybody.about(None), |client| {
        fetch(args, client, limit, |page| {
            let dated = |event: &str| Some((Entry::read(event)?.at(), event.to_owned()));
            events.extend(page.iter().filter_map(|event| dated(event.get())));
            Ok(())
        })
    })?;
    events.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    events.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok((events.into_iter().map(|(_, event)| event).collect(), outcome))
}

/// Asks for the newest events that fit, page by page.
fn fetch(
    args: &Args,
    client: &mut Client,
    limit: u64,
    mut take: impl FnMut(&[Box<RawValue>]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (mut left, mut before) = (limit, None);
    while left > 0 {
        let mut command = Command::new();
        put(&mut command, "alarm", args.alarm.as_deref());
        put(&mut command, "thing", args.thing.as_deref());
        put(&mut command, "state", (!args.state.is_empty()).then(|| args.state.clone()));
        put(&mut command, "from", args.from.map(|stamp| stamp.to_string()));
        put(&mut command, "to", args.to.map(|stamp| stamp.to_string()));
        put(&mut command, "occurrence", args.occurrence);
        put(&mut command, "limit", Some(left.min(PAGE)));
        put(&mut command, "before", before.clone());
        let Page { events, next } = accepted(client.request("history", command)?)?.read()?;
        take(&events)?;
        left = left.saturating_sub(events.len() as u64);
        // A page may bring nothing and still not be the last: the daemon looks at so many events at a time.
        match next.filter(|next| !next.is_null() && Some(next) != before.as_ref()) {
            Some(next) => before = Some(next),
            None => break,
        }
    }
    Ok(())
}

/// Shows the past, then what comes.
fn follow(args: &Args, everybody: &mut Everybody, printer: &mut Printer) -> Result<(), Failure> {
    let is_single = everybody.about(None).len() == 1;
    let client = everybody.first()?;
    let events = client.topics().events();
    client.follow(vec![events])?;
    let (mut past, _said) = merge(args, everybody, args.limit)?;
    past.reverse();
    let mut shown = Shown::default();
    for entry in past.iter().filter_map(|event| Entry::read(event)) {
        let latest = shown.latest.entry(entry.gateway).or_default();
        *latest = (*latest).max(entry.seq.unwrap_or(0));
    }
    let client = everybody.first()?;
    printer.print(past.iter().map(String::as_str))?;
    let filter = Filter::new(args);
    let status = client.topics().status();
    let mut was_online = true;
    loop {
        let Some(message) = client.next(TICK)? else { continue };
        if message.topic == status {
            let is_online = client.status().is_some_and(|status| status.state == "online");
            // Of several instances this is one, and the others go on.
            if is_online != was_online && is_single {
                say(if is_online { "the daemon is online again" } else { "the daemon is offline; waiting for it" });
            }
            was_online = is_online;
        } else if let Some(event) = filter.pick(&message, &mut shown) {
            printer.print([event])?;
        }
    }
}

/// Which events were shown.
#[derive(Debug, Default)]
struct Shown {
    /// The newest of the past, of each instance.
    latest: BTreeMap<String, u64>,
    /// Numbers of those that came since.
    live: BTreeSet<(u64, String)>,
}

impl Shown {
    /// Whether it is new.
    fn is_first(&mut self, gateway: &str, seq: u64) -> bool {
        if self.latest.get(gateway).is_some_and(|latest| seq <= *latest) {
            return false;
        }
        if self.live.len() >= REMEMBERED {
            self.live.pop_first();
        }
        self.live.insert((seq, gateway.to_owned()))
    }
}

/// The conditions of the command line, for events that come live.
struct Filter<'a> {
    args: &'a Args,
    alarm: Name<'a>,
    thing: Name<'a>,
}

/// What an id has to be like.
pub(crate) enum Name<'a> {
    Any,
    Exactly(&'a str),
    Matching(Glob),
}

impl<'a> Name<'a> {
    pub(crate) fn of(text: Option<&'a str>) -> Name<'a> {
        text.map_or(Name::Any, |text| Glob::parse(text).map_or(Name::Exactly(text), Name::Matching))
    }

    pub(crate) fn fits(&self, id: &str) -> bool {
        match self {
            Name::Any => true,
            Name::Exactly(wanted) => *wanted == id,
            Name::Matching(glob) => glob.matches(id),
        }
    }
}

impl<'a> Filter<'a> {
    fn new(args: &'a Args) -> Filter<'a> {
        Filter { args, alarm: Name::of(args.alarm.as_deref()), thing: Name::of(args.thing.as_deref()) }
    }

    /// The event in the message, if it is to be shown and was not yet.
    fn pick<'m>(&self, message: &'m Message, shown: &mut Shown) -> Option<&'m str> {
        let text = std::str::from_utf8(&message.payload).ok()?;
        let entry = Entry::read(text)?;
        let Args { state, occurrence, .. } = self.args;
        let fits = self.alarm.fits(&entry.alarm)
            && self.thing.fits(&entry.thing)
            && (state.is_empty() || state.iter().any(|state| state == entry.becomes()))
            && occurrence.is_none_or(|occurrence| entry.occurrence == Some(occurrence));
        (fits && entry.seq.is_none_or(|seq| shown.is_first(&entry.gateway, seq))).then_some(text)
    }
}

/// Writes events in one of the formats.
struct Printer {
    format: Format,
    paper: Paper,
    columns: Columns<{ HEAD.len() }>,
    has_head: bool,
}

impl Printer {
    fn new(format: Format, paper: Paper) -> Printer {
        Printer { format, paper, columns: Columns::new(HEAD, paper), has_head: false }
    }

    /// What stands there even if there are no events.
    fn begin(&self) -> Result<(), Failure> {
        if self.format == Format::Csv {
            std::io::stdout().write_all(entry::csv_head().as_bytes())?;
        }
        Ok(())
    }

    fn print<'e>(&mut self, events: impl IntoIterator<Item = &'e str>) -> Result<(), Failure> {
        let text: String = match self.format {
            Format::Jsonl => events.into_iter().map(json_line).collect(),
            Format::Csv => events.into_iter().map(|event| entry::csv_line(event, self.paper)).collect(),
            Format::Table => {
                let rows: Vec<_> = events.into_iter().filter_map(Entry::read).map(|entry| entry.row()).collect();
                self.columns.fit(&rows);
                let head = (!self.has_head && !rows.is_empty()).then(|| self.columns.head());
                self.has_head |= head.is_some();
                head.into_iter().chain(rows.iter().map(|row| self.columns.line(row))).collect()
            }
        };
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_twice_is_shown_once() {
        let mut shown = Shown { latest: BTreeMap::from([("gw".to_owned(), 7)]), live: BTreeSet::new() };
        assert_eq!([7, 8, 8, 10, 9, 10].map(|seq| shown.is_first("gw", seq)), [false, true, false, true, true, false]);
        for seq in 11..20_000 {
            assert!(shown.is_first("gw", seq));
        }
        assert_eq!(shown.live.len(), REMEMBERED);
    }
}
