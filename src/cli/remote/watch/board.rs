//! What is known of the alarms, and the picture of it.

use crate::cli::output::table::{Cell, Columns};
use crate::cli::output::terminal::{Look, Paper, cut, local_time, printable, recent_time};
use crate::cli::remote::states::AlarmState;
use crate::client::{Message, Status};
use crate::config::Gateway;
use crate::domain::model::Severity;
use crate::domain::time::{Span, Stamp};
use std::cmp::Reverse;
use std::collections::BTreeMap;

const HEAD: [&str; 7] = ["SEVERITY", "STATE", "SINCE", "FOR", "ALARM", "VALUE", "TITLE"];

/// All alarms, as their retained topics say.
#[derive(Debug)]
pub(super) struct Board {
    gateway: String,
    /// How many instances the gateway has.
    instances: usize,
    /// What they say of themselves, by topic.
    statuses: BTreeMap<String, Status>,
    /// Why nothing is heard, if nothing is.
    pub(super) trouble: Option<String>,
    /// By topic.
    alarms: BTreeMap<String, AlarmState>,
}

/// A change that people may want to know.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    /// The alarm's id.
    pub(super) alarm: String,
    /// Its state; none: it has left the configuration.
    state: Option<AlarmState>,
}

impl Board {
    pub(super) fn of(gateway: &Gateway) -> Board {
        let instances = gateway.shard.map_or(1, |shard| usize::try_from(shard.count).unwrap_or(1));
        Board::new(&gateway.shared_id, instances)
    }

    fn new(gateway: &str, instances: usize) -> Board {
        Board {
            gateway: gateway.to_owned(),
            instances,
            statuses: BTreeMap::new(),
            trouble: None,
            alarms: BTreeMap::new(),
        }
    }

    /// Takes what an instance says of itself.
    pub(super) fn take_status(&mut self, message: &Message) {
        // There were more of them once.
        let index = message.topic.rsplit('/').nth(1).and_then(|level| level.parse::<usize>().ok());
        if self.instances > 1 && index.is_some_and(|index| index >= self.instances) {
            return;
        }
        match serde_json::from_slice(&message.payload) {
            Ok(status) => drop(self.statuses.insert(message.topic.clone(), status)),
            // It was deleted: nothing is known any more.
            Err(_) => drop(self.statuses.remove(&message.topic)),
        }
    }

    /// What the daemon says of itself. Several are online when all are; what each of them has to say follows.
    pub(super) fn status(&self) -> Option<Status> {
        if self.instances == 1 {
            return self.statuses.values().next().cloned();
        }
        let online = self.statuses.values().filter(|status| status.state == "online").count();
        let is_complete = online >= self.instances;
        let state = if is_complete { "online".to_owned() } else { format!("{online} of {} online", self.instances) };
        let told = self.statuses.iter().flat_map(|(topic, status)| {
            let name = topic.rsplit('/').nth(1).unwrap_or_default();
            let away = (status.state != "online").then(|| format!("shard {name} is {}", status.state));
            let problems = status.problems.iter().map(move |problem| format!("shard {name}: {problem}"));
            away.into_iter().chain(problems)
        });
        let alarms = self.statuses.values().map(|status| status.alarms).sum();
        Some(Status { state, since: None, alarms, problems: told.collect() })
    }

    /// Begins anew: the broker tells everything again.
    pub(super) fn forget(&mut self) {
        self.trouble = None;
        self.alarms.clear();
    }

    /// Takes a state. None: nothing has changed that is or was active.
    pub(super) fn take(&mut self, message: &Message) -> Option<Change> {
        if message.payload.is_empty() {
            let gone = self.alarms.remove(&message.topic)?;
            return gone.active.then_some(Change { alarm: gone.alarm, state: None });
        }
        let state: AlarmState = serde_json::from_slice(&message.payload).ok()?;
        let before = self.alarms.insert(message.topic.clone(), state.clone());
        let was_active = before.as_ref().is_some_and(|before| before.active);
        let is_news = before.as_ref() != Some(&state) && (state.active || was_active);
        is_news.then(|| Change { alarm: state.alarm.clone(), state: Some(state) })
    }

    /// The active alarms, worst first, newest first.
    fn active(&self) -> Vec<&AlarmState> {
        let mut active: Vec<&AlarmState> = self.alarms.values().filter(|alarm| alarm.active).collect();
        active.sort_by_key(|alarm| (Reverse(rank(&alarm.severity)), Reverse(begun(alarm)), &alarm.alarm));
        active
    }

    /// Lines for a terminal of so many columns and lines.
    pub(super) fn picture(&self, paper: Paper, (width, height): (usize, usize), now: Stamp) -> Vec<String> {
        // With the cursor behind the last column, clearing the rest of the line would take its character.
        let width = width.saturating_sub(1);
        let active = self.active();
        let mut lines = vec![self.headline(paper, active.len(), width, now)];
        let warn = |look, text: &str| paper.paint(look, &cut(&printable(text), width));
        lines.extend(self.trouble.iter().map(|trouble| warn(Look::Critical, trouble)));
        let problems = self.status().map(|status| status.problems).unwrap_or_default();
        lines.extend(problems.iter().map(|what| warn(Look::Warning, what)));
        lines.push(String::new());
        if active.is_empty() {
            lines.push(paper.paint(Look::Good, "no active alarms"));
            return lines;
        }
        let rows: Vec<_> = active.iter().map(|alarm| row(alarm, now)).collect();
        let mut columns = Columns::new(HEAD, paper).within(width);
        columns.fit(&rows);
        let mut line = |line: String| lines.push(line.trim_end_matches('\n').to_owned());
        line(columns.head());
        rows.iter().for_each(|row| line(columns.line(row)));
        if lines.len() > height.max(2) {
            let more = lines.len() - (height.max(2) - 1);
            lines.truncate(height.max(2) - 1);
            lines.push(paper.paint(Look::Strong, &format!("… and {more} more")));
        }
        lines
    }

    fn headline(&self, paper: Paper, active: usize, width: usize, now: Stamp) -> String {
        let (look, presence) = match &self.status() {
            _ if self.trouble.is_some() => (Look::Error, "not connected; this was so before".to_owned()),
            None => (Look::Warning, "nothing is known of the daemon".to_owned()),
            Some(status) if status.state == "online" => {
                let since = status.since.as_deref().map(|since| format!(" since {}", local_time(since)));
                (Look::Good, format!("online{}", since.unwrap_or_default()))
            }
            Some(status) => {
                let since = status.since.as_deref().map(|since| format!(" since {}", local_time(since)));
                (Look::Error, format!("{}{}; this was so before", printable(&status.state), since.unwrap_or_default()))
            }
        };
        let gateway = printable(&self.gateway);
        let count = format!("{active} active of {} alarms", self.alarms.len());
        let clock = recent_time(now, now);
        let used = format!("{gateway}  {presence}  {count}  {clock}").chars().count();
        let gap = " ".repeat(width.saturating_sub(used));
        format!("{}  {}  {count}{gap}  {clock}", paper.paint(Look::Strong, &gateway), paper.paint(look, &presence))
    }
}

impl Change {
    /// For a log: when, how bad, what, which, how much.
    pub(super) fn line(&self, now: Stamp) -> String {
        let alarm = printable(&self.alarm);
        match &self.state {
            None => format!("{alarm}  has left the configuration\n"),
            Some(state) => {
                format!(
                    "{}  {}  {}  {alarm}  {}  {}",
                    state.at_text(),
                    printable(&state.severity),
                    state.state_text(now),
                    state.value_text(),
                    state.title_text()
                )
                .trim_end()
                .to_owned()
                    + "\n"
            }
        }
    }
}

fn row(alarm: &AlarmState, now: Stamp) -> [Cell; HEAD.len()] {
    let begun = begun(alarm);
    let length = begun.map(|begun| short(now - begun)).unwrap_or_default();
    [
        alarm.severity_cell(),
        alarm.state_cell(now),
        Cell::plain(begun.map(|begun| recent_time(begun, now)).unwrap_or_default()),
        Cell::plain(length),
        Cell::plain(alarm.alarm_text()),
        Cell::plain(alarm.value_text()),
        Cell::plain(alarm.title_text()),
    ]
}

/// When the condition became true, or else when the alarm was activated.
fn begun(alarm: &AlarmState) -> Option<Stamp> {
    [&alarm.since, &alarm.at].into_iter().flatten().find_map(|time| Stamp::parse(time).ok())
}

fn rank(severity: &str) -> Option<Severity> {
    Severity::ALL.into_iter().find(|known| known.as_str() == severity)
}

/// The two largest units: `3d 4h`, `12m 5s`.
fn short(length: Span) -> String {
    let whole = Span::from_secs((length.as_micros() / 1_000_000).max(0)).to_string();
    whole.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PAPER: Paper = Paper { is_terminal: false, is_coloured: false };

    fn message(alarm: &str, severity: &str, state: &str, since: &str) -> Message {
        let active = matches!(state, "activated" | "acknowledged");
        let payload = json!({
            "alarm": alarm, "severity": severity, "state": state, "active": active,
            "since": since, "at": since, "value": 16.5, "title": "Too \u{1b}[2J hot",
        });
        Message { topic: format!("x/alarms/{alarm}"), payload: payload.to_string().into(), retained: true }
    }

    #[test]
    fn the_worst_and_the_newest_stand_first() {
        let mut board = Board::new("gw", 1);
        for (alarm, severity, state, since) in [
            ("a/t/HH", "warning", "activated", "2026-05-01T12:00:00Z"),
            ("b/t/HH", "critical", "acknowledged", "2026-05-01T10:00:00Z"),
            ("c/t/HH", "critical", "activated", "2026-05-01T11:00:00Z"),
            ("d/t/HH", "critical", "idled", "2026-05-01T11:30:00Z"),
        ] {
            board.take(&message(alarm, severity, state, since));
        }
        let now = Stamp::parse("2026-05-01T13:01:02Z").unwrap();
        let picture = board.picture(PAPER, (200, 24), now);
        assert!(picture[0].contains("3 active of 4 alarms"), "{picture:?}");
        let order: Vec<&str> = picture[3..].iter().map(|line| line.split("/t/").next().unwrap()).collect();
        let ends: Vec<char> = order.iter().map(|line| line.chars().last().unwrap()).collect();
        assert_eq!(ends, ['c', 'b', 'a'], "{picture:#?}");
        assert!(picture[3].contains("2h 1m") && picture[3].contains("Too \\u{1b}[2J hot"), "{picture:#?}");
        let low = board.picture(PAPER, (200, 5), now);
        assert_eq!((low.len(), low[4].as_str()), (5, "… and 2 more"));
    }

    #[test]
    fn only_what_is_or_was_active_is_news() {
        let mut board = Board::new("gw", 1);
        let since = "2026-05-01T12:00:00Z";
        let now = Stamp::parse(since).unwrap();
        assert_eq!(board.take(&message("a/t/HH", "error", "idled", since)), None);
        let activated = message("a/t/HH", "error", "activated", since);
        assert!(board.take(&activated).unwrap().line(now).contains("error  activated  a/t/HH  16.5"));
        assert_eq!(board.take(&activated), None, "the same again");
        assert!(board.take(&message("a/t/HH", "error", "idled", since)).is_some());
        board.take(&activated);
        let deleted = Message { payload: bytes::Bytes::new(), ..activated };
        assert_eq!(board.take(&deleted).unwrap().line(now), "a/t/HH  has left the configuration\n");
        let garbage = Message { payload: "[".into(), ..deleted };
        assert_eq!(board.take(&garbage), None);
    }

    #[test]
    fn lengths_are_short() {
        assert_eq!(short(Span::from_secs(3_725)), "1h 2m");
        assert_eq!(short(Span::from_millis(59_900)), "59s");
        assert_eq!(short(Span::from_secs(-3)), "0s");
    }
}
