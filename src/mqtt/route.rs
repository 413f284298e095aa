//! The way to the broker: plain or TLS, MQTT as it is or inside a WebSocket.

use super::tls;
use crate::config::MqttSettings;
use rumqttc::Transport;

/// What the library wants as the broker's address, and how to talk to it.
pub(crate) fn to_broker(settings: &MqttSettings) -> Result<(String, Transport), String> {
    let tls = settings.tls.as_ref().map(tls::configuration).transpose()?;
    let MqttSettings { host, port, web_socket, .. } = settings;
    Ok(match (web_socket, tls) {
        (None, None) => (host.clone(), Transport::Tcp),
        (None, Some(tls)) => (host.clone(), Transport::tls_with_config(tls)),
        (Some(path), None) => (format!("ws://{host}:{port}{path}"), Transport::Ws),
        (Some(path), Some(tls)) => (format!("wss://{host}:{port}{path}"), Transport::wss_with_config(tls)),
    })
}

/// User name and password, if there are any.
pub(crate) fn credentials(settings: &MqttSettings) -> Result<Option<(String, String)>, String> {
    let Some(credentials) = &settings.credentials else { return Ok(None) };
    let password = credentials.password.as_ref().map_or(Ok(String::new()), crate::config::Secret::read)?;
    Ok(Some((credentials.username.clone(), password)))
}
