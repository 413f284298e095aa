//! How things look to people: colours where the terminal has them, local times, and nothing that could play tricks.
//!
//! Names and values come from devices and from whoever may publish. What a terminal would obey is shown as an escape.

use crate::domain::printable::is_deceptive;
pub(crate) use crate::domain::printable::printable;

use crate::domain::time::Stamp;
use serde_json::Value;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::IsTerminal as _;

/// How something is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nothing special.
    Plain,
    /// Not the point.
    Faint,
    /// A headline.
    Strong,
    /// As it should be.
    Good,
    /// For information.
    Info,
    /// Needs somebody.
    Warning,
    /// Needs somebody now.
    Error,
    /// Something may get damaged.
    Critical,
}

impl Look {
    /// For the terminal (ECMA-48, SGR).
    fn code(self) -> &'static str {
        match self {
            Look::Plain => "0",
            Look::Faint => "2",
            Look::Strong => "1",
            Look::Good => "32",
            Look::Info => "36",
            Look::Warning => "33",
            Look::Error => "1;31",
            Look::Critical => "1;97;41",
        }
    }

    /// How a severity looks.
    pub(crate) fn of_severity(severity: &str) -> Look {
        match severity {
            "critical" => Look::Critical,
            "error" => Look::Error,
            "warning" => Look::Warning,
            "info" => Look::Info,
            _ => Look::Plain,
        }
    }

    /// How a state of an alarm looks.
    pub(crate) fn of_state(state: &str) -> Look {
        match state {
            "activated" => Look::Error,
            "acknowledged" => Look::Warning,
            "idled" => Look::Good,
            "off" => Look::Faint,
            _ => Look::Plain,
        }
    }
}

/// What standard output is: a terminal of some size, with colours or without, or something that only takes data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paper {
    /// Whether a person looks at it.
    pub(crate) is_terminal: bool,
    /// Whether colours may be used (<https://no-color.org>).
    pub(crate) is_coloured: bool,
}

impl Paper {
    /// Standard output as it is.
    pub(crate) fn stdout() -> Paper {
        let is_terminal = std::io::stdout().is_terminal();
        let wants_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Paper { is_terminal, is_coloured: is_terminal && !wants_none && !is_dumb }
    }

    /// Columns and lines; none: nobody knows, or it is not a terminal.
    pub(crate) fn size(self) -> Option<(usize, usize)> {
        if !self.is_terminal {
            return None;
        }
        let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
        (size.ws_col > 0 && size.ws_row > 0).then(|| (usize::from(size.ws_col), usize::from(size.ws_row)))
    }

    /// The text in its colours.
    pub(crate) fn paint(self, look: Look, text: &str) -> String {
        if self.is_coloured && look != Look::Plain {
            format!("\x1b[{}m{text}\x1b[0m", look.code())
        } else {
            text.to_owned()
        }
    }
}

/// JSON as it came, on one line, with everything escaped that JSON allows in strings and a terminal would obey.
pub(crate) fn json_line(json: &str) -> String {
    let mut line = String::with_capacity(json.len() + 1);
    for c in json.trim().chars() {
        if matches!(c, '\n' | '\r' | '\t') {
            // Between tokens: inside of a string JSON has them escaped already.
            line.push(' ');
        } else if is_deceptive(c) {
            // Writing to a String cannot fail.
            let _ = write!(line, "\\u{:04x}", u32::from(c));
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    line
}

/// A value as people read it: without quotes, a dash for none.
pub(crate) fn value(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => printable(text).into_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            printable(&value.to_string()).into_owned()
        }
    }
}

/// A time of day and date where the reader is. What is no time is shown as it is.
pub(crate) fn local_time(rfc3339: &str) -> String {
    match rfc3339.parse::<jiff::Timestamp>() {
        Ok(time) => time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => printable(rfc3339).into_owned(),
    }
}

/// A time that is mostly of today, where the reader is: without the date if it is, else without the seconds.
pub(crate) fn recent_time(time: Stamp, now: Stamp) -> String {
    let here = |stamp: Stamp| {
        let time = jiff::Timestamp::from_microsecond(stamp.as_micros()).ok()?;
        Some(time.to_zoned(jiff::tz::TimeZone::system()))
    };
    let Some((time, now)) = here(time).zip(here(now)) else { return local_time(&time.to_string()) };
    let format = if time.date() == now.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M" };
    time.strftime(format).to_string()
}

/// The text cut to `width` characters, with a sign that there is more.
pub(crate) fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if text.chars().count() <= width {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().take(width.saturating_sub(1)).chain(['…']).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_interprets_gets_through() {
        let json = "{\"a\": \"\u{9b}2J\u{7f}\",\n \"b\":\"\\u001b\"}";
        assert_eq!(json_line(json), "{\"a\": \"\\u009b2J\\u007f\",  \"b\":\"\\u001b\"}\n");
        let (before, after): (Value, Value) =
            (serde_json::from_str(json).unwrap(), serde_json::from_str(&json_line(json)).unwrap());
        assert_eq!(before, after, "it means the same");
    }

    #[test]
    fn values_and_cuts() {
        assert_eq!(value(&Value::Null), "–");
        assert_eq!(value(&serde_json::json!(16.5)), "16.5");
        assert_eq!(value(&serde_json::json!("a\nb")), "a\\nb");
        assert_eq!(cut("Druck zu hoch", 8), "Druck z…");
        assert_eq!(cut("Kessel", 6), "Kessel");
    }
}
