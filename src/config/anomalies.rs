//! `[[anomaly]]`: models and their alarms, and what makes no sense in them.
//!
//! One table gives an alarm definition like those of `[[alarm]]` and, unless somebody else computes the score, a model.

use super::alarms::{Identity, Taken, label, things};
use super::keys::OF_A_MODEL;
use super::pool::Pool;
use super::reader::{Table, suggestion};
use super::report::{Place, Problem, Problems};
use crate::domain::anomaly::cluster::Clustering;
use crate::domain::anomaly::definition::{AnomalyDefinition, Per, Refresh};
use crate::domain::anomaly::life::OnDeletion;
use crate::domain::anomaly::model::{LEAST_SEGMENTS, Settings};
use crate::domain::model::{AlarmDefinition, Attributes, OnGap, Severity, ThingPattern, Trigger, Value};
use crate::domain::time::Span;
use crate::ingest::source::Source;
use std::collections::BTreeMap;
use std::sync::Arc;

const SECOND: Span = Span::from_secs(1);
const DAY: Span = Span::from_secs(86_400);
/// Clusters that a user may ask for; with more, each segment is its own normal.
const MOST_CLUSTERS: u32 = 32;

/// One table: its alarm, and its model if it has one. [`AnomalyDefinition::alarm`] is for the caller to fill in.
pub(super) type Compiled = (AlarmDefinition, Option<AnomalyDefinition>);

/// Compiles the anomalies. `sources` are all that there are; none where they are not known.
pub(super) fn compile(
    tables: &[Table<'_, '_>],
    sources: Option<&[Source]>,
    taken: &mut Taken,
    pool: &mut Pool,
    problems: &mut Problems,
) -> Vec<Option<Compiled>> {
    let mut names: BTreeMap<Arc<str>, Place> = BTreeMap::new();
    let mut compiled = Vec::new();
    for table in tables {
        let name = name(table, &mut names, problems);
        compiled.push(one(table, name, sources, taken, pool, problems));
    }
    compiled
}

fn name(table: &Table<'_, '_>, names: &mut BTreeMap<Arc<str>, Place>, problems: &mut Problems) -> Option<Arc<str>> {
    let place = table.place("name");
    let name = label(table.text("name", problems)?, "name", place.clone(), problems)?;
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        let help = "it becomes a part of topics and commands: letters, digits, dashes, underscores and dots";
        problems.add(Problem::error(place, format!("{name:?} cannot be a name here"), help));
        return None;
    }
    if let Some(other) = names.get(&name) {
        let help = format!("it was used at {}; choose another", problems.line(other));
        problems.add(Problem::error(place, format!("anomaly {name:?} is given twice"), help));
        return None;
    }
    names.insert(name.clone(), place);
    Some(name)
}

fn one(
    table: &Table<'_, '_>,
    name: Option<Arc<str>>,
    sources: Option<&[Source]>,
    taken: &mut Taken,
    pool: &mut Pool,
    problems: &mut Problems,
) -> Option<Compiled> {
    let things_key = either(table, "thing", "things", problems);
    let patterns = things(table, things_key, problems);
    let is_scored = table.has("score");
    let severities = severities(table, problems);
    let min_duration = table.duration("min_duration", problems).unwrap_or_default();
    let join = table.has("join").then(|| table.duration("join", problems)).flatten();
    let enabled = table.boolean("enabled", problems);
    let title = table.text("title", problems).unwrap_or_default().into();
    let description = table.text("description", problems).unwrap_or_default().into();
    let level = match table.has("level") {
        true => table.text("level", problems).and_then(|text| label(text, "level", table.place("level"), problems)),
        false => name.clone(),
    };
    let (watched, trigger, model) = if is_scored {
        refuse_model_keys(table, problems);
        if !table.has("severities") {
            let help = "add severities = { warning = 3, critical = 6 }: from which score on, as its maker means it";
            table.missing("a score needs severities", help, problems);
        }
        let watched = scored(table, things_key, patterns, problems);
        let trigger = severities.map(|least| Trigger::score(least, min_duration, join.unwrap_or_default()));
        (watched, trigger, None)
    } else {
        if table.lacks(things_key) {
            let help = "add thing = \"…\", a list of things, or a pattern like \"boiler-*\"";
            table.missing("anomaly has no thing", help, problems);
        }
        let watched = properties(table, problems);
        let model = model(table, &patterns, problems);
        let trigger = name.clone().map(|model| Trigger::Anomaly { model });
        for (property, place) in watched.iter().skip(1) {
            let identity = Identity { things: patterns.clone(), property: property.clone(), level: Arc::default() };
            identity.check_delivery(sources, place.clone(), problems);
        }
        let first = watched.first().map(|(property, place)| (patterns, property.clone(), place.clone()));
        (first, trigger, model.map(|model| (model, watched, severities)))
    };
    let ((things, property, place), level) = (watched?, level?);
    let identity = Identity { things, property, level };
    taken.check(&identity, table.place(if table.has("level") { "level" } else { "name" }), problems);
    identity.check_delivery(sources, place, problems);
    let Identity { things, property, level } = identity;
    let trigger = trigger?;
    let used = match (&trigger, &model) {
        (Trigger::Score { severities, .. }, _) => Some(severities),
        (_, Some((_, _, severities))) => severities.as_ref(),
        (_, None) => None,
    };
    let severity = used.and_then(|used| used.first()).map_or(Severity::Warning, |(severity, _)| *severity);
    let on_gap = OnGap::Pause;
    let model = model.map(|(model, watched, severities)| {
        let properties = watched.into_iter().map(|(property, _)| property).collect();
        let join = join.unwrap_or(model.settings.segment);
        let settings = Settings { min_duration, ..model.settings };
        let things = things.clone();
        AnomalyDefinition { name: name.unwrap_or_default(), things, properties, settings, join, severities, ..model }
    });
    let attributes = Attributes { property, level, trigger, on_gap, enabled, severity, title, description };
    Some((pool.definition(things, attributes), model))
}

/// Which of two spellings is used.
fn either(table: &Table<'_, '_>, one: &'static str, other: &'static str, problems: &mut Problems) -> &'static str {
    if table.has(one) && table.has(other) {
        let message = format!("{one} and {other} mean the same");
        problems.add(Problem::error(table.place(other), message, format!("put all into {one}")));
    }
    if table.has(other) { other } else { one }
}

fn properties(table: &Table<'_, '_>, problems: &mut Problems) -> Vec<(Arc<str>, Place)> {
    let key = either(table, "property", "properties", problems);
    if table.lacks(key) {
        let help = "add property = \"…\", or a list of properties that belong together, or score = \"thing property\"";
        table.missing("anomaly has no property", help, problems);
    }
    let mut properties: Vec<(Arc<str>, Place)> = Vec::new();
    for (text, place) in table.texts(key, problems) {
        let Some(property) = label(text, key, place.clone(), problems) else { continue };
        if properties.iter().any(|(other, _)| *other == property) {
            problems.add(Problem::error(place.clone(), format!("{property:?} is listed twice"), "once is enough"));
        }
        properties.push((property, place));
    }
    properties
}

/// The things and the property that carry a score of somebody else's.
fn scored(
    table: &Table<'_, '_>,
    things_key: &str,
    patterns: Vec<ThingPattern>,
    problems: &mut Problems,
) -> Option<(Vec<ThingPattern>, Arc<str>, Place)> {
    let (place, text) = (table.place("score"), table.text("score", problems)?);
    let parts = text.trim().split_once([' ', '/']).map(|(thing, property)| (thing, property.trim_start()));
    let (things, property) = match parts {
        None if table.has(things_key) => (patterns, text.trim()),
        None => {
            let help = "write the thing, too: score = \"press-1 strangeness\", or add thing = \"press-1\"";
            problems.add(Problem::error(place, format!("score: whose {text:?}?"), help));
            return None;
        }
        Some((thing, property)) => {
            let pattern = super::alarms::pattern(thing);
            if table.has(things_key) && !patterns.iter().any(|other| other.overlaps(&pattern)) {
                let message = format!("score: {thing:?} is not the thing of this alarm");
                problems.add(Problem::error(place, message, format!("leave {things_key} out, or name the same thing")));
                return None;
            }
            (vec![pattern], property)
        }
    };
    let property = label(property.to_owned(), "score", place.clone(), problems)?;
    Some((things, property, place))
}

fn refuse_model_keys(table: &Table<'_, '_>, problems: &mut Problems) {
    for name in OF_A_MODEL.iter().filter(|name| table.has(name)) {
        let message = format!("{name} has no meaning beside score");
        let help = "somebody else computes the score, so nothing is learnt here: leave it out, or leave score out";
        problems.add(Problem::error(table.place(name), message, help));
    }
}

/// The least score of each severity that is named, mildest first.
fn severities(table: &Table<'_, '_>, problems: &mut Problems) -> Option<Vec<(Severity, f64)>> {
    let words = Severity::ALL.map(Severity::as_str);
    let mut least: Vec<(Severity, f64, Place)> = Vec::new();
    let numbers = table.numbers("severities", problems)?;
    let is_empty = numbers.is_empty();
    for (word, place, score, place_of_score) in numbers {
        let Some(severity) = Severity::ALL.into_iter().find(|severity| severity.as_str() == word) else {
            let message = format!("{word:?} is no severity");
            problems.add(Problem::error(place, message, suggestion(&word, words.into_iter())));
            continue;
        };
        if score <= 0.0 {
            let message = format!("the least score of {word} cannot be {score}");
            problems.add(Problem::error(place_of_score, message, "0 is normal, so more than 0"));
            continue;
        }
        least.push((severity, score, place_of_score));
    }
    least.sort_by_key(|(severity, ..)| *severity);
    for pair in least.windows(2) {
        if let [(mild, low, _), (severe, high, place)] = pair
            && high <= low
        {
            let message = format!("{} begins at {high}, and {} at {low}", severe.as_str(), mild.as_str());
            problems.add(Problem::error(place.clone(), message, "what is more severe needs a higher score"));
        }
    }
    if is_empty {
        let help = "name at least one: severities = { warning = 3.5 }";
        problems.add(Problem::error(table.place("severities"), "severities names none", help));
    }
    if least.is_empty() {
        return None;
    }
    Some(least.into_iter().map(|(severity, score, _)| (severity, score)).collect())
}

/// What is said of the model alone; its names, things and thresholds are filled in by the caller.
fn model(table: &Table<'_, '_>, things: &[ThingPattern], problems: &mut Problems) -> Option<AnomalyDefinition> {
    let segment = table.duration_within("segment", SECOND, Span::from_secs(31 * 86_400), problems);
    let step = if table.has("step") { table.duration("step", problems)? } else { segment };
    if table.has("step") && (step > segment || step < Span::from_millis(100)) && segment > Span::ZERO {
        let help = format!("100ms to {segment}, the length of a segment: what lies between segments would not be seen");
        problems.add(Problem::error(table.place("step"), format!("step is {step}"), help));
    }
    let clustering = table.word("clustering", problems);
    let clustering = Clustering::ALL.into_iter().find(|c| Some(c.as_str()) == clustering).unwrap_or_default();
    let clusters = clusters(table, clustering, problems);
    let sensitivity = table.number_within("sensitivity", 50.0, 99.999, problems);
    let per = table.word("per", problems);
    let per = Per::ALL.into_iter().find(|p| Some(p.as_str()) == per).unwrap_or_default();
    let history = table.duration_within("history", Span::from_secs(3_600), Span::from_secs(3_660 * 86_400), problems);
    let history_bytes = u64::try_from(table.integer("history_bytes", problems)).unwrap_or(u64::MAX);
    let steps = step.as_micros().saturating_mul(count(LEAST_SEGMENTS - 1));
    let least = Span::from_micros(segment.as_micros().saturating_add(steps));
    if history < least && history > Span::ZERO {
        let message = format!("a history of {history} holds fewer than {LEAST_SEGMENTS} segments");
        let help =
            format!("a model needs {LEAST_SEGMENTS}, which take {least}: keep more, or choose a shorter segment");
        problems.add(Problem::error(table.place("history"), message, help));
    }
    let build = if table.has("build") { table.duration("build", problems) } else { None };
    if let Some(build) = build.filter(|build| *build < least || *build > history) {
        let help = format!("{least} (what {LEAST_SEGMENTS} segments take) to {history} (what is kept)");
        problems.add(Problem::error(table.place("build"), format!("build is {build}"), help));
    }
    let on_deletion = match table.word("on_deletion", problems) {
        Some("delete") => OnDeletion::Delete,
        _ => OnDeletion::Clear,
    };
    let storm = table.number_within("storm", 0.0, 1e6, problems);
    let refresh = table.inner("refresh", problems).and_then(|table| refresh(&table, things, problems));
    Some(AnomalyDefinition {
        name: Arc::default(),
        alarm: 0,
        things: Vec::new(),
        properties: Vec::new(),
        settings: Settings { segment, step, clustering, sensitivity, min_duration: Span::ZERO },
        clusters,
        per,
        join: Span::ZERO,
        severities: None,
        history,
        history_bytes,
        build,
        refresh,
        on_deletion,
        storm,
    })
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn clusters(table: &Table<'_, '_>, clustering: Clustering, problems: &mut Problems) -> Option<usize> {
    let wanted = table.scalar("clusters", problems)?;
    let place = table.place("clusters");
    match wanted {
        Value::Text(text) if &*text == "auto" => None,
        _ if clustering == Clustering::Dbscan => {
            let help = "it finds as many as there are: leave it out, or write \"auto\"";
            problems.add(Problem::error(place, "clusters has no meaning for dbscan", help));
            None
        }
        Value::Number(number) => {
            let found = (1..=MOST_CLUSTERS).find(|count| f64::from(*count).to_bits() == number.to_bits());
            if found.is_none() {
                let help = format!("a whole number from 1 to {MOST_CLUSTERS}, or \"auto\"");
                problems.add(Problem::error(place, format!("clusters cannot be {number}"), help));
            }
            found.and_then(|found| usize::try_from(found).ok())
        }
        Value::Text(_) | Value::Boolean(_) => {
            let help = format!("a whole number from 1 to {MOST_CLUSTERS}, or \"auto\"");
            problems.add(Problem::error(place, "clusters is no number", help));
            None
        }
    }
}

fn refresh(table: &Table<'_, '_>, of_model: &[ThingPattern], problems: &mut Problems) -> Option<Refresh> {
    let aligned = table.boolean("aligned", problems);
    let (alarms, save) = (table.boolean("alarms", problems), table.boolean("save", problems));
    let chosen = things(table, "things", problems);
    let places = if table.has("things") { table.texts("things", problems) } else { Vec::new() };
    for (text, place) in places {
        let pattern = super::alarms::pattern(&text);
        if !of_model.is_empty() && !of_model.iter().any(|thing| thing.overlaps(&pattern)) {
            let of_model: Vec<&str> = of_model.iter().map(ThingPattern::as_str).collect();
            let help = format!("the model is for {}", of_model.join(", "));
            problems.add(Problem::error(place, format!("refresh: {text:?} is no thing of this model"), help));
        }
    }
    if !table.has("every") {
        return None;
    }
    let every = table.duration_within("every", SECOND, Span::from_micros(31 * DAY.as_micros()), problems);
    if aligned
        && every > Span::ZERO
        && DAY.as_micros() % every.as_micros() != 0
        && every.as_micros() % DAY.as_micros() != 0
    {
        let help = "a part of a day, like 5m or 1h, or whole days; or leave aligned out";
        problems.add(Problem::error(table.place("every"), format!("every {every} cannot be aligned"), help));
    }
    Some(Refresh { every, aligned, things: chosen, alarms, save })
}
