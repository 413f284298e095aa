//! Classification: the purpose of a message by its topic, decided once, for the daemon and for a replay alike.
//!
//! [`Channel::of`] is the inverse of the functions that build topics ([`super::topics`], [`super::home_assistant`]).

use super::home_assistant;
use super::topics::Topics;

/// The purpose of the messages on one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel<'t> {
    /// Values and signs of life of things, as far as a source's filter fits.
    Thing,
    /// A score or an index that a model publishes. Sources may read it like the value of a thing.
    Score,
    /// The probe of the daemon, which it sends to itself.
    Probe,
    /// Commands of operators.
    Command {
        /// The last level of the topic, unchecked.
        verb: &'t str,
        /// True if it is for this one of several instances, whichever alarm it names.
        is_addressed: bool,
    },
    /// Home Assistant's own availability. Sources may read it, too.
    HomeAssistantStatus,
    /// An announcement of an alarm to Home Assistant.
    Announcement,
    /// Another topic of the gateway. Messages on it are never evaluated as values, even if a source's filter covers it:
    /// the daemon would evaluate its own output.
    Own,
}

/// The prefixes under which a gateway announces alarms to Home Assistant.
#[derive(Debug, Clone, Copy)]
pub struct Announced<'a, I> {
    /// The gateway's name in these topics.
    pub gateway: &'a str,
    /// The configured prefix.
    pub current: Option<&'a str>,
    /// All prefixes under which there may be announcements.
    pub earlier: I,
}

impl<'t> Channel<'t> {
    /// Classifies a topic.
    ///
    /// ```
    /// # use annunciator::api::channel::{Announced, Channel};
    /// # use annunciator::api::topics::Topics;
    /// let topics = Topics::new("annunciator/gw-01");
    /// let prefix = "homeassistant".to_owned();
    /// let of = |topic| Channel::of(topic, &topics, Announced { gateway: "gw-01", current: Some(&prefix), earlier: [&prefix] });
    /// assert_eq!(of("things/boiler-7/properties/temperature"), Channel::Thing);
    /// assert_eq!(of(topics.saved("strange", "press-1", "score").leak()), Channel::Score);
    /// assert_eq!(of(topics.command("list").leak()), Channel::Command { verb: "list", is_addressed: true });
    /// assert_eq!(of(topics.probe().leak()), Channel::Probe);
    /// assert_eq!(of(topics.status().leak()), Channel::Own);
    /// assert_eq!(of("homeassistant/status"), Channel::HomeAssistantStatus);
    /// assert_eq!(of("homeassistant/binary_sensor/gw-01/boiler-7__temperature__HH/config"), Channel::Announcement);
    /// ```
    pub fn of<'a>(
        topic: &'t str,
        topics: &Topics,
        announced: Announced<'_, impl IntoIterator<Item = &'a String>>,
    ) -> Channel<'t> {
        if !topics.is_own(topic) {
            let Announced { gateway, current, earlier } = announced;
            return if current.is_some_and(|prefix| home_assistant::is_status(prefix, topic)) {
                Channel::HomeAssistantStatus
            } else if earlier.into_iter().any(|prefix| home_assistant::is_own(prefix, gateway, topic)) {
                Channel::Announcement
            } else {
                Channel::Thing
            };
        }
        if topics.is_probe(topic) {
            Channel::Probe
        } else if let Some(verb) = topics.verb(topic) {
            Channel::Command { verb, is_addressed: topics.is_addressed(topic) }
        } else if topics.is_saved(topic) {
            Channel::Score
        } else {
            Channel::Own
        }
    }
}
