//! `[mqtt]`: how the broker is reached.

use super::Gateway;
use super::reader::Table;
use super::report::{Problem, Problems};
use crate::domain::time::Span;
use crate::io::secret::Secret;
use std::path::PathBuf;

/// How to reach the broker, and as whom.
#[derive(Debug, Clone, PartialEq)]
pub struct MqttSettings {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How to talk TLS, if at all.
    pub tls: Option<Tls>,
    /// The path of the WebSocket that carries MQTT; none: MQTT as it is.
    pub web_socket: Option<String>,
    /// The version of MQTT.
    pub protocol: Protocol,
    /// The session's name; it must not change.
    pub client_id: String,
    /// As whom.
    pub credentials: Option<Credentials>,
    /// How long the broker keeps the session while the daemon is not connected (MQTT 5).
    pub session_expiry: Span,
    /// How often the connection is tried.
    pub keep_alive: Span,
    /// How long connecting may take.
    pub connect_timeout: Span,
}

/// A version of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// MQTT 3.1.1, which every broker speaks.
    #[default]
    V3,
    /// MQTT 5.
    V5,
}

/// User name and password.
#[derive(Debug, Clone, PartialEq)]
pub struct Credentials {
    /// The name.
    pub username: String,
    /// Where the password is; some brokers need none.
    pub password: Option<Secret>,
}

/// Files for TLS; all PEM.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tls {
    /// Certificates to trust; none: those of the system.
    pub ca_file: Option<PathBuf>,
    /// This client's certificate chain and its private key.
    pub client: Option<(PathBuf, PathBuf)>,
}

pub(super) fn compile(table: &Table<'_, '_>, gateway: &Gateway, problems: &mut Problems) -> MqttSettings {
    let broker = table.text("url", problems).and_then(|url| {
        let help = "write mqtt://host:1883, mqtts://host:8883 for TLS, or ws:// and wss:// for WebSockets";
        let parsed = parse_url(&url).map_err(|message| {
            let problem = Problem::error(table.place("url"), format!("url: {message}"), help);
            // Whatever stands before an @ may be a password.
            problems.add(if url.contains('@') { problem.without_source() } else { problem });
        });
        parsed.ok()
    });
    let is_known_without_tls = broker.as_ref().is_some_and(|broker| !broker.is_tls);
    let Broker { host, port, is_tls, web_socket } = broker.unwrap_or_default();
    let protocol = if table.word("protocol", problems) == Some("5") { Protocol::V5 } else { Protocol::V3 };
    let session_expiry =
        table.duration_within("session_expiry", Span::from_secs(60), Span::from_secs(10 * 365 * 86_400), problems);
    if table.has("session_expiry") && protocol == Protocol::V3 && !table.is_broken() {
        let help = "write protocol = \"5\", or leave the key out: the broker decides then";
        let message = "session_expiry has no effect: MQTT 3.1.1 does not know it";
        problems.add(Problem::error(table.place("session_expiry"), message, help));
    }
    let mut file = |name: &str| table.file(name, problems);
    let (ca_file, cert_file, key_file) = (file("ca_file"), file("cert_file"), file("key_file"));
    for name in ["ca_file", "cert_file", "key_file"] {
        if table.has(name) && is_known_without_tls && !table.is_broken() {
            let message = format!("{name} has no effect: the url is not mqtts:// or wss://");
            problems.add(Problem::error(table.place(name), message, "write url = \"mqtts://…\", or leave the key out"));
        }
    }
    for (name, other) in [("cert_file", "key_file"), ("key_file", "cert_file")] {
        if table.has(name) && table.lacks(other) {
            problems.add(Problem::error(table.place(name), format!("{name} needs {other}"), "give both or neither"));
        }
    }
    let files = Tls { ca_file, client: cert_file.zip(key_file) };
    if !is_known_without_tls {
        super::files::check_tls(&files, |name| table.place(name), problems);
    }
    let username = table.text("username", problems);
    let password = table.secret("password", problems);
    if table.has("password") && table.lacks("username") {
        let help = "MQTT knows no password without a user name: add username";
        problems.add(Problem::error(table.place("password"), "password without username", help));
    }
    let client_id = table.text("client_id", problems).unwrap_or_else(|| format!("annunciator-{}", gateway.shared_id));
    if client_id.is_empty() {
        let help = "the session at the broker is found again by its name, so it needs one";
        problems.add(Problem::error(table.place("client_id"), "client_id is empty", help));
    }
    MqttSettings {
        // The protocol counts keep-alive in whole seconds, in 16 bits.
        keep_alive: table.duration_within("keep_alive", Span::from_secs(5), Span::from_secs(64_800), problems),
        connect_timeout: table.duration_within("connect_timeout", Span::from_secs(1), Span::from_secs(3_600), problems),
        host,
        port,
        tls: is_tls.then_some(files),
        web_socket,
        protocol,
        session_expiry,
        // Shards may have the same configuration and need a session each; who stands by for another one needs its session.
        client_id: match gateway.shard.and_then(|shard| shard.index) {
            Some(index) => format!("{client_id}-{index}"),
            None => client_id,
        },
        credentials: username.map(|username| Credentials { username, password }),
    }
}

/// What the url says.
#[derive(Debug, Default, PartialEq)]
struct Broker {
    host: String,
    port: u16,
    is_tls: bool,
    web_socket: Option<String>,
}

/// Where brokers usually expect WebSockets.
const WEB_SOCKET_PATH: &str = "/mqtt";

/// `scheme://host[:port]`, the host an IPv6 address in brackets if need be; for WebSockets also a path.
fn parse_url(url: &str) -> Result<Broker, String> {
    if url.contains('@') {
        return Err("user name and password do not belong into the url: use username and password".into());
    }
    let Some((scheme, rest)) = url.split_once("://") else { return Err(format!("{url:?} has no scheme")) };
    let (is_tls, is_web_socket, default_port) = match scheme {
        "mqtt" => (false, false, 1883),
        "mqtts" => (true, false, 8883),
        "ws" => (false, true, 80),
        "wss" => (true, true, 443),
        other => return Err(format!("{other:?} is not a scheme for MQTT here")),
    };
    let (rest, web_socket) = if is_web_socket {
        let (rest, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if !path.is_empty() && (!path.starts_with('/') || path.contains('#'))
            || !path.bytes().all(|b| b.is_ascii_graphic())
        {
            return Err(format!("{path:?} is no path of a WebSocket"));
        }
        (rest, Some(if path.is_empty() { WEB_SOCKET_PATH } else { path }.to_owned()))
    } else {
        (rest.strip_suffix('/').unwrap_or(rest), None)
    };
    if rest.contains(['/', '?', '#']) {
        return Err("nothing may follow the port".into());
    }
    let (host, port) = match rest.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, after)) => match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None => return Err("only :port may follow the closing bracket".into()),
        },
        None => match rest.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => {
                return Err("an IPv6 address stands in brackets: mqtt://[::1]:1883".into());
            }
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    if host.is_empty() {
        return Err("there is no host".into());
    }
    if host.contains(|c: char| c.is_whitespace() || c.is_control() || "[]".contains(c)) {
        return Err(format!("{host:?} is no host name"));
    }
    let port = match port {
        None => default_port,
        Some(port) => {
            port.parse().ok().filter(|p| *p != 0).ok_or_else(|| format!("{port:?} is not a port: 1 to 65535"))?
        }
    };
    // rumqttc joins host and port by a colon again, so an IPv6 address keeps its brackets.
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    Ok(Broker { host, port, is_tls, web_socket })
}

#[cfg(test)]
mod tests {
    use super::{Broker, parse_url};

    #[test]
    fn urls() {
        let broker = |host: &str, port, is_tls, path: Option<&str>| {
            Ok(Broker { host: host.to_owned(), port, is_tls, web_socket: path.map(str::to_owned) })
        };
        assert_eq!(parse_url("mqtt://broker"), broker("broker", 1883, false, None));
        assert_eq!(parse_url("mqtts://broker.local/"), broker("broker.local", 8883, true, None));
        assert_eq!(parse_url("mqtt://[::1]:77"), broker("[::1]", 77, false, None));
        assert_eq!(parse_url("mqtt://10.0.0.1:1"), broker("10.0.0.1", 1, false, None));
        assert_eq!(parse_url("ws://broker"), broker("broker", 80, false, Some("/mqtt")));
        assert_eq!(parse_url("ws://broker:9001/"), broker("broker", 9001, false, Some("/")));
        assert_eq!(parse_url("wss://[::1]/a/b?c=d"), broker("[::1]", 443, true, Some("/a/b?c=d")));
        for url in [
            "broker",
            "http://x",
            "mqtt://",
            "mqtt://x:0",
            "mqtt://x:y",
            "mqtt://a@b",
            "mqtt://::1",
            "mqtt://x/y",
            "mqtt://[::1]7",
            "mqtt://[::1",
            "mqtt://a b",
            "mqtt://[]:1",
            "ws://",
            "ws://x?a",
            "ws://x/a#b",
            "ws://x/a b",
            "wss://x:y/mqtt",
        ] {
            assert!(parse_url(url).is_err(), "{url}");
        }
    }
}
