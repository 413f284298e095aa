//! Recurring tasks: the status of the gateway with its problems, reports of faults, metrics, and signs of life for the
//! watchdog.
//!
//! Each has its time in [`super::Due`] and is done at the end of a turn. Messages wait while the broker cannot be
//! reached.

use super::{Daemon, signals};
use crate::api::problem::ProblemKind;
use crate::api::status;
use crate::domain::engine::Refused;
use crate::domain::outbox::Token;
use crate::domain::time::{Now, Span};
use crate::io::mqtt::Outbound;

/// Minimum time between two publications of a changed status.
const STATUS_PAUSE: Span = Span::from_secs(1);
/// Expiry of a status that is not renewed: a gateway and its broker that lose power together leave no last will behind
/// (MQTT 5; a broker of version 3.1.1 keeps the status).
const STATUS_LIFETIME: Span = Span::from_secs(15 * 60);
/// Maximum time between two publications of the status, so that it outlives two that get lost.
pub(super) const STATUS_RENEWAL: Span = Span::from_secs(5 * 60);
/// Minimum time between two reports of faults.
const FAULTS_PAUSE: Span = Span::from_secs(1);
/// Maximum time between two turns of the loop, for the watchdog.
pub(super) const IDLE_TURN: Span = Span::from_secs(5);

impl Daemon {
    /// Does the recurring tasks that are due: status, faults, metrics, the watchdog.
    pub(super) fn housekeeping(&mut self, now: Now) {
        self.status.alarms = self.engine.len();
        self.status.active = self.engine.active();
        self.status.durable = self.persistence.is_durable();
        let problems = &mut self.status.problems;
        let unset = "it shows a time before this version was made; until it is set (NTP, RTC), stamps are marked";
        problems.replace(ProblemKind::Clock, (!now.wall.is_plausible()).then(|| unset.to_owned()));
        problems.replace(ProblemKind::Store, self.persistence.trouble());
        problems.replace(ProblemKind::Credentials, self.link.no_pass());
        problems.replace(ProblemKind::Reaction, self.notifier.troubles());
        let refused = self.engine.refused();
        problems.replace(
            ProblemKind::Things,
            refused.map(|Refused { count, bound, last }| format!("{bound}; {count} times, the last one was {last:?}")),
        );
        self.list_observation_problems(now);
        self.show_figures(now);
        self.publish_models(now);
        let is_up = self.can_speak();
        let is_stale = self.published_status.as_ref() != Some(&self.status) || now.at >= self.due.renewal;
        if is_up && now.at >= self.due.status && is_stale {
            self.due.status = now.at + STATUS_PAUSE;
            self.due.renewal = now.at + self.renewal();
            let topic = self.config.gateway.topics.status();
            let payload = status::online(&self.status, &self.config.gateway.id).into();
            let expires = Some(STATUS_LIFETIME);
            let online = Outbound { topic, payload, confirmed: true, retain: true, expires, ..Outbound::default() };
            if self.link.send(online, Token::Passing) {
                self.published_status = Some(self.status.clone());
            }
        }
        if is_up && now.at >= self.due.faults && !self.faults.is_empty() {
            self.due.faults = now.at + FAULTS_PAUSE;
            let payload = self.faults.report();
            self.publish(self.config.gateway.topics.faults(), payload, false, false);
        }
        if is_up && now.at >= self.due.metrics {
            self.due.metrics = now.at + self.config.gateway.metrics_interval;
            let payload = self.metrics_payload(now);
            self.publish(self.config.gateway.topics.metrics(), payload, false, true);
        }
        if now.at >= self.due.watchdog {
            self.due.watchdog = now.at + IDLE_TURN;
            signals::turn_completed();
        }
    }
}
