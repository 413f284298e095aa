//! Questions to the history: answered beside the loop, when what the turn decided is on disk.

use super::Daemon;
use super::replies::Reply;
use crate::api::{history, reply};
use crate::domain::history::Filter;
use crate::domain::history::HistoryQuery;
use crate::io::mqtt::ReplyTo;
use serde_json::Value;
use std::cell::Cell;
use std::rc::Rc;

/// Searches that go on at one time. Each has one slice in the store's queue, between the writes.
const SEARCHES: usize = 4;

/// What was asked in this turn, and how many searches are going on.
#[derive(Debug, Default)]
pub(super) struct Searches {
    asked: Vec<(Value, HistoryQuery, Option<ReplyTo>)>,
    going_on: Rc<Cell<usize>>,
}

impl Searches {
    /// Whether another search can begin.
    pub(super) fn have_room(&self) -> bool {
        self.asked.len() + self.going_on.get() < SEARCHES
    }

    /// Takes a question, the name of the request, and where the answer is waited for.
    pub(super) fn ask(&mut self, name: Value, query: HistoryQuery, to: Option<ReplyTo>) {
        self.asked.push((name, query, to));
    }
}

impl Daemon {
    /// Begins to answer what was asked.
    pub(super) fn begin_searches(&mut self) {
        for (name, query, to) in std::mem::take(&mut self.searches.asked) {
            let going_on = self.searches.going_on.clone();
            going_on.set(going_on.get() + 1);
            let search = self.persistence.search(&self.durables.history_log, Filter::new(query));
            let replies = self.config.gateway.topics.replies();
            let (link, gateway) = (self.link.clone(), self.config.gateway.id.clone());
            let on_the_way = self.replies.on_the_way();
            tokio::task::spawn_local(async move {
                let payload = match search.await {
                    Ok(search) => history::render(&name, &gateway, &search.found, search.next),
                    Err(error) => reply::refused(name, error.to_string()),
                };
                going_on.set(going_on.get() - 1);
                Reply { payload, to }.send(&link, replies, &on_the_way);
            });
        }
    }
}
