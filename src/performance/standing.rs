//! What is active now, and for how long: standing and stale alarms.

use super::{LISTED, STALE};
use crate::engine::AlarmView;
use crate::model::AlarmId;
use crate::time::Stamp;

/// Alarms that are active, as operators see them. Shelved ones are counted apart: ISA-18.2 takes them off the list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// Active and not shelved.
    pub standing: usize,
    /// Shelved, active or not.
    pub shelved: usize,
    /// Standing for more than [`STALE`].
    pub stale: usize,
    /// Up to [`LISTED`] of the stale, the oldest first, and since when they are active.
    pub oldest: Vec<(AlarmId, Stamp)>,
}

/// Looks at all alarms. `now` is wall-clock time: since when an alarm is active was told to people in it.
pub fn standing<'a>(alarms: impl Iterator<Item = AlarmView<'a>>, now: Stamp) -> Standing {
    let mut found = Standing::default();
    let mut stale: Vec<(Stamp, &AlarmId)> = Vec::new();
    for view in alarms {
        if view.shelving().is_some() {
            found.shelved += 1;
            continue;
        }
        if !view.state().is_active() {
            continue;
        }
        found.standing += 1;
        // The condition was there for the observe-time before it was an alarm.
        let observe_time = view.definition().trigger.observe_time();
        if let Some(since) = view.since().map(|since| since + observe_time)
            && now - since > STALE
        {
            found.stale += 1;
            stale.push((since, &view.facts().id));
            if stale.len() > 2 * LISTED {
                stale.sort_unstable();
                stale.truncate(LISTED);
            }
        }
    }
    stale.sort_unstable();
    found.oldest = stale.into_iter().take(LISTED).map(|(since, alarm)| (alarm.clone(), since)).collect();
    found
}
