//! Sources: the topics that carry values, and the things and properties that these belong to.
//!
//! A [`Source`] is a topic filter whose levels may be named (`things/{thing}/properties/{property}`) and the rule that
//! turns a message into property values. [`super::formats`] reads the payload, [`crate::ingest::router`] finds the
//! alarms.

use crate::domain::model::{PropertyName, ThingId};
use crate::ingest::formats::{Map, Pointer, TimePointer};
use std::fmt;

/// One level of a topic pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Level {
    /// Exactly this text.
    Literal(String),
    /// Any text (`+`).
    Any,
    /// Any text, which is the thing's id.
    Thing,
    /// Any text, which is the property's name.
    Property,
    /// This level and all below it, or none (`#`).
    Rest,
}

/// A topic filter in which levels may be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    levels: Vec<Level>,
}

/// The names in a topic's levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Names<'a> {
    /// The text of the level `{thing}`; `None` if the pattern has no such level.
    pub thing: Option<&'a str>,
    /// The text of the level `{property}`; `None` if the pattern has no such level.
    pub property: Option<&'a str>,
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// A sentence about the mistake: a filter that MQTT forbids, a shared subscription, or an unknown name of a level.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        if text.is_empty() {
            return Err("a topic filter has at least one character".into());
        }
        if text.len() > 65_535 {
            return Err("a topic filter has at most 65,535 bytes".into());
        }
        if text.contains('\0') {
            return Err("a topic filter must not contain a NUL character".into());
        }
        if text.starts_with("$share/") {
            return Err("a shared subscription gets only some of the messages, and alarms need all".into());
        }
        let mut levels = Vec::new();
        let texts: Vec<&str> = text.split('/').collect();
        for (index, level) in texts.iter().enumerate() {
            levels.push(match *level {
                "+" => Level::Any,
                "#" if index + 1 == texts.len() => Level::Rest,
                "#" => return Err("`#` stands for all that follows, so it must be the last level".into()),
                "{thing}" => Level::Thing,
                "{property}" => Level::Property,
                literal if literal.contains(['+', '#']) => {
                    return Err(format!("`+` and `#` must stand alone between slashes, not as in {literal:?}"));
                }
                literal if literal.contains(['{', '}']) => {
                    return Err(format!(
                        "{literal:?} is not a level name: `{{thing}}` and `{{property}}` are, each alone between slashes"
                    ));
                }
                literal => Level::Literal(literal.to_owned()),
            });
        }
        for (name, kind) in [("{thing}", Level::Thing), ("{property}", Level::Property)] {
            if levels.iter().filter(|level| **level == kind).count() > 1 {
                return Err(format!("`{name}` may stand for one level only"));
            }
        }
        Ok(Pattern { text: text.to_owned(), levels })
    }

    /// True if a level is named `{thing}`.
    pub fn names_thing(&self) -> bool {
        self.levels.contains(&Level::Thing)
    }

    /// True if a level is named `{property}`.
    pub fn names_property(&self) -> bool {
        self.levels.contains(&Level::Property)
    }

    /// The filter to subscribe with: named levels become `+`.
    ///
    /// ```
    /// # use annunciator::ingest::source::Pattern;
    /// let pattern = Pattern::parse("things/{thing}/properties/{property}").unwrap();
    /// assert_eq!(pattern.filter(), "things/+/properties/+");
    /// let names = pattern.names("things/boiler-7/properties/temperature").unwrap();
    /// assert_eq!((names.thing, names.property), (Some("boiler-7"), Some("temperature")));
    /// assert_eq!(pattern.names("things/boiler-7/status"), None);
    /// ```
    pub fn filter(&self) -> String {
        let levels: Vec<&str> = self
            .levels
            .iter()
            .map(|level| match level {
                Level::Literal(text) => text.as_str(),
                Level::Any | Level::Thing | Level::Property => "+",
                Level::Rest => "#",
            })
            .collect();
        levels.join("/")
    }

    /// The names in a topic's levels; `None` if the topic does not fit.
    pub fn names<'a>(&self, topic: &'a str) -> Option<Names<'a>> {
        // Topics that begin with `$` are the broker's: wildcards do not reach them (MQTT-4.7.2-1).
        if topic.starts_with('$') && !matches!(self.levels.first(), Some(Level::Literal(_))) {
            return None;
        }
        let mut names = Names::default();
        let mut texts = topic.split('/');
        for level in &self.levels {
            if *level == Level::Rest {
                return Some(names);
            }
            let text = texts.next()?;
            match level {
                Level::Literal(literal) if literal == text => {}
                Level::Literal(_) => return None,
                Level::Any | Level::Rest => {}
                // A level may be empty in MQTT; a thing and a property must have a name.
                Level::Thing | Level::Property if text.is_empty() => return None,
                Level::Thing => names.thing = Some(text),
                Level::Property => names.property = Some(text),
            }
        }
        texts.next().is_none().then_some(names)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A liveness topic: signs of life of things that report their values only on change.
#[derive(Debug, Clone, PartialEq)]
pub struct Alive {
    /// The topic; names the thing unless the source does.
    pub pattern: Pattern,
    /// The place of the liveness text in a JSON payload; `None`: the whole payload.
    pub value: Option<Pointer>,
    /// The payload by which a thing is alive until its last will. Other payloads than this and `offline` are
    /// heartbeats.
    pub online: Option<String>,
    /// The payload by which a thing is offline, such as its last will.
    pub offline: String,
}

/// A subscription and the rule that turns its messages into property values.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The topics of the values.
    pub pattern: Pattern,
    /// The thing, where the topic does not name it.
    pub thing: Option<ThingId>,
    /// The property, where the topic does not name it. Without either, the payload is an object of properties.
    pub property: Option<PropertyName>,
    /// The quality of service of the subscription: 0 or 1.
    pub qos: u8,
    /// The place of the value, or of the object of values, in a JSON payload; `None`: the whole payload.
    pub value: Option<Pointer>,
    /// The place and the notation of the source's own time; `None`: the time of receipt is used.
    pub time: Option<TimePointer>,
    /// Replacements of scalar values.
    pub map: Map,
    /// The liveness topic; `None`: the values are the signs of life.
    pub alive: Option<Alive>,
}

impl Source {
    /// True if it reads values or signs of life on this topic.
    pub fn reads(&self, topic: &str) -> bool {
        let alive = self.alive.as_ref().is_some_and(|alive| alive.pattern.names(topic).is_some());
        alive || self.pattern.names(topic).is_some()
    }

    /// The filters to subscribe with, for values and for signs of life.
    pub fn filters(&self) -> impl Iterator<Item = String> + '_ {
        std::iter::once(self.pattern.filter()).chain(self.alive.iter().map(|alive| alive.pattern.filter()))
    }
}

/// The subscriptions that bring every message of these filters, each once if possible.
///
/// A filter that another one covers is left out: some brokers send a message once for each subscription that it
/// matches, and it would be evaluated as often. Filters that overlap only in part are all kept.
pub fn subscriptions(filters: impl IntoIterator<Item = (String, u8)>) -> Vec<(String, u8)> {
    let mut kept: Vec<(String, u8)> = Vec::new();
    for (filter, mut qos) in filters {
        if let Some((_, wider)) = kept.iter_mut().find(|(outer, _)| covers(outer, &filter)) {
            *wider = qos.max(*wider);
            continue;
        }
        kept.retain(|(inner, inner_qos)| {
            let covered = covers(&filter, inner);
            if covered {
                qos = qos.max(*inner_qos);
            }
            !covered
        });
        kept.push((filter, qos));
    }
    kept
}

/// The subscriptions that cover retained last wills of things. The broker repeats these messages at a new subscription,
/// which informs alarms that did not exist at the time.
pub(crate) fn of_last_wills(sources: &[Source], subscriptions: &[(String, u8)]) -> Vec<(String, u8)> {
    let alive = sources.iter().filter_map(|source| source.alive.as_ref());
    let topics: Vec<String> =
        alive.filter(|alive| alive.online.is_some()).map(|alive| alive.pattern.filter()).collect();
    let brings = |filter: &str| topics.iter().any(|topic| covers(filter, topic));
    subscriptions.iter().filter(|(filter, _)| brings(filter)).cloned().collect()
}

/// True if every topic that fits `inner` also fits `outer`.
fn covers(outer: &str, inner: &str) -> bool {
    if inner.starts_with('$') && outer.starts_with(['+', '#']) {
        return false;
    }
    let mut inner = inner.split('/');
    for level in outer.split('/') {
        if level == "#" {
            return true;
        }
        match inner.next() {
            Some("#") | None => return false,
            Some(text) if level == "+" || level == text => {}
            Some(_) => return false,
        }
    }
    inner.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_another_covers_is_not_subscribed() {
        let list = |filters: &[(&str, u8)]| subscriptions(filters.iter().map(|(f, q)| ((*f).to_owned(), *q)));
        let owned = |filters: &[(&str, u8)]| filters.iter().map(|(f, q)| ((*f).to_owned(), *q)).collect::<Vec<_>>();
        assert_eq!(list(&[("a/b", 1), ("a/+", 0), ("a/+", 0)]), owned(&[("a/+", 1)]));
        assert_eq!(list(&[("a/#", 0), ("a", 0), ("a/+/c", 1)]), owned(&[("a/#", 1)]));
        assert_eq!(list(&[("a/+/c", 0), ("a/b/+", 0)]).len(), 2, "they overlap in part");
        assert_eq!(list(&[("a/+", 0), ("a/#", 0)]), owned(&[("a/#", 0)]));
        assert_eq!(list(&[("#", 0), ("$SYS/x", 0)]).len(), 2, "wildcards do not reach the broker's topics");
    }

    fn fits(pattern: &str, topic: &str) -> bool {
        Pattern::parse(pattern).unwrap().names(topic).is_some()
    }

    #[test]
    fn filters_match_as_mqtt_says() {
        assert!(fits("a/{thing}/#", "a/b"));
        assert!(fits("a/{thing}/#", "a/b/c/d"));
        assert!(!fits("a/{thing}/#", "a"));
        assert!(fits("+/{thing}", "/b"));
        assert!(!fits("{thing}/+", "/b"), "a thing without a name");
        assert!(!fits("#", "$SYS/broker/uptime"));
        assert!(!fits("{thing}/x", "$SYS/x"));
        assert!(fits("$SYS/{thing}", "$SYS/uptime"));
        assert!(!fits("a/{thing}", "a/b/c"));
        assert!(fits("é/{thing}", "é/b"));
    }

    #[test]
    fn what_mqtt_forbids_is_refused_with_words() {
        for (pattern, word) in [
            ("", "at least one"),
            ("a/#/b", "last level"),
            ("a/b+/c", "stand alone"),
            ("a/{device}/c", "not a level name"),
            ("a/x{thing}", "not a level name"),
            ("{thing}/{thing}", "one level only"),
            ("a\0b", "NUL"),
        ] {
            let error = Pattern::parse(pattern).unwrap_err();
            assert!(error.contains(word), "{pattern:?}: {error}");
        }
    }
}
