//! Models on disk: what was learnt survives a restart, so that nothing has to be learnt twice.
//!
//! | key | value |
//! |---|---|
//! | `q` name | a model, with its revision |
//!
//! A model goes from one version of the program to the next as its record; one that a later version wrote is not read,
//! and has to be built again.

use super::record::{frame, unframe};
use super::{Batch, Store, StoreError};
use crate::anomaly::cluster::{Clustering, Normal};
use crate::anomaly::feature::Features;
use crate::anomaly::model::{Model, Settings, Trained};
use crate::anomaly::segment::Cut;
use crate::anomaly::series::Scale;
use crate::anomaly::tail::Tail;
use crate::anomaly::threshold::Thresholds;
use crate::model::Severity;
use crate::time::{Span, Stamp};
use serde::{Deserialize, Serialize};

const KIND: u8 = b'q';

/// A model as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// How often it was built.
    pub revision: u64,
    /// What was learnt.
    pub model: Model,
}

#[derive(Serialize, Deserialize)]
struct ModelRecord {
    revision: u64,
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

/// Adds a model to a batch, in the place of the one that had its name.
pub fn put(batch: &mut Batch, name: &str, kept: &Kept) {
    batch.put(key(name), frame(&ModelRecord::from(kept)));
}

/// Removes a model.
pub fn delete(batch: &mut Batch, name: &str) {
    batch.delete(key(name));
}

/// Reads a model; none if there is none, or none that this version understands.
///
/// # Errors
/// Why it cannot be read.
pub fn get(store: &mut dyn Store, name: &str) -> Result<Option<Kept>, StoreError> {
    let key = key(name);
    let pairs = store.scan(&key, &key, 1)?;
    let found = pairs.first().filter(|(found, _)| *found == key);
    Ok(found.and_then(|(_, value)| unframe::<ModelRecord>(value).ok()).and_then(ModelRecord::into_kept))
}

fn key(name: &str) -> Vec<u8> {
    [&[KIND], name.as_bytes()].concat()
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
        let Model { settings, cuts, scales, features, normal, tail, thresholds, trained } = &kept.model;
        let property = |(cut, scale): (&Cut, &Scale)| PropertyRecord {
            interval: cut.interval.as_micros(),
            low: scale.low,
            high: scale.high,
        };
        ModelRecord {
            revision: kept.revision,
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
        Some(Kept { revision: self.revision, model })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anomaly::series::Sample;

    #[test]
    fn a_model_is_the_same_after_being_kept() {
        let past = || {
            (0..3_000_i64).map(|minute| {
                let value = f64::from(i32::try_from(minute * 7_919 % 1_009).unwrap());
                (0, Sample { at: Stamp::from_micros(minute * 60_000_000), value })
            })
        };
        let settings = Settings {
            segment: Span::from_secs(3_600),
            step: Span::from_secs(900),
            clustering: Clustering::GaussianMixture,
            sensitivity: 99.5,
            min_duration: Span::from_secs(1),
        };
        let kept = Kept { revision: 3, model: Model::build(1, settings, past).unwrap() };
        let bytes = frame(&ModelRecord::from(&kept));
        let read = unframe::<ModelRecord>(&bytes).ok().and_then(ModelRecord::into_kept);
        assert_eq!(read, Some(kept));
        assert!(bytes.len() < 16_384, "{} bytes", bytes.len());
    }
}
