//! Whether silence is silence: proof that the daemon can hear.
//!
//! A timer that fires says "nothing else has come until now". That is only true if something could have come: a broker
//! that has stopped, a cable that was pulled, a subscription that the broker has lost all look like a quiet plant. So
//! before a deadline takes effect the daemon sends itself a message by way of the broker. Once it comes back (or any other
//! message comes), silence is proven up to the moment at which it was sent, and the engine's time may go on to there. If
//! it does not come back, the connection is deaf: the gap began with the last proof, and no deadline in it has passed.
//!
//! The probe is also sent when nothing was heard for a while, so that a deaf connection is found on a quiet plant too.
//! Where access rules keep it from coming back at all, the broker's acknowledgement of it has to do; that is reported.

use crate::time::{Moment, Span};

/// With nothing else to hear, the daemon listens to itself this often.
const QUIET: Span = Span::from_secs(30);
/// A probe that takes longer than this is lost. Slow cellular links answer in a few seconds.
const LIMIT: Span = Span::from_secs(10);

/// A connection that has lasted this long was a good one.
const LASTING: Span = Span::from_secs(5);
/// So many shorter ones in a row are no accident: brokers end a connection when another client comes with the same name.
const SUSPICIOUS: u32 = 3;

/// What became of the latest probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// None is on its way.
    None,
    /// Sent at this moment.
    Sent(Moment),
    /// Sent at this moment and taken by the broker.
    Taken(Moment),
}

/// What the daemon should do about its hearing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The connection delivers nothing: it has to be made anew.
    Deaf,
    /// The broker takes probes but has never brought one back.
    NeverHeardItself,
}

/// What is known about the daemon's hearing.
#[derive(Debug)]
pub(super) struct Ear {
    /// Up to here silence was silence.
    proven: Moment,
    probe: Probe,
    /// Whether probes come back: if not, access rules keep them.
    works: bool,
    /// Whether the last probe of an earlier connection was taken and did not come back.
    failed_before: bool,
    /// Whether the broker's acknowledgement has to serve as proof.
    makeshift: bool,
    /// When this connection began, if there is one.
    connected_at: Option<Moment>,
    /// Connections in a row that did not last.
    short_ones: u32,
}

impl Ear {
    pub(super) fn new(now: Moment) -> Ear {
        Ear {
            proven: now,
            probe: Probe::None,
            works: false,
            failed_before: false,
            makeshift: false,
            connected_at: None,
            short_ones: 0,
        }
    }

    /// The link has come up.
    pub(super) fn connected(&mut self, now: Moment) {
        self.proven = now;
        self.probe = Probe::None;
        self.connected_at = Some(now);
    }

    /// The link has gone down. True: for the third time in a row so soon that somebody else may be the reason.
    pub(super) fn disconnected(&mut self, now: Moment) -> bool {
        let Some(connected_at) = self.connected_at.take() else { return false };
        self.short_ones = if now - connected_at < LASTING { self.short_ones + 1 } else { 0 };
        self.short_ones == SUSPICIOUS
    }

    /// A message was received.
    pub(super) fn heard(&mut self, at: Moment) {
        self.proven = self.proven.max(at);
    }

    /// The probe has come back.
    pub(super) fn heard_itself(&mut self) {
        self.works = true;
        self.failed_before = false;
        self.makeshift = false;
        if let Probe::Sent(sent) | Probe::Taken(sent) = std::mem::replace(&mut self.probe, Probe::None) {
            self.proven = self.proven.max(sent);
        }
    }

    /// The broker has taken the probe.
    pub(super) fn taken(&mut self) {
        if let Probe::Sent(sent) = self.probe {
            self.probe = Probe::Taken(sent);
            if self.makeshift {
                self.probe = Probe::None;
                self.proven = self.proven.max(sent);
            }
        }
    }

    /// Up to where the engine's time may go.
    pub(super) fn proven(&self) -> Moment {
        self.proven
    }

    /// Since when silence has not been proven although it was asked for; none: there is no doubt.
    pub(super) fn silent_since(&self) -> Option<Moment> {
        (self.probe != Probe::None).then_some(self.proven)
    }

    /// Whether a probe has to be sent now: a deadline has passed without proof, or it has been quiet for long.
    pub(super) fn wants_probe(&self, now: Moment, deadline: Option<Moment>) -> bool {
        let unproven = deadline.is_some_and(|deadline| deadline < now && deadline >= self.proven);
        self.probe == Probe::None && (unproven || now - self.proven >= QUIET)
    }

    /// A probe was sent.
    pub(super) fn sent(&mut self, now: Moment) {
        self.probe = Probe::Sent(now);
    }

    /// Whether the probe is lost, and what that means.
    pub(super) fn doubt(&mut self, now: Moment) -> Option<Doubt> {
        match self.probe {
            Probe::Sent(sent) | Probe::Taken(sent) if now - sent < LIMIT => None,
            Probe::None => None,
            // On one connection it may be deaf; on two in a row somebody has changed the rules.
            Probe::Taken(sent) if !self.works || (self.failed_before && self.proven <= sent) => {
                self.works = false;
                self.makeshift = true;
                self.probe = Probe::None;
                self.proven = self.proven.max(sent);
                Some(Doubt::NeverHeardItself)
            }
            // Anything else that has come in the meantime is as good.
            Probe::Sent(sent) | Probe::Taken(sent) if self.proven > sent => {
                self.probe = Probe::None;
                None
            }
            Probe::Sent(_) => Some(Doubt::Deaf),
            Probe::Taken(_) => {
                self.failed_before = true;
                Some(Doubt::Deaf)
            }
        }
    }

    /// When to look again, if nothing happens before.
    pub(super) fn wake_at(&self) -> Moment {
        match self.probe {
            Probe::None => self.proven + QUIET,
            Probe::Sent(sent) | Probe::Taken(sent) => sent + LIMIT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Moment {
        Moment::from_micros(secs * 1_000_000)
    }

    #[test]
    fn a_deadline_takes_effect_when_the_probe_is_back() {
        let mut ear = Ear::new(at(0));
        assert!(!ear.wants_probe(at(5), Some(at(5))), "it has not strictly passed");
        assert!(ear.wants_probe(at(6), Some(at(5))));
        ear.sent(at(6));
        assert!(!ear.wants_probe(at(7), Some(at(5))), "one at a time");
        assert_eq!(ear.silent_since(), Some(at(0)));
        ear.taken();
        assert_eq!(ear.proven(), at(0), "an acknowledgement is no proof of delivery");
        ear.heard_itself();
        assert_eq!((ear.proven(), ear.silent_since()), (at(6), None));
    }

    #[test]
    fn a_connection_that_acknowledges_and_delivers_nothing_is_deaf() {
        let mut ear = Ear::new(at(0));
        ear.sent(at(1));
        ear.heard_itself();
        assert!(ear.wants_probe(at(31), None), "quiet for long");
        ear.sent(at(31));
        ear.taken();
        assert_eq!(ear.doubt(at(40)), None);
        assert_eq!(ear.doubt(at(41)), Some(Doubt::Deaf));
    }

    #[test]
    fn other_messages_are_as_good_as_the_probe() {
        let mut ear = Ear::new(at(0));
        ear.works = true;
        ear.sent(at(1));
        ear.heard(at(2));
        assert_eq!(ear.doubt(at(11)), None);
        assert_eq!(ear.silent_since(), None);
    }

    #[test]
    fn where_rules_keep_the_probe_the_acknowledgement_has_to_do() {
        let mut ear = Ear::new(at(0));
        ear.sent(at(1));
        ear.taken();
        assert_eq!(ear.doubt(at(11)), Some(Doubt::NeverHeardItself));
        assert_eq!(ear.proven(), at(1));
        ear.sent(at(12));
        ear.taken();
        assert_eq!(ear.proven(), at(12));
    }

    #[test]
    fn connections_that_do_not_last_raise_a_suspicion_once() {
        let mut ear = Ear::new(at(0));
        let mut lasted = |from: i64, to: i64| {
            ear.connected(at(from));
            ear.disconnected(at(to))
        };
        let suspicions = [lasted(0, 1), lasted(2, 3), lasted(4, 5), lasted(6, 7), lasted(8, 20), lasted(21, 22)];
        assert_eq!(suspicions, [false, false, true, false, false, false]);
        assert!(!ear.disconnected(at(30)), "it was not connected");
    }
}
