//! Shelving (ISA-18.2, 11.7): an operator puts an alarm aside for a while. Evaluation and history go on; who reacts to
//! events is told, and holds back.
//!
//! It ends by itself, on the engine's time line, which neither a restart nor a step of the wall clock moves; the stamp
//! that people were promised is only shown. Unlike an observe-time it also runs out while nothing can be heard.

use super::alarm::Unsaved;
use super::{AlarmIx, Answer, Effects, Engine, Signature, State};
use crate::domain::model::{AlarmFacts, AlarmType};
use crate::domain::time::{Moment, Now, Span, Stamp};
use std::sync::Arc;

/// That an alarm is shelved, until when and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shelving {
    /// When it began.
    pub at: Stamp,
    /// When it ends, as people were told.
    pub until: Stamp,
    /// When it ends, on the engine's time line: when this has strictly passed.
    pub ends: Moment,
    /// Who wanted it.
    pub by: Option<Arc<str>>,
    /// Their words.
    pub comment: Option<Arc<str>>,
}

/// One beginning or end of a shelving. It is no state change and so no event, but it is part of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShelvingChange {
    /// The alarm.
    pub alarm: Arc<AlarmFacts>,
    /// How many events of the same step came before it.
    pub place: usize,
    /// When it happened.
    pub at: Stamp,
    /// The alarm's state then, which it does not change.
    pub state: State,
    /// The present or the last occurrence.
    pub occurrence: u64,
    /// Until when it is shelved; none: it is not any more.
    pub until: Option<Stamp>,
    /// Who wanted it; none where it ended by itself.
    pub by: Option<Arc<str>>,
    /// Their words.
    pub comment: Option<Arc<str>>,
}

impl Engine {
    pub(super) fn shelve(
        &mut self,
        ix: AlarmIx,
        length: Span,
        who: &Signature,
        now: Now,
        effects: &mut Effects,
    ) -> Answer {
        let shelving = Shelving {
            at: now.wall,
            until: now.wall + length,
            ends: now.at + length,
            by: who.by.clone(),
            comment: who.comment.clone(),
        };
        self.put_on_shelf(ix, Some(shelving));
        self.shelving_changed(ix, who.clone(), now.wall, effects);
        Answer::Done
    }

    pub(super) fn unshelve(&mut self, ix: AlarmIx, who: &Signature, now: Now, effects: &mut Effects) -> Answer {
        if self.alarms[ix.index()].shelved.is_none() {
            return Answer::Already;
        }
        self.put_on_shelf(ix, None);
        self.shelving_changed(ix, who.clone(), now.wall, effects);
        Answer::Done
    }

    /// Whether the alarm with this id is shelved.
    pub fn is_shelved(&self, id: &str) -> bool {
        let is_shelved = |ix: AlarmIx| self.alarms[ix.index()].shelved.is_some();
        !self.shelved.is_empty() && self.find(id).is_some_and(is_shelved)
    }

    /// When the next shelving ends by itself.
    pub(super) fn next_unshelving(&self) -> Option<Moment> {
        self.shelved.first().map(|(ends, _)| *ends)
    }

    /// Ends the next shelving that `before` has strictly passed. False: there is none.
    pub(super) fn end_shelving(&mut self, before: Moment, now: Now, effects: &mut Effects) -> bool {
        let Some((ends, ix)) = self.shelved.first().copied().filter(|(ends, _)| *ends < before) else { return false };
        self.put_on_shelf(ix, None);
        self.shelving_changed(ix, Signature::default(), now.stamp(ends), effects);
        true
    }

    /// The one place in which it begins and ends.
    pub(super) fn put_on_shelf(&mut self, ix: AlarmIx, shelving: Option<Shelving>) {
        let alarm = &mut self.alarms[ix.index()];
        if let Some(before) = alarm.shelved.take() {
            self.shelved.remove(&(before.ends, ix));
        }
        if let Some(shelving) = &shelving {
            self.shelved.insert((shelving.ends, ix));
        }
        alarm.shelved = shelving.map(Box::new);
    }

    fn shelving_changed(&mut self, ix: AlarmIx, who: Signature, at: Stamp, effects: &mut Effects) {
        self.appear(ix, effects);
        self.note(ix, Unsaved::Hard);
        let facts = self.facts(ix);
        let alarm_type = facts.alarm_type;
        let alarm = &self.alarms[ix.index()];
        effects.changed.push(ix);
        effects.shelvings.push(ShelvingChange {
            alarm: facts,
            place: effects.events.len(),
            at,
            state: alarm.state,
            occurrence: alarm.occurrence(),
            until: alarm.shelved.as_ref().map(|shelving| shelving.until),
            by: who.by,
            comment: who.comment,
        });
        // That it was shelved was all that there was to tell of it.
        let has_changed = alarm.past.as_ref().is_some_and(|past| past.last.is_some());
        if alarm_type == AlarmType::Anomaly && !has_changed && alarm.shelved.is_none() {
            self.vanish(ix, effects);
            self.note_if_heard(ix);
        }
    }
}
