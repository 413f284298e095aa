//! MQTT messages: rendered here, sent over the daemon's own connection.

use super::template::{Renderer, Variables};
use crate::domain::notify::Publish;
use crate::io::mqtt::Outbound;

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
    crate::domain::notify::check_topic(&topic, &publish.own)?;
    let payload = renderer.for_people("payload", publish.payload.as_ref(), variables, || variables.event_json());
    let Publish { confirmed, retain, .. } = *publish;
    let outbound = Outbound { topic, payload: payload.text.into(), confirmed, retain, ..Outbound::default() };
    Ok((outbound, payload.flaw.into_iter().collect()))
}
