//! An instance with standbys must not work when another one may have taken over.
//!
//! That is possible after the connection was lost, and after the process did not run for a while. Then the instance
//! ends as after a crash, and reads the retained state before it works again ([`super::standby`]). So does a single
//! instance that finds at the broker the mark of an earlier run that published without its disk.

use super::Daemon;
use super::housekeeping::STATUS_RENEWAL;
use crate::domain::time::{Moment, Span};

impl Daemon {
    /// Interval at which an unchanged status is published, so that standbys observe that this instance works.
    pub(super) fn renewal(&self) -> Span {
        match &self.config.gateway.standby {
            // Two lost messages are no reason to take over.
            Some(standby) => Span::from_micros(standby.after.as_micros() / 3).min(STATUS_RENEWAL),
            None => STATUS_RENEWAL,
        }
    }

    /// True if the process did not run for so long that standbys may have taken over.
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

    /// Ends running deliveries and writes the state, in case no other instance has taken over. No new delivery begins.
    pub(super) async fn yield_to_others(&mut self) {
        self.notifier.close();
        self.let_attempts_end().await;
        self.due.checkpoint = self.clock.at();
        self.due.tidy = self.clock.at();
        self.finish_turn().await;
    }
}
