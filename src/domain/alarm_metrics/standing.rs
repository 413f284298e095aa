//! What is active now, and for how long: standing and stale alarms.

use super::{LISTED, STALE};
use crate::domain::engine::AlarmView;
use crate::domain::model::AlarmId;
use crate::domain::time::Stamp;

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
            stale.push((since, view.id()));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::domain::engine::{Effects, Engine, Input, Sample, Signature, Verb};
    use crate::domain::model::ValueRef;
    use crate::domain::time::{Moment, Now, Span};
    use std::path::Path;

    const ALARMS: &str = "[[source]]\ntopic = \"things/{thing}/{property}\"\n\n[[alarm]]\n\
                          thing = [\"a\", \"b\", \"c\"]\nproperty = \"p\"\nlevel = \"hi\"\ntype = \"standard\"\n\
                          operator = \">\"\nlimit = 15\nobserve_time = \"1m\"\n";

    #[test]
    fn what_is_active_for_more_than_a_day_is_stale_unless_it_is_shelved() {
        let (config, _) = Config::parse(Path::new("a.toml"), ALARMS).unwrap();
        let mut engine = Engine::new(config.model);
        let mut effects = Effects::default();
        let at = |span: Span| {
            let micros = span.as_micros();
            Now { at: Moment::from_micros(micros), wall: Stamp::from_micros(micros) }
        };
        let minute = |minutes: i64| at(Span::from_secs(60 * minutes));
        engine.handle(Input::LinkUp, minute(0), &mut effects);
        for (minutes, thing) in [(10, "c"), (20, "a"), (30, "b")] {
            let thing = engine.register_thing(thing, minute(minutes), &mut effects).unwrap();
            let property = engine.property(thing, "p").unwrap();
            let samples = [Sample { property, value: ValueRef::Number(16.0) }];
            let message = Input::Message { samples: &samples, stamp: None, retained: false, sign_of_life: true };
            engine.handle(message, minute(minutes), &mut effects);
        }
        engine.handle(Input::Tick, minute(40), &mut effects);
        let shelved = engine.find("b/p/hi").unwrap();
        let verb = Verb::Shelve(Span::from_secs(8 * 86_400));
        engine.command(shelved, verb, &Signature::default(), minute(50), &mut effects);
        let look = |engine: &Engine, now: Now| standing(engine.alarms().map(|ix| engine.view(ix)), now.wall);
        let found = look(&engine, minute(24 * 60 + 11));
        assert_eq!((found.standing, found.shelved, found.stale), (2, 1, 0), "a day after the activation, not more");
        let found = look(&engine, minute(24 * 60 + 12));
        let since = minute(11).wall;
        assert_eq!(found.oldest, [(AlarmId::new("c", "p", "hi"), since)]);
        let found = look(&engine, minute(2 * 24 * 60));
        let names: Vec<&str> = found.oldest.iter().map(|(alarm, _)| alarm.as_str()).collect();
        assert_eq!((found.stale, names), (2, vec!["c/p/hi", "a/p/hi"]));
    }
}
