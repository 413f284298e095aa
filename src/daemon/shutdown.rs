//! A clean stop: running timers are evaluated up to now, everything is written, waiting messages and the final status
//! are sent. Each step has a time limit: a message that the broker does not take in time is sent after the next start.

use super::{Daemon, signals};
use crate::api::status;
use crate::domain::outbox::Token;
use crate::io::mqtt::{LinkEvent, Outbound, Received};
use std::time::Duration;

/// Maximum duration of the last probe, which shows that messages could be received until now.
const LAST_PROOF: Duration = Duration::from_secs(1);
/// Maximum duration of each step that waits for the broker or for receivers of reactions.
pub(super) const STOP_LIMIT: Duration = Duration::from_secs(3);

impl Daemon {
    /// Stops the daemon: writes everything, sends waiting messages and the final status, and closes the connection.
    pub(super) async fn stop(&mut self) {
        tracing::info!("stopping");
        signals::stopping();
        self.notifier.close();
        self.look_for_delays();
        self.prove_once_more().await;
        self.let_attempts_end().await;
        self.due.checkpoint = self.clock.at();
        self.due.tidy = self.clock.at();
        self.durables.outbox.close();
        self.finish_turn().await;
        if !self.link.is_up() {
            return;
        }
        let last_status = async {
            let mut said = false;
            loop {
                // The final status follows the messages that are waiting.
                if self.durables.outbox.is_idle() && !said {
                    said = true;
                    self.say_offline();
                }
                let Some(Received { event, .. }) = self.events.recv().await else { return };
                match event {
                    LinkEvent::Taken { token: Token::FinalStatus, .. }
                    | LinkEvent::Refused { token: Token::FinalStatus, .. }
                    | LinkEvent::Down { .. } => return,
                    LinkEvent::Refused { token, acknowledged, topic, reason } => {
                        self.refused(token, acknowledged, &topic, &reason);
                        self.send_waiting().await;
                    }
                    LinkEvent::Taken { token, acknowledged } => {
                        self.taken(token, acknowledged);
                        self.send_waiting().await;
                    }
                    // Neither evaluated nor acknowledged: the broker keeps it for the next start.
                    LinkEvent::Message(_)
                    | LinkEvent::Up { .. }
                    | LinkEvent::Subscribed { .. }
                    | LinkEvent::Retained(_) => {}
                }
            }
        };
        if tokio::time::timeout(STOP_LIMIT, last_status).await.is_err() {
            tracing::warn!("the broker did not confirm everything in time; it will be sent after the next start");
            self.say_offline();
        }
        self.link.close();
        // The polling task has to run once more to send the DISCONNECT, and ends then.
        let closed = async { while self.events.recv().await.is_some() {} };
        if tokio::time::timeout(STOP_LIMIT, closed).await.is_err() {
            tracing::debug!("the connection did not close in time");
        }
        // Messages that the broker has taken in the meantime need not be sent again.
        self.due.tidy = self.clock.at();
        self.finish_turn().await;
    }

    /// Sends a probe and, if it is back in time, evaluates running timers up to now: the silence of things until then
    /// is proven.
    pub(super) async fn prove_once_more(&mut self) {
        if !self.can_speak() {
            return;
        }
        let begun = self.clock.at();
        let proof = async {
            while self.can_speak() && self.observation.proven() < begun {
                // After a long silence, the first probe may prove only that the connection works again.
                if !self.observation.awaits_probe() {
                    self.send_probe();
                }
                let Some(received) = self.events.recv().await else { return };
                self.receive(received);
            }
        };
        if tokio::time::timeout(LAST_PROOF, proof).await.is_ok() {
            self.interrupt_all();
            self.advance();
        }
    }

    /// Waits for delivery attempts that are running. One that was cut off could reach its receiver twice.
    pub(super) async fn let_attempts_end(&mut self) {
        let end = async {
            while self.notifier.is_busy() {
                tokio::select! {
                    answer = self.answers.recv() => {
                        let Some(answer) = answer else { return };
                        self.notifier.answered(answer, &self.link, self.clock.now());
                    }
                    received = self.events.recv() => {
                        let Some(received) = received else { return };
                        self.receive(received);
                    }
                }
            }
        };
        if tokio::time::timeout(STOP_LIMIT, end).await.is_err() {
            tracing::warn!("attempts to deliver did not end in time; they are made again after the next start");
        }
    }

    pub(super) fn say_offline(&self) {
        let gateway = &self.config.gateway;
        let payload = status::offline(&gateway.id).into();
        let last_word =
            Outbound { topic: gateway.topics.status(), payload, confirmed: true, retain: true, ..Outbound::default() };
        self.link.send(last_word, Token::FinalStatus);
    }
}
