//! `[[alarm]]`: definitions, and what makes no sense in them.

use super::pool::Pool;
use super::reader::Table;
use super::report::{Place, Problem, Problems};
use crate::domain::model::{
    AlarmDefinition, AlarmType, Attributes, Condition, Deadband, Glob, OnGap, Operator, Severity, ThingPattern,
    Trigger, Value,
};
use crate::domain::time::Span;
use crate::ingest::router::MAX_NAME;
use crate::ingest::source::Source;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Averages and silence need some time to be either.
const LEAST_OBSERVE_TIME: Span = Span::from_millis(100);

/// Compiles the alarms. `sources` are all that there are; none where they are not known, because they have problems.
pub(super) fn compile(
    tables: &[Table<'_, '_>],
    sources: Option<&[Source]>,
    taken: &mut Taken,
    pool: &mut Pool,
    problems: &mut Problems,
) -> Vec<Option<AlarmDefinition>> {
    let mut definitions = Vec::with_capacity(tables.len());
    for table in tables {
        let identity = identity(table, pool, problems);
        if let Some(identity) = &identity {
            taken.check(identity, table.place("level"), problems);
            identity.check_delivery(sources, table.place("property"), problems);
        }
        definitions.push(one(table, identity, pool, problems));
    }
    definitions
}

/// What makes an alarm this one and no other.
pub(super) struct Identity {
    pub(super) things: Vec<ThingPattern>,
    pub(super) property: Arc<str>,
    pub(super) level: Arc<str>,
}

/// Which identities are taken, by the number of their table: alarms and anomalies share them. Looking one up does not take longer with every alarm that
/// names its thing; a pattern has to be compared with all.
#[derive(Default)]
pub(super) struct Taken {
    levels: BTreeMap<(Arc<str>, Arc<str>), Level>,
    /// Where the level of each table stands.
    places: Vec<Place>,
}

/// The things that have an alarm of one property and level.
#[derive(Default)]
struct Level {
    named: HashMap<Arc<str>, usize>,
    patterns: Vec<(ThingPattern, usize)>,
}

impl Taken {
    /// Takes an identity, and notes it if another table would make the same alarm for some thing.
    pub(super) fn check(&mut self, identity: &Identity, place: Place, problems: &mut Problems) {
        let other = self.claim(identity, self.places.len());
        if let Some(other) = other.and_then(|other| self.places.get(other)) {
            let Identity { property, level, .. } = identity;
            let line = problems.line(other);
            problems.add(Problem::error(
                place.clone(),
                format!("level {level:?} is used twice for property {property:?} of one thing"),
                format!("it was used at {line}; a level is unique for a property, so choose another"),
            ));
        }
        self.places.push(place);
    }

    /// Takes an identity. The number of the table that had it before, if one would make the same alarm for some thing.
    fn claim(&mut self, identity: &Identity, table: usize) -> Option<usize> {
        let level = self.levels.entry((identity.property.clone(), identity.level.clone())).or_default();
        let mut other = None;
        for thing in &identity.things {
            let by_pattern =
                level.patterns.iter().find(|(pattern, _)| pattern.overlaps(thing)).map(|(_, table)| *table);
            let by_name = match thing {
                ThingPattern::Exactly(id) => level.named.get(id).copied(),
                ThingPattern::Matching(glob) => {
                    level.named.iter().filter(|(id, _)| glob.matches(id)).map(|(_, table)| *table).min()
                }
            };
            other = other.or([by_pattern, by_name].into_iter().flatten().filter(|other| *other != table).min());
        }
        for thing in &identity.things {
            match thing {
                ThingPattern::Exactly(id) => {
                    level.named.entry(id.clone()).or_insert(table);
                }
                ThingPattern::Matching(_) => level.patterns.push((thing.clone(), table)),
            }
        }
        other
    }
}

impl Identity {
    /// Notes it if no source delivers what the alarm watches.
    pub(super) fn check_delivery(&self, sources: Option<&[Source]>, place: Place, problems: &mut Problems) {
        if sources.is_some_and(|sources| !sources.iter().any(|source| self.is_delivered_by(source))) {
            problems.add(Problem::warning(
                place,
                format!("no source delivers {:?} of this thing", self.property),
                "look at thing and property of the sources",
            ));
        }
    }

    /// Whether values from this source may be what the alarm watches.
    fn is_delivered_by(&self, source: &Source) -> bool {
        source.thing.as_ref().is_none_or(|thing| self.things.iter().any(|pattern| pattern.covers(thing)))
            && source.property.as_ref().is_none_or(|property| *property == self.property)
    }
}

fn identity(table: &Table<'_, '_>, pool: &mut Pool, problems: &mut Problems) -> Option<Identity> {
    let things = pool.things(things(table, "thing", problems));
    let property = table.text("property", problems);
    let property = property.and_then(|text| label(text, "property", table.place("property"), problems));
    let level = table.text("level", problems);
    let level = level.and_then(|text| label(text, "level", table.place("level"), problems));
    Some(Identity { things, property: property?, level: level? })
}

/// A name that becomes a part of topics.
pub(super) fn label(text: String, name: &str, place: Place, problems: &mut Problems) -> Option<Arc<str>> {
    if text.is_empty() {
        problems.add(Problem::error(place, format!("{name} is empty"), "give it a name"));
        return None;
    }
    if text.len() > MAX_NAME {
        let message = format!("{name} has {} bytes", text.len());
        problems.add(Problem::error(place, message, format!("it becomes a part of topics: {MAX_NAME} at most")));
        return None;
    }
    Some(Arc::from(text))
}

fn one(
    table: &Table<'_, '_>,
    identity: Option<Identity>,
    pool: &mut Pool,
    problems: &mut Problems,
) -> Option<AlarmDefinition> {
    let severity = table.word("severity", problems);
    let severity = Severity::ALL.into_iter().find(|s| Some(s.as_str()) == severity).unwrap_or(Severity::Warning);
    let on_gap = match table.word("on_gap", problems) {
        Some("count") => OnGap::Count,
        Some("reset") => OnGap::Reset,
        _ => OnGap::Pause,
    };
    let enabled = table.boolean("enabled", problems);
    let title = table.text("title", problems).unwrap_or_default().into();
    let description = table.text("description", problems).unwrap_or_default().into();
    let trigger = trigger(table, problems);
    let Identity { things, property, level } = identity?;
    let trigger = trigger?;
    let attributes = Attributes { property, level, trigger, on_gap, enabled, severity, title, description };
    Some(pool.definition(things, attributes))
}

/// An id, or a pattern over ids.
pub(super) fn pattern(text: &str) -> ThingPattern {
    Glob::parse(text)
        .map_or_else(|| ThingPattern::Exactly(Arc::from(text)), |glob| ThingPattern::Matching(Box::new(glob)))
}

/// Ids and patterns.
pub(super) fn things(table: &Table<'_, '_>, key: &str, problems: &mut Problems) -> Vec<ThingPattern> {
    let mut things: Vec<ThingPattern> = Vec::new();
    for (text, place) in table.texts(key, problems) {
        if text.is_empty() {
            problems.add(Problem::error(place, "a thing id is empty", "an id, or * for every thing"));
            continue;
        }
        if text.len() > MAX_NAME {
            let message = format!("a thing id has {} bytes", text.len());
            problems.add(Problem::error(place, message, format!("it becomes a part of topics: {MAX_NAME} at most")));
            continue;
        }
        let thing = pattern(&text);
        if things.contains(&thing) {
            problems.add(Problem::error(place, format!("{:?} is listed twice", thing.as_str()), "once is enough"));
        }
        things.push(thing);
    }
    things
}

fn trigger(table: &Table<'_, '_>, problems: &mut Problems) -> Option<Trigger> {
    let alarm_type = table.word("type", problems);
    let Some(alarm_type) = AlarmType::ALL.into_iter().find(|t| Some(t.as_str()) == alarm_type) else {
        // Whatever the type turns out to be: what is wrong here is wrong for all of them.
        for name in ["observe_time", "window", "clear_delay"] {
            table.duration(name, problems);
        }
        table.word("operator", problems);
        table.deadband("deadband", problems);
        table.scalar("limit", problems);
        return None;
    };
    let misplaced: &[&str] = match alarm_type {
        AlarmType::Standard => &["window"],
        AlarmType::Average => &["deadband"],
        AlarmType::NoValue => &["operator", "limit", "deadband", "window", "clear_delay"],
        // It has a section of its own.
        AlarmType::Anomaly => return None,
    };
    for name in misplaced.iter().filter(|name| table.has(name)) {
        let why = match (alarm_type, *name) {
            (AlarmType::NoValue, "clear_delay") => "the next value returns it to idled at once",
            (AlarmType::NoValue, _) => "it is about whether there are values, not about which",
            (AlarmType::Average, _) => "the mean is compared with the limit itself",
            (AlarmType::Standard | AlarmType::Anomaly, _) => "only the latest value counts",
        };
        let message = format!("{name} has no meaning in {}", with_article(alarm_type));
        problems.add(Problem::error(table.place(name), message, format!("{why}: leave it out")));
    }
    if alarm_type != AlarmType::Standard && !table.has("observe_time") {
        let message = format!("{} needs observe_time", with_article(alarm_type));
        table.missing(message, "add observe_time = \"…\", 100ms or more", problems);
    }
    let long_enough = |name: &str, problems: &mut Problems| {
        let span = table.duration(name, problems)?;
        if alarm_type != AlarmType::Standard && table.has(name) && span < LEAST_OBSERVE_TIME {
            let message = format!("{name} of {} is {span}", with_article(alarm_type));
            problems.add(Problem::error(table.place(name), message, "100ms or more"));
        }
        Some(span)
    };
    let observe_time = long_enough("observe_time", problems);
    match alarm_type {
        AlarmType::Anomaly => None,
        AlarmType::NoValue => Some(Trigger::NoValue { observe_time: observe_time? }),
        AlarmType::Standard => {
            let clear_delay = table.duration("clear_delay", problems);
            let condition = condition(table, alarm_type, problems)?;
            Some(Trigger::Standard { condition, observe_time: observe_time?, clear_delay: clear_delay? })
        }
        AlarmType::Average => {
            let window = if table.has("window") { long_enough("window", problems) } else { observe_time };
            let clear_delay = table.duration("clear_delay", problems);
            let condition = condition(table, alarm_type, problems)?;
            Some(Trigger::Average {
                condition,
                window: window?,
                observe_time: observe_time?,
                clear_delay: clear_delay?,
            })
        }
    }
}

fn with_article(alarm_type: AlarmType) -> &'static str {
    match alarm_type {
        AlarmType::Standard => "a standard alarm",
        AlarmType::Average => "an average alarm",
        AlarmType::NoValue => "a no-value alarm",
        AlarmType::Anomaly => "an anomaly alarm",
    }
}

fn condition(table: &Table<'_, '_>, alarm_type: AlarmType, problems: &mut Problems) -> Option<Condition> {
    let kind = with_article(alarm_type);
    let word = table.word("operator", problems);
    let operator = Operator::ALL.into_iter().find(|operator| Some(operator.symbol()) == word);
    if !table.has("operator") {
        let help = "add operator = \">\" or another of =, !=, >, >=, <, <=";
        table.missing(format!("{kind} needs an operator"), help, problems);
    }
    let limit = table.scalar("limit", problems);
    if !table.has("limit") {
        let help = "add limit = …: the number, string or boolean that values are compared with";
        table.missing(format!("{kind} needs a limit"), help, problems);
    }
    let deadband = if alarm_type == AlarmType::Standard { table.deadband("deadband", problems) } else { None };
    let (operator, limit) = match (operator, limit) {
        (Some(operator), Some(limit)) => (operator, limit),
        (_, limit) => {
            if let Some(limit) = &limit {
                check_deadband(table, limit, deadband, problems);
            }
            return None;
        }
    };
    check_deadband(table, &limit, deadband, problems);
    if let (false, Value::Text(_) | Value::Boolean(_)) =
        (alarm_type == AlarmType::Standard && !operator.is_ordered(), &limit)
    {
        let (message, help) = if alarm_type == AlarmType::Average {
            (
                format!("the limit of {kind} must be a number, not a {}", limit.borrow().value_type()),
                "a mean is a number",
            )
        } else {
            let message =
                format!("the limit for operator {operator} must be a number, not a {}", limit.borrow().value_type());
            (message, "only numbers are greater or smaller: strings and booleans know = and !=")
        };
        let unquoted = match &limit {
            Value::Text(text) if text.trim().parse::<f64>().is_ok() => "; a number stands without quotes",
            Value::Text(_) | Value::Boolean(_) | Value::Number(_) => "",
        };
        problems.add(Problem::error(table.place("limit"), message, format!("{help}{unquoted}")));
        return None;
    }
    let equal = operator == Operator::Equal;
    Some(match limit {
        Value::Number(limit) => Condition::number(operator, limit, deadband),
        Value::Text(limit) => Condition::Text { equal, limit },
        Value::Boolean(limit) => Condition::Boolean { equal, limit },
    })
}

fn check_deadband(table: &Table<'_, '_>, limit: &Value, deadband: Option<Deadband>, problems: &mut Problems) {
    let Some(deadband) = deadband else { return };
    let (message, help) = match (limit, deadband) {
        (Value::Number(limit), Deadband::Percent(_)) if *limit == 0.0 => {
            ("a percentage of a zero limit is no range".to_owned(), "give the width as a number")
        }
        (Value::Number(limit), _) if !(limit.abs() + deadband.half_width(*limit)).is_finite() => {
            ("the edges of this deadband are not finite".to_owned(), "give a smaller width")
        }
        (Value::Number(_), _) => return,
        (Value::Text(_) | Value::Boolean(_), _) => {
            let what = limit.borrow().value_type();
            (format!("a deadband needs a numeric limit, not a {what}"), "leave it out")
        }
    };
    problems.add(Problem::error(table.place("deadband"), message, help));
}
