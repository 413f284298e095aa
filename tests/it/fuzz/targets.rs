//! What is done with the bytes, and what has to hold whatever they are.

use annunciator::api::execute;
use annunciator::api::topics::{decode, encode};
use annunciator::api::{commands, state};
use annunciator::config::Config;
use annunciator::domain::engine::{Effects, Engine, Input};
use annunciator::domain::history::Filter;
use annunciator::domain::history::HistoryQuery;
use annunciator::domain::model::{Glob, ValueRef};
use annunciator::domain::time::{Moment, Now, Span, Stamp};
use annunciator::ingest::formats::{Map, Payload, PayloadFault, Pointer, TimePointer, TimeUnit};
use annunciator::ingest::router::{Intake, Message};
use annunciator::ingest::source::{Pattern, subscriptions};
use annunciator::io::store::history::{Search, names, oldest};
use annunciator::io::store::{Batch, Pair, Store, StoreError, record};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The text before the first line end, and the bytes behind it.
fn first_line(bytes: &[u8]) -> (String, &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    (String::from_utf8_lossy(&bytes[..end]).into_owned(), bytes.get(end + 1..).unwrap_or_default())
}

/// First line: a JSON pointer. The rest: a payload.
pub fn payload(bytes: &[u8]) {
    const LIMIT: usize = 4_096;
    let (pointer, bytes) = first_line(bytes);
    let pointer = Pointer::parse(&pointer).ok();
    let payload = match Payload::read(bytes, LIMIT) {
        Ok(payload) => payload,
        Err(fault) => {
            assert!(fault == PayloadFault::TooLarge && bytes.len() > LIMIT || std::str::from_utf8(bytes).is_err());
            return;
        }
    };
    let map = Map::from([("ON".to_owned(), annunciator::domain::model::Value::Boolean(true))]);
    let look = |value: ValueRef<'_>| match value {
        ValueRef::Number(number) => assert!(number.is_finite()),
        ValueRef::Text(text) => assert!(text.len() <= bytes.len()),
        ValueRef::Cut(cut) => panic!("a message has its texts whole: {cut:?}"),
        ValueRef::Boolean(_) => {}
    };
    for pointer in [None, pointer.as_ref()] {
        let _ = payload.scalar(pointer, &map, look);
        let (mut count, mut longest) = (0, 0);
        let _ = payload.members(
            pointer,
            &map,
            &mut |name, value| {
                (count, longest) = (count + 1, longest.max(name.len()));
                look(value);
            },
            &mut |_, _| {},
        );
        assert!(count <= bytes.len() && longest <= bytes.len());
    }
    for unit in [TimeUnit::Rfc3339, TimeUnit::Seconds, TimeUnit::Milliseconds] {
        if let Some(pointer) = pointer.clone() {
            let _ = payload.time(&TimePointer { pointer, unit });
        }
    }
    // The same, the simple way.
    let got = payload.scalar(None, &Map::new(), |value| value.to_value());
    match serde_json::from_slice::<Value>(bytes) {
        Ok(Value::String(text)) => assert_eq!(got, Ok(annunciator::domain::model::Value::Text(text.into()))),
        Ok(Value::Bool(truth)) => assert_eq!(got, Ok(annunciator::domain::model::Value::Boolean(truth))),
        Ok(Value::Number(number)) => {
            assert_eq!(got, Ok(annunciator::domain::model::Value::Number(number.as_f64().unwrap())));
        }
        Ok(Value::Null | Value::Array(_) | Value::Object(_)) => assert!(matches!(got, Err(PayloadFault::NotScalar(_)))),
        // No JSON, or a number that is too large for a float, or half of a surrogate pair.
        Err(_) => {}
    }
}

/// Lines: topic patterns, the last one a topic.
pub fn topics(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    let Some((topic, patterns)) = lines.split_last() else { return };
    assert_eq!(decode(&encode(topic)), *topic);
    assert!(!encode(topic).contains(['/', '+', '#']) && !encode(topic).contains(char::is_control));
    assert!(decode(topic).len() <= topic.len());
    let mut filters = Vec::new();
    for pattern in patterns {
        let Ok(parsed) = Pattern::parse(pattern) else { continue };
        let filter = parsed.filter();
        assert_eq!(filter.split('/').count(), pattern.split('/').count());
        assert!(!filter.contains(['{', '}']), "{filter}");
        assert_eq!(Pattern::parse(&filter).unwrap().filter(), filter, "a filter is a pattern without names");
        let names = parsed.names(topic);
        let empty = |level: &&str| level.is_empty();
        let has_nameless = |names: annunciator::ingest::source::Names<'_>| {
            names.thing.as_ref().is_some_and(empty) || names.property.as_ref().is_some_and(empty)
        };
        assert!(names.is_none_or(|names| !has_nameless(names) && fits(&filter, topic)));
        filters.push((filter, 1));
        if let Some(glob) = Glob::parse(pattern) {
            assert!(glob.overlaps(&glob));
            let _ = glob.matches(topic);
        }
    }
    // Whatever a filter would bring, the subscriptions bring.
    let subscribed = subscriptions(filters.clone());
    assert!(subscribed.len() <= filters.len());
    if filters.iter().any(|(filter, _)| fits(filter, topic)) {
        assert!(subscribed.iter().any(|(filter, _)| fits(filter, topic)), "{filters:?} {subscribed:?} {topic}");
    }
}

/// Whether a topic fits a filter, as MQTT 4.7 says, level by level.
fn fits(filter: &str, topic: &str) -> bool {
    fn levels(filter: &[&str], topic: &[&str]) -> bool {
        match (filter.split_first(), topic.split_first()) {
            (None, None) => true,
            // The level above belongs to it.
            (Some((&"#", [])), _) => true,
            (Some((level, filter)), Some((text, topic))) => (*level == "+" || level == text) && levels(filter, topic),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
    let is_kept_back = topic.starts_with('$') && filter.starts_with(['+', '#']);
    !is_kept_back && levels(&filter.split('/').collect::<Vec<_>>(), &topic.split('/').collect::<Vec<_>>())
}

const ALARMS: &str = r#"
[gateway]
id = "gw"
state_dir = "state"

[mqtt]
url = "mqtt://127.0.0.1:1"

[[source]]
topic = "things/{thing}/properties/{property}"

[[alarm]]
thing = ["press-1", "press-2"]
property = "pressure"
level = "hi"
type = "standard"
operator = ">"
limit = 15
"#;

/// First line: the verb, behind a `!` if the command is retained. The rest: its payload.
pub fn command(bytes: &[u8]) {
    let (verb, payload) = first_line(bytes);
    let (verb, retained) = verb.strip_prefix('!').map_or((verb.as_str(), false), |verb| (verb, true));
    let (config, _) = Config::parse(Path::new("fuzz.toml"), ALARMS).unwrap();
    let mut engine = Engine::new(config.model.clone());
    let (mut effects, mut faults) = (Effects::default(), Vec::new());
    let now = |micros| Now { at: Moment::from_micros(micros), wall: Stamp::from_micros(micros) };
    engine.handle(Input::LinkUp, now(1), &mut effects);
    let message = Message { topic: "things/press-1/properties/pressure", payload: b"16", retained: false };
    Intake::new(config.sources.clone(), 100).take(message, &mut engine, now(2), &mut effects, &mut faults);
    assert_eq!(effects.events.len(), 1);
    effects.events.clear();
    let states =
        |engine: &Engine| -> Vec<Vec<u8>> { engine.alarms().map(|ix| state::render(engine.view(ix), "gw")).collect() };
    let before = states(&engine);
    let reply = match commands::parse(verb, payload, retained, Span::from_secs(28_800)) {
        Ok(_) if retained => panic!("a retained command was read"),
        Ok(request) => match execute::execute(request, "gw", &mut engine, now(3), &mut effects) {
            Ok(reply) => reply,
            // It needs more than the engine, which has not been touched.
            Err(_) => return assert_eq!(before, states(&engine)),
        },
        Err(refusal) => {
            assert!(!refusal.error.is_empty());
            refusal.render()
        }
    };
    assert!(reply.len() <= 16 * (payload.len() + verb.len()) + 16_384, "{} bytes", reply.len());
    let reply: Value = serde_json::from_slice(&reply).unwrap();
    // What is too large is not even read.
    if payload.len() <= 65_536
        && let Ok(Value::Object(command)) = serde_json::from_slice::<Value>(payload)
    {
        assert_eq!(reply["request"], command.get("request").cloned().unwrap_or_default());
    }
    if reply["ok"] != true {
        assert!(reply["error"].as_str().is_some_and(|error| !error.is_empty()), "{reply}");
        assert_eq!(before, states(&engine), "what is refused changes nothing");
        assert!(effects.events.is_empty());
    }
}

/// A configuration.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let path = Path::new("fuzz.toml");
    let problems = match Config::parse(path, text) {
        Ok((config, warnings)) => {
            assert!(!warnings.has_errors());
            // Whoever may have a configuration may have it again.
            assert_eq!(Config::parse(path, text).unwrap().0.model, config.model);
            warnings
        }
        Err(problems) => {
            assert!(problems.has_errors());
            problems
        }
    };
    let lines = text.lines().count().max(1) as u64;
    let listed = problems.to_json_lines();
    for line in listed.lines() {
        let problem: Value = serde_json::from_str(line).unwrap();
        assert!(problem["message"].as_str().is_some_and(|message| !message.is_empty()), "{problem}");
        assert!(problem["line"].as_u64().is_none_or(|line| (1..=lines + 1).contains(&line)), "{problem} of {lines}");
    }
    // Each problem shows its line, so it may be long where lines are; not longer.
    let (errors, warnings) = problems.count();
    let longest = text.lines().map(str::len).max().unwrap_or(0);
    let bound = (errors + warnings) * (8 * longest + 2_048);
    assert!(problems.to_text().len() <= bound, "{} > {bound}", problems.to_text().len());
}

/// Pairs in memory, as a disk might bring them.
struct Found(BTreeMap<Vec<u8>, Vec<u8>>);

impl Store for Found {
    fn commit(&mut self, _: Batch) -> Result<(), StoreError> {
        Ok(())
    }

    fn scan(&mut self, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        let pairs = self.0.range(from.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        Ok(pairs.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn scan_back(&mut self, prefix: &[u8], before: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        let pairs = self.0.range(..before.to_vec()).rev().take_while(|(key, _)| key.starts_with(prefix));
        Ok(pairs.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

/// Pairs: a flag, the length of the key, the key, the length of the value, the value. The value is framed as a record if
/// the flag is even, else it stands for itself, as a damaged one would.
pub fn store(bytes: &[u8]) {
    let mut pairs = BTreeMap::new();
    let mut rest = bytes;
    while let Some((flag, tail)) = rest.split_first()
        && let Some((key, tail)) = piece(tail)
        && let Some((value, tail)) = piece(tail)
    {
        let value = if flag.is_multiple_of(2) { sealed(value) } else { value.to_vec() };
        pairs.insert(key.to_vec(), value);
        rest = tail;
    }
    let (count, mut found) = (pairs.len(), Found(pairs));
    if let Ok(recovered) = record::recover(&mut found) {
        assert!(recovered.alarms.len() + recovered.damaged <= count, "{recovered:?}");
        assert!(recovered.packets.len() <= bytes.len());
        let samples: usize = recovered.alarms.iter().map(|memory| memory.samples.len()).sum();
        assert!(samples <= bytes.len(), "{samples} samples");
    }
    assert!(record::outbound_events(&mut found, 0, 100).unwrap().len() <= count);
    assert!(oldest(&mut found, 0, 100).unwrap().len() <= bytes.len());
    let mut damaged = 0;
    let Ok(names) = names(&mut found, &mut damaged) else { return };
    assert!(names.len() + damaged <= count);
    for alarm in [None, Some("*".to_owned())] {
        let query = HistoryQuery { alarm, limit: 10, ..HistoryQuery::default() };
        let mut search = Search::new(Filter::new(query), Arc::new(names.clone()), 0..u64::MAX);
        let mut slices = 0;
        while !search.advance(&mut found).unwrap() {
            slices += 1;
            assert!(slices <= count, "the search does not end");
        }
        assert!(search.found.len() <= bytes.len().min(10));
    }
}

fn piece(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    Some(rest.split_at(usize::from(*length).min(rest.len())))
}

/// Version and checksum before the record.
fn sealed(record: &[u8]) -> Vec<u8> {
    let mut frame = vec![1];
    frame.extend_from_slice(&crc32fast::hash(record).to_le_bytes());
    frame.extend_from_slice(record);
    frame
}
