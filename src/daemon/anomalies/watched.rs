//! One model while the daemon runs: what was learnt, up to where each thing was looked at, what was found, and what of it
//! the store does not have.
//!
//! It plans work and takes its results; it does none, and it knows neither the engine nor the broker.

use super::work::{Build, Built, Look, Looked, Start};
use crate::anomaly::definition::{AnomalyDefinition, Refresh};
use crate::anomaly::interval::{Anomaly, Change};
use crate::anomaly::life::{Life, Order};
use crate::anomaly::model::Model;
use crate::anomaly::scorer::{Scorer, ScorerMemory};
use crate::anomaly::threshold::Thresholds;
use crate::engine::STAMP_TOLERANCE;
use crate::model::{Glob, ThingId};
use crate::store::anomalies::{Phase, Place, Standing, Stored, Wanted, put_found, put_place, put_standing};
use crate::store::models::{self, Kept, put_scorer, running_key, trained_key};
use crate::store::samples::{Extent, Samples};
use crate::store::{Batch, samples::reader::Plan};
use crate::time::{Moment, Now, Span, Stamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Values after which a scorer is put aside, so that a restart need not go through more of them again: half a minute of
/// work for the slowest gateway, and less than a byte of flash for each value.
const ASIDE: u64 = 65_536;
/// The smallest step in time: looks begin just after what was seen.
const STEP: Span = Span::from_micros(1);

/// An order for the alarm of a thing, with the score that the alarm is to show.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ordered {
    pub(super) thing: ThingId,
    pub(super) order: Order,
    pub(super) score: Option<f64>,
}

/// What a look at a past time replaces.
#[derive(Debug, Clone, Copy)]
pub(super) struct LookBack {
    /// What is known of this time.
    pub(super) range: (Stamp, Stamp),
    /// The latest value that there was: what goes on there, goes on.
    pub(super) newest: Stamp,
}

/// A thing that is looked at.
#[derive(Debug)]
struct Spot {
    place: Place,
    /// The scorer that has looked last; none while it does, and after a restart.
    scorer: Option<Box<Scorer>>,
    /// Values since it was put aside.
    since_aside: u64,
    /// The scorer as it is to be put aside with the next write.
    aside: Option<ScorerMemory>,
    /// Whether the store has another place.
    is_changed: bool,
}

/// Which part of a model the store does not have.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Unsaved {
    /// What has been decided: it goes to the store with the turn.
    decided: bool,
    /// What has only gone on: it has time until the next checkpoint.
    moved: bool,
    models: bool,
}

/// A model, and everything that belongs to it.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) definition: AnomalyDefinition,
    pub(super) standing: Standing,
    models: BTreeMap<Option<ThingId>, Kept>,
    pub(super) life: Life,
    spots: BTreeMap<ThingId, Spot>,
    /// What the build that is going on was begun with.
    building: Option<AnomalyDefinition>,
    /// Keys of what belonged to an earlier revision.
    obsolete: Vec<Vec<u8>>,
    unsaved: Unsaved,
    /// When it looks at what is new; none: it does not.
    pub(super) look_at: Option<Moment>,
    pub(super) last_look: Option<Stamp>,
    /// When it may be tried to build it without being asked.
    pub(super) build_at: Moment,
    /// Whether its topic is not what it should be, and when it may be published.
    pub(super) is_dirty: bool,
    pub(super) publish_at: Moment,
}

impl Watched {
    /// A model with what was stored of it.
    pub(super) fn restore(
        definition: AnomalyDefinition,
        stored: Option<Stored>,
        models: Vec<(Option<ThingId>, Kept)>,
        now: Moment,
    ) -> Watched {
        let is_new = stored.is_none();
        let Stored { mut standing, places, found } = stored.unwrap_or_default();
        if standing.wanted.is_some() {
            // Whatever came of it until then is not there.
            standing.phase = Phase::Queued;
        }
        let spot =
            |(thing, place)| (thing, Spot { place, scorer: None, since_aside: 0, aside: None, is_changed: false });
        let mut watched = Watched {
            life: Life::restore(definition.on_deletion, found),
            definition,
            standing,
            models: models.into_iter().collect(),
            spots: places.into_iter().map(spot).collect(),
            building: None,
            obsolete: Vec::new(),
            unsaved: Unsaved { decided: is_new, ..Unsaved::default() },
            look_at: None,
            last_look: None,
            build_at: now,
            is_dirty: true,
            publish_at: now,
        };
        watched.follow_configuration(now);
        watched
    }

    /// Takes another definition of the same name.
    pub(super) fn reconfigure(&mut self, definition: AnomalyDefinition, now: Moment) {
        self.life.change(definition.on_deletion);
        self.definition = definition;
        self.is_dirty = true;
        self.follow_configuration(now);
    }

    /// What an operator has decided holds until the configuration says something else.
    fn follow_configuration(&mut self, now: Moment) {
        let said = said(self.definition.refresh.as_ref());
        if self.standing.refresh != said {
            self.standing.refresh = said;
            self.standing.is_refreshed = self.definition.refresh.is_some();
            self.standing.things.clear();
            self.unsaved.decided = true;
        }
        self.look_at = (self.standing.is_refreshed && self.definition.refresh.is_some()).then_some(now);
    }

    /// Whether what was built is what the configuration says.
    pub(super) fn fits(&self) -> bool {
        let AnomalyDefinition { properties, settings, clusters, per, .. } = &self.definition;
        self.models.values().all(|kept| {
            let min_duration = settings.min_duration;
            let same = crate::anomaly::model::Settings { min_duration, ..kept.model.settings } == *settings;
            same && kept.properties == *properties && kept.clusters == *clusters && kept.per == *per
        })
    }

    /// Whether it can score.
    pub(super) fn is_usable(&self) -> bool {
        !self.models.is_empty() && self.fits()
    }

    /// What was learnt, by thing, with the thresholds that hold.
    pub(super) fn models(&self) -> impl Iterator<Item = (Option<&str>, &Kept, Thresholds)> {
        self.models.iter().map(|(thing, kept)| (thing.as_deref(), kept, self.thresholds(&kept.model)))
    }

    fn thresholds(&self, model: &Model) -> Thresholds {
        match &self.definition.severities {
            Some(severities) => model.thresholds.overridden(severities.clone()),
            None => model.thresholds.clone(),
        }
    }

    /// Alarms a day that it would have raised in its own past.
    pub(super) fn alarms_per_day(&self) -> f64 {
        let per_day = |kept: &Kept| {
            let lowest = self.thresholds(&kept.model).least.first().map(|(_, least)| *least);
            lowest.map_or(0.0, |lowest| kept.model.trained.per_day(lowest))
        };
        self.models.values().map(per_day).sum()
    }

    /// What whoever enables alarms should know.
    pub(super) fn storm_warning(&self) -> Option<String> {
        let (per_day, storm) = (self.alarms_per_day(), self.definition.storm);
        (self.is_usable() && per_day > storm).then(|| {
            format!(
                "alarm storm: in the past that it was built from, {} would have raised {per_day:.1} alarms a day, more than \
                 {storm} (storm); a higher sensitivity percentile, higher severities or a longer min_duration would help",
                self.definition.name
            )
        })
    }

    /// The things whose values are kept for it.
    pub(super) fn things(&self, samples: &Samples) -> Vec<ThingId> {
        let Some(first) = self.definition.properties.first() else { return Vec::new() };
        let things =
            samples.properties().filter(|(thing, property)| **property == **first && self.definition.covers(thing));
        things.map(|(thing, _)| ThingId::from(thing)).collect()
    }

    /// Those of them that are looked at again and again.
    fn refreshed(&self, samples: &Samples) -> Vec<ThingId> {
        let mut things = self.things(samples);
        if !self.standing.things.is_empty() {
            things.retain(|thing| is_one_of(thing, &self.standing.things));
        } else if let Some(configured) = self.definition.refresh.as_ref().map(|refresh| &refresh.things)
            && !configured.is_empty()
        {
            things.retain(|thing| configured.iter().any(|pattern| pattern.covers(thing)));
        }
        things
    }

    /// How much is kept for it.
    pub(super) fn history(&self, samples: &Samples) -> Extent {
        let mut all = Extent::default();
        for thing in self.things(samples) {
            for property in &self.definition.properties {
                let Extent { samples, bytes, covers } = samples.extent(&thing, property);
                (all.samples, all.bytes) = (all.samples + samples, all.bytes + bytes);
                all.covers = match (all.covers, covers) {
                    (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
                    (a, b) => a.or(b),
                };
            }
        }
        all
    }

    fn plans(&self, samples: &Samples, thing: &str, range: (Stamp, Stamp)) -> Vec<Plan> {
        self.definition.properties.iter().map(|property| samples.plan(thing, property, range)).collect()
    }

    /// Whether it is to be built without being asked, because there is enough history now.
    pub(super) fn wants_to_be_built(&self, samples: &Samples, now: Moment) -> bool {
        let Some(enough) = self.definition.build else { return false };
        let phase = matches!(self.standing.phase, Phase::Unbuilt | Phase::Failed);
        if self.standing.revision > 0 || self.standing.wanted.is_some() || !phase || now < self.build_at {
            return false;
        }
        let Some(first) = self.definition.properties.first() else { return false };
        let covers = |thing: &ThingId| samples.extent(thing, first).covers;
        self.things(samples).iter().filter_map(covers).any(|(from, to)| to - from >= enough)
    }

    /// A build is asked for.
    pub(super) fn ask_for_build(&mut self, wanted: Wanted) {
        self.standing.wanted = Some(wanted);
        self.standing.error = None;
        self.enter(Phase::Queued);
    }

    /// It is in another phase now.
    pub(super) fn enter(&mut self, phase: Phase) {
        self.standing.phase = phase;
        self.unsaved.decided = true;
        self.is_dirty = true;
    }

    /// Whether a build that is going on would be the same if it were begun now.
    pub(super) fn would_build_the_same(&self) -> bool {
        let same =
            |begun: &AnomalyDefinition| begun.builds_like(&self.definition) && begun.things == self.definition.things;
        self.building.as_ref().is_none_or(same)
    }

    /// What the build is to do that was asked for.
    pub(super) fn build(&mut self, samples: &Samples) -> Option<Build> {
        let Wanted { from, to } = self.standing.wanted?;
        let range = (from.unwrap_or(Stamp::from_micros(i64::MIN)), to.unwrap_or(Stamp::from_micros(i64::MAX)));
        let things = self.things(samples).into_iter().map(|thing| {
            let plans = self.plans(samples, &thing, range);
            (thing, plans)
        });
        let things = things.collect();
        self.enter(Phase::Building);
        self.building = Some(self.definition.clone());
        Some(Build { definition: self.definition.clone(), revision: self.standing.revision + 1, things })
    }

    /// The build has come to nothing.
    pub(super) fn build_failed(&mut self, phase: Phase, error: Option<String>) {
        self.standing.wanted = None;
        self.standing.error = error;
        self.enter(phase);
    }

    /// The model was built: what an earlier one has found does not count any more.
    pub(super) fn take_built(&mut self, built: Built, now: Now) -> Vec<Ordered> {
        let name = self.definition.name.clone();
        for (thing, _) in std::mem::take(&mut self.spots) {
            self.obsolete.push(trained_key(&name, self.standing.revision, &thing));
            self.obsolete.push(running_key(&name, &thing));
            let mut batch = Batch::default();
            put_place(&mut batch, &name, &thing, None);
            self.obsolete.extend(batch.entries.into_iter().map(|(key, _)| key));
        }
        for thing in std::mem::take(&mut self.models).into_keys() {
            let mut batch = Batch::default();
            models::delete(&mut batch, &name, thing.as_deref());
            self.obsolete.extend(batch.entries.into_iter().map(|(key, _)| key));
        }
        let Built { revision, models, things, left_out } = built;
        let AnomalyDefinition { properties, clusters, per, .. } = self.definition.clone();
        self.models = models
            .into_iter()
            .map(|(thing, model)| {
                let (properties, model) = (properties.clone(), Arc::new(model));
                (thing, Kept { revision, built_at: now.wall, per, clusters, properties, model })
            })
            .collect();
        self.spots = things
            .into_iter()
            .map(|(thing, at)| {
                let place = Place { trained_at: at, aside_at: None, until: at, is_fresh: true, open: None };
                (thing, Spot { place, scorer: None, since_aside: 0, aside: None, is_changed: true })
            })
            .collect();
        let is_first = std::mem::replace(&mut self.standing.revision, revision) == 0;
        self.standing.is_refreshed = is_first && self.definition.refresh.is_some();
        self.look_at = self.standing.is_refreshed.then_some(now.at);
        (self.standing.wanted, self.standing.error) = (None, left_out);
        self.unsaved.models = true;
        self.enter(Phase::Ready);
        let orders = self.life.rebuild();
        orders.into_iter().map(|(thing, order)| Ordered { thing, order, score: None }).collect()
    }

    /// Turns the recurring look on or off.
    pub(super) fn refresh(&mut self, on: bool, things: Option<Vec<String>>, now: Moment) {
        if let Some(things) = things {
            self.standing.things = things;
        }
        if on && !self.standing.is_refreshed {
            for spot in self.spots.values_mut() {
                (spot.place.is_fresh, spot.is_changed) = (true, true);
            }
        }
        self.standing.is_refreshed = on;
        self.look_at = on.then_some(now);
        self.unsaved.decided = true;
        self.is_dirty = true;
    }

    /// The recurring look has begun: when the next one is due.
    pub(super) fn schedule(&mut self, now: Now) {
        self.last_look = Some(now.wall);
        let Some(Refresh { every, aligned, .. }) =
            self.definition.refresh.as_ref().filter(|_| self.standing.is_refreshed)
        else {
            self.look_at = None;
            return;
        };
        let every = every.as_micros().max(1);
        let since = if *aligned {
            now.wall.as_micros().rem_euclid(every)
        } else {
            let due = self.look_at.map_or(now.at, |due| due.min(now.at));
            (now.at - due).as_micros().rem_euclid(every)
        };
        self.look_at = Some(now.at + Span::from_micros(every - since));
    }

    /// The looks at what is new.
    pub(super) fn looks(&mut self, samples: &Samples, now: Now) -> Vec<Look> {
        if !self.is_usable() {
            return Vec::new();
        }
        let things = self.refreshed(samples);
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
        let look = self.plan(samples, &thing, (after, Stamp::from_micros(i64::MAX)), (scorer, open))?;
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
        (scorer, open): (Option<Box<Scorer>>, Option<crate::anomaly::interval::Open>),
    ) -> Option<Look> {
        let model = self.models.get(&Some(thing.clone())).or_else(|| self.models.get(&None))?.model.clone();
        let name = &self.definition.name;
        let revision = self.standing.revision;
        let window = Scorer::window(&model);
        let known = self.spots.get(thing).filter(|spot| spot.place.trained_at > Stamp::from_micros(i64::MIN));
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
                let spot = self.spots.iter().find(|(_, spot)| spot.place.trained_at > Stamp::from_micros(i64::MIN));
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
    pub(super) fn take_looked(&mut self, looked: Looked) -> Vec<Ordered> {
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
        let begun = Stamp::from_micros(i64::MIN);
        let place = Place { trained_at: begun, aside_at: None, until: begun, is_fresh: true, open: None };
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
    pub(super) fn looks_back(
        &self,
        samples: &Samples,
        range: (Stamp, Stamp),
        wanted: &[String],
    ) -> Vec<(Look, LookBack)> {
        let mut things = self.things(samples);
        things.retain(|thing| wanted.is_empty() || is_one_of(thing, wanted));
        let look = |thing: ThingId| {
            let (from, mut to) = self.life.around(&thing, range);
            let goes_on = |(other, found): (&ThingId, &crate::anomaly::life::Found)| {
                *other == thing && !found.is_over && found.touches(range)
            };
            if self.life.found().any(goes_on) {
                to = Stamp::from_micros(i64::MAX);
            }
            let look = self.plan(samples, &thing, (from - STEP, to), (None, None))?;
            let newest = samples.extent(&thing, self.definition.properties.first()?).covers?.1;
            Some((look, LookBack { range: (from, to), newest }))
        };
        things.into_iter().filter_map(look).collect()
    }

    /// Takes what a look at a past time has found. How many anomalies there are now, and what is to be done.
    pub(super) fn take_looked_back(
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
    pub(super) fn delete(&mut self, thing: &ThingId, from: Stamp) -> Vec<Ordered> {
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

    /// The score accumulated by the anomaly that goes on.
    pub(super) fn index(&self, thing: &ThingId) -> Option<f64> {
        let open = self.spots.get(thing).and_then(|spot| spot.place.open.as_ref());
        open.filter(|open| open.told.is_some()).map(|open| open.anomaly.index)
    }

    /// Whether the look at what is new makes alarms.
    pub(super) fn alarms(&self) -> bool {
        self.definition.refresh.as_ref().is_some_and(|refresh| refresh.alarms)
    }

    /// Whether nothing was learnt yet.
    pub(super) fn models_are_none(&self) -> bool {
        self.models.is_empty()
    }

    /// A look whose scores are shown.
    pub(super) fn look_for_show(&self, samples: &Samples, thing: &str, (from, to): (Stamp, Stamp)) -> Option<Look> {
        if !self.is_usable() {
            return None;
        }
        let first = self.plans(samples, thing, (from, to));
        let begin = first.first().map_or(from, |plan| plan.begin().max(from));
        self.plan(samples, &ThingId::from(thing), (begin - STEP, to), (None, None))
    }

    /// Whether it has decided something that the store does not have.
    pub(super) fn must_be_written(&self) -> bool {
        self.unsaved.decided || self.unsaved.models
    }

    /// Whether a checkpoint has something to write.
    pub(super) fn wants_checkpoint(&self) -> bool {
        self.unsaved != Unsaved::default()
    }

    /// Adds everything to a write that the store does not have.
    pub(super) fn put(&self, batch: &mut Batch) {
        if self.unsaved == Unsaved::default() {
            return;
        }
        let name = &self.definition.name;
        self.obsolete.iter().for_each(|key| batch.delete(key.clone()));
        if self.unsaved.models {
            for (thing, kept) in &self.models {
                models::put(batch, name, thing.as_deref(), kept);
            }
        }
        for (thing, from, found) in self.life.changes() {
            put_found(batch, name, thing, from, found);
        }
        for (thing, spot) in self.spots.iter().filter(|(_, spot)| spot.is_changed) {
            put_place(batch, name, thing, Some(&spot.place));
            if let Some(aside) = &spot.aside {
                put_scorer(batch, running_key(name, thing), aside);
            }
        }
        put_standing(batch, name, &self.standing);
    }

    /// That write is on disk.
    pub(super) fn stored(&mut self) {
        if self.unsaved == Unsaved::default() {
            return;
        }
        self.unsaved = Unsaved::default();
        self.obsolete.clear();
        self.life.stored();
        for spot in self.spots.values_mut() {
            (spot.is_changed, spot.aside) = (false, None);
        }
    }
}

/// What the configuration says of refreshing, to be compared.
fn said(refresh: Option<&Refresh>) -> String {
    let Some(Refresh { every, aligned, things, alarms, save }) = refresh else { return String::new() };
    let things: Vec<&str> = things.iter().map(crate::model::ThingPattern::as_str).collect();
    format!("{} {aligned} {alarms} {save} {things:?}", every.as_micros())
}

/// Whether a thing is meant by one of these ids and patterns.
pub(super) fn is_one_of(thing: &str, wanted: &[String]) -> bool {
    wanted.iter().any(|wanted| Glob::parse(wanted).map_or(wanted == thing, |glob| glob.matches(thing)))
}
