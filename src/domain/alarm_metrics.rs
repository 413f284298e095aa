//! How well the alarm system serves people: the figures of ISA-18.2 (IEC 62682, clause 16) and EEMUA 191.
//!
//! Rates and floods say whether operators can follow; chattering, fleeting, stale and frequent alarms say which
//! definitions need work. Entry points: [`Performance::activated`] and [`Performance::returned`] for what happens,
//! [`Performance::advance`] for time, [`Performance::report`] for the figures; [`standing`] looks at what is active now.
//!
//! It knows no topic, no disk and no clock. Its memory is bounded whatever the number of alarms is, and nothing of it
//! survives a restart: figures that are shown with the time they cover need no yesterday, and a flash card is not worn
//! by statistics. What is active, and since when, the engine remembers.

mod ring;
mod standing;

pub use standing::{Standing, standing};

use crate::domain::model::AlarmId;
use crate::domain::time::{Moment, Span};
use ring::Ring;
use std::collections::HashMap;

/// The interval by which the standards count: what an operator can be asked to handle is about one alarm in it.
pub const INTERVAL: Span = Span::from_secs(600);
/// More activations than this within [`INTERVAL`] begin a flood: nobody reads one a minute and acts on it, too.
pub const FLOOD: u64 = 10;
/// A flood ends when there are fewer activations than this within [`INTERVAL`]. Lower than where it begins, so that one
/// upset of the plant is one flood.
pub const FLOOD_END: u64 = 5;
/// So many activations within [`CHATTER`] make a chattering alarm: a limit without a deadband, or a loose contact.
pub const CHATTERING: usize = 3;
/// See [`CHATTERING`].
pub const CHATTER: Span = Span::from_secs(60);
/// An alarm that is gone sooner than this was fleeting: nobody has read it yet, let alone acted. A longer observe-time
/// would have kept it away. The standards give no number; reading one line and turning the head takes this long.
pub const FLEETING: Span = Span::from_secs(5);
/// An alarm that is active for longer than this is stale: it tells of a state of the plant and asks for no action.
pub const STALE: Span = Span::from_secs(86_400);
/// Figures look back this far: a shift plan repeats daily.
pub const DAY: Span = Span::from_secs(86_400);
/// How many alarms a list of the worst has. The standards look at the top ten.
pub const LISTED: usize = 10;

/// Alarms whose activations are counted one by one, less than a megabyte. ISA-18.2 calls 300 alarms a day the most that
/// an operator can manage; a plant with more different ones than this has other worries than the exact order.
const TRACKED: usize = 2_048;

const SECONDS: usize = 600;
const INTERVALS: usize = 144;
const HOURS: usize = 24;

/// A time in which there were more alarms than anybody can follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flood {
    /// When it began.
    pub since: Moment,
    /// Activations from the first that belongs to it on.
    pub activations: u64,
    /// The most within one [`INTERVAL`].
    pub peak: u64,
}

/// Something that people should be told when it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// A flood has begun.
    FloodBegan(Flood),
    /// It is over.
    FloodEnded {
        /// What it was.
        flood: Flood,
        /// When it ended.
        at: Moment,
    },
}

/// What happened to one alarm during the last day.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Which alarm.
    pub alarm: AlarmId,
    /// How often it was activated.
    pub activations: u64,
    /// How often it was gone again before anybody could act.
    pub fleeting: u64,
    /// Which part of all activations are its own, 0 to 1.
    pub share: f64,
}

/// Alarms of one kind: how many there are, and the worst of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ranking {
    /// How many.
    pub count: usize,
    /// Up to [`LISTED`] of them, the worst first.
    pub worst: Vec<Entry>,
}

/// The figures, at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// The time they cover: since the daemon's start, a day at most.
    pub observed: Span,
    /// Activations within the last [`INTERVAL`].
    pub last_interval: u64,
    /// The most within any [`INTERVAL`] of the day.
    pub peak_interval: u64,
    /// The mean per [`INTERVAL`] of the day.
    pub mean_interval: f64,
    /// Activations of the day.
    pub last_day: u64,
    /// The flood that goes on.
    pub flood: Option<Flood>,
    /// Floods that began during the day.
    pub floods: u64,
    /// Which part of the day was flooded, 0 to 1. ISA-18.2 asks for less than 0.01.
    pub flood_share: f64,
    /// Alarms that chattered.
    pub chattering: Ranking,
    /// Alarms that were fleeting.
    pub fleeting: Ranking,
    /// All alarms that were activated, the most frequent first.
    pub frequent: Ranking,
    /// Whether there were more alarms than are counted one by one: then those that were activated least are missing.
    pub is_partial: bool,
}

/// What is known of one alarm.
#[derive(Debug)]
struct Track {
    activations: Ring<HOURS>,
    fleeting: Ring<HOURS>,
    /// The latest activations before the last one.
    earlier: [Option<Moment>; CHATTERING - 1],
    chattered: Option<Moment>,
    active_since: Option<Moment>,
}

/// Counts what happens.
#[derive(Debug)]
pub struct Performance {
    began: Moment,
    now: Moment,
    seconds: Ring<SECONDS>,
    activations: Ring<INTERVALS>,
    peaks: Ring<INTERVALS>,
    flooded_seconds: Ring<INTERVALS>,
    floods: Ring<INTERVALS>,
    flood: Option<Flood>,
    turns: Vec<Turn>,
    tracks: HashMap<AlarmId, Track>,
    /// When alarms had to be forgotten that belong to the day.
    forgot: Option<Moment>,
}

fn slot(at: Moment, length: Span) -> i64 {
    at.as_micros().div_euclid(length.as_micros())
}

const SECOND: Span = Span::from_secs(1);
const HOUR: Span = Span::from_secs(3_600);

impl Performance {
    /// Begins to count.
    pub fn new(now: Moment) -> Performance {
        let interval = slot(now, INTERVAL);
        Performance {
            began: now,
            now,
            seconds: Ring::new(slot(now, SECOND)),
            activations: Ring::new(interval),
            peaks: Ring::new(interval),
            flooded_seconds: Ring::new(interval),
            floods: Ring::new(interval),
            flood: None,
            turns: Vec::new(),
            tracks: HashMap::new(),
            forgot: None,
        }
    }

    /// An alarm was activated and people were told.
    pub fn activated(&mut self, alarm: &AlarmId, at: Moment) {
        self.advance(at);
        let at = self.now;
        self.seconds.add(1);
        self.activations.add(1);
        let within = self.seconds.total();
        self.peaks.raise(u32::try_from(within).unwrap_or(u32::MAX));
        match &mut self.flood {
            Some(flood) => {
                flood.activations += 1;
                flood.peak = flood.peak.max(within);
            }
            None if within > FLOOD => {
                let flood = Flood { since: at, activations: within, peak: within };
                self.flood = Some(flood);
                self.floods.add(1);
                self.turns.push(Turn::FloodBegan(flood));
            }
            None => {}
        }
        self.track(alarm).activated(at);
    }

    /// An active alarm has returned to idled by itself.
    pub fn returned(&mut self, alarm: &AlarmId, at: Moment) {
        self.advance(at);
        if let Some(track) = self.tracks.get_mut(alarm) {
            track.returned(self.now);
        }
    }

    /// Time goes on. It never goes back: an earlier moment is now.
    pub fn advance(&mut self, now: Moment) {
        let (before, now) = (self.now, now.max(self.now));
        self.now = now;
        let last = slot(now, SECOND);
        let mut second = slot(before, SECOND);
        // A flood ends somewhere between; after the length of the interval at the latest nothing is left of it.
        while self.flood.is_some() && second < last {
            second += 1;
            self.seconds.advance(second);
            let at = Moment::from_micros(second.saturating_mul(SECOND.as_micros()));
            self.move_intervals(at);
            self.flooded_seconds.add(1);
            if self.seconds.total() < FLOOD_END
                && let Some(flood) = self.flood.take()
            {
                self.turns.push(Turn::FloodEnded { flood, at });
            }
        }
        self.seconds.advance(last);
        self.move_intervals(now);
    }

    fn move_intervals(&mut self, at: Moment) {
        let interval = slot(at, INTERVAL);
        for ring in [&mut self.activations, &mut self.peaks, &mut self.flooded_seconds, &mut self.floods] {
            ring.advance(interval);
        }
    }

    /// What people should be told, since this was asked last.
    pub fn take_turns(&mut self) -> Vec<Turn> {
        std::mem::take(&mut self.turns)
    }

    /// Whether there is a flood.
    pub fn is_flooded(&self) -> bool {
        self.flood.is_some()
    }

    fn track(&mut self, alarm: &AlarmId) -> &mut Track {
        if self.tracks.len() >= TRACKED && !self.tracks.contains_key(alarm) {
            self.forget_the_quiet();
        }
        let hour = slot(self.now, HOUR);
        self.tracks.entry(alarm.clone()).or_insert_with(|| Track {
            activations: Ring::new(hour),
            fleeting: Ring::new(hour),
            earlier: [None; CHATTERING - 1],
            chattered: None,
            active_since: None,
        })
    }

    /// Makes room: first what is older than the day, then the half that was activated least.
    fn forget_the_quiet(&mut self) {
        self.forget_the_old();
        if self.tracks.len() < TRACKED {
            return;
        }
        let mut counts: Vec<u64> = self.tracks.values().map(|track| track.activations.total()).collect();
        counts.sort_unstable();
        let least = counts.get(counts.len() / 2).copied().unwrap_or(0);
        let mut excess = counts.len().saturating_sub(TRACKED / 2);
        self.tracks.retain(|_, track| {
            let goes = excess > 0 && track.activations.total() <= least;
            excess -= usize::from(goes);
            !goes
        });
        self.forgot = Some(self.now);
    }

    fn forget_the_old(&mut self) {
        let hour = slot(self.now, HOUR);
        self.tracks.retain(|_, track| {
            track.activations.advance(hour);
            track.fleeting.advance(hour);
            track.activations.total() > 0
        });
    }

    /// The figures at this moment.
    pub fn report(&mut self, now: Moment) -> Report {
        self.advance(now);
        self.forget_the_old();
        let now = self.now;
        let is_of_today = |moment: Option<Moment>| moment.is_some_and(|at| now - at < DAY);
        let observed = (now - self.began).min(DAY);
        let last_day = self.activations.total();
        let entries: Vec<(Entry, bool)> = self
            .tracks
            .iter()
            .map(|(alarm, track)| {
                let activations = track.activations.total();
                let fleeting = track.fleeting.total();
                let share = ratio(activations, last_day.max(activations));
                (Entry { alarm: alarm.clone(), activations, fleeting, share }, is_of_today(track.chattered))
            })
            .collect();
        let ranking = |fits: &dyn Fn(&(Entry, bool)) -> bool, weight: fn(&Entry) -> u64| {
            let mut found: Vec<&Entry> = entries.iter().filter(|entry| fits(entry)).map(|(entry, _)| entry).collect();
            found.sort_by(|a, b| weight(b).cmp(&weight(a)).then_with(|| a.alarm.cmp(&b.alarm)));
            Ranking { count: found.len(), worst: found.into_iter().take(LISTED).cloned().collect() }
        };
        // Less than one interval has no mean per interval yet.
        let intervals = observed.max(INTERVAL).as_secs_f64() / INTERVAL.as_secs_f64();
        Report {
            observed,
            last_interval: self.seconds.total(),
            peak_interval: u64::from(self.peaks.highest()),
            mean_interval: approximate(last_day) / intervals,
            last_day,
            flood: self.flood,
            floods: self.floods.total(),
            flood_share: (approximate(self.flooded_seconds.total()) / observed.as_secs_f64().max(1.0)).min(1.0),
            chattering: ranking(&|(_, chattered)| *chattered, |entry| entry.activations),
            fleeting: ranking(&|(entry, _)| entry.fleeting > 0, |entry| entry.fleeting),
            frequent: ranking(&|_| true, |entry| entry.activations),
            is_partial: is_of_today(self.forgot),
        }
    }
}

impl Track {
    fn activated(&mut self, at: Moment) {
        self.activations.advance(slot(at, HOUR));
        self.activations.add(1);
        if self.earlier[0].is_some_and(|first| at - first < CHATTER) {
            self.chattered = Some(at);
        }
        self.earlier.rotate_left(1);
        self.earlier[CHATTERING - 2] = Some(at);
        self.active_since = Some(at);
    }

    fn returned(&mut self, at: Moment) {
        if self.active_since.take().is_some_and(|since| at - since < FLEETING) {
            self.fleeting.advance(slot(at, HOUR));
            self.fleeting.add(1);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a day are far below 2^53")]
fn approximate(count: u64) -> f64 {
    count as f64
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { approximate(part) / approximate(whole) }
}

#[cfg(test)]
mod tests;
