//! The command `test-reaction`: sends a real one, waits for what the other side says, and passes that on.

use super::Daemon;
use super::replies::Reply;
use crate::api::reply;
use crate::domain::time::Now;
use crate::io::mqtt::ReplyTo;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Tests that go on at one time: each is a real delivery.
const TESTS: usize = 16;

/// A test whose end is awaited.
#[derive(Debug)]
pub(super) struct Awaited {
    /// What the request calls itself, and where its answer is waited for.
    name: Value,
    to: Option<ReplyTo>,
    reaction: String,
}

/// Tests by their numbers.
pub(super) type Tests = BTreeMap<u64, Awaited>;

#[derive(Serialize)]
struct Answer<'a> {
    reaction: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
}

impl Daemon {
    /// Begins a test. What cannot begin is answered at once, all else by [`Daemon::answer_tests`].
    pub(super) fn test_reaction(&mut self, name: Value, reaction: String, to: Option<ReplyTo>, now: Now) {
        if self.tests.len() >= TESTS {
            let error = format!("{TESTS} tests go on already: ask again");
            self.replies.push(Reply { payload: reply::refused(name, error), to });
            return;
        }
        match self.notifier.test(&reaction, now) {
            Ok(number) => {
                self.tests.insert(number, Awaited { name, to, reaction });
            }
            Err(error) => self.replies.push(Reply { payload: reply::refused(name, error), to }),
        }
    }

    /// Answers tests that have ended.
    pub(super) fn answer_tests(&mut self) {
        for tested in self.notifier.take_tested() {
            let Some(Awaited { name, to, reaction }) = self.tests.remove(&tested.number) else { continue };
            let (error, answer) = match tested.answer {
                Ok(answer) => (None, Some(answer)),
                Err(error) => (Some(error), None),
            };
            let payload = reply::answer(&name, error, Answer { reaction: &reaction, answer });
            self.replies.push(Reply { payload, to });
        }
    }
}
