//! What can come between a person and the daemon, in words that say what to look at.

use crate::domain::time::Span;
use thiserror::Error;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Trouble {
    /// Files that the configuration names cannot be used.
    #[error("{0}")]
    Settings(String),
    /// No connection.
    #[error("cannot reach the broker at {broker}: {reason}")]
    Unreachable {
        /// Host and port.
        broker: String,
        /// Why.
        reason: String,
    },
    /// The connection broke.
    #[error("the connection to the broker at {broker} is lost: {reason}")]
    Lost {
        /// Host and port.
        broker: String,
        /// Why.
        reason: String,
    },
    /// The broker's access rules.
    #[error("the broker at {broker} does not let this user read {filter}")]
    MayNotRead {
        /// Host and port.
        broker: String,
        /// What was subscribed.
        filter: String,
    },
    /// The daemon is known to be away.
    #[error("the daemon {gateway} is offline{}, as its last will says", .since.as_ref().map(|s| format!(" since {s}")).unwrap_or_default())]
    Offline {
        /// The gateway's id.
        gateway: String,
        /// Since when, if somebody knows.
        since: Option<String>,
    },
    /// It should be there, but does not answer.
    #[error(
        "the daemon {gateway} is online, but did not answer within {timeout}; \
         may this user publish to {topic} and read {replies}, and are commands switched on?"
    )]
    NoAnswer {
        /// The gateway's id.
        gateway: String,
        /// What was waited.
        timeout: Span,
        /// Where the command went.
        topic: String,
        /// Where the answer was expected.
        replies: String,
    },
    /// It answers, and this answer was lost.
    #[error(
        "the daemon {gateway} answers, but its answer to this has not come: it may be larger than the broker at {broker} \
         passes on (in mosquitto message_size_limit); ask for less, or allow 300 KiB"
    )]
    AnswerLost {
        /// The gateway's id.
        gateway: String,
        /// Host and port.
        broker: String,
    },
    /// There is no sign that it was ever there.
    #[error(
        "no daemon {gateway} has answered within {timeout}, and there is nothing on {status}; \
         does it use the broker at {broker} and this configuration, and may this user read its topics?"
    )]
    NoDaemon {
        /// The gateway's id.
        gateway: String,
        /// What was waited.
        timeout: Span,
        /// Host and port.
        broker: String,
        /// Where its status would be.
        status: String,
    },
    /// More is published than can be kept while an answer is waited for.
    #[error("more was published than can be kept while waiting for the daemon's answer")]
    TooMuch,
    /// The answer is none of this release.
    #[error("the daemon's answer cannot be read (is it of another release?): {0}")]
    Garbled(String),
}
