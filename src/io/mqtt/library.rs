//! What the two versions of the protocol have in common, as far as this program needs it.
//!
//! The library has a client of its own for each version, with types of their own. [`Requests`] is what is asked of
//! either, [`Connection`] and [`Happened`] what comes of it. Everything that is decided about a connection (gaps, windows,
//! pauses, what is stale) is decided on these, once, in `poll` and `link`; `v3` and `v5` translate and know nothing else.

use super::{Inbound, Outbound};
use std::fmt;
use std::time::Duration;

/// A topic filter and the quality of service that is asked for.
pub(super) type Filter = (String, u8);

/// The sending half: puts requests into the library's queue, and never waits. False: it took nothing.
pub(super) trait Requests: fmt::Debug {
    /// A message.
    fn publish(&self, outbound: Outbound) -> bool;
    /// The acknowledgement of a message that was received.
    fn acknowledge(&self, packet_id: u16) -> bool;
    /// Subscriptions, in one packet.
    fn subscribe(&self, filters: &[Filter]) -> bool;
    /// The end of a subscription.
    fn unsubscribe(&self, filter: &str) -> bool;
    /// The end of the connection, on purpose.
    fn disconnect(&self) -> bool;
}

/// The half that has to be polled.
pub(super) trait Connection {
    /// What has happened already: the library reads several packets at once. To ask is next to nothing, while a poll
    /// sets up all that it takes to wait and to connect.
    fn ready(&mut self) -> Option<Result<Happened, Broken>>;
    /// The next thing that happens. Connects if there is no connection.
    async fn poll(&mut self) -> Result<Happened, Broken>;
    /// Forgets everything of a connection that is to be no more, so that nothing of it surfaces in the next one.
    fn reset(&mut self);
    /// The time between two PINGREQs, as it was agreed upon: so often at least something happens.
    fn keep_alive(&self) -> Duration;
}

/// What happens on a connection.
#[derive(Debug)]
pub(super) enum Happened {
    /// The broker has accepted the connection.
    Connected {
        /// Whether it still has our session.
        session_present: bool,
        /// What it and the library allow.
        limits: Limits,
    },
    /// The oldest SUBSCRIBE that was not answered is: for each filter why it was refused, if it was.
    Subscribed(Vec<Option<String>>),
    /// The oldest UNSUBSCRIBE that was not answered is.
    Unsubscribed,
    /// A message, with the packet id by which to acknowledge it. The receipt is not yet in it.
    Message(Inbound, Option<u16>),
    /// The broker has taken what had this packet id, or says why not.
    Confirmed(u16, Option<String>),
    /// A message that the broker has to confirm has left, with this packet id.
    Sent(u16),
    /// An acknowledgement has left.
    Acknowledged,
    /// A PINGREQ has left.
    PingSent,
    /// The broker has answered it.
    PingAnswered,
    /// The library waits for the confirmation of this packet id, and sends nothing until it comes.
    Stuck(u16),
    /// Our DISCONNECT has left.
    Closed,
    /// Something that does not matter here.
    Other,
}

impl Happened {
    /// Whether the broker has sent it.
    pub(super) fn is_from_broker(&self) -> bool {
        match self {
            Happened::Connected { .. }
            | Happened::Subscribed(_)
            | Happened::Unsubscribed
            | Happened::Message(..)
            | Happened::Confirmed(..)
            | Happened::PingAnswered => true,
            Happened::Sent(_)
            | Happened::Acknowledged
            | Happened::PingSent
            | Happened::Stuck(_)
            | Happened::Closed
            | Happened::Other => false,
        }
    }
}

/// How much may be sent on a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Packet ids that the library uses, one after the other and around again.
    pub(super) packet_ids: u16,
    /// Bytes of the largest packet.
    pub(super) packet: usize,
}

/// Why a connection is no more.
#[derive(Debug)]
pub(super) struct Broken {
    /// In words.
    pub(super) reason: String,
    /// Whether this is the broker's answer to the oldest message that was not confirmed: too large, in a code that the
    /// library does not know. Sent again, it would break the next connection, too.
    pub(super) oldest_is_too_large: bool,
    /// Whether there was no attempt at all: a certificate, key or secret cannot be used.
    pub(super) lacks_pass: bool,
}

impl Broken {
    /// A certificate, key or secret cannot be used.
    pub(super) fn no_pass(reason: String) -> Broken {
        Broken { reason, oldest_is_too_large: false, lacks_pass: true }
    }
}

impl From<String> for Broken {
    fn from(reason: String) -> Broken {
        Broken { reason, oldest_is_too_large: false, lacks_pass: false }
    }
}

impl From<&str> for Broken {
    fn from(reason: &str) -> Broken {
        reason.to_owned().into()
    }
}
