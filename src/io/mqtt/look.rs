//! A look at what is retained on one topic, before anything else of a connection is told.
//!
//! What a session brings may fill the broker's window of messages without acknowledgement, and nothing of it is
//! acknowledged before the look is over. So the topic is subscribed without quality of service for that moment: such
//! messages need no room in the window. A word of our own comes back behind what is retained.

use super::Outbound;
use bytes::Bytes;
use std::time::Duration;
use tokio::time::Instant;

/// How long our own word may take to come back. Access rules may keep it; a slow cellular link or a busy broker needs some
/// seconds, and a mark that is not seen would let numbers be given out again.
const LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Look {
    topic: String,
    word: Bytes,
    found: Option<Bytes>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// There is no connection, or the subscription is not answered.
    Waiting,
    /// Our word is on its way, until this moment at most.
    Listening(Instant),
    Over,
}

impl Look {
    /// A look at a topic. `random` tells our word from those of others.
    pub(super) fn new(topic: String, random: u64) -> Look {
        Look { topic, word: format!("looking-{random:016x}").into(), found: None, stage: Stage::Waiting }
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// Whether it is still to be made.
    pub(super) fn is_open(&self) -> bool {
        self.stage != Stage::Over
    }

    /// The connection was lost: it is made on the next one.
    pub(super) fn disconnected(&mut self) {
        if self.is_open() {
            (self.found, self.stage) = (None, Stage::Waiting);
        }
    }

    /// The subscription is answered. What has to be sent then, if it was not refused.
    pub(super) fn subscribed(&mut self, is_refused: bool, now: Instant) -> Option<Outbound> {
        if self.stage != Stage::Waiting {
            return None;
        }
        self.stage = if is_refused { Stage::Over } else { Stage::Listening(now + LIMIT) };
        let word = Outbound { topic: self.topic.clone(), payload: self.word.clone(), ..Outbound::default() };
        (!is_refused).then_some(word)
    }

    /// A message has come. True: it was for this look, and for nobody else.
    pub(super) fn takes(&mut self, topic: &str, payload: &Bytes, is_retained: bool) -> bool {
        if !self.is_open() || topic != self.topic {
            return false;
        }
        if is_retained {
            self.found = Some(payload.clone());
        } else if *payload == self.word {
            self.stage = Stage::Over;
        } else {
            return false;
        }
        true
    }

    /// The moment at which it is given up.
    pub(super) fn until(&self) -> Option<Instant> {
        match self.stage {
            Stage::Listening(until) => Some(until),
            Stage::Waiting | Stage::Over => None,
        }
    }

    /// It is not waited for any longer.
    pub(super) fn end(&mut self) {
        self.stage = Stage::Over;
    }

    /// What was found, once.
    pub(super) fn take_found(&mut self) -> Option<Bytes> {
        self.found.take().filter(|found| !found.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_retained_counts_until_our_own_word_is_back() {
        let now = Instant::now();
        let mut look = Look::new("base/probe".to_owned(), 7);
        let word = look.subscribed(false, now).unwrap();
        assert!(!word.confirmed && !word.retain && look.until() == Some(now + LIMIT));
        assert!(!look.takes("things/x", &"1".into(), true), "that is a value");
        assert!(!look.takes("base/probe", &"of another".into(), false));
        assert!(look.takes("base/probe", &"mark".into(), true));
        look.disconnected();
        assert_eq!(look.take_found(), None, "it is looked for anew");
        look.subscribed(false, now);
        assert!(look.takes("base/probe", &"mark".into(), true));
        assert!(look.takes("base/probe", &word.payload, false));
        assert!(!look.is_open() && look.until().is_none());
        assert_eq!((look.take_found(), look.take_found()), (Some("mark".into()), None));
        assert!(!look.takes("base/probe", &"mark".into(), true), "later ones are for the reader of events");
    }

    #[test]
    fn a_refusal_is_the_end() {
        let mut look = Look::new("base/probe".to_owned(), 7);
        assert!(look.subscribed(true, Instant::now()).is_none() && !look.is_open());
    }
}
