//! Alarms as their retained topics and `list` show them.

use super::super::output::table::Cell;
use super::super::output::terminal::{Look, local_time, printable, recent_time, value};
use crate::domain::time::Stamp;
use serde::Deserialize;
use serde_json::Value;

/// What is shown of an alarm's present state.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct AlarmState {
    pub(crate) alarm: String,
    #[serde(default)]
    pub(crate) title: String,
    pub(crate) severity: String,
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) active: bool,
    /// True if the gateway's store has lost something that the alarm may have been about.
    #[serde(default)]
    uncertain: bool,
    pub(crate) seq: Option<u64>,
    /// When the condition became true.
    pub(crate) since: Option<String>,
    /// When the state changed.
    pub(crate) at: Option<String>,
    #[serde(default)]
    value: Value,
    /// Alarms on means have one, even if it is null.
    #[serde(default)]
    average: Value,
    acknowledged: Option<Acknowledged>,
    shelved: Option<Shelved>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Shelved {
    until: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Acknowledged {
    by: String,
}

impl AlarmState {
    pub(crate) fn severity_cell(&self) -> Cell {
        Cell::new(Look::of_severity(&self.severity), printable(&self.severity))
    }

    /// The state, with what else an operator has done to the alarm.
    pub(crate) fn state_text(&self, now: Stamp) -> String {
        let mut text = printable(&self.state).into_owned();
        if let Some(Acknowledged { by }) = self.acknowledged.as_ref().filter(|_| self.state == "acknowledged") {
            text = format!("{text} by {}", printable(by));
        }
        if self.uncertain {
            text.push_str(", uncertain");
        }
        if let Some(Shelved { until }) = &self.shelved {
            text = format!("{text}, shelved until {}", until_time(until, now));
        }
        text
    }

    pub(crate) fn state_cell(&self, now: Stamp) -> Cell {
        Cell::new(Look::of_state(&self.state), self.state_text(now))
    }

    /// The value that counted, or the mean.
    pub(crate) fn value_text(&self) -> String {
        value_or_mean(&self.value, &self.average)
    }

    pub(crate) fn at_text(&self) -> String {
        self.at.as_deref().map(local_time).unwrap_or_default()
    }

    /// The title, unless it says no more than the id.
    pub(crate) fn title_text(&self) -> String {
        if self.title == self.alarm { String::new() } else { printable(&self.title).into_owned() }
    }

    pub(crate) fn alarm_text(&self) -> String {
        printable(&self.alarm).into_owned()
    }
}

/// The end of a shelving, short where it is of the same day.
pub(crate) fn until_time(until: &str, now: Stamp) -> String {
    Stamp::parse(until).map_or_else(|_| printable(until).into_owned(), |until| recent_time(until, now))
}

/// A value, or the mean where there is one, rounded for people.
pub(crate) fn value_or_mean(single: &Value, average: &Value) -> String {
    match average.as_f64() {
        Some(mean) => format!("mean {}", rounded(mean)),
        None => value(single),
    }
}

/// Six digits are more than a sensor has.
fn rounded(mean: f64) -> String {
    let text = format!("{mean:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn means_are_shown_where_there_are_some() {
        assert_eq!(value_or_mean(&json!(16.5), &Value::Null), "16.5");
        assert_eq!(value_or_mean(&json!(16.5), &json!(20.0 / 3.0)), "mean 6.666667");
        assert_eq!(value_or_mean(&json!(1), &json!(100)), "mean 100");
    }
}
