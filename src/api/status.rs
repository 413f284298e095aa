//! `base/status`: the daemon's availability and health; and the payloads of `base/faults` and `base/metrics`.

use super::problem::StatusProblems;
use super::{Rfc3339, to_bytes};
use crate::domain::time::{Span, Stamp};
use crate::ingest::router::Fault;
use serde::Serialize;

/// The health of a running daemon.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Time of the start.
    pub since: Stamp,
    /// Number of alarms.
    pub alarms: usize,
    /// Number of alarms that are activated or acknowledged.
    pub active: usize,
    /// True if the store is on disk and events are written before they are published.
    pub durable: bool,
    /// Problems that a technician should know; empty if there are none.
    pub problems: StatusProblems,
    /// The last gap in observation; `None` if there was none.
    pub last_gap: Option<Gap>,
}

/// A period in which the daemon could not receive messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Gap {
    /// Start of the gap.
    pub from: Stamp,
    /// End of the gap.
    pub to: Stamp,
    /// Duration of the gap; in seconds in the payload.
    pub length: Span,
    /// The cause in words.
    pub cause: String,
}

#[derive(Serialize)]
struct Online<'a> {
    state: &'a str,
    gateway: &'a str,
    version: &'a str,
    since: Rfc3339,
    alarms: usize,
    active: usize,
    durable: bool,
    #[serde(skip_serializing_if = "StatusProblems::is_empty")]
    problems: &'a StatusProblems,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_gap: Option<GapPayload<'a>>,
}

#[derive(Serialize)]
struct GapPayload<'a> {
    from: Rfc3339,
    to: Rfc3339,
    seconds: f64,
    cause: &'a str,
}

#[derive(Serialize)]
struct Offline<'a> {
    state: &'a str,
    gateway: &'a str,
    version: &'a str,
}

/// The status of a running daemon.
pub fn online(status: &Status, gateway: &str) -> Vec<u8> {
    to_bytes(&Online {
        state: "online",
        gateway,
        version: env!("CARGO_PKG_VERSION"),
        since: Rfc3339(status.since),
        alarms: status.alarms,
        active: status.active,
        durable: status.durable,
        problems: &status.problems,
        last_gap: status.last_gap.as_ref().map(|gap| GapPayload {
            from: Rfc3339(gap.from),
            to: Rfc3339(gap.to),
            seconds: gap.length.as_secs_f64(),
            cause: &gap.cause,
        }),
    })
}

/// The status of a stopped daemon: the last will, and the final status of a clean stop.
pub fn offline(gateway: &str) -> Vec<u8> {
    to_bytes(&Offline { state: "offline", gateway, version: env!("CARGO_PKG_VERSION") })
}

/// The status of an instance that is not working, such as a standby.
pub(crate) fn of_standby(state: &str, gateway: &str) -> Vec<u8> {
    to_bytes(&Offline { state, gateway, version: env!("CARGO_PKG_VERSION") })
}

/// The sender of a status, and its availability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    /// The id of the instance.
    pub(crate) gateway: String,
    /// True if the state is `online`.
    pub(crate) is_online: bool,
}

/// Parses a status; `None` if it was deleted or is not one.
pub(crate) fn read(payload: &[u8]) -> Option<Said> {
    #[derive(serde::Deserialize)]
    struct Payload {
        state: String,
        gateway: String,
    }
    let Payload { state, gateway } = serde_json::from_slice(payload).ok()?;
    Some(Said { gateway, is_online: state == "online" })
}

#[derive(Serialize)]
struct FaultPayload<'a> {
    topic: &'a str,
    reason: &'a str,
    count: u64,
}

/// Maximum size of a report of faults in bytes; every broker and client accepts that.
const REPORT_BYTES: usize = 64 << 10;

/// One report of unusable inputs, with the number of times that each occurred since the last report. Entries that
/// exceed the maximum size are not listed but counted; `more` is the number of faults that have no entry.
pub fn faults(faults: &[(Fault, u64)], more: u64) -> Vec<u8> {
    #[derive(Serialize)]
    struct Report<'a> {
        count: u64,
        faults: Vec<FaultPayload<'a>>,
    }
    let count = faults.iter().map(|(_, count)| count).sum::<u64>() + more;
    let mut room = faults.len();
    loop {
        let listed = faults.iter().take(room).map(|(Fault { topic, reason }, count)| FaultPayload {
            topic,
            reason,
            count: *count,
        });
        let report = to_bytes(&Report { count, faults: listed.collect() });
        if report.len() <= REPORT_BYTES {
            return report;
        }
        room = room * REPORT_BYTES / report.len();
    }
}

/// Counters since the start, and gauges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Metrics {
    /// Messages received.
    pub messages: u64,
    /// Messages, or parts of them, that could not be used.
    pub faults: u64,
    /// Messages that the broker sent again although they had been evaluated.
    pub repeats: u64,
    /// Messages that were dropped because evaluation did not keep up.
    pub overflow: u64,
    /// Events decided.
    pub events: u64,
    /// Messages taken by the broker.
    pub published: u64,
    /// Messages that the broker refused (MQTT 5).
    pub refused: u64,
    /// Messages that wait for the broker.
    pub outbox: u64,
    /// Age of the oldest of them in seconds.
    pub outbox_age: u64,
    /// Events that were dropped because the outbox was full.
    pub outbox_dropped: u64,
    /// Number of alarms.
    pub alarms: u64,
    /// Number of alarms that are activated or acknowledged.
    pub active: u64,
    /// Connections to the broker that were made.
    pub connects: u64,
    /// Writes that were synced to the disk.
    pub commits: u64,
    /// Bytes handed to the store.
    pub stored_bytes: u64,
    /// Bytes that this process has made the system write to disks: log, databases and all. 0 if the system does not
    /// report it.
    pub written_bytes: u64,
    /// The sequence number of the latest event.
    pub seq: u64,
    /// Deliveries of reactions that the other side has taken.
    pub reactions_delivered: u64,
    /// Attempts that failed and are made again.
    pub reactions_failed: u64,
    /// Attempts that were not the first.
    pub reactions_retried: u64,
    /// Deliveries that were given up.
    pub reactions_dropped: u64,
    /// Deliveries that wait.
    pub reactions_waiting: u64,
    /// Seconds since the oldest of them became due.
    pub reactions_oldest_seconds: u64,
    /// Models of anomalies.
    pub models: u64,
    /// Models that were built.
    pub model_builds: u64,
    /// Values that are kept for models.
    pub samples: u64,
    /// Bytes of these values on disk.
    pub samples_bytes: u64,
    /// Values that were lost because the disk refused them for too long.
    pub samples_lost: u64,
    /// Values that models have scored.
    pub scored_values: u64,
    /// Anomalies that models have found.
    pub anomalies_found: u64,
    /// Anomalies that go on.
    pub anomalies_open: u64,
}
