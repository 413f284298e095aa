//! Recording of values for models: the numbers of the properties that models name.
//!
//! A value has its source's time if there is one, else that of its receipt. Unreliable values are not recorded: a
//! retained message may be of any age; a message that the session queued during a gap has only a wrong time, unless the
//! source gives one; a value older than the property's latest came too late.

use crate::domain::anomaly::definition::AnomalyDefinition;
use crate::domain::anomaly::series::Sample;
use crate::domain::engine::STAMP_TOLERANCE;
use crate::domain::model::{PropertyName, Share, ThingId, ThingPattern};
use crate::domain::text::clip;
use crate::domain::time::Stamp;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Maximum number of recorded properties: their latest blocks are in memory, up to 16 KiB each.
const MOST: usize = 10_000;

/// A recorded value.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// The thing's id.
    pub thing: ThingId,
    /// The property's name.
    pub property: PropertyName,
    /// The value and its time.
    pub sample: Sample,
}

/// One property that is recorded.
#[derive(Debug)]
struct Track {
    thing: ThingId,
    property: PropertyName,
    /// The newest stamp that its source gave; `None` if it gave none.
    newest: Option<Stamp>,
}

/// The tracks in which the numbers of a message are recorded.
#[derive(Debug, Clone)]
pub(crate) enum Recording {
    /// The track of the message's only value.
    Value(usize),
    /// The tracks of the message's members, by name.
    Members(Rc<[(PropertyName, usize)]>),
}

impl Recording {
    /// The index of the track for a member, or for a message without members; `None` if it is not recorded.
    pub(super) fn track(&self, member: Option<&str>) -> Option<usize> {
        match self {
            Recording::Value(track) => Some(*track),
            Recording::Members(tracks) => {
                tracks.iter().find(|(wanted, _)| Some(&**wanted) == member).map(|(_, track)| *track)
            }
        }
    }
}

/// Records the values that models need.
#[derive(Debug, Default)]
pub struct Recorder {
    wanted: Vec<(Vec<ThingPattern>, Vec<PropertyName>)>,
    /// The things that this instance records.
    share: Share,
    known: BTreeMap<(ThingId, PropertyName), usize>,
    tracks: Vec<Track>,
    /// Number of times that a property was not recorded because there were [`MOST`] already.
    refused: u64,
    /// Values recorded since the last [`Recorder::drain`].
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
            // Each message tries again, so only powers of two are logged.
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

    /// The track for messages that are values of this property; `None` if it is not recorded.
    pub(crate) fn value(&mut self, thing: &str, property: &str) -> Option<Recording> {
        let wanted = self.properties_of(thing).into_iter().find(|wanted| **wanted == *property)?;
        self.track(thing, &wanted).map(Recording::Value)
    }

    /// The tracks for messages that are objects of this thing; `None` if none of its properties is recorded.
    pub(crate) fn members(&mut self, thing: &str) -> Option<Recording> {
        let wanted = self.properties_of(thing);
        let tracks: Vec<_> =
            wanted.into_iter().filter_map(|name| Some((name.clone(), self.track(thing, &name)?))).collect();
        (!tracks.is_empty()).then(|| Recording::Members(tracks.into()))
    }

    /// Records a number. A late one is dropped, and one without a stamp if it was received in a gap.
    pub(crate) fn take(&mut self, track: usize, value: f64, stamp: Option<Stamp>, now: Stamp, in_gap: bool) {
        let Some(track) = self.tracks.get_mut(track) else { return };
        let at = match stamp {
            // As for alarms: a stamp too far in the future is replaced by the time of receipt, and a late value is
            // dropped.
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

    /// Removes and returns the values recorded since the last call.
    pub fn drain(&mut self) -> impl Iterator<Item = Recorded> + '_ {
        self.taken.drain(..)
    }
}
