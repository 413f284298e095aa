//! One instance of several that stand by for each other must not work when another one may have taken over.
//!
//! It may have when the connection has broken, whoever broke it, and when the process did not run for a while. Then it
//! ends as it would after a crash, and looks around before it works again ([`super::standby`]). So does one that works alone
//! and finds at the broker what an earlier run has published without its disk.

use super::Daemon;
use super::housekeeping::STATUS_RENEWAL;
use crate::domain::time::{Moment, Span};

impl Daemon {
    /// How often the status is published although it has not changed. Those who stand by hear that we work.
    pub(super) fn renewal(&self) -> Span {
        match &self.config.gateway.standby {
            // Two that get lost are no reason to take over.
            Some(standby) => Span::from_micros(standby.after.as_micros() / 3).min(STATUS_RENEWAL),
            None => STATUS_RENEWAL,
        }
    }

    /// Whether the process has not run for so long that others may have heard nothing of us for as long as they wait.
    pub(super) fn may_be_replaced(&self, stopped_since: Moment) -> bool {
        let standby = self.config.gateway.standby.as_ref();
        standby.is_some_and(|standby| {
            let is_long = self.clock.at() + self.renewal() >= stopped_since + standby.after;
            if is_long {
                tracing::warn!("the process was stopped, and another instance may have taken over: looks around");
            }
            is_long
        })
    }

    /// Keeps what is known for the case that nobody has taken over. Nothing new begins.
    pub(super) async fn yield_to_others(&mut self) {
        self.notifier.close();
        self.let_attempts_end().await;
        self.due.checkpoint = self.clock.at();
        self.due.tidy = self.clock.at();
        self.finish_turn().await;
    }
}
