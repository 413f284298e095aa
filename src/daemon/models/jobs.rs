//! What background threads do: build models, look at values, draw a series. Functions of what they are given; nothing of
//! it changes anything before the loop takes the result.
//!
//! One exception: the scorers of a new revision go to the store at once, because they are many. Nobody asks for them
//! before the loop has written the models of that revision.

use super::past::{Progress, Source};
use crate::domain::anomaly::definition::{AnomalyDefinition, Per};
use crate::domain::anomaly::interval::{Anomaly, Change, Follower, Open};
use crate::domain::anomaly::model::{BuildError, Model};
use crate::domain::anomaly::scorer::{Scorer, ScorerMemory};
use crate::domain::anomaly::series::Sample;
use crate::domain::anomaly::threshold::Thresholds;
use crate::domain::anomaly::training::learn;
use crate::domain::model::{PropertyName, ThingId};
use crate::domain::time::{Span, Stamp};
use crate::io::store::Batch;
use crate::io::store::keeper::Keeper;
use crate::io::store::models::{get_scorer, put_scorer, trained_key};
use crate::io::store::samples::reader::Plan;
use std::sync::Arc;

/// A past is gone through so often for a model.
const PASSES: u64 = 4;
/// Things whose troubles are told by name.
const NAMED: usize = 5;

/// Something to do.
#[derive(Debug)]
pub(super) enum Job {
    Build(Build),
    Look(Vec<Look>),
    Show(Show),
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Done {
    Built(Result<Built, String>),
    Looked(Result<Vec<Looked>, String>),
    Shown(Result<Vec<Row>, String>),
}

/// To build a model.
#[derive(Debug)]
pub(super) struct Build {
    pub(super) definition: AnomalyDefinition,
    pub(super) revision: u64,
    /// Where the values of each thing's properties are.
    pub(super) things: Vec<(ThingId, Vec<Plan>)>,
}

/// A model that was built.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) revision: u64,
    /// By thing; none: of the fleet.
    pub(super) models: Vec<(Option<ThingId>, Model)>,
    /// Up to where the scorer of each thing has seen its past.
    pub(super) things: Vec<(ThingId, Stamp)>,
    /// What was left out, and why.
    pub(super) left_out: Option<String>,
}

/// To look at a thing's values.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) thing: ThingId,
    pub(super) model: Arc<Model>,
    pub(super) thresholds: Thresholds,
    pub(super) min_duration: Span,
    pub(super) join: Span,
    pub(super) start: Start,
    /// Values that it has to be shown again.
    pub(super) warm: Vec<Plan>,
    /// Values that it has not seen.
    pub(super) plans: Vec<Plan>,
    /// Anomalies are followed after that; what is before is only learnt from.
    pub(super) after: Stamp,
    /// The anomaly that is going on there.
    pub(super) open: Option<Open>,
}

/// With which scorer a look begins.
#[derive(Debug)]
pub(super) enum Start {
    /// The one that has looked last.
    Here(Box<Scorer>),
    /// One that was put aside.
    Aside(Vec<u8>),
    /// One that was put aside, at another time or for another thing.
    Elsewhere(Vec<u8>),
}

/// What a look has found.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) thing: ThingId,
    pub(super) changes: Vec<Change>,
    /// What goes on at its end.
    pub(super) open: Option<Open>,
    /// The last value.
    pub(super) until: Option<Stamp>,
    /// How many values were scored.
    pub(super) scored: u64,
    /// The highest score among them.
    pub(super) highest: f64,
    pub(super) scorer: Box<Scorer>,
    /// Whether the scorer cannot be had by going on from where it was put aside.
    pub(super) is_elsewhere: bool,
}

impl Looked {
    /// The anomaly that goes on, if it is long enough to be one.
    pub(super) fn going_on(&self) -> Option<&Anomaly> {
        self.open.as_ref().filter(|open| open.told.is_some()).map(|open| &open.anomaly)
    }

    /// How many anomalies have begun in it.
    pub(super) fn begun(&self) -> u64 {
        let all = self.changes.iter().filter_map(|change| match change {
            Change::Grown(anomaly) | Change::Ended(anomaly) => Some(anomaly.from),
            Change::None => None,
        });
        all.collect::<std::collections::BTreeSet<_>>().len() as u64
    }

    /// The score accumulated by the last anomaly that has ended.
    pub(super) fn last_index(&self) -> Option<f64> {
        self.changes.iter().rev().find_map(|change| match change {
            Change::Ended(anomaly) => Some(anomaly.index),
            Change::None | Change::Grown(_) => None,
        })
    }
}

/// To show the values of a property, with scores if there is a model.
#[derive(Debug)]
pub(super) struct Show {
    pub(super) look: Option<Look>,
    /// The property, by its place in the model.
    pub(super) property: usize,
    pub(super) plans: Vec<Plan>,
    pub(super) from: Stamp,
    /// How many values of the property there are from then on.
    pub(super) values: u64,
    pub(super) points: usize,
}

/// A value with its score.
pub(super) type Row = (Stamp, f64, Option<f64>);

/// Does it.
pub(super) fn carry_out(job: Job, keeper: &Keeper, progress: &Progress) -> Done {
    match job {
        Job::Build(job) => Done::Built(build(&job, keeper, progress)),
        Job::Look(looks) => Done::Looked(look_at_all(looks, keeper, progress)),
        Job::Show(show) => Done::Shown(rows(show, keeper, progress)),
    }
}

fn count<'a>(plans: impl Iterator<Item = &'a Plan>) -> u64 {
    plans.map(Plan::count).sum()
}

fn build(job: &Build, keeper: &Keeper, progress: &Progress) -> Result<Built, String> {
    let Build { definition, revision, things } = job;
    let total = PASSES.saturating_mul(count(things.iter().flat_map(|(_, plans)| plans)));
    let source = Source::new(keeper, progress, total);
    if things.is_empty() {
        let (names, property) = (patterns(definition), definition.properties.first().map_or("", |name| name));
        return Err(format!("there is no history of {property} of {names}: is a source there for it?"));
    }
    let fleet: Vec<&[(ThingId, Vec<Plan>)]> = match definition.per {
        Per::Fleet => vec![things.as_slice()],
        Per::Thing => things.chunks(1).collect(),
    };
    let mut built = Built { revision: *revision, models: Vec::new(), things: Vec::new(), left_out: None };
    let mut troubles = Vec::new();
    for members in fleet {
        let past = || {
            members.iter().enumerate().flat_map(|(thing, (_, plans))| {
                source.thing(plans).map(move |(property, sample)| (thing, property, sample))
            })
        };
        let learnt = learn(definition.properties.len(), definition.settings, definition.clusters, past);
        source.check()?;
        let only = members.first().filter(|_| definition.per == Per::Thing).map(|(thing, _)| thing.clone());
        match learnt {
            Ok(learnt) => {
                for (place, memory) in learnt.things {
                    let Some((thing, _)) = members.get(place) else { continue };
                    let mut batch = Batch::default();
                    put_scorer(&mut batch, trained_key(&definition.name, *revision, thing), &memory);
                    keeper.wait(move |store| store.commit(batch)).map_err(|error| error.to_string())?;
                    built.things.push((thing.clone(), memory.at));
                }
                built.models.push((only, learnt.model));
            }
            Err(error) => troubles.push((only, explain(&error, &definition.properties))),
        }
    }
    let told = troubles.iter().take(NAMED).map(|(thing, error)| match thing {
        Some(thing) if things.len() > 1 => format!("{thing}: {error}"),
        Some(_) | None => error.clone(),
    });
    let told: Vec<String> = told.collect();
    let more = troubles.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("; and {more} more things") } else { String::new() };
    let told = format!("{}{more}", told.join("; "));
    if built.models.is_empty() {
        return Err(told);
    }
    built.left_out = (!troubles.is_empty()).then_some(told);
    Ok(built)
}

fn patterns(definition: &AnomalyDefinition) -> String {
    let names: Vec<&str> = definition.things.iter().map(crate::domain::model::ThingPattern::as_str).collect();
    names.join(", ")
}

/// With the property's name instead of its place.
fn explain(error: &BuildError, properties: &[PropertyName]) -> String {
    let named = |place: usize| properties.get(place).map_or_else(String::new, ToString::to_string);
    match error {
        BuildError::Missing(place) => format!("{} has no numeric values in this time", named(*place)),
        BuildError::Constant(place) => {
            format!("{} never changes in this time: there is nothing to learn from it", named(*place))
        }
        BuildError::TooLittle { .. } | BuildError::MarksItself(_) => error.to_string(),
    }
}

fn look_at_all(looks: Vec<Look>, keeper: &Keeper, progress: &Progress) -> Result<Vec<Looked>, String> {
    let source =
        Source::new(keeper, progress, count(looks.iter().flat_map(|look| look.warm.iter().chain(&look.plans))));
    looks.into_iter().map(|look| look_at(look, &source, keeper)).collect()
}

/// The scorer with which a look begins, and whether it comes from elsewhere.
fn begin(look: &mut Look, source: &Source<'_>, keeper: &Keeper) -> Result<(Box<Scorer>, bool), String> {
    let stored = |key: Vec<u8>| -> Result<ScorerMemory, String> {
        let memory = keeper.wait(move |store| get_scorer(store, &key)).map_err(|error| error.to_string())?;
        memory.ok_or_else(|| "what the model has learnt of this thing cannot be read: build it again".to_owned())
    };
    match std::mem::replace(&mut look.start, Start::Aside(Vec::new())) {
        Start::Here(scorer) => Ok((scorer, false)),
        Start::Aside(key) => {
            let memory = stored(key)?;
            let mut scorer = Scorer::recalled(look.model.clone(), &memory);
            source.thing(&look.warm).for_each(|(property, sample)| scorer.warm(property, sample));
            scorer.warmed(&memory);
            Ok((Box::new(scorer), false))
        }
        Start::Elsewhere(key) => Ok((Box::new(Scorer::elsewhere(look.model.clone(), &stored(key)?)), true)),
    }
}

fn look_at(mut look: Look, source: &Source<'_>, keeper: &Keeper) -> Result<Looked, String> {
    let (mut scorer, is_elsewhere) = begin(&mut look, source, keeper)?;
    let mut follower = Follower::new(look.thresholds, look.min_duration, look.join).with(look.open);
    let (mut changes, mut scored, mut highest) = (Vec::new(), 0, 0.0_f64);
    for (property, sample) in source.thing(&look.plans) {
        let Some(judgement) = scorer.observe(property, sample) else { continue };
        scored += 1;
        if judgement.at > look.after {
            highest = highest.max(judgement.score);
            let change = follower.observe(judgement.at, judgement.score);
            if change != Change::None {
                changes.push(change);
            }
        }
    }
    source.check()?;
    let until = scorer.at();
    Ok(Looked { thing: look.thing, changes, open: follower.into_open(), until, scored, highest, scorer, is_elsewhere })
}

fn rows(show: Show, keeper: &Keeper, progress: &Progress) -> Result<Vec<Row>, String> {
    let Show { look, property, plans, from, values, points } = show;
    let total = count(plans.iter());
    let source = Source::new(keeper, progress, total);
    let mut scorer = match look {
        Some(mut look) => Some(begin(&mut look, &source, keeper)?.0),
        None => None,
    };
    let mut thinned = Thinned::new(points, values);
    let mut score = None;
    for (place, sample) in source.thing(&plans) {
        let judged = scorer.as_mut().and_then(|scorer| scorer.observe(place, sample));
        score = judged.map(|judgement| judgement.score).or(score);
        if place == property && sample.at >= from {
            thinned.push(sample, score);
        }
    }
    source.check()?;
    Ok(thinned.rows())
}

/// A series of few points: of each few values the lowest, the highest, and that with the highest score.
struct Thinned {
    every: u64,
    rows: Vec<Row>,
    bucket: Vec<Row>,
}

impl Thinned {
    fn new(points: usize, values: u64) -> Thinned {
        let points = points as u64;
        let every = if values <= points { 1 } else { values.div_ceil((points / 3).max(1)) };
        Thinned { every, rows: Vec::new(), bucket: Vec::new() }
    }

    fn push(&mut self, sample: Sample, score: Option<f64>) {
        self.bucket.push((sample.at, sample.value, score));
        if self.bucket.len() as u64 >= self.every {
            self.close();
        }
    }

    fn close(&mut self) {
        let value = |a: &Row, b: &Row| a.1.total_cmp(&b.1);
        let score = |a: &Row, b: &Row| a.2.unwrap_or_default().total_cmp(&b.2.unwrap_or_default());
        let bucket = std::mem::take(&mut self.bucket);
        let all = || bucket.iter().copied();
        let mut kept: Vec<Row> =
            [all().min_by(value), all().max_by(value), all().max_by(score)].into_iter().flatten().collect();
        kept.sort_by_key(|row| row.0);
        kept.dedup_by_key(|row| row.0);
        self.rows.extend(kept);
    }

    fn rows(mut self) -> Vec<Row> {
        self.close();
        self.rows
    }
}
