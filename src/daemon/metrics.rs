//! How the daemon and its alarms do, in figures: counted as things happen, told on request, on `base/metrics` and to
//! whoever asks over HTTP.

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

/// All alarms are looked at this often for those that are stale, which takes milliseconds where there are very many.
const LOOK: Span = Span::from_secs(60);
/// How often what is shown over HTTP is made new. It also shows that the loop turns.
const SHOW: Span = Span::from_secs(1);

/// What is counted, and where it is shown.
#[derive(Debug)]
pub(super) struct Counts {
    performance: Performance,
    /// So many events of this turn were counted.
    counted: usize,
    standing: Standing,
    look_at: Moment,
    backlog: Backlog,
    /// None: nobody listens.
    board: Option<Arc<Board>>,
    show_at: Moment,
}

impl Counts {
    /// Begins to count; `next_number` is the number of the next outbound event for the broker.
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

    /// When the loop has to turn for somebody who looks on.
    pub(super) fn wake_at(&self) -> Option<Moment> {
        self.board.as_ref().map(|_| self.show_at)
    }
}

impl Daemon {
    /// Counts what the turn has decided so far. Shelved alarms are not announced to anybody, so they do not count.
    pub(super) fn count_events(&mut self, now: Now) {
        let counted = std::mem::replace(&mut self.counts.counted, self.effects.events.len());
        for event in self.effects.events.iter().skip(counted) {
            let Event { alarm, from, to, at, .. } = event;
            // The wall clock may have been set between the event and now; the counting does not go beyond now.
            let at = now.moment(*at).min(now.at);
            match to {
                // One that becomes worse asks for attention again only if somebody had taken note of it.
                State::Activated if *from != State::Activated && !self.engine.is_shelved(alarm.id.as_str()) => {
                    self.counts.performance.activated(&alarm.id, at)
                }
                State::Idled if from.is_active() => self.counts.performance.returned(&alarm.id, at),
                State::Off | State::Enabled | State::Idled | State::Activated | State::Acknowledged => {}
            }
        }
    }

    /// Says what has become of the alarms as a whole, and shows the figures.
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

    /// The figures of this moment.
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

    /// `base/metrics`.
    pub(super) fn metrics_payload(&mut self, now: Now) -> Vec<u8> {
        let figures = self.figures(now);
        alarm_metrics::metrics(&self.current_metrics(), &figures)
    }

    /// The answer to `stats`. Who asks wants to know it exactly.
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

    /// The counters with what is known only now.
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

/// People read it; the microsecond is in the log.
fn whole_second(stamp: Stamp) -> Stamp {
    Stamp::from_micros(stamp.as_micros().div_euclid(1_000_000) * 1_000_000)
}

/// What the system says that this process has caused to be written. Under systemd's `ProcSubset=pid` it is there, too.
fn written_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes:"));
    line.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0)
}
