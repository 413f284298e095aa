//! Problems of a gateway, as `base/status` lists them. A problem is replaced and removed by its kind.

use serde::{Serialize, Serializer};
use std::fmt;

/// The kinds of problems. The texts of one kind begin with the same words, by which people and scripts recognise them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// The clock is not set.
    Clock,
    /// The store was damaged, or does not accept writes.
    Store,
    /// There is no connection because a certificate, a key or a password cannot be read.
    Credentials,
    /// The broker refuses a subscription.
    Subscription,
    /// The broker refuses a topic that is published.
    Publication,
    /// The daemon's own probe does not come back.
    Probe,
    /// The connection is lost again and again.
    Connection,
    /// Most of the time nothing can be observed, or values are evaluated late.
    Observation,
    /// A reaction does not reach its receiver.
    Reaction,
    /// Things are not watched, because a bound was reached.
    Things,
    /// A configuration that was to be reloaded has mistakes.
    Reload,
    /// More alarms come than people can follow (ISA-18.2).
    Flood,
    /// The HTTP listener cannot work.
    Http,
    /// A message is skipped, because the daemon ended twice while handling it.
    Message,
}

impl ProblemKind {
    /// The words with which problems of this kind begin.
    pub const fn prefix(self) -> &'static str {
        match self {
            ProblemKind::Clock => "clock: ",
            ProblemKind::Store => "store: ",
            ProblemKind::Credentials => "cannot connect: ",
            ProblemKind::Subscription => "subscription ",
            ProblemKind::Publication => "publish to ",
            ProblemKind::Probe => "probe ",
            ProblemKind::Connection => "hardly ever connected: ",
            ProblemKind::Observation => "hardly observing: ",
            ProblemKind::Reaction => "reaction ",
            ProblemKind::Things => "things: ",
            ProblemKind::Reload => "reload: ",
            ProblemKind::Flood => "flood of alarms ",
            ProblemKind::Http => "http: ",
            ProblemKind::Message => "a message on ",
        }
    }
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusProblem {
    /// Its kind.
    pub kind: ProblemKind,
    /// The text after the words of the kind.
    pub text: String,
}

impl fmt::Display for StatusProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.kind.prefix(), self.text)
    }
}

impl Serialize for StatusProblem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The present problems, in the order in which they were added.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct StatusProblems(Vec<StatusProblem>);

impl StatusProblems {
    /// Replaces all problems of a kind.
    pub fn replace(&mut self, kind: ProblemKind, texts: impl IntoIterator<Item = String>) {
        self.remove(kind);
        texts.into_iter().for_each(|text| self.add(kind, text));
    }

    /// Adds a problem to those of its kind.
    pub fn add(&mut self, kind: ProblemKind, text: String) {
        self.0.push(StatusProblem { kind, text });
    }

    /// Removes all problems of a kind.
    pub fn remove(&mut self, kind: ProblemKind) {
        self.0.retain(|problem| problem.kind != kind);
    }

    /// The texts of a kind, in the order in which they were added.
    pub fn of(&self, kind: ProblemKind) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |problem| problem.kind == kind).map(|problem| problem.text.as_str())
    }

    /// Number of problems.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there are no problems.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
