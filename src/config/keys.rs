//! Every key of the configuration: its name, what may stand there, its default and what it means.
//!
//! One declaration serves four readers: the check (unknown keys, wrong types), the defaults, the JSON Schema for
//! editors, and the test that holds the reference file `config/annunciator.toml` against it.

use crate::domain::model::{AlarmType, Operator, Severity};

mod anomalies;
mod reactions;

pub(super) use anomalies::OF_A_MODEL;
pub use anomalies::{ANOMALY, REFRESH};
pub use reactions::{REACTION, SMTP, TEMPLATE};

/// A table, or an array of tables.
#[derive(Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name.
    pub name: &'static str,
    /// Whether it is written `[[name]]`, any number of times.
    pub repeated: bool,
    /// What it is for.
    pub doc: &'static str,
    /// What may be in it.
    pub keys: &'static [Key],
}

impl Section {
    /// The header as it is written.
    pub fn header(&self) -> String {
        if self.repeated { format!("[[{}]]", self.name) } else { format!("[{}]", self.name) }
    }
}

/// One key.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What may stand there.
    pub shape: Shape,
    /// Whether it must be there.
    pub required: bool,
    /// Its default, as TOML; empty where the documentation describes one that depends on other keys, or none.
    pub default: &'static str,
    /// What it means.
    pub doc: &'static str,
}

/// What may stand for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A string.
    Text,
    /// A string or a list of strings.
    TextOrList,
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// A whole number in this range.
    Integer(u64, u64),
    /// `true` or `false`.
    Boolean,
    /// A string like `"1h 30m"`, or whole milliseconds.
    Duration,
    /// A number, a string or a boolean.
    Scalar,
    /// A number that is not negative, or a string like `"10 %"`.
    Deadband,
    /// `{ file = "…" }`, `{ env = "…" }` or `{ credential = "…" }`.
    Secret,
    /// A table from texts to scalars.
    Map,
    /// A duration, or a list of them.
    Durations,
    /// A finite number.
    Number,
    /// A table of its own.
    Table(&'static Section),
}

const fn key(name: &'static str, shape: Shape, default: &'static str, doc: &'static str) -> Key {
    Key { name, shape, required: false, default, doc }
}

const fn required(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key { name, shape, required: true, default: "", doc }
}

/// `[gateway]`
pub const GATEWAY: Section = Section {
    name: "gateway",
    repeated: false,
    doc: "Who this daemon is and how it keeps house.",
    keys: &[
        key("id", Shape::Text, "", "Name of this gateway in events and topics. Default: the host name."),
        key("base", Shape::Text, "", "Everything is published under this topic. Default: annunciator/<id>."),
        key(
            "state_dir",
            Shape::Text,
            "\"/var/lib/annunciator\"",
            "Folder for what survives a restart. On a file system that honours fsync: ext4, xfs or f2fs.",
        ),
        key(
            "checkpoint",
            Shape::Duration,
            "\"10s\"",
            "What changes with every value (latest values, windows, running observe-times) is written at most this often. \
             States and events are always written at once. 100ms to 1h.",
        ),
        key("max_payload", Shape::Integer(1, 16_777_216), "262144", "Bytes of the largest payload that is read."),
        key(
            "max_things",
            Shape::Integer(1, 10_000_000),
            "100000",
            "Patterns create alarms for this many things at most; further things are reported and not watched.",
        ),
        key(
            "max_id_bytes",
            Shape::Integer(1, 1_024),
            "256",
            "Bytes of the longest id of a thing for which a pattern creates alarms; longer ones are reported and not watched.",
        ),
        key("metrics_interval", Shape::Duration, "\"1m\"", "How often metrics are published. 1s to 1d."),
        key(
            "outbox_max",
            Shape::Integer(100, 10_000_000),
            "100000",
            "Events that may wait on disk for the broker. When there are more, the oldest are dropped and counted.",
        ),
        key("max_shelve", Shape::Duration, "\"8h\"", "The longest time for which an alarm can be shelved. 1s to 366d."),
        key("history_days", Shape::Integer(1, 3_660), "30", "Days for which events are kept in the history."),
        key(
            "history_max",
            Shape::Integer(0, 10_000_000),
            "100000",
            "Events that are kept in the history, about 100 bytes each; when there are more, the oldest go. 0: no history.",
        ),
        key("commands", Shape::Boolean, "true", "Whether the daemon listens for commands. false: nobody can give any."),
        key(
            "command_max_age",
            Shape::Duration,
            "\"1m\"",
            "A command that says when it was given (time) and is older than this is refused. 1s to 365d.",
        ),
        key(
            "time_zone",
            Shape::Text,
            "\"UTC\"",
            "Zone in which templates show times and hours are meant, such as Europe/Vienna (needs Debian's tzdata).",
        ),
    ],
};

/// `[mqtt]`
pub const MQTT: Section = Section {
    name: "mqtt",
    repeated: false,
    doc: "The broker.",
    keys: &[
        key(
            "url",
            Shape::Text,
            "\"mqtt://localhost:1883\"",
            "mqtt://host:port, mqtts://host:port for TLS, ws://host:port/path and wss://host:port/path for WebSockets. \
             Default ports: 1883, 8883, 80 and 443; default path: /mqtt.",
        ),
        key("protocol", Shape::OneOf(&["3.1.1", "5"]), "\"3.1.1\"", "Version of MQTT."),
        key(
            "session_expiry",
            Shape::Duration,
            "\"7d\"",
            "MQTT 5: how long the broker keeps the session, and messages for it, while the daemon is not connected. \
             1m to 3650d.",
        ),
        key(
            "client_id",
            Shape::Text,
            "",
            "Name of the session at the broker. It must not change, and no other client may use it. \
             Default: annunciator-<gateway id>. Shards add -<index>.",
        ),
        key("username", Shape::Text, "", "User name for the broker."),
        key("password", Shape::Secret, "", "Password for the broker."),
        key("ca_file", Shape::Text, "", "PEM file with the certificates to trust. Default: those of the system."),
        key("cert_file", Shape::Text, "", "PEM file with this client's certificate chain, if the broker asks for one."),
        key("key_file", Shape::Text, "", "PEM file with the private key of that certificate."),
        key(
            "keep_alive",
            Shape::Duration,
            "\"20s\"",
            "A dead connection is noticed within twice this time. 5s to 18h.",
        ),
        key(
            "connect_timeout",
            Shape::Duration,
            "\"15s\"",
            "Time for the connection, the TLS handshake and the broker's answer together. 1s to 1h.",
        ),
    ],
};

/// `[http]`
pub const HTTP: Section = Section {
    name: "http",
    repeated: false,
    doc: "A window for monitoring: /metrics for Prometheus, /health and /ready.",
    keys: &[
        key(
            "listen",
            Shape::Text,
            "",
            "Address and port to listen on, such as \"127.0.0.1:9464\". Without it nothing listens.",
        ),
        key(
            "allow_remote",
            Shape::Boolean,
            "false",
            "Whether other machines may look, too. Nothing there is encrypted or asks for a password.",
        ),
    ],
};

/// `[home_assistant]`
pub const HOME_ASSISTANT: Section = Section {
    name: "home_assistant",
    repeated: false,
    doc: "Alarms as binary sensors in Home Assistant, by MQTT discovery.",
    keys: &[key(
        "prefix",
        Shape::Text,
        "",
        "Home Assistant's discovery prefix; its own default is \"homeassistant\". Without it nothing is announced, and \
         what was announced before is taken back.",
    )],
};

/// `[shard]`
pub const SHARD: Section = Section {
    name: "shard",
    repeated: false,
    doc: "Several instances that share the things of one gateway.",
    keys: &[
        key(
            "index",
            Shape::Scalar,
            "",
            "Which of the instances this is, from 0. \"hostname\" takes the number at the end of the host name, as the pods \
             of a StatefulSet have it; \"$NAME\" takes a variable of the environment.",
        ),
        key(
            "count",
            Shape::Integer(1, 1_024),
            "1",
            "How many instances there are, the same for all. Stop all of them before it changes.",
        ),
    ],
};

/// `[standby]`
pub const STANDBY: Section = Section {
    name: "standby",
    repeated: false,
    doc: "Several instances of which one works and the others wait until it is gone.",
    keys: &[
        key("name", Shape::Text, "", "What tells this instance from the others. Without it there is no standby."),
        key(
            "after",
            Shape::Duration,
            "\"15s\"",
            "How long nothing may be heard of the one that works before another one takes over. 1s to 1d.",
        ),
    ],
};

/// `[[source]]`
pub const SOURCE: Section = Section {
    name: "source",
    repeated: true,
    doc: "A subscription, and how its messages become property values.",
    keys: &[
        required(
            "topic",
            Shape::Text,
            "Topic filter. {thing} and {property} name levels; + and a final # stand for levels that do not matter. \
             Without {property} and without property = \"…\" the payload is a JSON object whose members are properties; \
             nested names are joined by dots.",
        ),
        key("thing", Shape::Text, "", "The thing, where the topic does not name it."),
        key("property", Shape::Text, "", "The property, where the topic does not name it."),
        key("qos", Shape::Integer(0, 1), "1", "Quality of service of the subscription: 0 or 1."),
        key("value", Shape::Text, "", "JSON pointer (RFC 6901) to the value in the payload, such as \"/value\"."),
        key("time", Shape::Text, "", "JSON pointer to the source's own time of the value."),
        key("time_unit", Shape::OneOf(&["rfc3339", "s", "ms"]), "\"rfc3339\"", "How that time is written."),
        key("map", Shape::Map, "{}", "Replaces scalar values before they are evaluated: { ON = true, OFF = false }."),
        key(
            "alive",
            Shape::Text,
            "",
            "Liveness topic, for things that report only on change: its messages, not the values, are the signs of life \
             for the no-value alarms of the thing. Names {thing} unless thing = \"…\" does.",
        ),
        key(
            "alive_value",
            Shape::Text,
            "",
            "JSON pointer to the word in the payload of the liveness topic. Default: the whole payload is the word.",
        ),
        key(
            "online",
            Shape::Text,
            "",
            "Payload by which the liveness topic says that the thing lives until its last will says otherwise. \
             Without it every message there is a heartbeat.",
        ),
        key("offline", Shape::Text, "\"offline\"", "Payload on the liveness topic that is no sign of life."),
    ],
};

const TYPES: &[&str] = &[AlarmType::ALL[0].as_str(), AlarmType::ALL[1].as_str(), AlarmType::ALL[2].as_str()];
const OPERATORS: &[&str] = &[
    Operator::ALL[0].symbol(),
    Operator::ALL[1].symbol(),
    Operator::ALL[2].symbol(),
    Operator::ALL[3].symbol(),
    Operator::ALL[4].symbol(),
    Operator::ALL[5].symbol(),
];
const SEVERITIES: &[&str] =
    &[Severity::ALL[0].as_str(), Severity::ALL[1].as_str(), Severity::ALL[2].as_str(), Severity::ALL[3].as_str()];

/// `[[alarm]]`
pub const ALARM: Section = Section {
    name: "alarm",
    repeated: true,
    doc: "What is watched on which things. May also stand in conf.d/*.toml.",
    keys: &[
        required(
            "thing",
            Shape::TextOrList,
            "Thing id, a list of ids, or a pattern (* any characters, ? one character): one alarm per thing; \
             for a pattern from the moment in which the thing is first heard.",
        ),
        required("property", Shape::Text, "The property that is watched."),
        required("level", Shape::Text, "Label that is unique for the property: LL, HH, Fatal."),
        required("type", Shape::OneOf(TYPES), "standard: the latest value; average: the mean; no-value: silence."),
        key("title", Shape::Text, "", "One line for people. Default: the alarm's id."),
        key("description", Shape::Text, "", "More for people."),
        key("severity", Shape::OneOf(SEVERITIES), "\"warning\"", "Information for people; no behaviour hangs on it."),
        key(
            "operator",
            Shape::OneOf(OPERATORS),
            "",
            "Comparison of the value with the limit. Required for standard and average. Strings and booleans know = and != only.",
        ),
        key("limit", Shape::Scalar, "", "What is compared with. Required for standard and average (a number there)."),
        key(
            "deadband",
            Shape::Deadband,
            "0",
            "Range around a numeric limit, standard alarms only. A number is its whole width; \"10 %\" is the deviation \
             from the limit to each side.",
        ),
        key(
            "observe_time",
            Shape::Duration,
            "\"0s\"",
            "How long the condition must hold. Average and no-value: required, 100ms or more.",
        ),
        key("window", Shape::Duration, "", "Average only: age at which samples leave the mean. Default: observe_time."),
        key(
            "clear_delay",
            Shape::Duration,
            "\"0s\"",
            "Off-delay: how long the condition must have ended before the alarm returns to idled. Not for no-value.",
        ),
        key(
            "on_gap",
            Shape::OneOf(&["pause", "count", "reset"]),
            "\"pause\"",
            "What a time without observation does to a running observe-time: pause: nothing, it stands still; \
             count: it counts; reset: it starts anew.",
        ),
        key("enabled", Shape::Boolean, "true", "Whether the alarm is enabled until an operator says otherwise."),
        key(
            "reactions",
            Shape::TextOrList,
            "",
            "Names of reactions: the e-mails, webhook calls and MQTT messages that this alarm causes.",
        ),
    ],
};

/// All sections, in the order of the reference file.
pub const SECTIONS: [&Section; 12] =
    [&GATEWAY, &MQTT, &SHARD, &STANDBY, &HTTP, &HOME_ASSISTANT, &SMTP, &SOURCE, &TEMPLATE, &REACTION, &ALARM, &ANOMALY];

/// The sections that files in `conf.d` may have, too.
pub const ADDITIONS: [&Section; 4] = [&TEMPLATE, &REACTION, &ALARM, &ANOMALY];
