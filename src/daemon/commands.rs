//! Commands: carried out at once where that is soon done, otherwise slice by slice, turn by turn.
//!
//! A turn has so much time for commands, and answers may take so much memory, whatever operators send. What changes
//! something is carried out in the order in which it came. A question is looked into when everything before it has been
//! carried out and its answer has room; until then only the question is kept. With too many waiting, further ones are
//! refused in words.

use super::Daemon;
use super::replies::Reply;
use crate::api::commands::{AnomalyCommand, DaemonCommand, Request};
use crate::api::execute::{PAGE_BYTES, Task};
use crate::api::reply;
use crate::domain::engine::Engine;
use crate::domain::history::HistoryQuery;
use crate::domain::time::{Now, Span};
use crate::io::mqtt::ReplyTo;
use serde_json::Value;
use std::collections::VecDeque;

/// Time of one turn for commands: messages wait no longer for them.
const TURN_TIME: Span = Span::from_millis(20);
/// Alarms that are looked at before the clock is: about a millisecond.
const LOOKS: usize = 512;
/// Commands that may wait, and what they may have in bytes, together. A person sends a few, a script some hundred.
const WAITING: usize = 4_096;
const WAITING_BYTES: usize = 4 << 20;
/// Bytes of a request besides its texts, about.
const OVERHEAD: usize = 512;

/// Something that waits to be answered.
#[derive(Debug)]
enum Question {
    Engine(Task),
    History(Value, HistoryQuery),
    Stats(Value),
    Anomaly(Value, AnomalyCommand),
}

impl Question {
    fn into_name(self) -> Value {
        match self {
            Question::Engine(task) => task.into_name(),
            Question::History(name, _) | Question::Stats(name) | Question::Anomaly(name, _) => name,
        }
    }
}

/// Something that waits, where its answer is waited for, and what it weighs.
#[derive(Debug)]
struct Waiting<T> {
    what: T,
    to: Option<ReplyTo>,
    bytes: usize,
}

/// Commands that wait.
#[derive(Debug, Default)]
pub(super) struct Commands {
    changes: VecDeque<Waiting<Task>>,
    questions: VecDeque<Waiting<Question>>,
    bytes: usize,
    /// How much of this turn's time was used.
    used: Span,
}

impl Commands {
    fn has_time(&self) -> bool {
        self.used < TURN_TIME
    }

    /// Whether so many bytes more may wait.
    fn has_room(&self, bytes: usize) -> bool {
        self.changes.len() + self.questions.len() < WAITING && self.bytes + bytes <= WAITING_BYTES
    }

    /// The connection is lost: nobody waits for an answer any more. What was to be changed is changed all the same.
    pub(super) fn disconnected(&mut self) {
        self.questions.clear();
        self.bytes = self.changes.iter().map(|waiting| waiting.bytes).sum();
    }
}

impl Daemon {
    /// Carries out a command, begins to, or lets it wait. `size` is what it weighs.
    pub(super) fn command(&mut self, request: Request, size: usize, to: Option<ReplyTo>, now: Now) {
        let question = match Task::of(request) {
            Ok(task) if task.is_change() => {
                self.change(Waiting { what: task, to, bytes: size + OVERHEAD }, now);
                return;
            }
            Ok(task) => Question::Engine(task),
            Err(asked) => match *asked {
                (name, DaemonCommand::History(query)) => Question::History(name, query),
                (name, DaemonCommand::Stats) => Question::Stats(name),
                (name, DaemonCommand::Anomaly(command @ (AnomalyCommand::List(_) | AnomalyCommand::Models(_)))) => {
                    Question::Anomaly(name, command)
                }
                (name, DaemonCommand::Anomaly(command)) => {
                    self.anomaly_command(name, command, to, now);
                    return;
                }
                (name, DaemonCommand::TestReaction { reaction }) => {
                    self.test_reaction(name, reaction, to, now);
                    return;
                }
                (name, DaemonCommand::Reload) => {
                    self.ask_for_reload(name, to);
                    return;
                }
            },
        };
        let waiting = Waiting { what: question, to, bytes: size + OVERHEAD };
        if !self.commands.has_room(waiting.bytes) {
            self.refuse_to_wait(waiting.what.into_name(), waiting.to);
            return;
        }
        self.commands.bytes += waiting.bytes;
        self.commands.questions.push_back(waiting);
        if self.commands.questions.len() == 1 {
            self.carry_out(now);
        }
    }

    fn change(&mut self, waiting: Waiting<Task>, now: Now) {
        if !self.commands.has_room(waiting.bytes) {
            self.refuse_to_wait(waiting.what.into_name(), waiting.to);
            return;
        }
        self.commands.bytes += waiting.bytes;
        self.commands.changes.push_back(waiting);
        // The usual case: nothing waits before it, and it is done in a moment.
        if self.commands.changes.len() == 1 {
            self.carry_out(now);
        }
    }

    fn refuse_to_wait(&mut self, name: Value, to: Option<ReplyTo>) {
        let error = "too many commands wait already: ask again".to_owned();
        self.replies.push(Reply { payload: reply::refused(name, error), to });
    }

    /// A turn begins: there is time for commands again.
    pub(super) fn begin_turn_of_commands(&mut self) {
        self.commands.used = Span::ZERO;
    }

    /// Whether something of what waits can go on now.
    pub(super) fn has_commands_to_do(&self) -> bool {
        !self.commands.changes.is_empty() || (!self.commands.questions.is_empty() && self.can_answer())
    }

    /// Whether the next question could be answered, as far as there is room for answers.
    fn can_answer(&self) -> bool {
        let next = self.commands.questions.front().map(|waiting| &waiting.what);
        self.replies.have_room() && (!matches!(next, Some(Question::History(..))) || self.searches.have_room())
    }

    /// Goes on with what waits, as long as the turn has time for it.
    pub(super) fn carry_out(&mut self, now: Now) {
        while self.commands.has_time() && self.has_commands_to_do() {
            let began = self.clock.at();
            if self.commands.changes.is_empty() {
                self.answer_next(now);
            } else {
                self.change_next(LOOKS, now);
            }
            // Time that cannot be measured counts, too.
            let micros = (self.clock.at() - began).as_micros().max(1);
            self.commands.used = Span::from_micros(self.commands.used.as_micros().saturating_add(micros));
        }
    }

    /// Ends the change that was begun: alarms are about to get other numbers.
    pub(super) fn end_begun_change(&mut self, now: Now) {
        if self.commands.changes.front().is_some_and(|waiting| waiting.what.has_begun_to_change()) {
            self.change_next(usize::MAX, now);
        }
    }

    fn change_next(&mut self, looks: usize, now: Now) {
        let Some(mut waiting) = self.commands.changes.pop_front() else { return };
        match self.advance_task(&mut waiting.what, looks, now) {
            Some(payload) => self.answered(payload, waiting),
            None => self.commands.changes.push_front(waiting),
        }
    }

    fn answer_next(&mut self, now: Now) {
        let Some(mut waiting) = self.commands.questions.pop_front() else { return };
        match waiting.what {
            Question::Engine(mut task) => match self.advance_task(&mut task, LOOKS, now) {
                Some(payload) => self.answered(payload, Waiting { what: (), to: waiting.to, bytes: waiting.bytes }),
                None => {
                    waiting.what = Question::Engine(task);
                    self.commands.questions.push_front(waiting);
                }
            },
            Question::History(name, query) => {
                self.commands.bytes -= waiting.bytes;
                self.searches.ask(name, query, waiting.to);
            }
            Question::Stats(name) => {
                let payload = self.stats(&name, now);
                self.answered(payload, Waiting { what: (), to: waiting.to, bytes: waiting.bytes });
            }
            Question::Anomaly(name, command) => {
                self.commands.bytes -= waiting.bytes;
                self.anomaly_command(name, command, waiting.to, now);
            }
        }
    }

    fn answered<T>(&mut self, payload: Vec<u8>, Waiting { to, bytes, .. }: Waiting<T>) {
        self.commands.bytes -= bytes;
        self.replies.push(Reply { payload, to });
    }

    fn advance_task(&mut self, task: &mut Task, looks: usize, now: Now) -> Option<Vec<u8>> {
        let Daemon { engine, notifier, config, effects, link, .. } = self;
        let reactions = |engine: &Engine, alarm| notifier.explain(alarm, engine, now);
        let page = PAGE_BYTES.min(link.largest_payload());
        task.advance(looks, page, &config.gateway.id, engine, &reactions, now, effects)
    }
}
