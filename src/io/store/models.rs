//! Models on disk: what was learnt survives a restart, so that nothing has to be learnt twice.
//!
//! | key | value |
//! |---|---|
//! | `q` model 0 `f` | the model of a fleet |
//! | `q` model 0 `m` thing | the model of one thing |
//! | `q` model 0 `s` revision thing | its scorer when it had seen the past |
//! | `q` model 0 `r` thing | its scorer as it was not long ago |
//!
//! A model goes from one version of the program to the next as its record; one that a later version wrote is not read,
//! and has to be built again. The scorers of a revision are written before the model that makes the revision count.

mod scorer;

pub use scorer::{get_scorer, put_scorer, running_key, trained_key};

use super::record::{frame, unframe};
use super::{Batch, Store, StoreError};
use crate::api::topics::{decode, encode};
use crate::domain::anomaly::cluster::{Clustering, Normal};
use crate::domain::anomaly::definition::Per;
use crate::domain::anomaly::feature::Features;
use crate::domain::anomaly::model::{Model, Settings, Trained};
use crate::domain::anomaly::segment::Cut;
use crate::domain::anomaly::series::Scale;
use crate::domain::anomaly::tail::Tail;
use crate::domain::anomaly::threshold::Thresholds;
use crate::domain::model::{PropertyName, Severity, ThingId};
use crate::domain::time::{Span, Stamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const KIND: u8 = b'q';
/// Models that are read from the store at once; each has some kilobytes.
const PAGE: usize = 256;

/// A model as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// How often it was built.
    pub revision: u64,
    /// When it was built.
    pub built_at: Stamp,
    /// For whom it is.
    pub per: Per,
    /// How many clusters were wanted.
    pub clusters: Option<usize>,
    /// What it looks at.
    pub properties: Vec<PropertyName>,
    /// What was learnt.
    pub model: Arc<Model>,
}

#[derive(Serialize, Deserialize)]
struct ModelRecord {
    revision: u64,
    built_at: i64,
    per: u8,
    clusters_wanted: Option<u32>,
    names: Vec<String>,
    segment: i64,
    step: i64,
    clustering: u8,
    sensitivity: f64,
    min_duration: i64,
    properties: Vec<PropertyRecord>,
    shape: bool,
    day: bool,
    week: bool,
    clusters: u32,
    references: Vec<Vec<f64>>,
    tail: Vec<(u32, Vec<f64>)>,
    unusual: f64,
    thresholds: Vec<(u8, f64)>,
    trained: TrainedRecord,
}

#[derive(Serialize, Deserialize)]
struct PropertyRecord {
    interval: i64,
    low: f64,
    high: f64,
}

#[derive(Serialize, Deserialize)]
struct TrainedRecord {
    from: i64,
    to: i64,
    samples: u64,
    segments: u64,
    anomalies_per_day: f64,
    peaks: Vec<f64>,
}

/// Adds a model to a batch, in the place of the one that was there: of one thing, or of the fleet.
pub fn put(batch: &mut Batch, name: &str, thing: Option<&str>, kept: &Kept) {
    batch.put(key(name, thing), frame(&ModelRecord::from(kept)));
}

/// Removes a model.
pub fn delete(batch: &mut Batch, name: &str, thing: Option<&str>) {
    batch.delete(key(name, thing));
}

/// Reads all models with a name that this version understands: that of the fleet, or those of things.
///
/// # Errors
/// Why they cannot be read.
pub fn all(store: &mut dyn Store, name: &str) -> Result<Vec<(Option<ThingId>, Kept)>, StoreError> {
    let mut found = Vec::new();
    for kind in [b'f', b'm'] {
        let prefix = [prefix(name).as_slice(), &[kind]].concat();
        let mut from = prefix.clone();
        loop {
            let page = store.scan(&prefix, &from, PAGE)?;
            let Some((last, _)) = page.last() else { break };
            from = [last.as_slice(), &[0]].concat();
            for (key, value) in &page {
                let kept = unframe::<ModelRecord>(value).ok().and_then(ModelRecord::into_kept);
                let thing = std::str::from_utf8(key.get(prefix.len()..).unwrap_or_default()).ok();
                let thing = thing.filter(|_| kind == b'm').map(|thing| ThingId::from(&*decode(thing)));
                found.extend(kept.map(|kept| (thing, kept)));
            }
        }
    }
    Ok(found)
}

/// Encoded names contain no zero, so no prefix is the beginning of another one.
pub(super) fn prefix(name: &str) -> Vec<u8> {
    [&[KIND], encode(name).as_bytes(), &[0]].concat()
}

fn key(name: &str, thing: Option<&str>) -> Vec<u8> {
    match thing {
        Some(thing) => [prefix(name).as_slice(), b"m", encode(thing).as_bytes()].concat(),
        None => [prefix(name).as_slice(), b"f"].concat(),
    }
}

/// The place of an entry in a list that is only ever added to.
fn place_of<T: PartialEq>(all: &[T], one: &T) -> u8 {
    all.iter().position(|other| other == one).and_then(|place| u8::try_from(place).ok()).unwrap_or_default()
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl From<&Kept> for ModelRecord {
    fn from(kept: &Kept) -> ModelRecord {
        let Model { settings, cuts, scales, features, normal, tail, thresholds, trained } = kept.model.as_ref();
        let property = |(cut, scale): (&Cut, &Scale)| PropertyRecord {
            interval: cut.interval.as_micros(),
            low: scale.low,
            high: scale.high,
        };
        ModelRecord {
            revision: kept.revision,
            built_at: kept.built_at.as_micros(),
            per: place_of(&Per::ALL, &kept.per),
            clusters_wanted: kept.clusters.map(narrow),
            names: kept.properties.iter().map(ToString::to_string).collect(),
            segment: settings.segment.as_micros(),
            step: settings.step.as_micros(),
            clustering: place_of(&Clustering::ALL, &settings.clustering),
            sensitivity: settings.sensitivity,
            min_duration: settings.min_duration.as_micros(),
            properties: cuts.iter().zip(scales).map(property).collect(),
            shape: features.shape,
            day: features.day,
            week: features.week,
            clusters: narrow(normal.clusters),
            references: normal.references.clone(),
            tail: tail.blocks().iter().map(|(count, kept)| (narrow(*count), kept.clone())).collect(),
            unusual: thresholds.unusual,
            thresholds: thresholds
                .least
                .iter()
                .map(|(severity, least)| (place_of(&Severity::ALL, severity), *least))
                .collect(),
            trained: TrainedRecord {
                from: trained.from.as_micros(),
                to: trained.to.as_micros(),
                samples: trained.samples as u64,
                segments: trained.segments as u64,
                anomalies_per_day: trained.anomalies_per_day,
                peaks: trained.peaks.clone(),
            },
        }
    }
}

impl ModelRecord {
    fn into_kept(self) -> Option<Kept> {
        let settings = Settings {
            segment: Span::from_micros(self.segment),
            step: Span::from_micros(self.step),
            clustering: *Clustering::ALL.get(usize::from(self.clustering))?,
            sensitivity: self.sensitivity,
            min_duration: Span::from_micros(self.min_duration),
        };
        let cut =
            |property: &PropertyRecord| Cut::new(settings.segment, settings.step, Span::from_micros(property.interval));
        let least = |(severity, least): (u8, f64)| Some((*Severity::ALL.get(usize::from(severity))?, least));
        let blocks = self.tail.into_iter().map(|(count, kept)| Some((usize::try_from(count).ok()?, kept)));
        let model = Model {
            settings,
            cuts: self.properties.iter().map(cut).collect(),
            scales: self.properties.iter().map(|property| Scale { low: property.low, high: property.high }).collect(),
            features: Features { shape: self.shape, day: self.day, week: self.week },
            normal: Normal { references: self.references, clusters: usize::try_from(self.clusters).ok()? },
            tail: Tail::from_blocks(blocks.collect::<Option<_>>()?),
            thresholds: Thresholds {
                unusual: self.unusual,
                least: self.thresholds.into_iter().map(least).collect::<Option<_>>()?,
            },
            trained: Trained {
                from: Stamp::from_micros(self.trained.from),
                to: Stamp::from_micros(self.trained.to),
                samples: usize::try_from(self.trained.samples).ok()?,
                segments: usize::try_from(self.trained.segments).ok()?,
                anomalies_per_day: self.trained.anomalies_per_day,
                peaks: self.trained.peaks,
            },
        };
        Some(Kept {
            revision: self.revision,
            built_at: Stamp::from_micros(self.built_at),
            per: *Per::ALL.get(usize::from(self.per))?,
            clusters: self.clusters_wanted.and_then(|clusters| usize::try_from(clusters).ok()),
            properties: self.names.into_iter().map(PropertyName::from).collect(),
            model: Arc::new(model),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::anomaly::series::Sample;
    use crate::domain::anomaly::training::learn;

    #[test]
    fn a_model_and_its_scorer_are_the_same_after_being_kept() {
        let past = || {
            (0..3_000_i64).map(|minute| {
                let value = f64::from(i32::try_from(minute * 7_919 % 1_009).unwrap());
                (0, 0, Sample { at: Stamp::from_micros(minute * 60_000_000), value })
            })
        };
        let settings = Settings {
            segment: Span::from_secs(3_600),
            step: Span::from_secs(900),
            clustering: Clustering::GaussianMixture,
            sensitivity: 99.5,
            min_duration: Span::from_secs(1),
        };
        let learnt = learn(1, settings, Some(4), past).unwrap();
        let kept = Kept {
            revision: 3,
            built_at: Stamp::from_micros(7),
            per: Per::Fleet,
            clusters: Some(4),
            properties: vec![PropertyName::from("pressure")],
            model: Arc::new(learnt.model),
        };
        let bytes = frame(&ModelRecord::from(&kept));
        let read = unframe::<ModelRecord>(&bytes).ok().and_then(ModelRecord::into_kept);
        assert_eq!(read, Some(kept));
        assert!(bytes.len() < 16_384, "{} bytes", bytes.len());
        scorer::tests::is_the_same_after_being_kept(&learnt.things[&0]);
    }
}
