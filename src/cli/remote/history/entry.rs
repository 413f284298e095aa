//! One entry of the history: a state change, a shelving, the end of a delivery; as a row and as comma-separated values.

use crate::cli::output::table::Cell;
use crate::cli::output::terminal::{Look, Paper, local_time, printable};
use crate::cli::remote::states::{until_time, value_or_mean};
use crate::domain::printable::uncalculated;
use crate::domain::time::Stamp;
use serde::Deserialize;
use serde_json::Value;

/// The headline of the table.
pub(super) const HEAD: [&str; 8] = ["AT", "SEVERITY", "ALARM", "CHANGE", "NO.", "VALUE", "CAUSE", "COMMENT"];

/// The columns of comma-separated values: members of an event, in the order in which events have them.
const CSV: [&str; 26] = [
    "seq",
    "id",
    "kind",
    "gateway",
    "alarm",
    "thing",
    "property",
    "level",
    "type",
    "severity",
    "title",
    "from",
    "to",
    "at",
    "since",
    "until",
    "occurrence",
    "cause",
    "value",
    "value_at",
    "average",
    "by",
    "reaction",
    "delivery",
    "attempt",
    "comment",
];

/// What is shown of an event.
#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    pub(super) seq: Option<u64>,
    #[serde(default)]
    pub(super) gateway: String,
    pub(super) alarm: String,
    #[serde(default)]
    pub(super) thing: String,
    pub(super) occurrence: Option<u64>,
    /// Where it is no state change: `shelved`, `unshelved`, `delivered`, `failed`, `dropped`.
    kind: Option<String>,
    /// Whose delivery it was.
    reaction: Option<String>,
    #[serde(default)]
    severity: String,
    from: Option<String>,
    to: Option<String>,
    at: String,
    #[serde(default)]
    cause: String,
    #[serde(default)]
    value: Value,
    #[serde(default)]
    average: Value,
    by: Option<String>,
    comment: Option<String>,
    /// Until when it is shelved.
    until: Option<String>,
}

impl Entry {
    /// None: it is no event.
    pub(super) fn read(json: &str) -> Option<Entry> {
        serde_json::from_str(json).ok()
    }

    /// When it happened.
    pub(super) fn at(&self) -> Stamp {
        Stamp::parse(&self.at).unwrap_or_default()
    }

    /// What the alarm is from then on.
    pub(super) fn becomes(&self) -> &str {
        self.kind.as_deref().or(self.to.as_deref()).unwrap_or_default()
    }

    /// As a row: its number is that of the occurrence.
    pub(super) fn row(&self) -> [Cell; HEAD.len()] {
        let at = Stamp::parse(&self.at).unwrap_or_default();
        let change = match (&self.from, &self.to, &self.kind) {
            // Two events change no state: an active alarm has become more severe, and somebody took note of an occurrence
            // that was over.
            (Some(from), Some(to), None) if from == to && to == "activated" => {
                Cell::new(Look::of_state(to), "activated, more severe")
            }
            (Some(from), Some(to), None) if from == to => {
                Cell::new(Look::of_state(to), format!("{}, acknowledged", printable(to)))
            }
            (Some(from), Some(to), None) => {
                Cell::new(Look::of_state(to), format!("{} → {}", printable(from), printable(to)))
            }
            _ => {
                let until = self.until.as_deref().map(|until| format!(" until {}", until_time(until, at)));
                Cell::plain(format!("{}{}", printable(self.becomes()), until.unwrap_or_default()))
            }
        };
        let cause = match &self.by {
            Some(by) => format!("{} by {}", printable(&self.cause), printable(by)).trim_start().to_owned(),
            None => printable(self.reaction.as_deref().unwrap_or(&self.cause)).into_owned(),
        };
        [
            Cell::plain(local_time(&self.at)),
            Cell::new(Look::of_severity(&self.severity), printable(&self.severity)),
            Cell::plain(printable(&self.alarm)),
            change,
            Cell::plain(self.occurrence.map(|number| number.to_string()).unwrap_or_default()),
            Cell::plain(if self.kind.is_some() { String::new() } else { value_or_mean(&self.value, &self.average) }),
            Cell::plain(cause),
            Cell::plain(self.comment.as_deref().map(printable).unwrap_or_default()),
        ]
    }
}

/// The names of the columns.
pub(super) fn csv_head() -> String {
    CSV.join(",") + "\r\n"
}

/// One event. On a terminal, what it would obey is escaped; in a file, every value is what it was, but for texts that a
/// spreadsheet would calculate.
pub(super) fn csv_line(json: &str, paper: Paper) -> String {
    let event: Value = serde_json::from_str(json).unwrap_or_default();
    let fields: Vec<String> = CSV
        .iter()
        .map(|name| match event.get(name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) if paper.is_terminal => quoted(&printable(&uncalculated(text))),
            Some(Value::String(text)) => quoted(&uncalculated(text)),
            Some(other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_))) => {
                quoted(&other.to_string())
            }
        })
        .collect();
    fields.join(",") + "\r\n"
}

/// RFC 4180: in quotes where there is something that would be misread, also by a spreadsheet that takes semicolons or tabs
/// for the ends of cells.
fn quoted(field: &str) -> String {
    if field.contains([',', ';', '\t', '"', '\r', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_keeps_what_there_is() {
        let event = r#"{"seq":7,"alarm":"b/t/HH","title":"Say \"hot\", loud","value":16.555555555555554,"average":null,"comment":"a\nb"}"#;
        let file = Paper { is_terminal: false, is_coloured: false };
        let line = csv_line(event, file);
        assert_eq!(line.matches("\"Say \"\"hot\"\", loud\"").count(), 1, "{line}");
        assert!(line.starts_with("7,,,,b/t/HH,,") && line.ends_with("16.555555555555554,,,,,,,\"a\nb\"\r\n"), "{line}");
        let terminal = Paper { is_terminal: true, is_coloured: false };
        assert!(csv_line(event, terminal).ends_with("16.555555555555554,,,,,,,a\\nb\r\n"));
        let cells = csv_line(r#"{"title":"x;=1+1;y","comment":"x\t=1"}"#, file);
        assert!(cells.contains("\"x;=1+1;y\"") && cells.ends_with("\"x\t=1\"\r\n"), "{cells}");
        assert_eq!(csv_head().matches(',').count(), CSV.len() - 1);
    }
}
