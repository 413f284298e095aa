//! `[mqtt]`: how the broker is reached.

use super::reader::Table;
use super::report::{Problem, Problems};
use super::secret::Secret;
use crate::time::Span;
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
    /// The session's name; it must not change.
    pub client_id: String,
    /// As whom.
    pub credentials: Option<Credentials>,
    /// How often the connection is tried.
    pub keep_alive: Span,
    /// How long connecting may take.
    pub connect_timeout: Span,
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

pub(super) fn compile(table: &Table<'_, '_>, gateway_id: &str, problems: &mut Problems) -> MqttSettings {
    let broker = table.text("url", problems).and_then(|url| {
        let help = "write mqtt://host:1883, or mqtts://host:8883 for TLS";
        let parsed = parse_url(&url).map_err(|message| {
            let problem = Problem::error(table.place("url"), format!("url: {message}"), help);
            // Whatever stands before an @ may be a password.
            problems.add(if url.contains('@') { problem.without_source() } else { problem });
        });
        parsed.ok()
    });
    let is_known_without_tls = matches!(broker, Some((_, _, false)));
    let (host, port, is_tls) = broker.unwrap_or_default();
    let _only_one_yet = table.word("protocol", problems);
    let mut file = |name: &str| table.path(name, problems);
    let (ca_file, cert_file, key_file) = (file("ca_file"), file("cert_file"), file("key_file"));
    for name in ["ca_file", "cert_file", "key_file"] {
        if table.has(name) && is_known_without_tls && !table.is_broken() {
            let message = format!("{name} has no effect: the url is not mqtts://");
            problems.add(Problem::error(table.place(name), message, "write url = \"mqtts://…\", or leave the key out"));
        }
    }
    for (name, other) in [("cert_file", "key_file"), ("key_file", "cert_file")] {
        if table.has(name) && table.lacks(other) {
            problems.add(Problem::error(table.place(name), format!("{name} needs {other}"), "give both or neither"));
        }
    }
    let client = cert_file.zip(key_file);
    let username = table.text("username", problems);
    let password = table.secret("password", problems);
    if table.has("password") && table.lacks("username") {
        let help = "MQTT knows no password without a user name: add username";
        problems.add(Problem::error(table.place("password"), "password without username", help));
    }
    let client_id = table.text("client_id", problems).unwrap_or_else(|| format!("annunciator-{gateway_id}"));
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
        tls: is_tls.then_some(Tls { ca_file, client }),
        client_id,
        credentials: username.map(|username| Credentials { username, password }),
    }
}

/// `scheme://host[:port]`, the host an IPv6 address in brackets if need be.
fn parse_url(url: &str) -> Result<(String, u16, bool), String> {
    if url.contains('@') {
        return Err("user name and password do not belong into the url: use username and password".into());
    }
    let Some((scheme, rest)) = url.split_once("://") else { return Err(format!("{url:?} has no scheme")) };
    let (is_tls, default_port) = match scheme {
        "mqtt" => (false, 1883),
        "mqtts" => (true, 8883),
        other => return Err(format!("{other:?} is not a scheme for MQTT here")),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
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
    Ok((if host.contains(':') { format!("[{host}]") } else { host.to_owned() }, port, is_tls))
}

#[cfg(test)]
mod tests {
    use super::parse_url;

    #[test]
    fn urls() {
        assert_eq!(parse_url("mqtt://broker"), Ok(("broker".into(), 1883, false)));
        assert_eq!(parse_url("mqtts://broker.local/"), Ok(("broker.local".into(), 8883, true)));
        assert_eq!(parse_url("mqtt://[::1]:77"), Ok(("[::1]".into(), 77, false)));
        assert_eq!(parse_url("mqtt://10.0.0.1:1"), Ok(("10.0.0.1".into(), 1, false)));
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
        ] {
            assert!(parse_url(url).is_err(), "{url}");
        }
    }
}
