//! Metrics of the daemon and performance of its alarms: counted as events happen, published on `base/metrics`, and
//! available by `stats` and over HTTP.

mod backlog;

use super::Daemon;
use crate::api::alarm_metrics::{self, Figures};
use crate::api::openmetrics::Snapshot;
use crate::api::problem::ProblemKind;
use crate::api::status::Metrics;
use crate::domain::alarm_metrics::{Performance, Standing, Turn, standing};
use crate::domain::engine::{Event, State};
use crate::domain::time::{Moment, Now, Span, Stamp};
use crate::io::http::Board;
use backlog::Backlog;
use serde_json::Value;
use std::sync::Arc;

/// Interval of the scan of all alarms for stale ones, which takes milliseconds with very many alarms.
const LOOK: Span = Span::from_secs(60);
/// Interval of the snapshots for HTTP. They also show that the loop turns.
const SHOW: Span = Span::from_secs(1);

/// The performance counters, and the board on which HTTP shows them.
#[derive(Debug)]
pub(super) struct Counts {
    performance: Performance,
    /// Number of this turn's events that have been counted.
    counted: usize,
    standing: Standing,
    look_at: Moment,
    backlog: Backlog,
    /// The board of the HTTP listener; `None` if HTTP is off.
    board: Option<Arc<Board>>,
    show_at: Moment,
}

impl Counts {
    /// Begins to count. `next_outbound_event` is the number of the next outbound event for the broker.
    pub(super) fn new(now: Moment, next_outbound_event: u64, board: Option<Arc<Board>>) -> Counts {
        Counts {
            performance: Performance::new(now),
            counted: 0,
            standing: Standing::default(),
            look_at: now,
            backlog: Backlog::new(now, next_outbound_event),
            board,
            show_at: now,
        }
    }

    /// Time of the next snapshot; `None` if HTTP is off.
    pub(super) fn wake_at(&self) -> Option<Moment> {
        self.board.as_ref().map(|_| self.show_at)
    }
}

impl Daemon {
    /// Counts the events that the turn has decided so far. Activations of shelved alarms do not count: operators do not
    /// see them.
    pub(super) fn count_events(&mut self, now: Now) {
        let counted = std::mem::replace(&mut self.counts.counted, self.effects.events.len());
        for event in self.effects.events.iter().skip(counted) {
            let Event { alarm, from, to, at, .. } = event;
            // The wall clock may have been set between the event and now; events are not counted in the future.
            let at = now.moment(*at).min(now.at);
            match to {
                // A rise of the severity counts only if the alarm was acknowledged: then it needs attention again.
                State::Activated if *from != State::Activated && !self.engine.is_shelved(alarm.id.as_str()) => {
                    self.counts.performance.activated(&alarm.id, at)
                }
                State::Idled if from.is_active() => self.counts.performance.returned(&alarm.id, at),
                State::Off | State::Enabled | State::Idled | State::Activated | State::Acknowledged => {}
            }
        }
    }

    /// Completes the figures of the turn: floods become problems of the status, and HTTP gets a new snapshot if due.
    pub(super) fn show_figures(&mut self, now: Now) {
        self.counts.counted = self.effects.events.len();
        self.counts.performance.advance(now.at);
        for turn in self.counts.performance.take_turns() {
            self.flood_turns(turn, now);
        }
        let outbox = &self.durables.outbox;
        self.counts.backlog.mark(now.at, outbox.next_number(), outbox.first_waiting());
        let Some(board) = self.counts.board.clone() else { return };
        self.status.problems.replace(ProblemKind::Http, board.trouble());
        if now.at >= self.counts.show_at {
            self.counts.show_at = now.at + SHOW;
            let snapshot = self.snapshot(now);
            board.show(snapshot);
        }
    }

    fn flood_turns(&mut self, turn: Turn, now: Now) {
        let note = match turn {
            Turn::FloodBegan(flood) => {
                let since = whole_second(now.stamp(flood.since));
                tracing::warn!(activations = flood.activations, %since, "flood of alarms begins");
                Some(alarm_metrics::flood_note(since))
            }
            Turn::FloodEnded { flood, at } => {
                let (seconds, peak) = ((at - flood.since).as_secs_f64(), flood.peak);
                tracing::warn!(activations = flood.activations, seconds, peak, "flood of alarms has ended");
                None
            }
        };
        self.status.problems.replace(ProblemKind::Flood, note);
    }

    /// The figures at this moment; numbers of standing, shelved and stale alarms may be a minute old.
    pub(super) fn figures(&mut self, now: Now) -> Figures {
        if now.at >= self.counts.look_at {
            self.look_at_all(now);
        }
        let standing = self.counts.standing.clone();
        Figures { report: self.counts.performance.report(now.at), standing, now }
    }

    fn look_at_all(&mut self, now: Now) {
        self.counts.look_at = now.at + LOOK;
        self.counts.standing = standing(self.engine.alarms_from(0).map(|alarm| self.engine.view(alarm)), now.wall);
    }

    /// The payload of `base/metrics`.
    pub(super) fn metrics_payload(&mut self, now: Now) -> Vec<u8> {
        let figures = self.figures(now);
        alarm_metrics::metrics(&self.current_metrics(), &figures)
    }

    /// The answer to `stats`, with a new scan of all alarms.
    pub(super) fn stats(&mut self, name: &Value, now: Now) -> Vec<u8> {
        self.count_events(now);
        self.look_at_all(now);
        alarm_metrics::answer(name, &self.figures(now))
    }

    fn snapshot(&mut self, now: Now) -> Snapshot {
        Snapshot {
            gateway: self.config.gateway.id.clone(),
            is_linked: self.can_speak(),
            status: self.status.clone(),
            metrics: self.current_metrics(),
            figures: self.figures(now),
        }
    }

    /// The counters, completed by gauges that are read at this moment.
    pub(super) fn current_metrics(&self) -> Metrics {
        let outbox = &self.durables.outbox;
        let mut metrics = Metrics {
            overflow: self.link.overflow(),
            outbox: outbox.waiting() as u64,
            outbox_dropped: outbox.dropped(),
            outbox_age: self.counts.backlog.age(self.clock.at(), outbox.first_waiting()),
            alarms: self.engine.len() as u64,
            active: self.engine.active() as u64,
            commits: self.persistence.commits(),
            stored_bytes: self.persistence.stored_bytes(),
            written_bytes: written_bytes(),
            seq: self.engine.next_seq() - 1,
            ..self.metrics.clone()
        };
        self.durables.anomalies.count(&mut metrics);
        self.notifier.count(&mut metrics, self.clock.at());
        metrics
    }
}

/// Cuts a stamp to the whole second, for a text that people read.
fn whole_second(stamp: Stamp) -> Stamp {
    Stamp::from_micros(stamp.as_micros().div_euclid(1_000_000) * 1_000_000)
}

/// Bytes that this process has made the system write to disks; 0 if `/proc` does not tell. The file exists under
/// systemd's `ProcSubset=pid`, too.
fn written_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes:"));
    line.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0)
}
