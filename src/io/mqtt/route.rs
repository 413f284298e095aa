//! The way to the broker: plain or TLS, MQTT as it is or inside a WebSocket.

use super::tls;
use crate::config::MqttSettings;
use rumqttc::Transport;

/// What the library wants as the broker's address.
pub(crate) fn address(settings: &MqttSettings) -> String {
    let MqttSettings { host, port, web_socket, tls, .. } = settings;
    match (web_socket, tls) {
        (None, _) => host.clone(),
        (Some(path), None) => format!("ws://{host}:{port}{path}"),
        (Some(path), Some(_)) => format!("wss://{host}:{port}{path}"),
    }
}

/// What files and secrets say about one attempt to connect: certificates, keys and passwords are renewed while the
/// daemon runs, and a file that cannot be read now may be there the next time.
pub(crate) struct Pass {
    /// How to talk to the broker.
    pub(crate) transport: Transport,
    /// User name and password, if there are any.
    pub(crate) credentials: Option<(String, String)>,
}

impl Pass {
    /// Reads the files.
    ///
    /// # Errors
    /// A file or secret cannot be used, and why.
    pub(crate) fn read(settings: &MqttSettings) -> Result<Pass, String> {
        let tls = settings.tls.as_ref().map(tls::configuration).transpose()?;
        let transport = match (&settings.web_socket, tls) {
            (None, None) => Transport::Tcp,
            (None, Some(tls)) => Transport::tls_with_config(tls),
            (Some(_), None) => Transport::Ws,
            (Some(_), Some(tls)) => Transport::wss_with_config(tls),
        };
        let credentials = settings.credentials.as_ref().map(|credentials| {
            let password = credentials.password.as_ref().map_or(Ok(String::new()), crate::config::Secret::read)?;
            Ok::<_, String>((credentials.username.clone(), password))
        });
        Ok(Pass { transport, credentials: credentials.transpose()? })
    }

    /// The same on a thread where a slow disk holds up nobody.
    ///
    /// # Errors
    /// As [`Pass::read`].
    pub(super) async fn read_aside(settings: &MqttSettings) -> Result<Pass, String> {
        if settings.tls.is_none() && settings.credentials.as_ref().is_none_or(|known| known.password.is_none()) {
            return Pass::read(settings);
        }
        let settings = settings.clone();
        let read = tokio::task::spawn_blocking(move || Pass::read(&settings));
        read.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}
