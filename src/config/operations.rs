//! `[http]` and `[home_assistant]`: who else looks at the alarms, and how.

use super::reader::Table;
use super::report::{Problem, Problems};
use crate::api::topics::Topics;
use std::net::SocketAddr;

/// Where monitoring can look at the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpSettings {
    /// Address and port.
    pub listen: SocketAddr,
}

pub(super) fn http(table: &Table<'_, '_>, problems: &mut Problems) -> Option<HttpSettings> {
    let allow_remote = table.boolean("allow_remote", problems);
    let text = table.text("listen", problems)?;
    let listen: SocketAddr = match text.parse() {
        Ok(listen) => listen,
        Err(_) => {
            let message = format!("listen: {text:?} is not an address with a port");
            let help = "numbers, not names: \"127.0.0.1:9464\", or \"[::1]:9464\"";
            problems.add(Problem::error(table.place("listen"), message, help));
            return None;
        }
    };
    if listen.port() == 0 {
        let message = format!("listen: {text} has no port that anybody could know");
        problems.add(Problem::error(table.place("listen"), message, "Prometheus expects one like 9464"));
    }
    if !listen.ip().is_loopback() && !allow_remote && !table.is_broken() {
        let message = format!("listen: {text} can be reached by other machines");
        let help = format!(
            "write \"127.0.0.1:{}\", or add allow_remote = true: nothing there is encrypted or asks for a password",
            listen.port()
        );
        problems.add(Problem::error(table.place("listen"), message, help));
    }
    Some(HttpSettings { listen })
}

pub(super) fn home_assistant(table: &Table<'_, '_>, topics: &Topics, problems: &mut Problems) -> Option<String> {
    let prefix = table.text("prefix", problems)?;
    let is_topic = !prefix.is_empty() && !prefix.ends_with('/') && !prefix.contains(['+', '#']);
    if !is_topic || prefix.starts_with('$') || prefix.contains(char::is_control) {
        let message = format!("{prefix:?} cannot be a discovery prefix");
        let help =
            "as in Home Assistant, usually \"homeassistant\": no wildcards, no $ at the beginning, no slash at the end";
        problems.add(Problem::error(table.place("prefix"), message, help));
    } else if topics.is_own(&prefix) {
        let message = format!("prefix: {prefix:?} lies where this gateway publishes its own topics");
        let help = "it is Home Assistant's prefix, usually \"homeassistant\"";
        problems.add(Problem::error(table.place("prefix"), message, help));
    }
    Some(prefix)
}
