//! Which values are kept for models: the numbers of the properties that they name.
//!
//! A value has its source's time where there is one, else that of its receipt. What is not evidence is no sample: a
//! retained message may be of any age; what a session has queued while nobody listened has only a wrong time, unless the
//! source gives it one; what is older than the property's latest came too late.

use crate::domain::anomaly::definition::AnomalyDefinition;
use crate::domain::anomaly::series::Sample;
use crate::domain::engine::STAMP_TOLERANCE;
use crate::domain::model::{PropertyName, Share, ThingId, ThingPattern};
use crate::domain::text::clip;
use crate::domain::time::Stamp;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Properties that are recorded at most: their latest blocks are in memory, up to 16 KiB each.
const MOST: usize = 10_000;

/// A value that was taken down.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Of which thing.
    pub thing: ThingId,
    /// Of which property.
    pub property: PropertyName,
    /// What it was, and when.
    pub sample: Sample,
}

/// One property that is recorded.
#[derive(Debug)]
struct Track {
    thing: ThingId,
    property: PropertyName,
    /// The newest stamp that its source gave.
    newest: Option<Stamp>,
}

/// Where the numbers of a message go.
#[derive(Debug, Clone)]
pub(crate) enum Recording {
    /// The message is a value of this property.
    Value(usize),
    /// Its members are.
    Members(Rc<[(PropertyName, usize)]>),
}

impl Recording {
    /// The number of the track for a member, or for the value of a message without members.
    pub(super) fn track(&self, member: Option<&str>) -> Option<usize> {
        match self {
            Recording::Value(track) => Some(*track),
            Recording::Members(tracks) => {
                tracks.iter().find(|(wanted, _)| Some(&**wanted) == member).map(|(_, track)| *track)
            }
        }
    }
}

/// Takes down what models need.
#[derive(Debug, Default)]
pub struct Recorder {
    wanted: Vec<(Vec<ThingPattern>, Vec<PropertyName>)>,
    /// Of which things this instance takes down anything.
    share: Share,
    known: BTreeMap<(ThingId, PropertyName), usize>,
    tracks: Vec<Track>,
    /// How often a property was not recorded because there are too many.
    refused: u64,
    /// What was taken down since somebody fetched it.
    taken: Vec<Recorded>,
}

impl Recorder {
    /// A recorder for these models, of an instance's share of the things.
    pub fn new(models: &[AnomalyDefinition], share: Share) -> Recorder {
        let wanted = models.iter().map(|model| (model.things.clone(), model.properties.clone()));
        Recorder { wanted: wanted.collect(), share, ..Recorder::default() }
    }

    /// The properties of a thing that are recorded.
    fn properties_of(&self, thing: &str) -> Vec<PropertyName> {
        let models = self.wanted.iter().filter(|_| self.share.has(thing));
        let models = models.filter(|(things, _)| things.iter().any(|pattern| pattern.covers(thing)));
        let mut properties: Vec<PropertyName> = models.flat_map(|(_, properties)| properties).cloned().collect();
        properties.sort();
        properties.dedup();
        properties
    }

    fn track(&mut self, thing: &str, property: &PropertyName) -> Option<usize> {
        let key = (ThingId::from(thing), property.clone());
        if let Some(known) = self.known.get(&key) {
            return Some(*known);
        }
        if self.tracks.len() >= MOST {
            self.refused += 1;
            // Each message asks again.
            if self.refused.is_power_of_two() {
                let (thing, refused) = (clip(thing, 128), self.refused);
                tracing::warn!(%thing, %property, refused, most = MOST, "too many properties are recorded; this one is not");
            }
            return None;
        }
        self.tracks.push(Track { thing: key.0.clone(), property: property.clone(), newest: None });
        self.known.insert(key, self.tracks.len() - 1);
        Some(self.tracks.len() - 1)
    }

    /// Where the value of a property goes, if it is recorded.
    pub(crate) fn value(&mut self, thing: &str, property: &str) -> Option<Recording> {
        let wanted = self.properties_of(thing).into_iter().find(|wanted| **wanted == *property)?;
        self.track(thing, &wanted).map(Recording::Value)
    }

    /// Where the members of a thing's object go, if any of them is recorded.
    pub(crate) fn members(&mut self, thing: &str) -> Option<Recording> {
        let wanted = self.properties_of(thing);
        let tracks: Vec<_> =
            wanted.into_iter().filter_map(|name| Some((name.clone(), self.track(thing, &name)?))).collect();
        (!tracks.is_empty()).then(|| Recording::Members(tracks.into()))
    }

    /// Takes a number down.
    pub(crate) fn take(&mut self, track: usize, value: f64, stamp: Option<Stamp>, now: Stamp, in_gap: bool) {
        let Some(track) = self.tracks.get_mut(track) else { return };
        let at = match stamp {
            // As for alarms: a clock that is ahead is not believed, and what comes late does not count.
            Some(stamp) if stamp - now > STAMP_TOLERANCE => now,
            Some(stamp) if track.newest.is_some_and(|newest| stamp < newest) => return,
            Some(stamp) => {
                track.newest = Some(stamp);
                stamp
            }
            None if in_gap => return,
            None => now,
        };
        let Track { thing, property, .. } = track;
        self.taken.push(Recorded { thing: thing.clone(), property: property.clone(), sample: Sample { at, value } });
    }

    /// What was taken down since the last time.
    pub fn drain(&mut self) -> impl Iterator<Item = Recorded> + '_ {
        self.taken.drain(..)
    }
}
