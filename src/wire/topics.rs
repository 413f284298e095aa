//! Topics: names into levels and back.

use std::borrow::Cow;

/// A name as one topic level. `/`, `+`, `#`, `%` and control characters are percent-encoded, so every name fits, and
/// [`decode`] gives it back.
///
/// ```
/// use annunciator::wire::topics::{decode, encode};
/// assert_eq!(encode("boiler-7"), "boiler-7");
/// assert_eq!(encode("line 1/boiler"), "line 1%2Fboiler");
/// assert_eq!(decode(&encode("50 % + x")), "50 % + x");
/// ```
pub fn encode(name: &str) -> Cow<'_, str> {
    if !name.contains(needs_encoding) {
        return Cow::Borrowed(name);
    }
    let mut level = String::with_capacity(name.len() + 8);
    for c in name.chars() {
        if needs_encoding(c) {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                level.push_str(&format!("%{byte:02X}"));
            }
        } else {
            level.push(c);
        }
    }
    Cow::Owned(level)
}

fn needs_encoding(c: char) -> bool {
    matches!(c, '/' | '+' | '#' | '%') || c.is_control()
}

/// The name that a topic level stands for. What is not a valid escape stands for itself.
pub fn decode(level: &str) -> Cow<'_, str> {
    if !level.contains('%') {
        return Cow::Borrowed(level);
    }
    let bytes = level.as_bytes();
    let mut name = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = level.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                name.push(byte);
                at += 3;
            }
            None => {
                name.push(bytes[at]);
                at += 1;
            }
        }
    }
    match String::from_utf8(name) {
        Ok(name) => Cow::Owned(name),
        Err(_) => Cow::Borrowed(level),
    }
}

/// The topics under one gateway's base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    base: String,
}

/// The verbs that the daemon listens for are the last level under this one.
const COMMANDS: &str = "commands";
/// Models publish under this one.
const ANOMALIES: &str = "anomalies";

impl Topics {
    /// The topics under `base`.
    pub fn new(base: &str) -> Topics {
        Topics { base: base.to_owned() }
    }

    /// Whether the daemon is there, and how it is. Retained; also the last will.
    pub fn status(&self) -> String {
        format!("{}/status", self.base)
    }

    /// An alarm's present state. Retained.
    pub fn alarm(&self, alarm: &crate::model::AlarmId) -> String {
        format!("{}/alarms/{alarm}", self.base)
    }

    /// One event.
    pub fn event(&self, alarm: &crate::model::AlarmId) -> String {
        format!("{}/events/{alarm}", self.base)
    }

    /// The filter for all events.
    pub fn events(&self) -> String {
        format!("{}/events/#", self.base)
    }

    /// The filter for the states of all alarms.
    pub fn alarms(&self) -> String {
        format!("{}/alarms/#", self.base)
    }

    /// How a model is. Retained.
    pub fn model(&self, model: &str) -> String {
        format!("{}/{ANOMALIES}/{}", self.base, encode(model))
    }

    /// What a model says of a thing: `score` or `index`.
    pub fn saved(&self, model: &str, thing: &str, what: &str) -> String {
        format!("{}/{}/{what}", self.model(model), encode(thing))
    }

    /// Whether the topic is one on which a model says something of a thing. A source may read these, unlike all others of
    /// the gateway: a score is a property like those that devices publish.
    ///
    /// ```
    /// # use annunciator::wire::topics::Topics;
    /// let topics = Topics::new("annunciator/gw-01");
    /// assert!(topics.is_saved(&topics.saved("strange-press", "press-1", "score")));
    /// assert!(!topics.is_saved(&topics.model("strange-press")));
    /// assert!(!topics.is_saved("annunciator/gw-01/events/a/b/c"));
    /// ```
    pub fn is_saved(&self, topic: &str) -> bool {
        let below = topic.strip_prefix(self.base.as_str()).and_then(|rest| rest.strip_prefix('/'));
        let below = below.and_then(|rest| rest.strip_prefix(ANOMALIES)).and_then(|rest| rest.strip_prefix('/'));
        below.is_some_and(|rest| rest.matches('/').count() == 2)
    }

    /// Inputs that could not be used.
    pub fn faults(&self) -> String {
        format!("{}/faults", self.base)
    }

    /// Counters and gauges. Retained.
    pub fn metrics(&self) -> String {
        format!("{}/metrics", self.base)
    }

    /// What became of a reaction's deliveries.
    pub fn reaction(&self, name: &str) -> String {
        format!("{}/reactions/{}", self.base, encode(name))
    }

    /// One topic of each kind that the daemon publishes to, for names that nothing has.
    pub(crate) fn samples(&self) -> Vec<String> {
        const NOTHING: &str = "annunciator-check";
        let alarm = crate::model::AlarmId::new(NOTHING, NOTHING, NOTHING);
        vec![self.probe(), self.event(&alarm), self.alarm(&alarm), self.reaction(NOTHING)]
    }

    /// Where the daemon listens to itself.
    pub fn probe(&self) -> String {
        format!("{}/probe", self.base)
    }

    /// Answers to commands.
    pub fn replies(&self) -> String {
        format!("{}/replies", self.base)
    }

    /// Where the daemon takes the commands of one verb.
    pub fn command(&self, verb: &str) -> String {
        format!("{}/{COMMANDS}/{verb}", self.base)
    }

    /// Whether an answer may go to the response topic that somebody has given with a command.
    ///
    /// # Errors
    /// Why not, in words: the daemon must not be made to forge its own events, or to command itself.
    ///
    /// ```
    /// # use annunciator::wire::topics::Topics;
    /// let topics = Topics::new("annunciator/gw-01");
    /// assert_eq!(topics.may_answer_on("office/kim/answers"), Ok(()));
    /// assert_eq!(topics.may_answer_on("annunciator/gw-01/replies/kim"), Ok(()));
    /// for topic in ["", "office/+", "office/#", "$SYS/x", "annunciator/gw-01/events/a/b/c"] {
    ///     assert!(topics.may_answer_on(topic).is_err(), "{topic}");
    /// }
    /// ```
    pub fn may_answer_on(&self, topic: &str) -> Result<(), String> {
        if topic.is_empty() {
            return Err("the response topic is empty".to_owned());
        }
        if topic.contains(['+', '#', '\0']) {
            return Err(format!("the response topic {topic:?} is not one topic: it has wildcards"));
        }
        if topic.starts_with('$') {
            return Err(format!("the response topic {topic:?} is the broker's own"));
        }
        let is_below =
            |base: &str| topic.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if self.is_own(topic) && !is_below(&self.replies()) {
            return Err(format!("the response topic {topic:?} is the daemon's own; {} is for answers", self.replies()));
        }
        Ok(())
    }

    /// The filter for all commands.
    pub fn commands(&self) -> String {
        format!("{}/{COMMANDS}/#", self.base)
    }

    /// Whether the topic is one of the gateway's own. What is published there is never taken for a value, even if a
    /// source's filter covers it: the daemon would hear itself.
    pub fn is_own(&self, topic: &str) -> bool {
        topic.strip_prefix(self.base.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The verb, if the topic is one of a command.
    ///
    /// ```
    /// # use annunciator::wire::topics::Topics;
    /// let topics = Topics::new("annunciator/gw-01");
    /// assert_eq!(topics.verb("annunciator/gw-01/commands/acknowledge"), Some("acknowledge"));
    /// assert_eq!(topics.verb("annunciator/gw-01/status"), None);
    /// ```
    pub fn verb<'a>(&self, topic: &'a str) -> Option<&'a str> {
        topic.strip_prefix(self.base.as_str())?.strip_prefix('/')?.strip_prefix(COMMANDS)?.strip_prefix('/')
    }
}
