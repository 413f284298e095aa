//! `base/status`: whether the daemon is there and how it is; `base/faults` beside it, and what `base/metrics` counts.

use super::problem::StatusProblems;
use super::{Rfc3339, to_bytes};
use crate::domain::time::{Span, Stamp};
use crate::ingest::router::Fault;
use serde::Serialize;

/// How the daemon is.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// When it was started.
    pub since: Stamp,
    /// How many alarms it has.
    pub alarms: usize,
    /// How many of them are activated or acknowledged.
    pub active: usize,
    /// Whether what is published is on disk before.
    pub durable: bool,
    /// What a technician should know, in words; empty when all is well.
    pub problems: StatusProblems,
    /// The last gap in observation.
    pub last_gap: Option<Gap>,
}

/// A time in which nothing could be heard.
#[derive(Debug, Clone, PartialEq)]
pub struct Gap {
    /// When it began.
    pub from: Stamp,
    /// When it ended.
    pub to: Stamp,
    /// How long it was.
    pub length: Span,
    /// Why, in words.
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

/// The status of a daemon that is there.
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

/// The status of one that is not: the last will, and the last word before a clean stop.
pub fn offline(gateway: &str) -> Vec<u8> {
    to_bytes(&Offline { state: "offline", gateway, version: env!("CARGO_PKG_VERSION") })
}

/// What an instance says of itself while another one works.
pub(crate) fn of_standby(state: &str, gateway: &str) -> Vec<u8> {
    to_bytes(&Offline { state, gateway, version: env!("CARGO_PKG_VERSION") })
}

/// Who has published a status, and whether it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    /// The name of the instance.
    pub(crate) gateway: String,
    /// Whether it works.
    pub(crate) is_online: bool,
}

/// Reads a status; none: it was deleted, or nobody of us has written it.
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

/// Bytes of a report of faults: what every broker and every client takes.
const REPORT_BYTES: usize = 64 << 10;

/// One report of inputs that could not be used, with how often each came since the last report. Those that have no room
/// in it are counted with the others.
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
    /// How many seconds the oldest of them has waited.
    pub outbox_age: u64,
    /// Events that were dropped because the outbox was full.
    pub outbox_dropped: u64,
    /// Alarms.
    pub alarms: u64,
    /// Alarms that are activated or acknowledged.
    pub active: u64,
    /// Connections to the broker that were made.
    pub connects: u64,
    /// Writes that were synced to the disk.
    pub commits: u64,
    /// Bytes handed to the store.
    pub stored_bytes: u64,
    /// Bytes that this process has made the system write to disks: log, databases and all. 0 where it does not tell.
    pub written_bytes: u64,
    /// The sequence number of the latest event.
    pub seq: u64,
    /// Deliveries of reactions that the other side has taken.
    pub reactions_delivered: u64,
    /// Attempts that failed and are made again.
    pub reactions_failed: u64,
    /// Attempts that were not the first.
    pub reactions_retried: u64,
    /// Deliveries that never arrive.
    pub reactions_dropped: u64,
    /// Deliveries that wait.
    pub reactions_waiting: u64,
    /// How long the oldest of them has been due.
    pub reactions_oldest_seconds: u64,
    /// Models of anomalies.
    pub models: u64,
    /// Models that were built.
    pub model_builds: u64,
    /// Values that are kept for models.
    pub samples: u64,
    /// Bytes that they take.
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
