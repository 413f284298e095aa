//! Home Assistant's MQTT discovery: each alarm as a binary sensor of the class `problem`, grouped by thing.
//!
//! `<prefix>/binary_sensor/<gateway>/<alarm>/config` describes the sensor, retained; an empty payload removes it. Its
//! state is read from the alarm's own retained topic, and its availability from the gateway's status topic, so nothing
//! is published twice and events do not touch these topics.

use super::topics::Topics;
use super::{title, to_bytes};
use crate::domain::engine::AlarmView;
use crate::domain::model::{AlarmFacts, AlarmId};
use serde::Serialize;

/// The Home Assistant component of every announced alarm.
const COMPONENT: &str = "binary_sensor";

/// The topic on which Home Assistant publishes that it has started and needs the announcements again.
pub fn status_topic(prefix: &str) -> String {
    format!("{prefix}/status")
}

/// True for the topic of [`status_topic`].
pub fn is_status(prefix: &str, topic: &str) -> bool {
    topic.strip_prefix(prefix) == Some("/status")
}

/// True if a payload on that topic means that Home Assistant has started.
pub fn is_birth(payload: &[u8]) -> bool {
    payload == b"online"
}

/// The topic of the announcement of an alarm.
pub fn topic(prefix: &str, gateway: &str, alarm: &AlarmId) -> String {
    format!("{prefix}/{COMPONENT}/{}/{}/config", safe(gateway), safe(alarm.as_str()))
}

/// True for a topic of an announcement by this gateway. Messages on it are never evaluated as values.
pub fn is_own(prefix: &str, gateway: &str, topic: &str) -> bool {
    let rest = topic.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')?.strip_prefix(COMPONENT));
    rest.and_then(|rest| rest.strip_prefix('/')?.strip_prefix(safe(gateway).as_str()))
        .is_some_and(|rest| rest.starts_with('/'))
}

/// Encodes a name in `A-Z`, `a-z`, `0-9`, `-` and `_`, which is all that Home Assistant allows. Different names stay
/// different: a slash becomes `__`, any other byte `_` and two hexadecimal digits.
///
/// ```
/// use annunciator::api::home_assistant::safe;
/// assert_eq!(safe("boiler-7/temperature/HH"), "boiler-7__temperature__HH");
/// assert_eq!(safe("a_b c"), "a_5Fb_20c");
/// ```
pub fn safe(name: &str) -> String {
    let mut safe = String::with_capacity(name.len() + 8);
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => safe.push(char::from(byte)),
            b'/' => safe.push_str("__"),
            other => safe.push_str(&format!("_{other:02X}")),
        }
    }
    safe
}

#[derive(Serialize)]
struct Sensor<'a> {
    name: String,
    unique_id: String,
    device_class: &'a str,
    state_topic: &'a str,
    value_template: &'a str,
    json_attributes_topic: &'a str,
    availability_topic: &'a str,
    availability_template: &'a str,
    qos: u8,
    dev: Device<'a>,
    o: Origin<'a>,
}

#[derive(Serialize)]
struct Device<'a> {
    identifiers: [String; 1],
    name: &'a str,
}

#[derive(Serialize)]
struct Origin<'a> {
    name: &'a str,
    sw: &'a str,
}

/// The announcement of one alarm. An alarm that is off has no state: Home Assistant shows it as unknown.
pub fn render(view: AlarmView<'_>, gateway: &str, topics: &Topics) -> Vec<u8> {
    let facts = view.facts();
    let state_topic = topics.alarm(&facts.id);
    let node = safe(gateway);
    to_bytes(&Sensor {
        name: name(&facts),
        unique_id: format!("annunciator_{node}_{}", safe(facts.id.as_str())),
        device_class: "problem",
        state_topic: &state_topic,
        value_template: "{{ 'None' if value_json.state == 'off' else 'ON' if value_json.active else 'OFF' }}",
        json_attributes_topic: &state_topic,
        availability_topic: &topics.status(),
        availability_template: "{{ value_json.state }}",
        qos: 1,
        dev: Device { identifiers: [format!("annunciator_{node}_{}", safe(&facts.thing))], name: &facts.thing },
        o: Origin { name: "Annunciator", sw: env!("CARGO_PKG_VERSION") },
    })
}

/// The sensor's name. Home Assistant puts the device's name before it, so the thing is not repeated.
fn name(facts: &AlarmFacts) -> String {
    if facts.title.is_empty() { format!("{} {}", facts.property, facts.level) } else { title(facts).to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn its_own_topics_are_known() {
        let alarm = AlarmId::new("boiler 7", "temperature", "H/H");
        let own = topic("homeassistant", "gw.01", &alarm);
        assert_eq!(own, "homeassistant/binary_sensor/gw_2E01/boiler_207__temperature__H_252FH/config");
        assert!(is_own("homeassistant", "gw.01", &own));
        for (prefix, gateway) in [("homeassistant", "gw"), ("home", "gw.01"), ("homeassistant/binary_sensor", "gw.01")]
        {
            assert!(!is_own(prefix, gateway, &own), "{prefix} {gateway}");
        }
        let status = status_topic("homeassistant");
        assert!(!is_own("homeassistant", "gw.01", &status));
        assert!(is_status("homeassistant", &status) && is_birth(b"online") && !is_birth(b"offline"));
    }

    proptest! {
        #[test]
        fn different_names_stay_different(one in "[a-z_/ é5F-]{0,6}", other in "[a-z_/ é5F-]{0,6}") {
            prop_assert_eq!(safe(&one) == safe(&other), one == other);
            prop_assert!(safe(&one).bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        }
    }
}
