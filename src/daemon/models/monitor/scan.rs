//! Which values are looked at, with which scorer, and what becomes of what is found.
//!
//! A look at what is new begins where the last one has ended: each value is scored once. The first look after refreshing
//! was off goes back one segment, and further where an anomaly is going on. A look at the past begins with the scorer that
//! was put aside before it; where there is none, with what the model has learnt and some segments to get used to.

use super::{Chosen, LookBack, Ordered, Spot, Watched};
use crate::daemon::models::jobs::{Look, Looked, Start};
use crate::domain::anomaly::interval::{Anomaly, Change, Open};
use crate::domain::anomaly::life::{Found, Order};
use crate::domain::anomaly::scorer::Scorer;
use crate::domain::engine::STAMP_TOLERANCE;
use crate::domain::model::ThingId;
use crate::domain::time::{Now, Span, Stamp};
use crate::io::store::anomalies::Place;
use crate::io::store::models::{running_key, trained_key};
use crate::io::store::samples::Samples;
use crate::io::store::samples::reader::Plan;

/// Values after which a scorer is put aside, so that a restart need not go through more of them again: half a minute of
/// work for the slowest gateway, and less than a byte of flash for each value.
const ASIDE: u64 = 65_536;
/// The smallest step in time: looks begin just after what was seen.
const STEP: Span = Span::from_micros(1);
/// Before and after everything.
const BEGINNING: Stamp = Stamp::from_micros(i64::MIN);
const END: Stamp = Stamp::from_micros(i64::MAX);

impl Watched {
    /// The looks at what is new.
    pub(in crate::daemon::models) fn looks(&mut self, samples: &Samples, now: Now) -> Vec<Look> {
        if !self.is_usable() {
            return Vec::new();
        }
        let things = self.refreshed(samples);
        self.once = None;
        things.into_iter().filter_map(|thing| self.look(samples, thing, now)).collect()
    }

    fn look(&mut self, samples: &Samples, thing: ThingId, now: Now) -> Option<Look> {
        let newest = samples.extent(&thing, self.definition.properties.first()?).covers?.1;
        // One segment back from what is new: from the present, or from when the thing was last heard.
        let back = now.wall.min(newest) - self.definition.settings.segment - STEP;
        let (mut after, mut scorer, mut open) = (back, None, None);
        if let Some(spot) = self.spots.get_mut(&thing) {
            // A clock that was set back has left the place in the future.
            let is_ahead = spot.place.until > now.wall + STAMP_TOLERANCE && newest < spot.place.until;
            if !is_ahead {
                open = spot.place.open.clone();
                if !spot.place.is_fresh || open.is_some() {
                    after = spot.place.until;
                }
                scorer = spot.scorer.take();
            }
        }
        let look = self.plan(samples, &thing, (after, END), (scorer, open))?;
        if look.plans.iter().all(Plan::is_empty) {
            // Nothing has come; the scorer stays where it is.
            if let (Start::Here(scorer), Some(spot)) = (look.start, self.spots.get_mut(&thing)) {
                spot.scorer = Some(scorer);
            }
            return None;
        }
        Some(look)
    }

    /// A look at the values after a time, as far as another one, with the scorer that is next to it.
    fn plan(
        &self,
        samples: &Samples,
        thing: &ThingId,
        (after, to): (Stamp, Stamp),
        (scorer, open): (Option<Box<Scorer>>, Option<Open>),
    ) -> Option<Look> {
        let model = self.models.get(&Some(thing.clone())).or_else(|| self.models.get(&None))?.model.clone();
        let name = &self.definition.name;
        let revision = self.standing.revision;
        let window = Scorer::window(&model);
        let known = self.spots.get(thing).filter(|spot| spot.place.trained_at > BEGINNING);
        let trained = known.map(|spot| (spot.place.trained_at, trained_key(name, revision, thing)));
        let aside = self.spots.get(thing).and_then(|spot| spot.place.aside_at).map(|at| (at, running_key(name, thing)));
        let here = scorer.and_then(|scorer| Some((scorer.at().filter(|at| *at <= after)?, scorer)));
        let (start, warm, from) = if let Some((at, scorer)) = here {
            (Start::Here(scorer), Vec::new(), at + STEP)
        } else if let Some((at, key)) = aside.into_iter().chain(trained.clone()).find(|(at, _)| *at <= after) {
            (Start::Aside(key), self.plans(samples, thing, (at - window, at)), at + STEP)
        } else {
            // A thing that was not there when its fleet's model was built begins with what another one has taught.
            let other = || {
                let spot = self.spots.iter().find(|(_, spot)| spot.place.trained_at > BEGINNING);
                spot.map(|(thing, _)| trained_key(name, revision, thing))
            };
            let key = trained.map(|(_, key)| key).or_else(other)?;
            (Start::Elsewhere(key), Vec::new(), after - window - window)
        };
        Some(Look {
            thresholds: self.thresholds(&model),
            min_duration: self.definition.settings.min_duration,
            join: self.definition.join,
            start,
            warm,
            plans: self.plans(samples, thing, (from, to)),
            after,
            open,
            thing: thing.clone(),
            model,
        })
    }

    /// Takes what a look at what is new has found.
    pub(in crate::daemon::models) fn take_looked(&mut self, looked: Looked) -> Vec<Ordered> {
        let alarms = self.alarms();
        let thing = looked.thing.clone();
        let mut orders = Vec::new();
        for change in &looked.changes {
            let given = self.life.follow(&thing, change, alarms);
            let score = match change {
                Change::Grown(anomaly) | Change::Ended(anomaly) => Some(anomaly.score),
                Change::None => None,
            };
            orders.extend(given.into_iter().map(|order| Ordered { thing: thing.clone(), order, score }));
        }
        if let Some(anomaly) = looked.going_on() {
            let given = self.life.go_on(&thing, anomaly, alarms);
            let score = Some(anomaly.score);
            orders.extend(given.into_iter().map(|order| Ordered { thing: thing.clone(), order, score }));
        }
        let is_decided = !orders.is_empty() || !looked.changes.is_empty();
        self.unsaved.decided |= is_decided;
        self.unsaved.moved = true;
        self.is_dirty |= is_decided;
        self.adopt(looked);
        orders
    }

    /// Goes on from where a look has ended.
    fn adopt(&mut self, looked: Looked) {
        let Looked { thing, open, until, scored, scorer, is_elsewhere, .. } = looked;
        let Some(until) = until else { return };
        let place = Place { trained_at: BEGINNING, aside_at: None, until: BEGINNING, is_fresh: true, open: None };
        let new = Spot { place, scorer: None, since_aside: 0, aside: None, is_changed: true };
        let spot = self.spots.entry(thing).or_insert(new);
        spot.since_aside += scored;
        if is_elsewhere || spot.since_aside >= ASIDE {
            // Where it comes from it could not be found again.
            spot.aside = scorer.memory();
            spot.place.aside_at = spot.aside.as_ref().map(|memory| memory.at).or(spot.place.aside_at);
            spot.since_aside = 0;
        }
        (spot.place.until, spot.place.is_fresh, spot.place.open) = (until, false, open);
        (spot.scorer, spot.is_changed) = (Some(scorer), true);
    }

    /// The looks at a past time, with the time of each: all that touches it is looked at anew.
    pub(in crate::daemon::models) fn looks_back(
        &self,
        samples: &Samples,
        range: (Stamp, Stamp),
        wanted: &[String],
    ) -> Vec<(Look, LookBack)> {
        let mut things = self.things(samples);
        let chosen = Chosen::of(wanted);
        things.retain(|thing| wanted.is_empty() || chosen.has(thing));
        let look = |thing: ThingId| {
            let (from, mut to) = self.life.around(&thing, range);
            let goes_on =
                |(other, found): (&ThingId, &Found)| *other == thing && !found.is_over && found.touches(range);
            if self.life.found().any(goes_on) {
                to = END;
            }
            let look = self.plan(samples, &thing, (from - STEP, to), (None, None))?;
            let newest = samples.extent(&thing, self.definition.properties.first()?).covers?.1;
            Some((look, LookBack { range: (from, to), newest }))
        };
        things.into_iter().filter_map(look).collect()
    }

    /// Takes what a look at a past time has found. How many anomalies there are now, and what is to be done.
    pub(in crate::daemon::models) fn take_looked_back(
        &mut self,
        looked: Looked,
        LookBack { range, newest }: LookBack,
        alarms: bool,
    ) -> (usize, Vec<Ordered>) {
        let thing = looked.thing.clone();
        let reaches_end = looked.until.is_some_and(|end| end >= newest);
        let ended = looked.changes.iter().filter_map(|change| match change {
            Change::Ended(anomaly) => Some((anomaly.clone(), true)),
            Change::None | Change::Grown(_) => None,
        });
        let mut found: Vec<(Anomaly, bool)> = ended.collect();
        found.extend(looked.going_on().map(|anomaly| (anomaly.clone(), !reaches_end)));
        let orders = self.life.reprocess(&thing, range, &found, alarms);
        let orders: Vec<Ordered> = orders
            .into_iter()
            .map(|order| {
                let score = match &order {
                    Order::Activate { since, .. } => found.iter().find(|(anomaly, _)| anomaly.from == *since),
                    Order::Rise { .. } | Order::Clear | Order::Delete => None,
                };
                Ordered { thing: thing.clone(), order, score: score.map(|(anomaly, _)| anomaly.score) }
            })
            .collect();
        if reaches_end {
            self.adopt(looked);
        }
        self.unsaved.decided = true;
        self.is_dirty = true;
        (found.len(), orders)
    }

    /// Deletes anomalies of a thing: the one that began then, or all that touch a time.
    pub(in crate::daemon::models) fn delete(&mut self, thing: &ThingId, from: Stamp) -> Vec<Ordered> {
        let orders = self.life.delete_one(thing, from);
        if let Some(spot) = self.spots.get_mut(thing)
            && spot.place.open.as_ref().is_some_and(|open| open.anomaly.from == from)
        {
            (spot.place.open, spot.is_changed) = (None, true);
        }
        self.unsaved.decided = true;
        self.is_dirty = true;
        orders.into_iter().map(|order| Ordered { thing: thing.clone(), order, score: None }).collect()
    }

    /// A look whose scores are shown.
    pub(in crate::daemon::models) fn look_for_show(
        &self,
        samples: &Samples,
        thing: &str,
        (from, to): (Stamp, Stamp),
    ) -> Option<Look> {
        if !self.is_usable() {
            return None;
        }
        let first = self.plans(samples, thing, (from, to));
        let begin = first.first().map_or(from, |plan| plan.begin().max(from));
        self.plan(samples, &ThingId::from(thing), (begin - STEP, to), (None, None))
    }
}
