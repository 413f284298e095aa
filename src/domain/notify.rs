//! What is done because an alarm changed: an e-mail, a webhook call, a message over MQTT.
//!
//! Three parts. The [`schedule`] decides which deliveries begin when: first, repeated, on clearing. The [`queue`] decides
//! which of them is attempted now, and what a failure means for it. Both are functions of events and time: they send
//! nothing, read no clock and no disk. What they decide is sent by [`crate::io::send`], on a thread of its own, so that neither a
//! slow TLS handshake nor a dead server touches the evaluation of alarms.
//!
//! A delivery is on disk in the same write as the event that caused it, and leaves when the other side has taken it:
//! each at least once, with the same id.

pub mod delivery;
mod hours;
pub mod queue;
pub mod schedule;

pub(crate) use crate::io::send::webhook::address;
pub use delivery::{Delivery, Kind};
pub use hours::{Hours, Weekday};

use crate::api::topics::Topics;
use crate::config::{Secret, Tls};
use crate::domain::model::{Glob, Severity};
use crate::domain::time::Span;
use crate::io::send::template::Text;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The number of a reaction in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReactionIx(u32);

impl ReactionIx {
    pub(crate) fn new(index: usize) -> ReactionIx {
        ReactionIx(u32::try_from(index).unwrap_or(u32::MAX))
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// All reactions of a gateway, and what they share.
#[derive(Debug, Clone, Default)]
pub struct Reactions {
    /// In the order of the file.
    pub list: Vec<Arc<Reaction>>,
    /// For each alarm definition, by its place in the model, the reactions that it names.
    pub of_definitions: Vec<Box<[ReactionIx]>>,
    /// `[smtp]`, if there is one.
    pub smtp: Option<Arc<Smtp>>,
    /// The zone in which people read times.
    pub time_zone: Zone,
}

impl Reactions {
    /// The reaction with this name.
    pub fn find(&self, name: &str) -> Option<ReactionIx> {
        self.list.iter().position(|reaction| reaction.name == name).map(ReactionIx::new)
    }

    /// One reaction.
    pub fn get(&self, ix: ReactionIx) -> Option<&Arc<Reaction>> {
        self.list.get(ix.index())
    }
}

/// A time zone by its name; UTC unless configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone(pub jiff::tz::TimeZone);

impl Default for Zone {
    fn default() -> Zone {
        Zone(jiff::tz::TimeZone::UTC)
    }
}

/// One `[[reaction]]`, with what its template adds.
#[derive(Debug, Clone)]
pub struct Reaction {
    /// Its name.
    pub name: String,
    /// When.
    pub plan: Plan,
    /// How it is delivered when that does not work at once.
    pub terms: Terms,
    /// What, and where to.
    pub action: Action,
}

impl Reaction {
    /// Where it goes to: reactions with one destination are down together. None: over the daemon's own connection.
    pub fn destination(&self) -> Option<String> {
        match &self.action {
            Action::Email(_) => Some("smtp".to_owned()),
            // Where it depends on the event, the reaction stands for all of its destinations.
            Action::Webhook(webhook) => {
                Some(webhook.origin.clone().unwrap_or_else(|| format!("reaction {}", self.name)))
            }
            Action::Mqtt(_) => None,
        }
    }
}

/// When deliveries begin.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Delay of the first after the activation.
    pub initial: Span,
    /// Intervals between repeats; the last one stays. Empty: once.
    pub repeat: Vec<Span>,
    /// Whether to tell that the alarm has idled, if the activation was delivered.
    pub on_clear: bool,
    /// Which changes of state cause deliveries.
    pub on: Vec<Transition>,
    /// Severities for which; all in most cases.
    pub severities: Vec<Severity>,
    /// Things for which; empty: all.
    pub things: Vec<ThingFilter>,
    /// Times of the week in which; none: always.
    pub hours: Option<Hours>,
}

/// A name, or a pattern over names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ThingFilter {
    /// This thing.
    Exactly(String),
    /// Things that fit.
    Matching(Glob),
}

impl ThingFilter {
    fn covers(&self, thing: &str) -> bool {
        match self {
            ThingFilter::Exactly(id) => id == thing,
            ThingFilter::Matching(glob) => glob.matches(thing),
        }
    }
}

/// A change of state, as reactions distinguish them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transition {
    /// The trigger was reached.
    Activated,
    /// An operator has taken note.
    Acknowledged,
    /// The condition has ended.
    Idled,
    /// The alarm was disabled.
    Off,
    /// The alarm was enabled, or began anew.
    Enabled,
}

impl Transition {
    /// All of them.
    pub const ALL: [Transition; 5] =
        [Transition::Activated, Transition::Acknowledged, Transition::Idled, Transition::Off, Transition::Enabled];

    /// As the configuration spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Transition::Activated => "activated",
            Transition::Acknowledged => "acknowledged",
            Transition::Idled => "idled",
            Transition::Off => "off",
            Transition::Enabled => "enabled",
        }
    }
}

/// How long and how often a delivery is tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// A delivery that is later than this is dropped, not sent; none: never too late.
    pub valid_for: Option<Span>,
    /// After this time it is given up.
    pub give_up: Span,
    /// Attempts that may be on their way at one time.
    pub concurrency: usize,
    /// Deliveries that may wait.
    pub queue_max: usize,
    /// Deliveries that may begin within a time; further ones are gathered into a digest. None: no limit.
    pub rate: Option<(usize, Span)>,
    /// Whether it publishes what this daemon reads as a value: then what comes faster than the rate is dropped, so that
    /// an alarm that activates itself by it does so no more.
    pub feeds_sources: bool,
}

/// The types of reactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionType {
    /// An e-mail.
    Email,
    /// An HTTP request.
    Webhook,
    /// An MQTT message.
    Mqtt,
}

impl ActionType {
    /// All of them.
    pub const ALL: [ActionType; 3] = [ActionType::Email, ActionType::Webhook, ActionType::Mqtt];

    /// As the configuration spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            ActionType::Email => "email",
            ActionType::Webhook => "webhook",
            ActionType::Mqtt => "mqtt",
        }
    }
}

/// What is sent, and where to.
#[derive(Debug, Clone)]
pub enum Action {
    /// An e-mail.
    Email(Email),
    /// An HTTP request.
    Webhook(Box<Webhook>),
    /// An MQTT message.
    Mqtt(Publish),
}

impl Action {
    /// Its type as the configuration spells it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Action::Email(_) => ActionType::Email.as_str(),
            Action::Webhook(_) => ActionType::Webhook.as_str(),
            Action::Mqtt(_) => ActionType::Mqtt.as_str(),
        }
    }

    /// Whether it can tell of several events at once. What people wrote for one event alone must not hide others.
    pub fn can_tell_of_others(&self) -> bool {
        let can = |text: &Option<Text>| text.as_ref().is_none_or(Text::tells_of_others);
        match self {
            // A list of them is added to its text.
            Action::Email(_) => true,
            Action::Webhook(webhook) => can(&webhook.body),
            Action::Mqtt(publish) => can(&publish.payload),
        }
    }

    /// The templates in it, each with the key under which it was given.
    pub fn texts(&self) -> Vec<(&'static str, &Text)> {
        match self {
            Action::Email(email) => [("subject", &email.subject), ("message", &email.message)]
                .into_iter()
                .filter_map(|(name, text)| text.as_ref().map(|text| (name, text)))
                .collect(),
            Action::Webhook(webhook) => std::iter::once(("url", &webhook.url))
                .chain(webhook.body.as_ref().map(|body| ("body", body)))
                .chain(webhook.headers.values().map(|text| ("headers", text)))
                .collect(),
            Action::Mqtt(publish) => std::iter::once(("topic", &publish.topic))
                .chain(publish.payload.as_ref().map(|payload| ("payload", payload)))
                .collect(),
        }
    }
}

/// `[smtp]`: the server that takes mails.
#[derive(Debug, Clone, PartialEq)]
pub struct Smtp {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How to talk TLS.
    pub security: Security,
    /// Certificates to trust; none: those of the system.
    pub tls: Tls,
    /// As whom to log in.
    pub login: Option<(String, Secret)>,
    /// The sender of mails.
    pub from: lettre::message::Mailbox,
    /// The name to greet with.
    pub hello: String,
    /// Time for one mail, all in all.
    pub timeout: Span,
}

/// How a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// In the clear first, then TLS, or not at all.
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// In the clear.
    None,
}

/// A mail.
#[derive(Debug, Clone)]
pub struct Email {
    /// Recipients.
    pub to: Vec<lettre::message::Mailbox>,
    /// The subject; none: severity, title and state.
    pub subject: Option<Text>,
    /// The text; none: all of the event.
    pub message: Option<Text>,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Where to.
    pub url: Text,
    /// Scheme, host and port, if they are the same for every event.
    pub origin: Option<String>,
    /// How.
    pub method: hyper::Method,
    /// With which headers.
    pub headers: BTreeMap<String, Text>,
    /// With which body; none: the event as JSON.
    pub body: Option<Text>,
    /// What signs the body.
    pub secret: Option<Secret>,
    /// What shows who is calling.
    pub token: Option<Secret>,
    /// Certificates.
    pub tls: Tls,
    /// Time for one call, all in all.
    pub timeout: Span,
    /// Redirections that are followed.
    pub redirects: usize,
    /// Bytes of an answer that are read.
    pub response_max: usize,
}

/// An MQTT message.
#[derive(Debug, Clone)]
pub struct Publish {
    /// Where to.
    pub topic: Text,
    /// What; none: the event as JSON.
    pub payload: Option<Text>,
    /// Whether the broker has to confirm it (QoS 1).
    pub confirmed: bool,
    /// Whether it keeps it.
    pub retain: bool,
    /// The daemon's own topics: commands to itself are none of its business.
    pub own: Topics,
}

/// Whether a topic can be published to by a daemon with these topics of its own.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_topic(topic: &str, own: &Topics) -> Result<(), String> {
    /// The protocol counts a topic's bytes in 16 bits.
    const LONGEST: usize = 65_535;
    if topic.is_empty() || topic.len() > LONGEST {
        return Err(format!("a topic has 1 to {LONGEST} bytes"));
    }
    if topic.contains(['+', '#']) || topic.contains(char::is_control) {
        return Err(format!("{topic:?} cannot be published to: it has a wildcard or a control character in it"));
    }
    if topic.starts_with('$') {
        return Err(format!("{topic:?} belongs to the broker"));
    }
    // Of several instances, those to the others are no better.
    let is_to_another = own.is_own(topic) && topic.contains("/shards/") && topic.contains("/commands/");
    if own.verb(topic).is_some() || is_to_another {
        return Err(format!("{topic:?} would be a command of this daemon to itself"));
    }
    if own.is_taken(topic) {
        return Err(format!("{topic:?} is the daemon's own: what is there would be taken for what it says itself"));
    }
    Ok(())
}
