//! The keys of `[smtp]`, `[[template]]` and `[[reaction]]`.

use super::{Key, Section, Shape, key, required};
use crate::io::send::action::ActionType;

/// `[smtp]`
pub const SMTP: Section = Section {
    name: "smtp",
    repeated: false,
    doc: "The server that takes mails, for e-mail reactions.",
    keys: &[
        key(
            "host",
            Shape::Text,
            "",
            "Host name or address of the mail server. Required if there is an e-mail reaction.",
        ),
        key("port", Shape::Integer(1, 65_535), "587", "TCP port: 587 with STARTTLS, 465 with TLS, 25 between servers."),
        key(
            "tls",
            Shape::OneOf(&["starttls", "tls", "none"]),
            "\"starttls\"",
            "starttls: TLS is begun in the dialogue and required; tls: from the first byte; none: in the clear.",
        ),
        key("username", Shape::Text, "", "User name, where the server wants a login (PLAIN or LOGIN)."),
        key("password", Shape::Secret, "", "Password for it."),
        key("from", Shape::Text, "", "Sender of mails: \"gw-01@example.org\" or \"Boiler house <gw-01@example.org>\"."),
        key("hello", Shape::Text, "", "Name to greet the server with. Default: the host name of this machine."),
        key("ca_file", Shape::Text, "", "PEM file with the certificates to trust. Default: those of the system."),
        key(
            "timeout",
            Shape::Duration,
            "\"30s\"",
            "Time for one mail, from the connection to the last reply. 1s to 10m.",
        ),
    ],
};

const TYPES: &[&str] = &{
    let mut names = [""; ActionType::ALL.len()];
    let mut place = 0;
    while place < names.len() {
        names[place] = ActionType::ALL[place].as_str();
        place += 1;
    }
    names
};
const METHODS: &[&str] = &["POST", "PUT", "PATCH", "GET", "DELETE"];

/// What a template says, a reaction may say, too. First come the keys of the section's own.
macro_rules! with_content {
    ($($own:expr),* $(,)?) => {
        &[
            $($own,)*
            key("description", Shape::Text, "", "For people who read the file."),
            key("to", Shape::TextOrList, "", "E-mail: recipients. Required there."),
            key("subject", Shape::Text, "", "E-mail: template of the subject, 200 characters at most. Default: severity, title and state."),
            key("message", Shape::Text, "", "E-mail: template of the text. Default: all of the event."),
            key("url", Shape::Text, "", "Webhook: template of the URL, http:// or https://; the host is no template. Required there."),
            key("method", Shape::OneOf(METHODS), "\"POST\"", "Webhook: HTTP method."),
            key("headers", Shape::Map, "{}", "Webhook: further headers, each a template: { Authorization = \"…\" }."),
            key("body", Shape::Text, "", "Webhook: template of the body. Default: the event as JSON."),
            key(
                "secret",
                Shape::Secret,
                "",
                "Webhook: signs time and body with HMAC-SHA256: X-Annunciator-Signature: t=<seconds>,v1=<hex>.",
            ),
            key("token", Shape::Secret, "", "Webhook: sent as Authorization: Bearer <token>."),
            key("timeout", Shape::Duration, "\"15s\"", "Webhook: time for one call, all in all. 100ms to 10m."),
            key("redirects", Shape::Integer(0, 10), "0", "Webhook: redirections that are followed, within the same origin."),
            key("response_max", Shape::Integer(1, 16_777_216), "65536", "Webhook: bytes of an answer that are read."),
            key("ca_file", Shape::Text, "", "Webhook: PEM file with the certificates to trust. Default: the system's."),
            key("cert_file", Shape::Text, "", "Webhook: PEM file with a client certificate chain."),
            key("key_file", Shape::Text, "", "Webhook: PEM file with the private key of that certificate."),
            key("topic", Shape::Text, "", "MQTT: template of the topic. Required there."),
            key("payload", Shape::Text, "", "MQTT: template of the payload. Default: the event as JSON."),
            key("qos", Shape::Integer(0, 1), "1", "MQTT: quality of service, 0 or 1."),
            key("retain", Shape::Boolean, "false", "MQTT: whether the broker keeps the message."),
        ]
    };
}

const TEMPLATE_KEYS: &[Key] = with_content![
    required("name", Shape::Text, "Its name, for reactions."),
    required("type", Shape::OneOf(TYPES), "email, webhook or mqtt: it serves reactions of this type."),
];

const REACTION_KEYS: &[Key] = with_content![
    required(
        "name",
        Shape::Text,
        "Its name, for alarms and in the topic of its reports: letters, digits, - _ and dots."
    ),
    required("type", Shape::OneOf(TYPES), "email, webhook or mqtt."),
    key("template", Shape::Text, "", "A template of the same type. Whatever is given here goes before it."),
    key("initial", Shape::Duration, "\"0s\"", "Delay of the first delivery; cancelled if the alarm idles before."),
    key(
        "repeat",
        Shape::Durations,
        "",
        "Interval of repeats while the alarm is activated, or a list of intervals of which the last one stays; \
         none: once. 100ms or more. They stop when it idles, is acknowledged, disabled or shelved.",
    ),
    key("on_clear", Shape::Boolean, "false", "Also when the alarm idles, if its activation was delivered."),
    key(
        "on",
        Shape::TextOrList,
        "[\"activated\"]",
        "Changes that cause a delivery: activated, acknowledged, idled, off, enabled.",
    ),
    key("severities", Shape::TextOrList, "", "Only for alarms of these severities. Default: all."),
    key("things", Shape::TextOrList, "", "Only for these things, or patterns over things. Default: all."),
    key(
        "hours",
        Shape::TextOrList,
        "",
        "Only at these times of the week, in the gateway's time_zone: \"mon-fri 08:00-18:00\". Default: always.",
    ),
    key(
        "valid_for",
        Shape::Duration,
        "",
        "What is later than this is dropped and reported, never sent. Default: no limit."
    ),
    key("give_up", Shape::Duration, "\"1d\"", "How long a delivery is tried before it is dropped and reported."),
    key(
        "concurrency",
        Shape::Integer(1, 64),
        "4",
        "Deliveries on their way at one time; those of one alarm keep their order."
    ),
    key(
        "queue_max",
        Shape::Integer(1, 1_000_000),
        "10000",
        "Deliveries that may wait. When there are more, the oldest is dropped and reported.",
    ),
    key(
        "rate_limit",
        Shape::Integer(1, 100_000),
        "",
        "Deliveries that may begin within rate_window; what exceeds it is gathered into one that tells how many more \
         there are. Default: no limit.",
    ),
    key("rate_window", Shape::Duration, "\"1m\"", "The time that rate_limit counts in. 1s to 1d."),
];

/// `[[template]]`
pub const TEMPLATE: Section = Section {
    name: "template",
    repeated: true,
    doc: "What reactions say. May also stand in conf.d/*.toml.",
    keys: TEMPLATE_KEYS,
};

/// `[[reaction]]`
pub const REACTION: Section = Section {
    name: "reaction",
    repeated: true,
    doc: "When something is said, and to whom. May also stand in conf.d/*.toml.",
    keys: REACTION_KEYS,
};
