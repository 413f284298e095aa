//! Anomalies on disk: what was found, up to where was looked, and what is to be done about each model.
//!
//! | key | value |
//! |---|---|
//! | `u` model 0 `s` | what has been asked for, what came of it, whether it is refreshed |
//! | `u` model 0 `c` thing | up to where the thing was looked at, and the anomaly that is going on |
//! | `u` model 0 `a` thing 0 time | an anomaly, by the time at which it began |
//!
//! All of it is written with the events that it has caused, in one batch: no alarm without its anomaly, and no anomaly
//! without its alarm.

use super::record::{frame, unframe};
use super::{Batch, Pair, Store, StoreError, models};
use crate::api::topics::{decode, encode};
use crate::domain::anomaly::interval::{Anomaly, Open};
use crate::domain::anomaly::life::Found;
use crate::domain::model::{Severity, ThingId};
use crate::domain::time::Stamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const KIND: u8 = b'u';
/// Records that are read at once.
const PAGE: usize = 1_024;

/// How far a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// It was never built.
    #[default]
    Unbuilt,
    /// It will be.
    Queued,
    /// It is being built.
    Building,
    /// It can score.
    Ready,
    /// It could not be built.
    Failed,
    /// Somebody did not want it any more.
    Cancelled,
}

impl Phase {
    /// All of them, in the order of the records.
    pub const ALL: [Phase; 6] =
        [Phase::Unbuilt, Phase::Queued, Phase::Building, Phase::Ready, Phase::Failed, Phase::Cancelled];

    /// As topics and answers spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Unbuilt => "unbuilt",
            Phase::Queued => "queued",
            Phase::Building => "building",
            Phase::Ready => "ready",
            Phase::Failed => "failed",
            Phase::Cancelled => "cancelled",
        }
    }
}

/// The past that a build is to learn from; none: as far as it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Not before.
    pub from: Option<Stamp>,
    /// Not after.
    pub to: Option<Stamp>,
}

/// What is to be done about a model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// How often it was built.
    pub revision: u64,
    /// How far it is.
    pub phase: Phase,
    /// A build that was asked for and has not ended.
    pub wanted: Option<Wanted>,
    /// Why the last build came to nothing, or what was left out of it.
    pub error: Option<String>,
    /// Whether it looks at what is new, again and again.
    pub is_refreshed: bool,
    /// What the configuration said of that when it was decided; another one decides anew.
    pub refresh: String,
    /// On which things, as an operator has said; empty: as configured.
    pub things: Vec<String>,
}

/// Up to where a thing was looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// The end of the past that its scorer was trained with.
    pub trained_at: Stamp,
    /// When its scorer was last put aside, if that was later.
    pub aside_at: Option<Stamp>,
    /// Up to where its values were scored and followed.
    pub until: Stamp,
    /// Whether refreshing has been off since: the next look goes back one segment and no further.
    pub is_fresh: bool,
    /// The anomaly that is going on.
    pub open: Option<Open>,
}

/// All that was stored of a model's anomalies.
#[derive(Debug, Default)]
pub struct Stored {
    /// What is to be done.
    pub standing: Standing,
    /// Up to where each thing was looked at.
    pub places: BTreeMap<ThingId, Place>,
    /// What was found.
    pub found: Vec<(ThingId, Found)>,
}

#[derive(Serialize, Deserialize)]
struct StandingRecord {
    revision: u64,
    phase: u8,
    wanted: Option<(Option<i64>, Option<i64>)>,
    error: Option<String>,
    is_refreshed: bool,
    refresh: String,
    things: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct PlaceRecord {
    trained_at: i64,
    aside_at: Option<i64>,
    until: i64,
    is_fresh: bool,
    open: Option<OpenRecord>,
}

#[derive(Serialize, Deserialize)]
struct OpenRecord {
    anomaly: AnomalyRecord,
    last: i64,
    pending: f64,
    told: Option<Option<u8>>,
}

#[derive(Serialize, Deserialize)]
struct AnomalyRecord {
    from: i64,
    to: i64,
    score: f64,
    index: f64,
    severity: Option<u8>,
}

#[derive(Serialize, Deserialize)]
struct FoundRecord {
    anomaly: AnomalyRecord,
    is_over: bool,
    alarm: Option<u8>,
}

/// Adds what is to be done about a model.
pub fn put_standing(batch: &mut Batch, model: &str, standing: &Standing) {
    let Standing { revision, phase, wanted, error, is_refreshed, refresh, things } = standing;
    let micros = |stamp: Stamp| stamp.as_micros();
    let record = StandingRecord {
        revision: *revision,
        phase: place_of(&Phase::ALL, phase),
        wanted: wanted.map(|Wanted { from, to }| (from.map(micros), to.map(micros))),
        error: error.clone(),
        is_refreshed: *is_refreshed,
        refresh: refresh.clone(),
        things: things.clone(),
    };
    batch.put([prefix(model).as_slice(), b"s"].concat(), frame(&record));
}

/// Adds up to where a thing was looked at; none: it never was.
pub fn put_place(batch: &mut Batch, model: &str, thing: &str, place: Option<&Place>) {
    let key = [prefix(model).as_slice(), b"c", encode(thing).as_bytes()].concat();
    let Some(Place { trained_at, aside_at, until, is_fresh, open }) = place else { return batch.delete(key) };
    let open = open.as_ref().map(|Open { anomaly, last, pending, told }| OpenRecord {
        anomaly: anomaly.into(),
        last: last.as_micros(),
        pending: *pending,
        told: told.map(|told| told.map(severity_place)),
    });
    let record = PlaceRecord {
        trained_at: trained_at.as_micros(),
        aside_at: aside_at.map(Stamp::as_micros),
        until: until.as_micros(),
        is_fresh: *is_fresh,
        open,
    };
    batch.put(key, frame(&record));
}

/// Adds what was found of a thing at that time; none: it was deleted.
pub fn put_found(batch: &mut Batch, model: &str, thing: &str, from: Stamp, found: Option<&Found>) {
    // The sign is turned, so that the order of keys is that of times.
    let time = (from.as_micros() ^ i64::MIN).to_be_bytes();
    let key = [prefix(model).as_slice(), b"a", encode(thing).as_bytes(), &[0], &time].concat();
    let Some(Found { anomaly, is_over, alarm }) = found else { return batch.delete(key) };
    let record = FoundRecord { anomaly: anomaly.into(), is_over: *is_over, alarm: alarm.map(severity_place) };
    batch.put(key, frame(&record));
}

/// Reads everything. A damaged record costs what it said and nothing else.
///
/// # Errors
/// Why it cannot be read.
pub fn recover(store: &mut dyn Store) -> Result<BTreeMap<String, Stored>, StoreError> {
    let mut all: BTreeMap<String, Stored> = BTreeMap::new();
    let mut from = vec![KIND];
    loop {
        let page = store.scan(&[KIND], &from, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(all) };
        from = [last.as_slice(), &[0]].concat();
        for pair in &page {
            if take(&mut all, pair).is_none() {
                tracing::error!("a record of an anomaly was damaged");
            }
        }
    }
}

fn take(all: &mut BTreeMap<String, Stored>, (key, value): &Pair) -> Option<()> {
    let end = key.iter().position(|byte| *byte == 0)?;
    let name = decode(std::str::from_utf8(key.get(1..end)?).ok()?).into_owned();
    let stored = all.entry(name).or_default();
    let (kind, rest) = key.get(end + 1..)?.split_first()?;
    match kind {
        b's' => stored.standing = standing(unframe(value).ok()?)?,
        b'c' => {
            let thing = decode(std::str::from_utf8(rest).ok()?);
            stored.places.insert(ThingId::from(&*thing), place(unframe(value).ok()?)?);
        }
        b'a' => {
            let thing = rest.get(..rest.len().checked_sub(9)?)?;
            let thing = decode(std::str::from_utf8(thing).ok()?);
            let FoundRecord { anomaly, is_over, alarm } = unframe(value).ok()?;
            let found = Found { anomaly: anomaly.into_anomaly()?, is_over, alarm: severity(alarm)? };
            stored.found.push((ThingId::from(&*thing), found));
        }
        _ => return None,
    }
    Some(())
}

/// All keys of a model: of what was found, and of the model itself.
///
/// # Errors
/// Why they cannot be read.
pub fn keys_of(store: &mut dyn Store, model: &str) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut keys = Vec::new();
    for prefix in [prefix(model), models::prefix(model)] {
        let mut from = prefix.clone();
        loop {
            let page = store.scan(&prefix, &from, PAGE)?;
            let Some((last, _)) = page.last() else { break };
            from = [last.as_slice(), &[0]].concat();
            keys.extend(page.into_iter().map(|(key, _)| key));
        }
    }
    Ok(keys)
}

/// Encoded names contain no zero, so no prefix is the beginning of another one.
fn prefix(model: &str) -> Vec<u8> {
    [&[KIND], encode(model).as_bytes(), &[0]].concat()
}

fn place_of<T: PartialEq>(all: &[T], one: &T) -> u8 {
    all.iter().position(|other| other == one).and_then(|place| u8::try_from(place).ok()).unwrap_or_default()
}

fn severity_place(severity: Severity) -> u8 {
    place_of(&Severity::ALL, &severity)
}

/// The severity at a place, if there is one; nothing if the place is not known.
#[expect(clippy::option_option, reason = "none is a severity, too: that of an anomaly without an alarm")]
fn severity(place: Option<u8>) -> Option<Option<Severity>> {
    place.map_or(Some(None), |place| Severity::ALL.get(usize::from(place)).map(|severity| Some(*severity)))
}

fn standing(record: StandingRecord) -> Option<Standing> {
    let stamp = Stamp::from_micros;
    let StandingRecord { revision, phase, wanted, error, is_refreshed, refresh, things } = record;
    let phase = *Phase::ALL.get(usize::from(phase))?;
    let wanted = wanted.map(|(from, to)| Wanted { from: from.map(stamp), to: to.map(stamp) });
    Some(Standing { revision, phase, wanted, error, is_refreshed, refresh, things })
}

fn place(record: PlaceRecord) -> Option<Place> {
    let PlaceRecord { trained_at, aside_at, until, is_fresh, open } = record;
    let open = open.map(|OpenRecord { anomaly, last, pending, told }| {
        let told = match told {
            None => None,
            Some(told) => Some(severity(told)?),
        };
        Some(Open { anomaly: anomaly.into_anomaly()?, last: Stamp::from_micros(last), pending, told })
    });
    Some(Place {
        trained_at: Stamp::from_micros(trained_at),
        aside_at: aside_at.map(Stamp::from_micros),
        until: Stamp::from_micros(until),
        is_fresh,
        open: match open {
            None => None,
            Some(open) => Some(open?),
        },
    })
}

impl From<&Anomaly> for AnomalyRecord {
    fn from(anomaly: &Anomaly) -> AnomalyRecord {
        let Anomaly { from, to, score, index, severity } = anomaly;
        let severity = severity.map(severity_place);
        AnomalyRecord { from: from.as_micros(), to: to.as_micros(), score: *score, index: *index, severity }
    }
}

impl AnomalyRecord {
    fn into_anomaly(self) -> Option<Anomaly> {
        Some(Anomaly {
            from: Stamp::from_micros(self.from),
            to: Stamp::from_micros(self.to),
            score: self.score,
            index: self.index,
            severity: severity(self.severity)?,
        })
    }
}
