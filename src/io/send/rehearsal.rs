//! Whether the receivers of reactions can be reached, as far as that shows without sending anything: for
//! `check --online`.
//!
//! Mail: name, connection, TLS, login, sender and every recipient, up to where the message would follow. Webhook: name,
//! connection, TLS and that somebody speaks HTTP there. A message over MQTT would be one for an actuator, so it is not tried.

use super::action::{Action, Actions};
use super::email::Mailer;
use super::webhook::HttpClient;
use crate::domain::notify::Reactions;
use lettre::message::Mailbox;
use std::collections::BTreeMap;

/// One thing that was tried, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What, in words.
    pub what: String,
    /// What was seen, or what is wrong.
    pub result: Result<String, String>,
}

impl Finding {
    /// What was tried, and what came of it.
    pub fn new(what: impl Into<String>, result: Result<String, String>) -> Finding {
        Finding { what: what.into(), result }
    }
}

/// Tries all of them. Must be called inside a `LocalSet`.
pub async fn rehearse(reactions: &Reactions, actions: &Actions) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut recipients: Vec<Mailbox> = Vec::new();
    for (reaction, action) in reactions.list.iter().zip(&actions.list) {
        match &**action {
            Action::Email(email) => {
                for mailbox in &email.to {
                    if !recipients.iter().any(|known| known.email == mailbox.email) {
                        recipients.push(mailbox.clone());
                    }
                }
            }
            Action::Webhook(webhook) => {
                let what = format!("reaction {}", reaction.name);
                for secret in [&webhook.secret, &webhook.token].into_iter().flatten() {
                    if let Err(error) = secret.read() {
                        findings.push(Finding::new(&what, Err(error)));
                    }
                }
                let result = match (&webhook.origin, HttpClient::new(webhook)) {
                    (_, Err(error)) => Err(error),
                    (None, Ok(_)) => Ok("its url depends on the event: not tried".to_owned()),
                    (Some(origin), Ok(caller)) => caller.knock(webhook, origin).await,
                };
                findings.push(Finding::new(what, result));
            }
            Action::Mqtt(_) => {}
        }
    }
    if let Some(smtp) = &actions.smtp {
        let said = Mailer::new(smtp.clone()).rehearse(&recipients).await;
        findings.push(Finding::new("smtp", said.map(|lines| lines.join("; "))));
    }
    by_what(findings)
}

/// The same finding for several reactions is told once.
fn by_what(findings: Vec<Finding>) -> Vec<Finding> {
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    let mut merged: Vec<Finding> = Vec::new();
    for finding in findings {
        let text = format!("{:?}", finding.result);
        match told.get(&text).and_then(|index| merged.get_mut(*index)) {
            Some(first) => first.what = format!("{}, {}", first.what, finding.what),
            None => {
                told.insert(text, merged.len());
                merged.push(finding);
            }
        }
    }
    merged
}
