//! A configuration and a recording as plain data, and how both are written down: TOML, and one JSON object a line.
//!
//! Times are microseconds since 1970. Words are those of the files, so that nothing has to be translated.

use std::fmt::Write as _;

/// One second.
pub(crate) const SECOND: i64 = 1_000_000;

/// A value, or a limit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar {
    Number(f64),
    Text(&'static str),
    Truth(bool),
}

impl Scalar {
    /// As JSON and TOML write it.
    pub(crate) fn text(&self) -> String {
        match self {
            Scalar::Number(number) => format!("{number:?}"),
            Scalar::Text(text) => format!("{text:?}"),
            Scalar::Truth(truth) => truth.to_string(),
        }
    }
}

/// A deadband as it is configured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Band {
    None,
    Width(f64),
    Percent(f64),
}

/// What an alarm looks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Standard { operator: &'static str, limit: Scalar, band: Band, observe: i64, clear: i64 },
    Average { operator: &'static str, limit: f64, window: Option<i64>, observe: i64, clear: i64 },
    NoValue { observe: i64 },
}

/// One `[[alarm]]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Definition {
    pub(crate) things: Vec<&'static str>,
    pub(crate) property: &'static str,
    pub(crate) level: &'static str,
    pub(crate) kind: Kind,
    pub(crate) on_gap: &'static str,
    pub(crate) enabled: bool,
}

/// What a message, or a member of a JSON object, carries.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Payload {
    Value(Scalar),
    /// Text that is no value: `null`, `NaN`, an array …
    Unusable(&'static str),
    /// Nothing at all: MQTT's way to delete a retained message.
    Empty,
}

impl Payload {
    fn text(&self) -> String {
        match self {
            Payload::Value(value) => value.text(),
            Payload::Unusable(text) => (*text).to_owned(),
            Payload::Empty => String::new(),
        }
    }
}

/// What a line of a recording tells.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    /// Only that time has passed.
    Tick,
    Link {
        up: bool,
    },
    /// One value.
    Message {
        thing: &'static str,
        property: &'static str,
        payload: Payload,
        retained: bool,
    },
    /// One value with the time stamp of its source.
    Stamped {
        thing: &'static str,
        property: &'static str,
        value: Scalar,
        stamp: i64,
        retained: bool,
    },
    /// A JSON object, each member a property; a dot in a name stands for a nested object.
    Object {
        thing: &'static str,
        members: Vec<(&'static str, Payload)>,
        retained: bool,
    },
    Command {
        verb: &'static str,
        alarm: String,
        by: Option<&'static str>,
        comment: Option<&'static str>,
    },
}

/// One line of a recording.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    pub(crate) at: i64,
    pub(crate) what: What,
}

/// What goes over MQTT: topic, payload and the retain flag.
pub(crate) type Published = (String, String, bool);

impl Line {
    pub(crate) fn tick(at: i64) -> Line {
        Line { at, what: What::Tick }
    }

    /// The message that the line records, if it is one.
    pub(crate) fn published(&self) -> Option<Published> {
        match &self.what {
            What::Tick | What::Link { .. } => None,
            What::Message { thing, property, payload, retained } => {
                Some((format!("things/{thing}/{property}"), payload.text(), *retained))
            }
            What::Stamped { thing, property, value, stamp, retained } => {
                let payload = format!("{{\"value\": {}, \"time\": {}}}", value.text(), seconds(*stamp));
                Some((format!("stamped/{thing}/{property}"), payload, *retained))
            }
            What::Object { thing, members, retained } => {
                let member = |(name, payload): &(&str, Payload)| match name.split_once('.') {
                    Some((outer, inner)) => format!("\"{outer}\": {{\"{inner}\": {}}}", payload.text()),
                    None => format!("\"{name}\": {}", payload.text()),
                };
                let members: Vec<String> = members.iter().map(member).collect();
                Some((format!("objects/{thing}"), format!("{{{}}}", members.join(", ")), *retained))
            }
            What::Command { verb, alarm, by, comment } => {
                let mut payload = format!("{{\"alarm\": {alarm:?}");
                for (name, word) in [("by", by), ("comment", comment)] {
                    if let Some(word) = word {
                        write!(payload, ", \"{name}\": {word:?}").unwrap();
                    }
                }
                payload.push('}');
                Some((format!("annunciator/gw/commands/{verb}"), payload, false))
            }
        }
    }

    /// The line as a recording has it.
    pub(crate) fn json(&self) -> String {
        let mut line = format!("{{\"t\": {}", seconds(self.at));
        if let What::Link { up } = self.what {
            write!(line, ", \"link\": \"{}\"", if up { "up" } else { "down" }).unwrap();
        }
        if let Some((topic, payload, retained)) = self.published() {
            let payload = serde_json::to_string(&payload).unwrap();
            write!(line, ", \"topic\": \"{topic}\", \"payload\": {payload}").unwrap();
            if retained {
                line.push_str(", \"retain\": 1");
            }
        }
        line.push('}');
        line
    }
}

/// Seconds since 1970 as a decimal number.
fn seconds(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// A configuration and a recording.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Case {
    pub(crate) definitions: Vec<Definition>,
    pub(crate) lines: Vec<Line>,
}

impl Case {
    /// The configuration.
    pub(crate) fn toml(&self) -> String {
        let mut text = SOURCES.to_owned();
        self.definitions.iter().for_each(|definition| definition.write(&mut text));
        text
    }

    /// The recording.
    pub(crate) fn jsonl(&self) -> String {
        self.lines.iter().map(|line| line.json() + "\n").collect()
    }
}

/// The part of the configuration that is always the same.
const SOURCES: &str = r#"[gateway]
id = "gw"

[mqtt]
url = "mqtt://127.0.0.1:1883"

[[source]]
topic = "things/{thing}/{property}"

[[source]]
topic = "objects/{thing}"

[[source]]
topic = "stamped/{thing}/{property}"
value = "/value"
time = "/time"
time_unit = "s"
"#;

impl Definition {
    fn write(&self, text: &mut String) {
        let Definition { things, property, level, kind, on_gap, enabled } = self;
        let mut key = |name: &str, value: String| writeln!(text, "{name} = {value}").unwrap();
        let duration = |micros: &i64| format!("\"{}ms\"", micros / 1_000);
        key("\n[[alarm]]\nthing", format!("{things:?}"));
        key("property", format!("{property:?}"));
        key("level", format!("{level:?}"));
        key("on_gap", format!("{on_gap:?}"));
        key("enabled", enabled.to_string());
        match kind {
            Kind::Standard { operator, limit, band, observe, clear } => {
                key("type", "\"standard\"".into());
                key("operator", format!("{operator:?}"));
                key("limit", limit.text());
                match band {
                    Band::None => {}
                    Band::Width(width) => key("deadband", format!("{width:?}")),
                    Band::Percent(percent) => key("deadband", format!("\"{percent} %\"")),
                }
                key("observe_time", duration(observe));
                key("clear_delay", duration(clear));
            }
            Kind::Average { operator, limit, window, observe, clear } => {
                key("type", "\"average\"".into());
                key("operator", format!("{operator:?}"));
                key("limit", format!("{limit:?}"));
                if let Some(window) = window {
                    key("window", duration(window));
                }
                key("observe_time", duration(observe));
                key("clear_delay", duration(clear));
            }
            Kind::NoValue { observe } => {
                key("type", "\"no-value\"".into());
                key("observe_time", duration(observe));
            }
        }
    }
}
