//! MQTT messages: rendered here, sent over the daemon's own connection.

use super::template::{Renderer, Text, Variables};
use crate::api::topics::Topics;
use crate::io::mqtt::Outbound;

/// An MQTT message.
#[derive(Debug, Clone)]
pub struct Publish {
    /// Where to.
    pub topic: Text,
    /// What; none: the event as JSON.
    pub payload: Option<Text>,
    /// Whether the broker has to confirm it (QoS 1).
    pub confirmed: bool,
    /// Whether it keeps it.
    pub retain: bool,
    /// The daemon's own topics: commands to itself are none of its business.
    pub own: Topics,
}

/// Whether a topic can be published to by a daemon with these topics of its own.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_topic(topic: &str, own: &Topics) -> Result<(), String> {
    /// The protocol counts a topic's bytes in 16 bits.
    const LONGEST: usize = 65_535;
    if topic.is_empty() || topic.len() > LONGEST {
        return Err(format!("a topic has 1 to {LONGEST} bytes"));
    }
    if topic.contains(['+', '#']) || topic.contains(char::is_control) {
        return Err(format!("{topic:?} cannot be published to: it has a wildcard or a control character in it"));
    }
    if topic.starts_with('$') {
        return Err(format!("{topic:?} belongs to the broker"));
    }
    // Of several instances, those to the others are no better.
    let is_to_another = own.is_own(topic) && topic.contains("/shards/") && topic.contains("/commands/");
    if own.verb(topic).is_some() || is_to_another {
        return Err(format!("{topic:?} would be a command of this daemon to itself"));
    }
    if own.is_taken(topic) {
        return Err(format!("{topic:?} is the daemon's own: what is there would be taken for what it says itself"));
    }
    Ok(())
}

/// The message, and what was wrong on the way to it.
///
/// # Errors
/// Why there is nothing to send: nobody knows where to.
pub(crate) fn compose(
    publish: &Publish,
    variables: &Variables,
    renderer: &Renderer,
) -> Result<(Outbound, Vec<String>), String> {
    let topic = renderer
        .render(&publish.topic, variables)
        .map_err(|error| format!("the template of topic has failed: {error}"))?;
    check_topic(&topic, &publish.own)?;
    let payload = renderer.for_people("payload", publish.payload.as_ref(), variables, || variables.event_json());
    let Publish { confirmed, retain, .. } = *publish;
    let outbound = Outbound { topic, payload: payload.text.into(), confirmed, retain, ..Outbound::default() };
    Ok((outbound, payload.warning.into_iter().collect()))
}
