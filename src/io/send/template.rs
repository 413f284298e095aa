//! From templates to texts: what may stand in them, and what goes out when one fails.
//!
//! An unknown variable is an error, and a loop that does not end runs out of fuel; the check of the configuration finds
//! both with sample events. If a template fails all the same, a plain text with all of the event takes its place: a bad
//! template never silences an alarm. No template can take the daemon's stack (`compile`) or its memory (`limits`).

mod budget;
mod compile;

use crate::domain::notify::delivery::{Delivery, Kind};
use crate::domain::notify::{Reactions, Zone};
use crate::domain::printable::printable;
use crate::domain::time::{Span, Stamp};
use budget::LONGEST;
use compile::{Prepared, Refusal};
use minijinja::machinery;
use minijinja::value::{Serde, Value, merge_maps};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};
use serde_json::{Map, Value as Json, json};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

/// Steps that a template may take. A long mail needs some hundred; a loop over a digest some thousand.
const FUEL: u64 = 300_000;
/// What an event may have and need not: null, where it has not, so that a template can ask for it.
const OPTIONAL: [&str; 6] = ["since", "value", "value_at", "average", "by", "comment"];

/// A template as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(pub Arc<str>);

impl Text {
    /// Whether nothing in it depends on the event.
    pub fn is_plain(&self) -> bool {
        !self.0.contains("{{") && !self.0.contains("{%") && !self.0.contains("{#")
    }

    /// Looks whether it is a template, whatever its variables are.
    ///
    /// # Errors
    /// Why it is none, in words.
    pub fn check(&self) -> Result<(), String> {
        self.prepared().map(drop)
    }

    fn prepared(&self) -> Result<Prepared, String> {
        Prepared::new(&self.0).map_err(|refusal| match refusal {
            Refusal::Limit(reason) => reason,
            Refusal::Syntax(error) => explain(&error),
        })
    }

    /// Whether it asks how many others there are, or which.
    pub fn tells_of_others(&self) -> bool {
        let between = |open: &'static str, close: &'static str| {
            self.0.split(open).skip(1).filter_map(move |part| part.split(close).next())
        };
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let mut names = between("{{", "}}").chain(between("{%", "%}")).flat_map(|code| code.split(|c| !is_name(c)));
        names.any(|name| name == "more" || name == "others")
    }
}

/// Renders templates of one gateway.
#[derive(Debug)]
pub struct Renderer {
    environment: Environment<'static>,
    gateway: String,
}

/// What a delivery is rendered from.
#[derive(Debug)]
pub struct Variables {
    json: Json,
    value: Value,
    /// The event as it was published.
    event: Arc<str>,
    /// Events that are told of besides.
    others: Vec<Arc<str>>,
}

impl Renderer {
    /// A renderer for people who live in `zone`.
    pub fn new(gateway: &str, zone: &Zone) -> Renderer {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        // So that an error names the variable.
        environment.set_debug(true);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        budget::install(&mut environment);
        let zone = zone.clone();
        environment.add_filter("local", move |text: Option<String>, format: Option<String>| {
            local(text.as_deref(), format.as_deref(), &zone)
        });
        Renderer { environment, gateway: gateway.to_owned() }
    }

    /// What templates may use for a delivery that tells of `digest`, too.
    pub fn variables(&self, delivery: &Delivery, digest: &[Arc<Delivery>], reaction: &str) -> Variables {
        let occasion = &delivery.occasion;
        let event = event_of(&occasion.event);
        let others: Vec<Arc<str>> = digest.iter().map(|other| other.occasion.event.clone()).collect();
        let mut json = match serde_json::from_str(&occasion.facts) {
            Ok(Json::Object(facts)) => facts,
            Ok(_) | Err(_) => Map::new(),
        };
        let lasted = occasion.opened_at.map(|opened| whole_seconds(delivery.due_wall - opened));
        let repeat = match delivery.kind {
            Kind::Repeat(number) => number,
            Kind::First | Kind::Clear | Kind::Change | Kind::Test => 0,
        };
        let mut put = |name: &str, value: Json| json.insert(name.to_owned(), value);
        put("thing", json!({ "id": event.get("thing") }));
        put("gateway", json!({ "id": self.gateway }));
        put(
            "occurrence",
            json!({
                "number": event.get("occurrence"),
                "since": occasion.opened_at.map(|stamp| stamp.to_string()),
                "duration": lasted.map(|span| span.to_string()),
                "seconds": lasted.map(|span| span.as_micros() / 1_000_000),
            }),
        );
        put("reaction", json!({ "name": reaction, "kind": delivery.kind.as_str(), "repeat": repeat }));
        put("delivery", json!({ "id": delivery.id }));
        put("more", json!(others.len()));
        put("others", others.iter().map(|other| event_of(other)).collect());
        put("event", event);
        let json = Json::Object(json);
        Variables { value: Value::from(Serde(json.clone())), json, event: occasion.event.clone(), others }
    }

    /// Renders a template.
    ///
    /// # Errors
    /// What is wrong with it, in words, with the line where that is known.
    pub fn render(&self, text: &Text, variables: &Variables) -> Result<String, String> {
        if text.is_plain() {
            // As in a template, the newline that closes the last line does not belong to the text.
            let text = text.0.strip_suffix('\n').map_or(&*text.0, |text| text.strip_suffix('\r').unwrap_or(text));
            return within(text.to_owned());
        }
        let prepared = text.prepared()?;
        self.evaluate(&prepared, variables).map_err(|error| prepared.with_constants(explain(&error))).and_then(within)
    }

    fn evaluate(&self, prepared: &Prepared, variables: &Variables) -> Result<String, Error> {
        budget::begin();
        let instructions = prepared.instructions()?;
        let root = merge_maps([prepared.constants(), variables.value.clone()]);
        let (mut rendered, blocks) = (String::new(), std::collections::BTreeMap::new());
        let mut output = machinery::make_string_output(&mut rendered);
        machinery::eval(&self.environment, &instructions, root, &blocks, &mut output, AutoEscape::None)?;
        Ok(rendered)
    }
}

impl Variables {
    /// The same for a mail, where an id cannot pass for another one: what comes from outside is shown escaped where it
    /// would be shown in another order, or look like something else.
    pub(crate) fn for_mail(&self) -> Variables {
        let mut json = self.json.clone();
        for part in ["event", "others", "thing", "alarm"] {
            if let Some(part) = json.get_mut(part) {
                unmask(part);
            }
        }
        let others = self.others.iter().map(|other| {
            let mut event = event_of(other);
            unmask(&mut event);
            event.to_string().into()
        });
        let others = others.collect();
        Variables { value: Value::from(Serde(json.clone())), json, event: self.event.clone(), others }
    }

    /// All of the event as plain lines, for when nothing better was asked for or a template has failed.
    pub fn plain_text(&self) -> String {
        let mut text = format!("{}\n\n", self.headline());
        let event = self.json.get("event").and_then(Json::as_object);
        for (name, value) in event.into_iter().flatten().filter(|(_, value)| !value.is_null()) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name}: {}", as_text(value));
        }
        for name in ["since", "duration"] {
            if let Some(value) = self.json.pointer(&format!("/occurrence/{name}")).filter(|value| !value.is_null()) {
                let _ = writeln!(text, "occurrence {name}: {}", as_text(value));
            }
        }
        if let Some(description) = self.json.pointer("/alarm/description").and_then(Json::as_str)
            && !description.is_empty()
        {
            let _ = write!(text, "\n{description}\n");
        }
        text.push_str(&self.digest_text());
        text
    }

    /// One line: `[critical] Boiler too hot: activated`.
    pub fn headline(&self) -> String {
        let of_event = |name: &str| {
            self.json.pointer(&format!("/event/{name}")).and_then(Json::as_str).unwrap_or_default().to_owned()
        };
        let again = match self.json.pointer("/reaction/repeat").and_then(Json::as_u64) {
            None | Some(0) => "",
            Some(_) => "still ",
        };
        let more = if self.others.is_empty() { String::new() } else { format!(" (and {} more)", self.others.len()) };
        format!("[{}] {}: {again}{}{more}", of_event("severity"), of_event("title"), of_event("to"))
    }

    /// The name of the reaction.
    pub(crate) fn reaction(&self) -> &str {
        self.json.pointer("/reaction/name").and_then(Json::as_str).unwrap_or_default()
    }

    /// What a digest adds to a text that does not speak of it itself.
    pub fn digest_text(&self) -> String {
        if self.others.is_empty() {
            return String::new();
        }
        let mut text = format!("\nAnd {} more:\n", self.others.len());
        for other in &self.others {
            let event = event_of(other);
            let of = |name: &str| event.get(name).map(as_text).unwrap_or_default();
            let _ =
                writeln!(text, "- {} [{}] {}: {} ({})", of("at"), of("severity"), of("title"), of("to"), of("alarm"));
        }
        text
    }

    /// The event as JSON, byte for byte as it was published; a digest adds how many more there are, and which.
    pub fn event_json(&self) -> String {
        if self.others.is_empty() {
            return self.event.to_string();
        }
        let events = self.others.join(",");
        let head = self.event.strip_suffix('}').unwrap_or(&self.event);
        format!("{head},\"more\":{},\"others\":[{events}]}}", self.others.len())
    }
}

/// A rendered text and what was wrong on the way to it.
pub(crate) struct Rendered {
    pub(crate) text: String,
    pub(crate) warning: Option<String>,
}

impl Renderer {
    /// Renders a text for people, or falls back to `otherwise`. A digest is never passed over in silence: a text that
    /// does not mention how many more there are gets a list of them.
    pub(crate) fn for_people(
        &self,
        name: &str,
        text: Option<&Text>,
        variables: &Variables,
        otherwise: impl FnOnce() -> String,
    ) -> Rendered {
        let Some(text) = text else { return Rendered { text: otherwise(), warning: None } };
        match self.render(text, variables) {
            Ok(rendered) => Rendered { text: rendered, warning: None },
            Err(error) => {
                Rendered { text: otherwise(), warning: Some(format!("the template of {name} has failed: {error}")) }
            }
        }
    }
}

/// What people have written into the configuration, and may mean as it is. A title that is the alarm's id was not written.
const OF_THE_FILE: [&str; 2] = ["title", "description"];

/// Escapes what is deceptive in all texts.
fn unmask(json: &mut Json) {
    match json {
        Json::String(text) => {
            if let Cow::Owned(shown) = printable(text) {
                *text = shown;
            }
        }
        Json::Array(elements) => elements.iter_mut().for_each(unmask),
        Json::Object(members) => {
            let ids = [members.get("id").cloned(), members.get("alarm").cloned()];
            let is_of_the_file =
                |name: &str, value: &Json| OF_THE_FILE.contains(&name) && !ids.contains(&Some(value.clone()));
            members
                .iter_mut()
                .filter(|(name, value)| !is_of_the_file(name, value))
                .for_each(|(_, value)| unmask(value));
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// A text that is not too long for a receiver.
fn within(rendered: String) -> Result<String, String> {
    if rendered.len() > LONGEST {
        return Err(format!("it gives {} bytes, {LONGEST} is the most", rendered.len()));
    }
    Ok(rendered)
}

/// The published event, with null for what it does not have.
fn event_of(published: &str) -> Json {
    let mut event: Json = serde_json::from_str(published).unwrap_or_default();
    if let Some(event) = event.as_object_mut() {
        for name in OPTIONAL {
            event.entry(name).or_insert(Json::Null);
        }
    }
    event
}

fn as_text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The nearest second: a repeat after 15 minutes is not told as 14m 59s because two looks at the clock differ by less.
fn whole_seconds(span: Span) -> Span {
    Span::from_secs((span.as_micros().max(0) + 500_000) / 1_000_000)
}

/// A time as people in the zone read it: `2026-05-01 14:00:14 CEST`, or as `format` (strftime) says.
fn local(text: Option<&str>, format: Option<&str>, zone: &Zone) -> Result<String, Error> {
    let Some(text) = text else { return Ok(String::new()) };
    format.map_or(Ok(()), budget::check_time_format)?;
    let wrong = |message: String| Error::new(ErrorKind::InvalidOperation, message);
    let stamp = Stamp::parse(text).map_err(wrong)?;
    let time = jiff::Timestamp::from_microsecond(stamp.as_micros()).map_err(|error| wrong(error.to_string()))?;
    let zoned = time.to_zoned(zone.0.clone());
    jiff::fmt::strtime::format(format.unwrap_or("%Y-%m-%d %H:%M:%S %Z"), &zoned)
        .map_err(|error| wrong(error.to_string()))
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library's own words serve for what is not said better here")]
fn explain(error: &Error) -> String {
    let line = error.line().filter(|line| *line > 1).map(|line| format!(" (line {line} of it)")).unwrap_or_default();
    let what = match error.kind() {
        ErrorKind::UndefinedError => format!("a variable is unknown{}", undefined_name(error)),
        ErrorKind::OutOfFuel => "it does not come to an end".to_owned(),
        _ => match error.detail() {
            Some(detail) => format!("{}: {detail}", error.kind()),
            None => error.kind().to_string(),
        },
    };
    format!("{what}{line}")
}

fn undefined_name(error: &Error) -> String {
    error.detail().map(|detail| format!(": {detail}")).unwrap_or_default()
}

/// The renderer that all of a gateway's reactions use.
pub fn renderer(gateway: &str, reactions: &Reactions) -> Renderer {
    Renderer::new(gateway, &reactions.time_zone)
}

#[cfg(test)]
mod tests;
