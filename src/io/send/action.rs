//! The channels over which people and machines are told: a list, and what each of them can do.
//!
//! A channel is a module beside this one: its settings, and how it sends. This file is the list that knows all of them;
//! the keys of each are in `config::reactions::action`.

use super::email::{Email, Mailer, Smtp};
use super::mqtt::{self, Publish, check_topic};
use super::rehearsal::Rehearsal;
use super::sender::Attempt;
use super::template::{Renderer, Text, Variables};
use super::webhook::{self, Clients, Webhook};
use crate::domain::notify::ReactionIx;
use crate::domain::notify::delivery::Outcome;
use crate::io::mqtt::Outbound;
use std::sync::Arc;

/// The actions of a gateway's reactions, and the mail server that they share.
#[derive(Debug, Clone, Default)]
pub struct Actions {
    /// In the order of the reactions.
    pub list: Vec<Arc<Action>>,
    /// `[smtp]`, if there is one.
    pub smtp: Option<Arc<Smtp>>,
}

impl Actions {
    /// The action of one reaction.
    pub fn get(&self, reaction: ReactionIx) -> Option<&Arc<Action>> {
        self.list.get(reaction.index())
    }
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
    /// The receiver that it shares with other reactions. None: it goes over the daemon's own connection.
    pub fn destination(&self, reaction: &str) -> Option<String> {
        match self {
            Action::Email(_) => Some("smtp".to_owned()),
            // A url that depends on the event has no fixed receiver: the reaction stands for all of them.
            Action::Webhook(webhook) => Some(webhook.origin.clone().unwrap_or_else(|| format!("reaction {reaction}"))),
            Action::Mqtt(_) => None,
        }
    }

    /// Whether it can tell of several events at once. What people wrote for one event alone must not hide others.
    pub fn tells_of_others(&self) -> bool {
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

    /// Checks the text that the template of a key has given for an event.
    ///
    /// # Errors
    /// Says why the channel cannot use it.
    pub(crate) fn check_rendered(&self, key: &str, rendered: &str) -> Result<(), String> {
        match (self, key) {
            // A topic without a template was checked where it was read.
            (Action::Mqtt(publish), "topic") if !publish.topic.is_plain() => check_topic(rendered, &publish.own),
            (Action::Webhook(webhook), "url") => webhook::address(webhook, rendered).map(drop),
            (Action::Webhook(_), "headers") => match rendered.parse::<hyper::header::HeaderValue>() {
                Ok(_) => Ok(()),
                Err(_) => Err("a header cannot hold what this gives".to_owned()),
            },
            (Action::Email(_) | Action::Webhook(_) | Action::Mqtt(_), _) => Ok(()),
        }
    }

    /// Makes one attempt.
    pub(super) async fn attempt(
        &self,
        channels: &Channels,
        attempt: &Attempt,
        renderer: &Renderer,
        variables: &Variables,
    ) -> Attempted {
        let (reaction, delivery) = (&attempt.reaction.name, &attempt.delivery);
        Attempted::Ended(match self {
            Action::Email(email) => match &channels.mailer {
                Some(mailer) => mailer.send(email, delivery, variables, renderer).await,
                None => Outcome::unreachable("there is no [smtp] in the configuration"),
            },
            Action::Webhook(webhook) => channels.clients.send(reaction, webhook, delivery, variables, renderer).await,
            Action::Mqtt(publish) => match mqtt::compose(publish, variables, renderer) {
                Ok((outbound, warnings)) => return Attempted::Rendered(outbound, warnings),
                Err(reason) => Outcome::Refused { reason },
            },
        })
    }

    /// Tries as much of it as can be had without sending anything.
    pub(super) async fn rehearse(&self, reaction: &str, rehearsal: &mut Rehearsal) {
        match self {
            Action::Email(email) => rehearsal.add_recipients(&email.to),
            Action::Webhook(webhook) => webhook::rehearse(reaction, webhook, rehearsal).await,
            // A message would be one for an actuator.
            Action::Mqtt(_) => {}
        }
    }
}

/// The result of an attempt, as far as a channel can have it.
pub(super) enum Attempted {
    /// It has ended.
    Ended(Outcome),
    /// It is a message that the daemon's own connection has to publish, with what was wrong on the way to it.
    Rendered(Outbound, Vec<String>),
}

/// Connections that the attempts of a channel share.
pub(super) struct Channels {
    mailer: Option<Mailer>,
    clients: Clients,
}

impl Channels {
    pub(super) fn new(smtp: Option<Arc<Smtp>>) -> Channels {
        Channels { mailer: smtp.map(Mailer::new), clients: Clients::default() }
    }
}
