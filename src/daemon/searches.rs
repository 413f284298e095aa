//! Questions to the history: answered beside the loop, when what the turn decided is on disk.

use super::Daemon;
use crate::history::Filter;
use crate::mqtt::Outbound;
use crate::outbox::Token;
use crate::wire::command::HistoryQuery;
use crate::wire::{history, reply};
use serde_json::Value;
use std::cell::Cell;
use std::rc::Rc;

/// Searches that go on at one time. Each has one slice in the store's queue, between the writes.
const SEARCHES: usize = 4;

/// What was asked in this turn, and how many searches are going on.
#[derive(Debug, Default)]
pub(super) struct Searches {
    asked: Vec<(Value, HistoryQuery)>,
    going_on: Rc<Cell<usize>>,
}

impl Searches {
    /// Takes a question, and the name of the request.
    pub(super) fn ask(&mut self, name: Value, query: HistoryQuery) {
        self.asked.push((name, query));
    }
}

impl Daemon {
    /// Begins to answer what was asked.
    pub(super) fn begin_searches(&mut self) {
        for (name, query) in std::mem::take(&mut self.searches.asked) {
            let topic = self.config.gateway.topics.replies();
            let going_on = self.searches.going_on.clone();
            if going_on.get() >= SEARCHES {
                let error = format!("{SEARCHES} searches are going on already: ask again");
                self.publish(topic, reply::refused(name, error), true, false);
                continue;
            }
            going_on.set(going_on.get() + 1);
            let search = self.journal.search(Filter::new(query));
            let (link, gateway) = (self.link.clone(), self.config.gateway.id.clone());
            tokio::task::spawn_local(async move {
                let payload = match search.await {
                    Ok(search) => history::render(&name, &gateway, &search.found, search.next),
                    Err(error) => reply::refused(name, error.to_string()),
                };
                going_on.set(going_on.get() - 1);
                let answer = Outbound { topic, payload: payload.into(), confirmed: true, retain: false };
                if !link.send(answer, Token::Passing) {
                    tracing::debug!("the connection was lost before the history could be told");
                }
            });
        }
    }
}
