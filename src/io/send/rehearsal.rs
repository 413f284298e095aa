//! Whether the receivers of reactions can be reached, as far as that shows without sending anything: for
//! `check --online`.
//!
//! Mail: name, connection, TLS, login, sender and every recipient, up to where the message would follow. Webhook: name,
//! connection, TLS and that somebody speaks HTTP there. A message over MQTT would be one for an actuator, so it is not tried.

use super::action::Actions;
use super::email::Mailer;
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

/// Findings so far, and recipients of mails: the server is asked for all of them at once.
#[derive(Default)]
pub(super) struct Rehearsal {
    findings: Vec<Finding>,
    recipients: Vec<Mailbox>,
}

impl Rehearsal {
    pub(super) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Adds recipients that are not there yet.
    pub(super) fn add_recipients(&mut self, to: &[Mailbox]) {
        for mailbox in to {
            if !self.recipients.iter().any(|known| known.email == mailbox.email) {
                self.recipients.push(mailbox.clone());
            }
        }
    }
}

/// Tries all of them. Must be called inside a `LocalSet`.
pub async fn rehearse(reactions: &Reactions, actions: &Actions) -> Vec<Finding> {
    let mut rehearsal = Rehearsal::default();
    for (reaction, action) in reactions.list.iter().zip(&actions.list) {
        action.rehearse(&reaction.name, &mut rehearsal).await;
    }
    if let Some(smtp) = &actions.smtp {
        let said = Mailer::new(smtp.clone()).rehearse(&rehearsal.recipients).await;
        rehearsal.add(Finding::new("smtp", said.map(|lines| lines.join("; "))));
    }
    by_what(rehearsal.findings)
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
