//! Metrics in the text formats of Prometheus, and the daemon's health as JSON: the content of the HTTP pages.
//!
//! Two dialects of one text: the classic Prometheus format, and OpenMetrics for clients that accept it. They differ in
//! the name under which a counter is introduced, and in the last line.

use super::alarm_metrics::Figures;
use super::problem::StatusProblems;
use super::status::{Metrics, Status};
use super::to_bytes;
use crate::domain::alarm_metrics::{Entry, Standing};
use crate::domain::time::Span;
use serde::Serialize;
use std::fmt::Write as _;

/// The state of the daemon at one moment, as HTTP shows it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The id of the gateway.
    pub gateway: String,
    /// True while the broker is connected and has acknowledged the subscriptions.
    pub is_linked: bool,
    /// The content of `base/status`.
    pub status: Status,
    /// The counters and gauges of `base/metrics`.
    pub metrics: Metrics,
    /// The alarm performance of `base/metrics`.
    pub figures: Figures,
}

/// The text format of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The text format of Prometheus, version 0.0.4.
    Prometheus,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Dialect {
    /// The dialect for a request with this `Accept` header.
    pub fn for_request(accept: &str) -> Dialect {
        if accept.contains("application/openmetrics-text") { Dialect::OpenMetrics } else { Dialect::Prometheus }
    }

    /// The `Content-Type` of the answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Dialect::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Dialect::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Rises until a restart.
    Counter,
    /// Rises and falls.
    Gauge,
}

struct Text {
    dialect: Dialect,
    text: String,
}

impl Text {
    fn introduce(&mut self, name: &str, kind: Kind, help: &str) {
        let (word, suffix) = match (kind, self.dialect) {
            (Kind::Counter, Dialect::Prometheus) => ("counter", "_total"),
            (Kind::Counter, Dialect::OpenMetrics) => ("counter", ""),
            (Kind::Gauge, Dialect::Prometheus | Dialect::OpenMetrics) => ("gauge", ""),
        };
        self.line(format_args!("# HELP annunciator_{name}{suffix} {help}"));
        self.line(format_args!("# TYPE annunciator_{name}{suffix} {word}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    fn counter(&mut self, name: &str, value: u64, help: &str) {
        self.introduce(name, Kind::Counter, help);
        self.line(format_args!("annunciator_{name}_total {value}"));
    }

    fn gauge(&mut self, name: &str, value: impl std::fmt::Display, help: &str) {
        self.introduce(name, Kind::Gauge, help);
        self.line(format_args!("annunciator_{name} {value}"));
    }

    /// Writes a gauge with one line per alarm, labelled with the alarm's id.
    fn alarms(&mut self, name: &str, entries: &[Entry], value: fn(&Entry) -> u64, help: &str) {
        self.introduce(name, Kind::Gauge, help);
        for entry in entries {
            let alarm = escaped(entry.alarm.as_str());
            self.line(format_args!("annunciator_{name}{{alarm=\"{alarm}\"}} {}", value(entry)));
        }
    }
}

/// Escapes a text for the value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// All metrics as text.
pub fn metrics(snapshot: &Snapshot, dialect: Dialect) -> String {
    let Snapshot { gateway, is_linked, status, metrics, figures } = snapshot;
    let mut text = Text { dialect, text: String::with_capacity(8 * 1_024) };
    text.introduce("build_info", Kind::Gauge, "Version of the daemon and name of its gateway; always 1.");
    let (version, gateway) = (env!("CARGO_PKG_VERSION"), escaped(gateway));
    text.line(format_args!("annunciator_build_info{{version=\"{version}\",gateway=\"{gateway}\"}} 1"));
    let started = seconds(Span::from_micros(status.since.as_micros()));
    text.gauge("start_time_seconds", started, "When the daemon was started, in seconds since 1970.");
    text.gauge("link_up", u8::from(*is_linked), "Whether the broker can be reached and listened to.");
    text.gauge("durable", u8::from(status.durable), "Whether what is published is on disk before.");
    text.gauge("problems", status.problems.len(), "What a technician should know: problems on the status topic.");
    traffic(&mut text, metrics);
    performance(&mut text, figures);
    if dialect == Dialect::OpenMetrics {
        text.line(format_args!("# EOF"));
    }
    text.text
}

fn traffic(text: &mut Text, metrics: &Metrics) {
    let Metrics {
        messages,
        faults,
        repeats,
        overflow,
        events,
        published,
        refused,
        outbox,
        outbox_age,
        outbox_dropped,
        alarms,
        active,
        connects,
        commits,
        stored_bytes,
        written_bytes,
        seq,
        reactions_delivered,
        reactions_failed,
        reactions_retried,
        reactions_dropped,
        reactions_waiting,
        reactions_oldest_seconds,
        models,
        model_builds,
        samples,
        samples_bytes,
        samples_lost,
        scored_values,
        anomalies_found,
        anomalies_open,
    } = metrics;
    text.counter("messages", *messages, "Messages received.");
    text.counter("faults", *faults, "Messages, or parts of them, that could not be used.");
    text.counter("repeated_messages", *repeats, "Messages that came again although they had been evaluated.");
    text.counter("dropped_messages", *overflow, "Messages dropped because evaluation did not keep up.");
    text.counter("events", *events, "Events decided.");
    text.counter("published_messages", *published, "Messages taken by the broker.");
    text.counter("refused_messages", *refused, "Messages that the broker refused (MQTT 5).");
    text.counter("connects", *connects, "Connections to the broker that were made.");
    text.counter("commits", *commits, "Writes that were synced to the disk.");
    text.counter("stored_bytes", *stored_bytes, "Bytes handed to the store.");
    text.counter("written_bytes", *written_bytes, "Bytes that the process has made the system write to disks.");
    text.gauge("outbox_letters", *outbox, "Events that wait for the broker.");
    text.gauge("outbox_oldest_age_seconds", *outbox_age, "How long the oldest of them has waited.");
    text.counter("outbox_dropped_letters", *outbox_dropped, "Events dropped because too many waited.");
    text.counter("reactions_delivered", *reactions_delivered, "Deliveries of reactions that the other side has taken.");
    text.counter("reactions_failed", *reactions_failed, "Attempts to deliver that failed and are made again.");
    text.counter("reactions_retried", *reactions_retried, "Attempts to deliver that were not the first.");
    text.counter("reactions_dropped", *reactions_dropped, "Deliveries that never arrive.");
    text.gauge("reactions_waiting", *reactions_waiting, "Deliveries that wait.");
    text.gauge("reactions_oldest_age_seconds", *reactions_oldest_seconds, "How long the oldest of them has been due.");
    text.gauge("models", *models, "Models of anomalies.");
    text.counter("model_builds", *model_builds, "Models that were built.");
    text.gauge("samples", *samples, "Values that are kept for models.");
    text.gauge("samples_bytes", *samples_bytes, "Bytes that these values take on disk.");
    text.counter("samples_lost", *samples_lost, "Values lost because the disk refused them for too long.");
    text.counter("scored_values", *scored_values, "Values that models have scored.");
    text.counter("anomalies_found", *anomalies_found, "Anomalies that models have found.");
    text.gauge("open_anomalies", *anomalies_open, "Anomalies that go on.");
    text.gauge("last_event_seq", *seq, "Sequence number of the latest event.");
    text.gauge("alarms", *alarms, "Alarms.");
    text.gauge("active_alarms", *active, "Alarms that are activated or acknowledged.");
}

fn performance(text: &mut Text, Figures { report, standing, .. }: &Figures) {
    let Standing { standing, shelved, stale, oldest: _ } = standing;
    text.gauge("standing_alarms", *standing, "Alarms that are active and not shelved.");
    text.gauge("shelved_alarms", *shelved, "Alarms that are shelved.");
    text.gauge("stale_alarms", *stale, "Alarms that are active for more than 24 hours.");
    text.gauge("observed_seconds", seconds(report.observed), "The time that figures of the last day cover.");
    text.gauge("activations_last_10_minutes", report.last_interval, "Activations within the last 10 minutes.");
    text.gauge("activations_peak_10_minutes", report.peak_interval, "Most activations in 10 minutes, last day.");
    text.gauge("activations_mean_10_minutes", report.mean_interval, "Mean activations in 10 minutes, last day.");
    text.gauge("activations_last_day", report.last_day, "Activations within the last day.");
    text.gauge("flood", u8::from(report.flood.is_some()), "Whether there is a flood of alarms.");
    text.gauge("floods_last_day", report.floods, "Floods that began within the last day.");
    text.gauge("flood_ratio", report.flood_share, "Which part of the last day was flooded, 0 to 1.");
    text.gauge("chattering_alarms", report.chattering.count, "Alarms activated 3 times in a minute, last day.");
    text.gauge("fleeting_alarms", report.fleeting.count, "Alarms gone before anybody could act, last day.");
    let help = "Activations within the last day of the ten most frequent alarms.";
    text.alarms("alarm_activations_last_day", &report.frequent.worst, |entry| entry.activations, help);
}

/// Whole seconds; a fraction is cut off.
fn seconds(span: Span) -> i64 {
    span.as_micros() / 1_000_000
}

/// The daemon's health as JSON. Without a snapshot, the link is reported as down.
pub fn health(snapshot: Option<&Snapshot>, since_turn: Option<Span>, ok: bool) -> Vec<u8> {
    #[derive(Serialize)]
    struct Health<'a> {
        ok: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        seconds_since_turn: Option<f64>,
        version: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        gateway: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        durable: Option<bool>,
        link: &'a str,
        problems: &'a StatusProblems,
    }
    let none = StatusProblems::default();
    to_bytes(&Health {
        ok,
        seconds_since_turn: since_turn.map(|span| (span.as_secs_f64() * 1_000.0).round() / 1_000.0),
        version: env!("CARGO_PKG_VERSION"),
        gateway: snapshot.map(|snapshot| snapshot.gateway.as_str()),
        durable: snapshot.map(|snapshot| snapshot.status.durable),
        link: if snapshot.is_some_and(|snapshot| snapshot.is_linked) { "up" } else { "down" },
        problems: snapshot.map_or(&none, |snapshot| &snapshot.status.problems),
    })
}
