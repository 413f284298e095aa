//! Topics: what the gateway publishes and listens to, and what each of these topics is for.

pub use crate::domain::model::encoding::{decode, encode};

/// The topics under one gateway's base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    base: String,
    /// Where one of several instances has what only it can say; otherwise the base.
    own: String,
}

/// What belongs to one of several instances is below this level.
const SHARDS: &str = "shards";
/// The verbs that the daemon listens for are the last level under this one.
const COMMANDS: &str = "commands";
/// Models publish under this one.
const ANOMALIES: &str = "anomalies";
/// The first levels under the base, and under the level of an instance, on which the daemon alone speaks or is spoken to.
const TAKEN: [&str; 12] = [
    "status",
    "standby",
    "alarms",
    "events",
    ANOMALIES,
    "faults",
    "metrics",
    "reactions",
    "probe",
    "replies",
    COMMANDS,
    SHARDS,
];

impl Topics {
    /// The topics under `base`.
    pub fn new(base: &str) -> Topics {
        Topics { base: base.to_owned(), own: base.to_owned() }
    }

    /// The topics of one of several instances under `base`. Alarms, events, answers and reports of reactions are where
    /// those of a single one would be; what an instance says of itself is below a level with its index.
    ///
    /// ```
    /// # use annunciator::api::topics::Topics;
    /// let topics = Topics::of_shard("annunciator/gw-01", 2);
    /// assert_eq!(topics.status(), "annunciator/gw-01/shards/2/status");
    /// assert_eq!(topics.events(), "annunciator/gw-01/events/#");
    /// ```
    pub fn of_shard(base: &str, index: u32) -> Topics {
        Topics { base: base.to_owned(), own: format!("{base}/{SHARDS}/{index}") }
    }

    /// The filter for what all of several instances say of themselves on their [`Topics::status`].
    pub fn every_status(&self) -> String {
        format!("{}/{SHARDS}/+/status", self.base)
    }

    /// Whether an instance, or the only one, says on this topic how it is.
    pub fn is_status(&self, topic: &str) -> bool {
        let below = topic.strip_prefix(self.base.as_str()).and_then(|rest| rest.strip_prefix('/'));
        let of_shard = |rest: &str| rest.strip_prefix(SHARDS)?.strip_prefix('/')?.strip_suffix("/status").map(drop);
        below.is_some_and(|rest| rest == "status" || of_shard(rest).is_some())
    }

    /// Where an instance says that it stands by.
    pub fn standby(&self, name: &str) -> String {
        format!("{}/standby/{name}", self.own)
    }

    /// Whether the daemon is there, and how it is. Retained; also the last will.
    pub fn status(&self) -> String {
        format!("{}/status", self.own)
    }

    /// An alarm's present state. Retained.
    pub fn alarm(&self, alarm: &crate::domain::model::AlarmId) -> String {
        format!("{}/alarms/{alarm}", self.base)
    }

    /// One event.
    pub fn event(&self, alarm: &crate::domain::model::AlarmId) -> String {
        format!("{}/events/{alarm}", self.base)
    }

    /// The filter for all events.
    pub fn events(&self) -> String {
        format!("{}/events/#", self.base)
    }

    /// Where the state of the alarm is whose events are on this topic, if it is one of events.
    pub(crate) fn alarm_of_event(&self, topic: &str) -> Option<String> {
        let id = topic.strip_prefix(self.base.as_str())?.strip_prefix("/events/")?;
        Some(format!("{}/alarms/{id}", self.base))
    }

    /// The filter for the states of all alarms.
    pub fn alarms(&self) -> String {
        format!("{}/alarms/#", self.base)
    }

    /// How a model is. Retained. Each of several instances has one of its own, of its own things.
    pub fn model(&self, model: &str) -> String {
        format!("{}/{ANOMALIES}/{}", self.own, encode(model))
    }

    /// What a model says of a thing: `score` or `index`.
    pub fn saved(&self, model: &str, thing: &str, what: &str) -> String {
        format!("{}/{ANOMALIES}/{}/{}/{what}", self.base, encode(model), encode(thing))
    }

    /// Whether the topic is one on which a model says something of a thing. A source may read these, unlike all others of
    /// the gateway: a score is a property like those that devices publish.
    ///
    /// ```
    /// # use annunciator::api::topics::Topics;
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
        format!("{}/faults", self.own)
    }

    /// Counters and gauges. Retained.
    pub fn metrics(&self) -> String {
        format!("{}/metrics", self.own)
    }

    /// What became of a reaction's deliveries.
    pub fn reaction(&self, name: &str) -> String {
        format!("{}/reactions/{}", self.base, encode(name))
    }

    /// One topic of each kind that the daemon publishes to, for names that nothing has.
    pub(crate) fn samples(&self) -> Vec<String> {
        const NOTHING: &str = "annunciator-check";
        let alarm = crate::domain::model::AlarmId::new(NOTHING, NOTHING, NOTHING);
        vec![self.probe(), self.event(&alarm), self.alarm(&alarm), self.reaction(NOTHING)]
    }

    /// Where the daemon listens to itself.
    pub fn probe(&self) -> String {
        format!("{}/probe", self.own)
    }

    /// Whether this is where [`Topics::probe`] goes.
    pub fn is_probe(&self, topic: &str) -> bool {
        topic.strip_prefix(&self.own) == Some("/probe")
    }

    /// Answers to commands.
    pub fn replies(&self) -> String {
        format!("{}/replies", self.base)
    }

    /// Where the daemon takes the commands of one verb; of several instances this one alone.
    pub fn command(&self, verb: &str) -> String {
        format!("{}/{COMMANDS}/{verb}", self.own)
    }

    /// Whether an answer may go to the response topic that somebody has given with a command.
    ///
    /// # Errors
    /// Why not, in words: the daemon must not be made to forge its own events, or to command itself.
    ///
    /// ```
    /// # use annunciator::api::topics::Topics;
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

    /// The filters for all commands: those for everybody, and of several instances those for this one.
    pub fn commands(&self) -> Vec<String> {
        let mut filters = vec![format!("{}/{COMMANDS}/#", self.base), format!("{}/{COMMANDS}/#", self.own)];
        filters.dedup();
        filters
    }

    /// Whether a command on this topic is for this instance, whichever alarm it names.
    pub fn is_addressed(&self, topic: &str) -> bool {
        topic.strip_prefix(self.own.as_str()).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Whether the topic is one of the gateway's own. What is published there is never taken for a value, even if a
    /// source's filter covers it: the daemon would hear itself.
    pub fn is_own(&self, topic: &str) -> bool {
        topic.strip_prefix(self.base.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether the daemon, or another instance, speaks or listens on this topic: what somebody else publishes there would
    /// be taken for the daemon's.
    ///
    /// ```
    /// # use annunciator::api::topics::Topics;
    /// let topics = Topics::new("annunciator/gw-01");
    /// assert!(topics.is_taken(&topics.status()) && topics.is_taken("annunciator/gw-01/shards/2/status"));
    /// assert!(!topics.is_taken("annunciator/gw-01/lamp"));
    /// ```
    pub fn is_taken(&self, topic: &str) -> bool {
        let below = topic.strip_prefix(self.base.as_str()).and_then(|rest| rest.strip_prefix('/'));
        below.and_then(|rest| rest.split('/').next()).is_some_and(|level| TAKEN.contains(&level))
    }

    /// The verb, if the topic is one of a command.
    ///
    /// ```
    /// # use annunciator::api::topics::Topics;
    /// let topics = Topics::new("annunciator/gw-01");
    /// assert_eq!(topics.verb("annunciator/gw-01/commands/acknowledge"), Some("acknowledge"));
    /// assert_eq!(topics.verb("annunciator/gw-01/status"), None);
    /// ```
    pub fn verb<'a>(&self, topic: &'a str) -> Option<&'a str> {
        let below = |base: &str| topic.strip_prefix(base)?.strip_prefix('/')?.strip_prefix(COMMANDS)?.strip_prefix('/');
        below(&self.own).or_else(|| below(&self.base))
    }
}
