//! `[[source]]`: topics and the rules that read their payloads.

use super::reader::Table;
use super::report::{Problem, Problems};
use crate::ingest::formats::{Pointer, TimePointer, TimeUnit};
use crate::ingest::source::{Alive, Pattern, Source};
use std::sync::Arc;

pub(super) fn compile(tables: &[Table<'_, '_>], problems: &mut Problems) -> Vec<Source> {
    tables.iter().filter_map(|table| one(table, problems)).collect()
}

fn one(table: &Table<'_, '_>, problems: &mut Problems) -> Option<Source> {
    let pattern = pattern(table, "topic", problems);
    let name = |name: &str, problems: &mut Problems| {
        let text = table.text(name, problems)?;
        if text.is_empty() {
            problems.add(Problem::error(table.place(name), format!("{name} is empty"), "give it a name"));
            return None;
        }
        Some(Arc::from(text))
    };
    let thing: Option<Arc<str>> = name("thing", problems);
    let property: Option<Arc<str>> = name("property", problems);
    if let Some(pattern) = &pattern {
        for (key, constant, named) in [
            ("thing", thing.is_some(), pattern.names_thing()),
            ("property", property.is_some(), pattern.names_property()),
        ] {
            if constant && named {
                let message = format!("{key} is given twice: as a constant and as {{{key}}} in the topic");
                problems.add(Problem::error(table.place(key), message, "leave one of them out"));
            }
        }
        if table.lacks("thing") && !pattern.names_thing() {
            problems.add(Problem::error(
                table.place("topic"),
                "the source does not say which thing its values are of",
                "name a level {thing}, or add thing = \"…\"",
            ));
        }
    }
    let pointer = |name: &str, problems: &mut Problems| {
        let text = table.text(name, problems)?;
        Pointer::parse(&text)
            .map_err(|message| {
                problems.add(Problem::error(table.place(name), format!("{name}: {message}"), "like \"/data/value\""))
            })
            .ok()
    };
    let value = pointer("value", problems);
    let unit = match table.word("time_unit", problems) {
        Some("s") => TimeUnit::Seconds,
        Some("ms") => TimeUnit::Milliseconds,
        _ => TimeUnit::Rfc3339,
    };
    let time = pointer("time", problems).map(|pointer| TimePointer { pointer, unit });
    if table.has("time_unit") && table.lacks("time") {
        let help = "time = \"/…\" says where in the payload the time is";
        problems.add(Problem::error(table.place("time_unit"), "time_unit without time", help));
    }
    let alive = if table.has("alive") { self::pattern(table, "alive", problems) } else { None };
    if let Some(alive) = &alive {
        if table.lacks("thing") && !alive.names_thing() {
            let help = "name a level {thing}, or add thing = \"…\"";
            problems.add(Problem::error(table.place("alive"), "alive does not say which thing it is about", help));
        }
        if alive.names_property() {
            let help = "it is about a thing: use + for levels that do not matter";
            problems.add(Problem::error(table.place("alive"), "alive cannot name {property}", help));
        }
    }
    let alive_value = pointer("alive_value", problems);
    for name in ["online", "offline", "alive_value"] {
        if table.has(name) && table.lacks("alive") {
            let help = "alive = \"…\" says where the liveness topic is";
            problems.add(Problem::error(table.place(name), format!("{name} without alive"), help));
        }
    }
    let online = table.text("online", problems);
    let offline = table.text("offline", problems).unwrap_or_default();
    let qos = u8::try_from(table.integer("qos", problems)).unwrap_or(1);
    let map = table.map("map", problems);
    let alive = alive.map(|pattern| Alive { pattern, value: alive_value, online, offline });
    Some(Source { pattern: pattern?, thing, property, qos, value, time, map, alive })
}

fn pattern(table: &Table<'_, '_>, name: &str, problems: &mut Problems) -> Option<Pattern> {
    let text = table.text(name, problems)?;
    Pattern::parse(&text)
        .map_err(|message| {
            let help = "like \"things/{thing}/properties/{property}\"";
            problems.add(Problem::error(table.place(name), format!("{name}: {message}"), help));
        })
        .ok()
}
