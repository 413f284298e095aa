//! The other end of the command line: asks a running daemon over MQTT, and hears what it publishes.
//!
//! A [`Client`] is one connection with a name of its own and a clean session. [`Client::request`] sends a command and
//! waits for the answer that carries its name; [`Client::next`] gives what was published meanwhile. It knows topics and
//! that answers say `ok`; what verbs mean is not known here. rumqttc is in `session`, errors in words in `trouble`.
//!
//! Nothing is sent to a daemon that is known to be away: its broker would keep the command, and it would be carried out
//! when nobody expects it any more.

mod session;
mod trouble;

pub use session::Message;
pub use trouble::Trouble;

use crate::api::topics::Topics;
use crate::config::Config;
use crate::domain::time::{Moment, Span};
use crate::io::clock::{self, Clock};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use session::{Received, Session};
use std::collections::VecDeque;

/// The members of a command.
pub type Command = Map<String, Value>;

/// A broker sends a retained message right behind the answer to the subscription. Who has not received a status by then
/// may not read it, or nothing has ever been there.
const STATUS_GRACE: Span = Span::from_secs(1);
/// After a silence something short is asked, and its answer is waited for this long.
const SHORT_ANSWER: Span = Span::from_secs(2);
/// Messages that are kept while an answer is waited for: ten seconds of a flood of events. With more, answer and events
/// cannot both be had.
const MAX_KEPT: usize = 50_000;

/// A connection to the broker, to ask the daemon of one configuration.
pub struct Client {
    session: Session,
    clock: Clock,
    topics: Topics,
    gateway: String,
    timeout: Span,
    status: Option<Status>,
    /// Whether answers are received, and the status was waited for.
    is_asking: bool,
    /// Commands that were sent.
    sent: u64,
    /// What came while an answer was waited for.
    kept: VecDeque<Message>,
}

/// What the daemon, or its last will, says of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Status {
    /// `online` or `offline`.
    pub state: String,
    /// Since when.
    pub since: Option<String>,
    /// How many alarms it has.
    #[serde(default)]
    pub alarms: u64,
    /// What a technician should know.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    text: String,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    request: Value,
    ok: bool,
    error: Option<String>,
}

impl Client {
    /// Connects to the broker of the configuration and subscribes to the daemon's status. That takes at most `timeout`,
    /// and so does each answer.
    ///
    /// # Errors
    /// Why the broker cannot be reached, or does not let us listen.
    pub fn open(config: &Config, timeout: Span) -> Result<Client, Trouble> {
        let topics = config.gateway.topics.clone();
        let mut client = Client {
            session: Session::start(&config.mqtt, timeout)?,
            clock: Clock::start(None),
            topics,
            gateway: config.gateway.shared_id.clone(),
            timeout,
            status: None,
            is_asking: false,
            sent: 0,
            kept: VecDeque::new(),
        };
        client.follow(vec![client.topics.status()])?;
        Ok(client)
    }

    /// Subscribes to more; returns when the broker has agreed.
    ///
    /// # Errors
    /// That it has not, or that the connection is lost.
    pub fn follow(&mut self, filters: Vec<String>) -> Result<(), Trouble> {
        let deadline = self.clock.at() + self.timeout;
        self.session.subscribe(&filters)?;
        loop {
            match self.receive_event(deadline)? {
                Some(Received::Subscribed(granted)) => {
                    let refused = filters.into_iter().zip(granted).find(|(_, granted)| !granted);
                    return match refused {
                        Some((filter, _)) => Err(Trouble::MayNotRead { broker: self.session.broker(), filter }),
                        None => Ok(()),
                    };
                }
                Some(Received::Message(message)) => self.keep(message)?,
                Some(Received::Lost(_)) => {}
                None => return Err(self.session.unreachable(&format!("it did not answer within {}", self.timeout))),
            }
        }
    }

    /// The name of the gateway, or of the one instance of it that is asked.
    pub fn gateway(&self) -> &str {
        &self.gateway
    }

    /// The topics of the gateway.
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// The last word about the daemon, if there was one.
    pub fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }

    /// Sends a command and waits for its answer, which may be a refusal.
    ///
    /// # Errors
    /// That the daemon is away or does not answer, or that the connection is lost.
    pub fn request(&mut self, verb: &str, command: Command) -> Result<Reply, Trouble> {
        let name = self.send(verb, command)?;
        let deadline = self.clock.at() + self.timeout;
        loop {
            match self.receive_event(deadline)? {
                Some(Received::Message(message)) => {
                    if let Some(reply) = self.sort(&name, message)? {
                        return Ok(reply);
                    }
                }
                Some(Received::Subscribed(_) | Received::Lost(_)) => {}
                None => return self.after_silence(verb, &name),
            }
        }
    }

    /// Finds out why no answer of this name has come, by something short that the daemon answers at once: an answer that is
    /// missing then was too long for the broker. It may come after all meanwhile.
    fn after_silence(&mut self, verb: &str, name: &str) -> Result<Reply, Trouble> {
        if self.status.is_none() {
            return Err(self.silence(verb, false));
        }
        // No verb takes this member, so nothing is carried out, and the answer is one sentence.
        let short = self.send(verb, Command::from_iter([("short".to_owned(), Value::Null)]))?;
        let deadline = self.clock.at() + SHORT_ANSWER.min(self.timeout);
        while let Some(received) = self.receive_event(deadline)? {
            let Received::Message(message) = received else { continue };
            if message.topic == self.topics.replies() && Reply::to(&short, &message.payload).is_some() {
                return Err(self.silence(verb, true));
            }
            if let Some(reply) = self.sort(name, message)? {
                return Ok(reply);
            }
        }
        Err(self.silence(verb, false))
    }

    /// Sends a command whose answer comes when something long is done, and waits for it however long that takes. What
    /// is followed is shown to `look` meanwhile, as it comes.
    ///
    /// # Errors
    /// That the daemon goes away, or that the connection is lost.
    pub fn request_patiently(
        &mut self,
        verb: &str,
        command: Command,
        mut look: impl FnMut(&Message),
    ) -> Result<Reply, Trouble> {
        let name = self.send(verb, command)?;
        loop {
            while let Some(kept) = self.kept.pop_front() {
                look(&kept);
            }
            let deadline = self.clock.at() + self.timeout;
            if let Some(Received::Message(message)) = self.receive_event(deadline)?
                && let Some(reply) = self.sort(&name, message)?
            {
                return Ok(reply);
            }
        }
    }

    /// Sends a command. The name that its answer will carry.
    fn send(&mut self, verb: &str, mut command: Command) -> Result<String, Trouble> {
        self.prepare()?;
        self.sent += 1;
        let name = format!("{}-{}", self.session.name(), self.sent);
        command.insert("request".to_owned(), Value::from(name.as_str()));
        // A daemon that gets it late, from a broker that kept it, knows that nobody waits any more.
        command.insert("time".to_owned(), Value::from(clock::wall().to_string()));
        self.session.publish(&self.topics.command(verb), Value::from(command).to_string())?;
        Ok(name)
    }

    /// The answer of this name, if that is what the message is. Everything else is kept, and tells whether the daemon
    /// is still there.
    fn sort(&mut self, name: &str, message: Message) -> Result<Option<Reply>, Trouble> {
        if message.topic == self.topics.replies() {
            return Ok(Reply::to(name, &message.payload));
        }
        let is_status = message.topic == self.topics.status();
        self.keep(message)?;
        if is_status {
            self.must_be_online()?;
        }
        Ok(None)
    }

    /// The next message on what is followed, the status included; none: nothing came for so long.
    ///
    /// # Errors
    /// That the connection is lost.
    pub fn next(&mut self, wait: Span) -> Result<Option<Message>, Trouble> {
        if let Some(kept) = self.kept.pop_front() {
            return Ok(Some(kept));
        }
        let deadline = self.clock.at() + wait;
        loop {
            match self.receive_event(deadline)? {
                // Answers to others.
                Some(Received::Message(message)) if message.topic == self.topics.replies() => {}
                Some(Received::Message(message)) => return Ok(Some(message)),
                Some(Received::Subscribed(_) | Received::Lost(_)) => {}
                None => return Ok(None),
            }
        }
    }

    /// Makes sure that an answer would be received, and that there is somebody to give it. Who never asks needs neither.
    fn prepare(&mut self) -> Result<(), Trouble> {
        if !self.is_asking {
            self.follow(vec![self.topics.replies()])?;
        }
        let deadline = self.clock.at() + STATUS_GRACE.min(self.timeout);
        while self.status.is_none() && !self.is_asking {
            match self.receive_event(deadline)? {
                Some(Received::Message(message)) => self.keep(message)?,
                Some(Received::Subscribed(_) | Received::Lost(_)) => {}
                None => break,
            }
        }
        self.is_asking = true;
        self.must_be_online()
    }

    fn must_be_online(&self) -> Result<(), Trouble> {
        match &self.status {
            Some(Status { state, since, .. }) if state == "offline" => {
                Err(Trouble::Offline { gateway: self.gateway.clone(), since: since.clone() })
            }
            _ => Ok(()),
        }
    }

    /// The reason why nothing has come, as far as that is known.
    fn silence(&self, verb: &str, is_answered_in_short: bool) -> Trouble {
        let (gateway, timeout, broker) = (self.gateway.clone(), self.timeout, self.session.broker());
        let (topic, replies, status) = (self.topics.command(verb), self.topics.replies(), self.topics.status());
        match &self.status {
            Some(_) if is_answered_in_short => Trouble::AnswerLost { gateway, broker },
            Some(_) => Trouble::NoAnswer { gateway, timeout, topic, replies },
            None => Trouble::NoDaemon { gateway, timeout, broker, status },
        }
    }

    fn keep(&mut self, message: Message) -> Result<(), Trouble> {
        if message.topic == self.topics.replies() {
            // An answer to somebody else.
            return Ok(());
        }
        if self.kept.len() >= MAX_KEPT {
            return Err(Trouble::TooMuch);
        }
        self.kept.push_back(message);
        Ok(())
    }

    fn receive_event(&mut self, deadline: Moment) -> Result<Option<Received>, Trouble> {
        let wait = (deadline - self.clock.at()).to_std();
        let received = match self.session.receive_event(wait) {
            Some(Received::Lost(reason)) => return Err(self.session.lost(&reason)),
            received => received,
        };
        if let Some(Received::Message(message)) = &received
            && message.topic == self.topics.status()
        {
            // An empty one was deleted: nothing is known any more.
            self.status = serde_json::from_slice(&message.payload).ok();
        }
        Ok(received)
    }
}

impl Reply {
    /// The answer in `payload`, if it is one to the command of this name.
    fn to(name: &str, payload: &[u8]) -> Option<Reply> {
        let text = std::str::from_utf8(payload).ok()?;
        let Envelope { request, ok, error } = serde_json::from_str(text).ok()?;
        if request != name {
            return None;
        }
        let error = if ok { None } else { Some(error.unwrap_or_else(|| "refused, without a reason".to_owned())) };
        Some(Reply { text: text.to_owned(), error })
    }

    /// The whole answer, as it came.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Why the command was refused, if it was.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// The members of the answer.
    ///
    /// # Errors
    /// That they are not what is asked for.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Trouble> {
        serde_json::from_str(&self.text).map_err(|error| Trouble::Garbled(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_belongs_to_the_command_whose_name_it_carries() {
        let payload = br#"{"request":"a-1","ok":false,"error":"no alarm x"}"#;
        assert_eq!(Reply::to("a-1", payload).unwrap().error(), Some("no alarm x"));
        assert_eq!(Reply::to("a-2", payload), None);
        for other in [&b"\xff"[..], b"", b"{}", br#"{"request":["a-1"],"ok":true}"#, br#"{"request":"a-1","ok":1}"#] {
            assert_eq!(Reply::to("a-1", other), None);
        }
        assert_eq!(Reply::to("a-1", br#"{"request":"a-1","ok":true}"#).unwrap().error(), None);
    }
}
