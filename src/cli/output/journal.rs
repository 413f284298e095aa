//! The log as the systemd journal takes it: with levels, and with what a line tells of as fields of its own.
//!
//! `journalctl -u annunciator -p warning` shows what matters, `journalctl ANNUNCIATOR_TOPIC=things/boiler-7/temperature`
//! what is about one topic. The text of an entry has everything, because it is all that most people look at. Where the
//! journal's socket does not take an entry it goes to standard error, with the level in front (`<4>`), which is a
//! little less and never nothing.
//!
//! The protocol: <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.

use std::fmt::{Debug, Write as _};
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// Writes entries to the journal.
#[derive(Debug)]
pub(crate) struct Persistence {
    socket: Option<UnixDatagram>,
}

impl Persistence {
    /// The journal, if standard error leads to it.
    pub(crate) fn behind_standard_error() -> Option<Persistence> {
        if !is_behind_standard_error() {
            return None;
        }
        let socket = UnixDatagram::unbound().ok();
        // A journal that does not keep up must not hold up the alarms; standard error has a buffer more.
        let socket = socket.filter(|socket| socket.set_nonblocking(true).is_ok());
        Some(Persistence { socket })
    }
}

/// Whether standard error leads to the journal. `JOURNAL_STREAM` alone proves nothing: it is inherited by everything that
/// a service starts, wherever its output goes.
pub(crate) fn is_behind_standard_error() -> bool {
    let stderr = rustix::fs::fstat(std::io::stderr());
    let is_named = |named: &str| stderr.is_ok_and(|stderr| named == format!("{}:{}", stderr.st_dev, stderr.st_ino));
    std::env::var("JOURNAL_STREAM").is_ok_and(|named| is_named(&named))
}

/// A line that is said to people and not logged, such as why a service does not start: `-p warning` shows it.
pub(crate) fn as_warning(line: &str) -> String {
    format!("<4>{line}")
}

impl<S: Subscriber> Layer<S> for Persistence {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut entry = Entry { priority: priority(*event.metadata().level()), ..Entry::default() };
        event.record(&mut entry);
        let taken = self.socket.as_ref().is_some_and(|socket| socket.send_to(&entry.datagram(), SOCKET).is_ok());
        if !taken {
            // If that fails, too, there is nobody left to tell.
            let _ = std::io::stderr().write_all(entry.lines().as_bytes());
        }
    }
}

/// What syslog calls the level. Here nothing is worse than an error: that would be an alarm.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// One entry.
#[derive(Debug, Default)]
struct Entry {
    priority: u8,
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Visit for Entry {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record(field, crate::domain::text::say(super::throttle::LINE_BYTES, format_args!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, crate::domain::text::clip(value, super::throttle::LINE_BYTES).into_owned());
    }
}

impl Entry {
    fn record(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            // Where in a library it was written.
            name if name.starts_with("log.") => {}
            name => self.fields.push((name, value)),
        }
    }

    /// The message and, behind it, all fields.
    fn text(&self) -> String {
        let mut text = self.message.clone();
        for (name, value) in &self.fields {
            // Writing to a string cannot fail.
            let _ = write!(text, " {name}={value}");
        }
        crate::domain::text::clip(&text, super::throttle::LINE_BYTES).into_owned()
    }

    /// In the journal's own protocol.
    fn datagram(&self) -> Vec<u8> {
        let mut datagram = Vec::new();
        put(&mut datagram, "PRIORITY", &self.priority.to_string());
        put(&mut datagram, "SYSLOG_IDENTIFIER", "annunciator");
        put(&mut datagram, "MESSAGE", &self.text());
        for (name, value) in &self.fields {
            let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            put(&mut datagram, &format!("ANNUNCIATOR_{}", name.to_ascii_uppercase()), value);
        }
        datagram
    }

    /// As lines, each with the level in front: otherwise the journal takes the second line for a message of no importance.
    fn lines(&self) -> String {
        self.text().lines().map(|line| format!("<{}>{line}\n", self.priority)).collect()
    }
}

/// One field: on a line, or, if its value has several, with its length.
fn put(datagram: &mut Vec<u8>, name: &str, value: &str) {
    datagram.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        datagram.push(b'\n');
        datagram.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        datagram.push(b'=');
    }
    datagram.extend_from_slice(value.as_bytes());
    datagram.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let fields = vec![("alarm", "a/b/c".to_owned()), ("problems", "one\ntwo".to_owned())];
        Entry { priority: 4, message: "look here".to_owned(), fields }
    }

    #[test]
    fn values_of_several_lines_have_a_length() {
        let want = b"PRIORITY=4\nSYSLOG_IDENTIFIER=annunciator\n\
            MESSAGE\n\x26\0\0\0\0\0\0\0look here alarm=a/b/c problems=one\ntwo\n\
            ANNUNCIATOR_ALARM=a/b/c\nANNUNCIATOR_PROBLEMS\n\x07\0\0\0\0\0\0\0one\ntwo\n";
        let got = entry().datagram();
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(want));
    }

    #[test]
    fn every_line_on_standard_error_has_the_level() {
        assert_eq!(entry().lines(), "<4>look here alarm=a/b/c problems=one\n<4>two\n");
    }
}
