//! One model while the daemon runs: what was learnt, up to where each thing was looked at, what was found, and what of it
//! the store does not have.
//!
//! It plans work and takes its results; it does none, and it knows neither the engine nor the broker.

mod persistence;
mod scan;

use super::jobs::{Build, Built};
use crate::domain::anomaly::definition::{AnomalyDefinition, Refresh};
use crate::domain::anomaly::life::{Life, Order};
use crate::domain::anomaly::model::{Model, Settings};
use crate::domain::anomaly::scorer::{Scorer, ScorerMemory};
use crate::domain::anomaly::threshold::Thresholds;
use crate::domain::model::{Selector, ThingId, ThingPattern};
use crate::domain::time::{Moment, Now, Span, Stamp};
use crate::io::store::Batch;
use crate::io::store::anomalies::{Phase, Place, Standing, Stored, Wanted, put_place};
use crate::io::store::models::{self, Kept, running_key, trained_key};
use crate::io::store::samples::reader::Plan;
use crate::io::store::samples::{Extent, Samples};
use std::collections::BTreeMap;
use std::sync::Arc;

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
    /// On which things it looks once, because somebody wants it; none: on those on which it looks anyway.
    pub(super) once: Option<Vec<String>>,
    /// Why it cannot look at present.
    pub(super) trouble: Option<String>,
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
            once: None,
            trouble: None,
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
            let same = Settings { min_duration, ..kept.model.settings } == *settings;
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
        if let Some(once) = &self.once {
            let chosen = Chosen::of(once);
            things.retain(|thing| chosen.has(thing));
        } else if !self.standing.things.is_empty() {
            let chosen = Chosen::of(&self.standing.things);
            things.retain(|thing| chosen.has(thing));
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
            self.obsolete.extend(batch.entries.into_iter().map(|(key, _)| key.to_vec()));
        }
        for thing in std::mem::take(&mut self.models).into_keys() {
            let mut batch = Batch::default();
            models::delete(&mut batch, &name, thing.as_deref());
            self.obsolete.extend(batch.entries.into_iter().map(|(key, _)| key.to_vec()));
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
}

/// What the configuration says of refreshing, to be compared.
fn said(refresh: Option<&Refresh>) -> String {
    let Some(Refresh { every, aligned, things, alarms, save }) = refresh else { return String::new() };
    let things: Vec<&str> = things.iter().map(ThingPattern::as_str).collect();
    format!("{} {aligned} {alarms} {save} {things:?}", every.as_micros())
}

/// Names and patterns, ready to be compared with many names.
#[derive(Debug)]
pub(super) struct Chosen<'a> {
    wanted: &'a [String],
    selectors: Vec<Selector>,
}

impl<'a> Chosen<'a> {
    /// These.
    pub(super) fn of(wanted: &'a [String]) -> Chosen<'a> {
        // A pattern that is too long was refused when the command was read.
        let selector = |text: &String| Selector::parse(text).unwrap_or_else(|_| Selector::One(text.clone()));
        Chosen { wanted, selectors: wanted.iter().map(selector).collect() }
    }

    /// Whether it is one name.
    pub(super) fn is_one(&self) -> bool {
        matches!(self.selectors.as_slice(), [Selector::One(_)])
    }

    /// Whether one of them means this name: it is exactly that, or fits.
    pub(super) fn has(&self, name: &str) -> bool {
        self.wanted.iter().any(|wanted| wanted == name) || self.selectors.iter().any(|selector| selector.fits(name))
    }
}
