//! Looks on while a recording is played, and keeps what a picture needs of it.
//!
//! It decides which properties get a panel, what belongs to which panel, and what is said of the rest. It knows no
//! pixels, and nothing it keeps grows with the recording: series are thinned, panels and lanes are counted. Of several
//! values that a property has in one line, the last is kept.

use super::picture::{Gap, Legend, Level, Panel, Picture, Reading};
use super::thin::Thin;
use super::track::Track;
use super::words::{about, fit, number, time, times};
use crate::domain::engine::{AlarmIx, AlarmView, Engine, Link, State};
use crate::domain::model::{Condition, Glob, PropertyName, ThingId, Trigger, ValueRef, ValueType};
use crate::domain::time::{Moment, Stamp};
use crate::replay::Player;
use std::collections::BTreeMap;

/// Panels of one picture: more is a wall that nobody reads, and some megabytes.
const MAX_PANELS: usize = 50;
/// Alarms of one panel: an operator tells fewer levels of one property apart.
const MAX_LANES: usize = 20;
/// Different texts that a panel tells apart. A property with more is a message, not a state.
const MAX_CATEGORIES: usize = 12;
/// Characters of a text that are kept.
const MAX_TEXT: usize = 60;
/// Alarms that are left out and named.
const MAX_NAMED: usize = 5;
const OTHER_TEXTS: &str = "(other texts)";

/// Which alarms are drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// All, as far as there is room.
    All,
    /// The one with this id.
    One(String),
    /// Those whose id fits.
    Fitting(Glob),
}

impl Choice {
    /// The choice that somebody made by an id, a pattern over ids, or not at all.
    pub fn parse(text: Option<&str>) -> Choice {
        match text {
            None => Choice::All,
            Some(text) => Glob::parse(text).map_or_else(|| Choice::One(text.to_owned()), Choice::Fitting),
        }
    }

    fn includes(&self, id: &str) -> bool {
        match self {
            Choice::All => true,
            Choice::One(only) => only == id,
            Choice::Fitting(glob) => glob.matches(id),
        }
    }
}

/// Where an alarm is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It was not looked at yet.
    Unknown,
    /// In this lane of this panel.
    At { panel: usize, lane: usize },
    /// Nowhere: there is no room.
    NoRoom,
    /// Nowhere: nobody asked for it.
    Unwanted,
}

/// A panel while it fills.
#[derive(Debug)]
struct Collected {
    title: String,
    first_alarm: AlarmIx,
    /// What its values are; none until the first one says.
    kind: Option<ValueType>,
    categories: Vec<String>,
    values: Thin<Reading>,
    other_type: u64,
    /// The line of the latest value: several alarms hear the same one.
    line: u64,
    levels: Vec<Level>,
    tracks: Vec<Track>,
}

/// Keeps what a picture needs.
#[derive(Debug)]
pub struct Collector {
    choice: Choice,
    panels: Vec<Collected>,
    of_property: BTreeMap<(ThingId, PropertyName), usize>,
    places: Vec<Place>,
    /// Alarms that exist from the beginning.
    configured: usize,
    line: u64,
    start: Option<Stamp>,
    end: Stamp,
    link: Link,
    gaps: Thin<Gap>,
    left_out: BTreeMap<String, u64>,
    left_out_activated: u64,
    touched: Vec<AlarmIx>,
}

fn stamp(moment: Moment) -> Stamp {
    // In a recording the engine's time line and the wall clock are the same.
    Stamp::from_micros(moment.as_micros())
}

impl Collector {
    /// A collector for what `player` is going to play.
    pub fn new(player: &Player, choice: Choice) -> Collector {
        Collector {
            choice,
            panels: Vec::new(),
            of_property: BTreeMap::new(),
            places: Vec::new(),
            configured: player.engine().next_alarm(),
            line: 0,
            start: None,
            end: Stamp::default(),
            link: player.engine().link(),
            gaps: Thin::default(),
            left_out: BTreeMap::new(),
            left_out_activated: 0,
            touched: Vec::new(),
        }
    }

    /// Looks at what the line that was just played has changed.
    pub fn observe(&mut self, player: &mut Player) {
        let Some(now) = player.now().map(stamp) else { return };
        self.line += 1;
        self.start.get_or_insert(now);
        self.end = now;
        for event in &player.effects.events {
            let Some(alarm) = player.engine().find(event.alarm.id.as_str()) else { continue };
            match self.place(alarm, player.engine()) {
                Place::At { panel, lane } => self.panels[panel].tracks[lane].turn(event),
                Place::NoRoom if event.to == State::Activated && !event.from.is_active() => {
                    self.left_out_activated += 1;
                    if self.left_out.len() < MAX_NAMED || self.left_out.contains_key(event.alarm.id.as_str()) {
                        *self.left_out.entry(event.alarm.id.as_str().to_owned()).or_default() += 1;
                    }
                }
                Place::NoRoom | Place::Unwanted | Place::Unknown => {}
            }
        }
        let mut touched = std::mem::take(&mut self.touched);
        touched.clear();
        player.engine_mut().take_touched(&mut touched);
        let engine = player.engine();
        if engine.link() != self.link {
            self.link_changed(engine.link(), now);
            // A gap's end moves timers of alarms that heard nothing. Those of which nothing came yet have to wait until
            // it is known whether they are needed for more than to fill the page.
            let is_placed = |alarm: &AlarmIx| matches!(self.places.get(alarm.index()), Some(Place::At { .. }));
            touched.extend(engine.alarms().filter(is_placed));
        }
        for alarm in &touched {
            if let Place::At { panel, lane } = self.place(*alarm, engine) {
                let view = engine.view(*alarm);
                let collected = &mut self.panels[panel];
                let has_heard = collected.tracks[lane].look(view, self.link.is_up(), now);
                if let (true, Some(value)) = (has_heard, view.value()) {
                    collected.value(value.borrow(), self.line, now);
                }
            }
        }
        self.touched = touched;
    }

    fn link_changed(&mut self, link: Link, now: Stamp) {
        if let Link::Down { since } = self.link {
            self.gaps.push(stamp(since), Gap { end: now });
        }
        self.link = link;
    }

    /// Where the alarm is drawn; decided when it is looked at for the first time.
    fn place(&mut self, alarm: AlarmIx, engine: &Engine) -> Place {
        let index = alarm.index();
        if index >= self.places.len() {
            self.places.resize(index + 1, Place::Unknown);
        }
        if self.places[index] == Place::Unknown {
            self.places[index] = self.find_place(alarm, engine.view(alarm));
        }
        self.places[index]
    }

    fn find_place(&mut self, alarm: AlarmIx, view: AlarmView<'_>) -> Place {
        let facts = view.facts();
        // What a model finds is not in a recording.
        let is_judged = !matches!(view.definition().trigger, Trigger::Anomaly { .. });
        if !is_judged || !self.choice.includes(facts.id.as_str()) {
            return Place::Unwanted;
        }
        let property = (facts.thing.clone(), facts.property.clone());
        let panel = match self.of_property.get(&property) {
            Some(panel) => *panel,
            None if self.panels.len() < MAX_PANELS => {
                let title = format!("{} / {}", facts.thing, facts.property);
                self.panels.push(Collected::new(title, alarm));
                self.of_property.insert(property, self.panels.len() - 1);
                self.panels.len() - 1
            }
            None => return Place::NoRoom,
        };
        let begins = if alarm.index() < self.configured { self.start.unwrap_or(self.end) } else { self.end };
        let lane = self.panels[panel].tracks.len();
        if lane >= MAX_LANES {
            return Place::NoRoom;
        }
        self.panels[panel].add(view, begins);
        Place::At { panel, lane }
    }

    /// The picture of all that was played.
    pub fn finish(mut self, player: &Player) -> Picture {
        let engine = player.engine();
        // Properties of which nothing came are drawn too, if there is room: their silence may be the point.
        let order = engine.all_alarms();
        let places: Vec<Place> = order.iter().map(|alarm| self.place(*alarm, engine)).collect();
        for (alarm, place) in order.iter().zip(&places) {
            if let Place::At { panel, lane } = *place {
                self.panels[panel].tracks[lane].look(engine.view(*alarm), self.link.is_up(), self.end);
            }
        }
        let (end, link) = (self.end, self.link);
        if self.start.is_some() {
            self.link_changed(link, end);
        }
        for track in self.panels.iter_mut().flat_map(|panel| &mut panel.tracks) {
            track.stop(end);
        }
        self.panels.sort_by_key(|panel| order.iter().position(|alarm| *alarm == panel.first_alarm));
        let without_room = places.iter().filter(|place| **place == Place::NoRoom).count();
        let mut notes = Vec::new();
        if without_room > 0 {
            notes.push(self.about_left_out(without_room));
        }
        if let Some(span) = self.gaps.joined_within() {
            notes.push(format!("{} gaps; those within {} are drawn as one", self.gaps.count(), about(span)));
        }
        if places.iter().all(|place| *place == Place::Unwanted) {
            notes.push("there is no such alarm".into());
        }
        let start = self.start.unwrap_or_default();
        let heading = match self.start {
            Some(start) => format!("{} to {} · {} lines played", time(start, start), time(end, start), self.line),
            None => "nothing was played".into(),
        };
        let panels = self.panels.into_iter().map(Collected::finish).collect();
        Picture { heading, legend: Legend::Alarms, notes, start, end, gaps: self.gaps, panels }
    }

    fn about_left_out(&self, without_room: usize) -> String {
        let mut text = format!("{without_room} alarms are left out: there is room for {MAX_PANELS} properties.");
        match self.left_out_activated {
            0 => text.push_str(" None of them was activated."),
            count => {
                let named: Vec<String> = self.left_out.keys().map(|id| fit(id, MAX_TEXT)).collect();
                let more = if named.len() < MAX_NAMED { "" } else { " …" };
                text.push_str(&format!(" They were activated {}: {}{more}", times(count), named.join(", ")));
            }
        }
        text
    }
}

impl Collected {
    fn new(title: String, first_alarm: AlarmIx) -> Collected {
        Collected {
            title: fit(&title, 2 * MAX_TEXT),
            first_alarm,
            kind: None,
            categories: Vec::new(),
            values: Thin::default(),
            other_type: 0,
            line: 0,
            levels: Vec::new(),
            tracks: Vec::new(),
        }
    }

    fn add(&mut self, view: AlarmView<'_>, begins: Stamp) {
        let track = Track::new(view, begins);
        let name = track.lane.name.clone();
        self.tracks.push(track);
        let Some(condition) = view.definition().trigger.condition() else { return };
        if *self.kind.get_or_insert(condition.value_type()) != condition.value_type() {
            return;
        }
        if let Trigger::Score { severities, .. } = &view.definition().trigger {
            for (severity, least) in severities {
                self.level(*least, *least, format!("{name} {}", severity.as_str()));
            }
            return;
        }
        let (low, high) = match condition {
            Condition::Number { low, high, .. } => (*low, *high),
            Condition::Text { limit, .. } => self.category_of(ValueRef::Text(limit)),
            Condition::Boolean { limit, .. } => self.category_of(ValueRef::Boolean(*limit)),
        };
        self.level(low, high, name);
    }

    fn level(&mut self, low: f64, high: f64, name: String) {
        let same = |level: &&mut Level| level.low.to_bits() == low.to_bits() && level.high.to_bits() == high.to_bits();
        match self.levels.iter_mut().find(same) {
            Some(level) => level.alarms.push(name),
            None => self.levels.push(Level { low, high, alarms: vec![name] }),
        }
    }

    fn category_of(&mut self, value: ValueRef<'_>) -> (f64, f64) {
        let height = self.height(value);
        (height, height)
    }

    /// Takes a value that counted for one of its alarms.
    fn value(&mut self, value: ValueRef<'_>, line: u64, at: Stamp) {
        if self.line == line {
            return;
        }
        if *self.kind.get_or_insert(value.value_type()) != value.value_type() {
            self.other_type += 1;
            return;
        }
        self.line = line;
        let height = self.height(value);
        self.values.push(at, Reading::of(height));
    }

    /// How high a value is drawn: a number as it is, a text or a boolean as the number of its category.
    fn height(&mut self, value: ValueRef<'_>) -> f64 {
        let name = match value {
            ValueRef::Number(number) => return number,
            ValueRef::Boolean(truth) => {
                self.categories = vec!["false".into(), "true".into()];
                return f64::from(u8::from(truth));
            }
            ValueRef::Text(text) => fit(text, MAX_TEXT),
            ValueRef::Cut(cut) => fit(&cut.shown, MAX_TEXT),
        };
        let known = self.categories.iter().position(|category| *category == name);
        let index = known.unwrap_or_else(|| {
            if self.categories.len() < MAX_CATEGORIES {
                self.categories.push(name);
            } else if self.categories.len() == MAX_CATEGORIES {
                self.categories.push(OTHER_TEXTS.into());
            }
            self.categories.len() - 1
        });
        f64::from(u32::try_from(index).unwrap_or(u32::MAX))
    }

    fn finish(self) -> Panel {
        let mut notes = Vec::new();
        match self.values.count() {
            0 => notes.push("no value came".to_owned()),
            count => {
                let joined =
                    self.values.joined_within().map(|span| format!(" (lowest and highest of every {})", about(span)));
                notes.push(format!("{count} values{}", joined.unwrap_or_default()));
            }
        }
        if let Some(span) = self.tracks.iter().filter_map(|track| track.lane.turns.joined_within()).max() {
            notes.push(format!("state changes within {} are drawn as one", about(span)));
        }
        if self.other_type > 0 {
            notes.push(format!("{} of another type are not drawn", self.other_type));
        }
        if let (true, Some(last)) = (self.categories.is_empty(), self.values.buckets().last()) {
            notes.push(format!("last {}", number(last.of.last)));
        }
        Panel {
            title: self.title,
            note: notes.join(", "),
            categories: self.categories,
            values: self.values,
            levels: self.levels,
            lanes: self.tracks.into_iter().map(|track| track.lane).collect(),
        }
    }
}
