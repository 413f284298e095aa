//! What a reaction sends and where to: its own keys first, then those of its template.

use crate::api::topics::Topics;
use crate::config::connection::Tls;
use crate::config::reader::Table;
use crate::config::report::{Problem, Problems};
use crate::domain::time::Span;
use crate::io::send::action::{Action, ActionType};
use crate::io::send::email::Email;
use crate::io::send::mqtt::{Publish, check_topic};
use crate::io::send::template::Text;
use crate::io::send::webhook::Webhook;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A reaction on top of its template.
#[derive(Clone, Copy)]
pub(super) struct Layers<'d, 't> {
    pub(super) own: Table<'d, 't>,
    pub(super) template: Option<Table<'d, 't>>,
}

impl<'d, 't> Layers<'d, 't> {
    /// The table that has the last word about a key.
    pub(super) fn with(&self, name: &str) -> Table<'d, 't> {
        match self.template {
            Some(template) if !self.own.has(name) && template.has(name) => template,
            Some(_) | None => self.own,
        }
    }

    fn has(&self, name: &str) -> bool {
        self.with(name).has(name)
    }

    fn text(&self, name: &str, problems: &mut Problems) -> Option<Text> {
        self.with(name).text(name, problems).map(|text| Text(Arc::from(text)))
    }

    fn needs(&self, name: &str, why: &str, problems: &mut Problems) {
        let is_known = self.template.is_none_or(|template| template.lacks(name));
        if self.own.lacks(name) && is_known {
            self.own.missing(
                format!("{why} needs {name}"),
                format!("add {name} = …, here or in its template"),
                problems,
            );
        }
    }
}

const EMAIL: [&str; 3] = ["to", "subject", "message"];
const WEBHOOK: [&str; 12] = [
    "url",
    "method",
    "headers",
    "body",
    "secret",
    "token",
    "timeout",
    "redirects",
    "response_max",
    "ca_file",
    "cert_file",
    "key_file",
];
const MQTT: [&str; 4] = ["topic", "payload", "qos", "retain"];

/// What is wrong with a template whoever uses it.
pub(super) fn check_alone(table: &Table<'_, '_>, topics: &Topics, problems: &mut Problems) {
    let layers = Layers { own: *table, template: None };
    compile_parts(&layers, false, topics, problems);
}

/// What is wrong with the texts of a template that no reaction uses: others are rendered with samples.
pub(super) fn check_unused(table: &Table<'_, '_>, problems: &mut Problems) {
    for key in ["subject", "message", "url", "body", "topic", "payload"].into_iter().filter(|key| table.has(key)) {
        if let Some(Err(message)) = table.text(key, problems).map(|text| Text(text.into()).check()) {
            let help = "no reaction uses it now";
            problems.add(Problem::warning(table.place(key), format!("{key}: {message}"), help));
        }
    }
}

pub(super) fn compile(layers: &Layers<'_, '_>, topics: &Topics, problems: &mut Problems) -> Option<Action> {
    compile_parts(layers, true, topics, problems)
}

fn compile_parts(
    layers: &Layers<'_, '_>,
    is_complete: bool,
    topics: &Topics,
    problems: &mut Problems,
) -> Option<Action> {
    let word = layers.own.word("type", problems)?;
    let kind = ActionType::ALL.into_iter().find(|kind| kind.as_str() == word)?;
    let (article, mine): (&str, &[&str]) = match kind {
        ActionType::Email => ("an e-mail", &EMAIL),
        ActionType::Webhook => ("a webhook", &WEBHOOK),
        ActionType::Mqtt => ("an MQTT message", &MQTT),
    };
    for name in EMAIL.iter().chain(&WEBHOOK).chain(&MQTT).filter(|name| !mine.contains(name)) {
        if layers.own.has(name) {
            let message = format!("{name} has no meaning in {article}");
            let help = format!("known there are {}", mine.join(", "));
            problems.add(Problem::error(layers.own.place(name), message, help));
        }
    }
    let needs = |name: &str, problems: &mut Problems| {
        if is_complete {
            layers.needs(name, article, problems);
        }
    };
    match kind {
        ActionType::Email => {
            needs("to", problems);
            email(layers, problems).map(Action::Email)
        }
        ActionType::Webhook => {
            needs("url", problems);
            webhook(layers, problems).map(Box::new).map(Action::Webhook)
        }
        ActionType::Mqtt => {
            needs("topic", problems);
            publish(layers, topics, problems).map(Action::Mqtt)
        }
    }
}

fn email(layers: &Layers<'_, '_>, problems: &mut Problems) -> Option<Email> {
    let mut to: Vec<lettre::message::Mailbox> = Vec::new();
    for (text, place) in layers.with("to").texts("to", problems) {
        match text.parse::<lettre::message::Mailbox>() {
            Ok(mailbox) if to.iter().any(|other| other.email == mailbox.email) => {
                problems.add(Problem::error(place, format!("{text:?} is listed twice"), "once is enough"));
            }
            Ok(mailbox) => to.push(mailbox),
            Err(error) => {
                let help = "like \"duty@example.org\" or \"Duty <duty@example.org>\"";
                problems.add(Problem::error(place, format!("{text:?} is no mail address: {error}"), help));
            }
        }
    }
    let (subject, message) = (layers.text("subject", problems), layers.text("message", problems));
    (!to.is_empty()).then_some(Email { to, subject, message })
}

fn webhook(layers: &Layers<'_, '_>, problems: &mut Problems) -> Option<Webhook> {
    let url = layers.text("url", problems);
    let origin = url.as_ref().and_then(|url| origin(url, layers, problems));
    let method = layers.with("method").word("method", problems).and_then(|word| word.parse().ok());
    let headers = headers(layers, problems);
    let body = layers.text("body", problems);
    let secret = layers.with("secret").secret("secret", problems);
    let token = layers.with("token").secret("token", problems);
    let timeout =
        layers.with("timeout").duration_within("timeout", Span::from_millis(100), Span::from_secs(600), problems);
    let redirects = layers.with("redirects").integer("redirects", problems);
    let response_max = layers.with("response_max").integer("response_max", problems);
    let mut file = |name: &str| layers.with(name).file(name, problems);
    let (ca_file, cert_file, key_file) = (file("ca_file"), file("cert_file"), file("key_file"));
    for (name, other) in [("cert_file", "key_file"), ("key_file", "cert_file")] {
        if layers.has(name) && !layers.has(other) && layers.own.lacks(other) {
            let place = layers.with(name).place(name);
            problems.add(Problem::error(place, format!("{name} needs {other}"), "give both or neither"));
        }
    }
    let tls = Tls { ca_file, client: cert_file.zip(key_file) };
    crate::config::files::check_tls(&tls, |name| layers.with(name).place(name), problems);
    Some(Webhook {
        url: url?,
        origin,
        method: method?,
        headers,
        body,
        secret,
        token,
        tls,
        timeout,
        redirects,
        response_max,
    })
}

/// Scheme, host and port, where they are the same for every event.
fn origin(url: &Text, layers: &Layers<'_, '_>, problems: &mut Problems) -> Option<String> {
    let place = layers.with("url").place("url");
    let help = "write https://host/path; what depends on the event stands in {{ }} behind the host";
    let known = ["https://", "http://"].into_iter().find(|scheme| url.0.starts_with(scheme));
    let Some(scheme) = known else {
        let problem = Problem::error(place, "a webhook's url begins with https:// or http://", help);
        problems.add(if url.0.contains('@') { problem.without_source() } else { problem });
        return None;
    };
    let rest = &url.0[scheme.len()..];
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    if authority.contains('@') {
        let help = "use token, or a header";
        problems.add(Problem::error(place, "user and password do not belong into the url", help).without_source());
        return None;
    }
    if authority.contains('{') {
        let message = "a value cannot choose the host: event and secrets would go wherever it says";
        problems.add(Problem::error(place, format!("url: {message}"), "one reaction for each host"));
        return None;
    }
    let origin = format!("{scheme}{authority}");
    match origin.parse::<hyper::Uri>() {
        Ok(uri) if uri.host().is_some_and(|host| !host.is_empty()) && has_usable_port(&uri) => Some(origin),
        Ok(_) | Err(_) => {
            problems.add(Problem::error(place, format!("url: {authority:?} is no host"), help));
            None
        }
    }
}

/// False where something behind the host's colon is no port.
fn has_usable_port(uri: &hyper::Uri) -> bool {
    let authority = uri.authority().map(hyper::http::uri::Authority::as_str).unwrap_or_default();
    let behind_host = authority.rsplit_once(']').map_or(authority, |(_, behind)| behind);
    !behind_host.contains(':') || uri.port_u16().is_some_and(|port| port > 0)
}

fn headers(layers: &Layers<'_, '_>, problems: &mut Problems) -> BTreeMap<String, Text> {
    let table = layers.with("headers");
    let mut headers = BTreeMap::new();
    for (name, value) in table.map("headers", problems) {
        let is_name = name.parse::<hyper::header::HeaderName>().is_ok();
        let is_ours =
            ["content-length", "host", "idempotency-key", "transfer-encoding"].contains(&&*name.to_lowercase());
        if !is_name || is_ours {
            let why = if is_ours { "is set by the daemon" } else { "is no name of a header" };
            problems.add(
                Problem::error(
                    table.place("headers"),
                    format!("headers: {name:?} {why}"),
                    "letters, digits and dashes",
                )
                .without_source(),
            );
        }
        let text = crate::api::value_as_json(&value);
        let text = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
        headers.insert(name.clone(), Text(text.into()));
    }
    headers
}

fn publish(layers: &Layers<'_, '_>, topics: &Topics, problems: &mut Problems) -> Option<Publish> {
    let topic = layers.text("topic", problems);
    if let Some(topic) = topic.as_ref().filter(|topic| topic.is_plain())
        && let Err(message) = check_topic(&topic.0, topics)
    {
        let place = layers.with("topic").place("topic");
        problems.add(Problem::error(place, format!("topic: {message}"), "like \"plant/horn/set\""));
    }
    let payload = layers.text("payload", problems);
    let confirmed = layers.with("qos").integer("qos", problems) == 1;
    let retain = layers.with("retain").boolean("retain", problems);
    Some(Publish { topic: topic?, payload, confirmed, retain, own: topics.clone() })
}
