//! Topics that the gateway publishes and subscribes to, and their classification.

pub use crate::domain::model::encoding::{decode, encode};

/// The topics under one gateway's base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    base: String,
    /// The root of the topics that belong to one instance alone; `base` if there is only one.
    own: String,
}

/// The level above the indices of instances.
const SHARDS: &str = "shards";
/// The level above the verbs of commands.
const COMMANDS: &str = "commands";
/// The level above the topics of models.
const ANOMALIES: &str = "anomalies";
/// The first levels, under the base and under the level of an instance, that are reserved for the daemon.
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
    /// The topics of a single instance under `base`.
    pub fn new(base: &str) -> Topics {
        Topics { base: base.to_owned(), own: base.to_owned() }
    }

    /// The topics of one of several instances under `base`. Alarms, events, answers and reports of reactions are on the
    /// same topics as with a single instance; topics about the instance itself are below a level with its index.
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

    /// The filter for the [`Topics::status`] of all of several instances.
    pub fn every_status(&self) -> String {
        format!("{}/{SHARDS}/+/status", self.base)
    }

    /// True for the status topic of any instance.
    pub fn is_status(&self, topic: &str) -> bool {
        let below = topic.strip_prefix(self.base.as_str()).and_then(|rest| rest.strip_prefix('/'));
        let of_shard = |rest: &str| rest.strip_prefix(SHARDS)?.strip_prefix('/')?.strip_suffix("/status").map(drop);
        below.is_some_and(|rest| rest == "status" || of_shard(rest).is_some())
    }

    /// The topic on which an instance publishes that it stands by.
    pub fn standby(&self, name: &str) -> String {
        format!("{}/standby/{name}", self.own)
    }

    /// The daemon's availability and health. Retained; also the topic of the last will.
    pub fn status(&self) -> String {
        format!("{}/status", self.own)
    }

    /// The present state of an alarm. Retained.
    pub fn alarm(&self, alarm: &crate::domain::model::AlarmId) -> String {
        format!("{}/alarms/{alarm}", self.base)
    }

    /// The events of an alarm.
    pub fn event(&self, alarm: &crate::domain::model::AlarmId) -> String {
        format!("{}/events/{alarm}", self.base)
    }

    /// The filter for all events.
    pub fn events(&self) -> String {
        format!("{}/events/#", self.base)
    }

    /// The state topic of the alarm whose events are on this topic; `None` for a topic that has no events.
    pub(crate) fn alarm_of_event(&self, topic: &str) -> Option<String> {
        let id = topic.strip_prefix(self.base.as_str())?.strip_prefix("/events/")?;
        Some(format!("{}/alarms/{id}", self.base))
    }

    /// The filter for the states of all alarms.
    pub fn alarms(&self) -> String {
        format!("{}/alarms/#", self.base)
    }

    /// The state of a model. Retained. Each of several instances has a topic of its own, about its own things.
    pub fn model(&self, model: &str) -> String {
        format!("{}/{ANOMALIES}/{}", self.own, encode(model))
    }

    /// A number that a model publishes for a thing; `what` is `score` or `index`.
    pub fn saved(&self, model: &str, thing: &str, what: &str) -> String {
        format!("{}/{ANOMALIES}/{}/{}/{what}", self.base, encode(model), encode(thing))
    }

    /// True for a topic of [`Topics::saved`]. A source may read these, unlike all other topics of the gateway: a score
    /// is a property like those that devices publish.
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

    /// Reports of inputs that could not be used.
    pub fn faults(&self) -> String {
        format!("{}/faults", self.own)
    }

    /// Counters and gauges. Retained.
    pub fn metrics(&self) -> String {
        format!("{}/metrics", self.own)
    }

    /// The outcomes of a reaction's deliveries.
    pub fn reaction(&self, name: &str) -> String {
        format!("{}/reactions/{}", self.base, encode(name))
    }

    /// One topic of each kind that the daemon publishes to, with names that are not in use.
    pub(crate) fn samples(&self) -> Vec<String> {
        const NOTHING: &str = "annunciator-check";
        let alarm = crate::domain::model::AlarmId::new(NOTHING, NOTHING, NOTHING);
        vec![self.probe(), self.event(&alarm), self.alarm(&alarm), self.reaction(NOTHING)]
    }

    /// The topic of probes, which the daemon sends to itself.
    pub fn probe(&self) -> String {
        format!("{}/probe", self.own)
    }

    /// True for the topic of [`Topics::probe`].
    pub fn is_probe(&self, topic: &str) -> bool {
        topic.strip_prefix(&self.own) == Some("/probe")
    }

    /// Answers to commands.
    pub fn replies(&self) -> String {
        format!("{}/replies", self.base)
    }

    /// The topic for commands of one verb; with several instances, for this one alone.
    pub fn command(&self, verb: &str) -> String {
        format!("{}/{COMMANDS}/{verb}", self.own)
    }

    /// Checks the response topic of a command.
    ///
    /// # Errors
    /// The topic is not a valid one, or it is reserved: the daemon must not forge its own events or command itself.
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

    /// The filters for all commands: those to all instances and, with several, those to this one.
    pub fn commands(&self) -> Vec<String> {
        let mut filters = vec![format!("{}/{COMMANDS}/#", self.base), format!("{}/{COMMANDS}/#", self.own)];
        filters.dedup();
        filters
    }

    /// True if a command on this topic is for this instance, whichever alarm it names.
    pub fn is_addressed(&self, topic: &str) -> bool {
        topic.strip_prefix(self.own.as_str()).is_some_and(|rest| rest.starts_with('/'))
    }

    /// True for any topic of the gateway. Messages on it are never evaluated as values, even if a source's filter
    /// covers it: the daemon would read its own output.
    pub fn is_own(&self, topic: &str) -> bool {
        topic.strip_prefix(self.base.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// True for a topic that is reserved for the daemon or for another instance: the message of another client there
    /// would be taken for the daemon's.
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

    /// The verb of a command's topic; `None` for other topics.
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
