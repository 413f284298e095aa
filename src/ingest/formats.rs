//! From the bytes of a message to values.
//!
//! Valid JSON is read as JSON, anything else as UTF-8 text. What is not a value is a [`PayloadFault`]: it changes no alarm.
//! Nothing is converted: `"1"` stays a string. The text is looked at in place; only what is picked is copied.

use crate::domain::model::{Value, ValueRef};
use crate::domain::time::Stamp;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// Nested objects are followed to this depth. A message nested deeper is no telemetry, and following it would cost
/// stack and, for each level, another look at the text.
const MAX_DEPTH: usize = 32;

/// Why a message, or a part of it, is not a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PayloadFault {
    /// More bytes than `max_payload`.
    TooLarge,
    /// Bytes that are no UTF-8 text.
    NotUtf8,
    /// NaN or an infinity.
    NotFinite,
    /// A number that no 64-bit float can hold.
    NumberOverflow,
    /// `null`, an array or an object where a scalar is needed.
    NotScalar(&'static str),
    /// Something else than an object, where its members would be properties.
    NotAnObject,
    /// The payload has nothing at the pointer.
    PointerMissing(String),
    /// The payload is not JSON, but the source points into it.
    NotJson,
    /// What is at the time pointer is no time.
    BadTime(&'static str),
    /// Objects are nested too deeply.
    TooDeep,
    /// A member's name is no text (half of a surrogate pair).
    BadName,
}

impl fmt::Display for PayloadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PayloadFault::TooLarge => f.write_str("payload is larger than max_payload"),
            PayloadFault::NotUtf8 => f.write_str("payload is not UTF-8 text"),
            PayloadFault::NotFinite => f.write_str("value is not a finite number"),
            PayloadFault::NumberOverflow => f.write_str("number is too large for a 64-bit float"),
            PayloadFault::NotScalar(what) => write!(f, "value is {what}, not a number, string or boolean"),
            PayloadFault::NotAnObject => f.write_str("payload is not a JSON object of properties"),
            PayloadFault::PointerMissing(pointer) => write!(f, "payload has nothing at {pointer:?}"),
            PayloadFault::NotJson => f.write_str("payload is not JSON, but the source points into it"),
            PayloadFault::BadTime(why) => write!(f, "time stamp: {why}"),
            PayloadFault::BadName => f.write_str("a member's name in the payload is no valid text"),
            PayloadFault::TooDeep => write!(f, "objects are nested more than {MAX_DEPTH} deep"),
        }
    }
}

/// A JSON pointer (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    tokens: Vec<String>,
}

impl Pointer {
    /// Reads a pointer: empty for the whole payload, else a slash before each step.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Pointer, String> {
        let mut tokens = Vec::new();
        if !text.is_empty() {
            let Some(steps) = text.strip_prefix('/') else {
                return Err(format!("a JSON pointer begins with a slash: \"/{text}\""));
            };
            for step in steps.split('/') {
                let bytes = step.as_bytes();
                let bad = (0..bytes.len()).any(|i| bytes[i] == b'~' && !matches!(bytes.get(i + 1), Some(b'0' | b'1')));
                if bad {
                    return Err("in a JSON pointer `~` stands before 0 or 1 (`~0` is a tilde, `~1` a slash)".into());
                }
                tokens.push(step.replace("~1", "/").replace("~0", "~"));
            }
        }
        Ok(Pointer { text: text.to_owned(), tokens })
    }

    /// The part of `json` that it points to.
    fn find<'a>(&self, json: &'a str) -> Option<&'a str> {
        self.tokens.iter().try_fold(json, |json, token| child(json, token))
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// How a source writes its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// RFC 3339 text.
    Rfc3339,
    /// Seconds since 1970; fractions count.
    Seconds,
    /// Milliseconds since 1970; fractions count.
    Milliseconds,
}

/// Where a source's own time is, and how it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimePointer {
    /// Where.
    pub pointer: Pointer,
    /// How.
    pub unit: TimeUnit,
}

/// What scalar values are replaced by, keyed by the text of the value.
pub type Map = BTreeMap<String, Value>;

/// A payload that was found to be text, JSON or nothing.
#[derive(Debug, Clone, Copy)]
pub enum Payload<'a> {
    /// Valid JSON, without white space around it.
    Json(&'a str),
    /// Any other text.
    Text(&'a str),
}

impl<'a> Payload<'a> {
    /// Looks at the bytes of a message.
    ///
    /// # Errors
    /// [`PayloadFault::TooLarge`], [`PayloadFault::NotUtf8`].
    pub fn read(bytes: &'a [u8], max_payload: usize) -> Result<Payload<'a>, PayloadFault> {
        if bytes.len() > max_payload {
            return Err(PayloadFault::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| PayloadFault::NotUtf8)?;
        Ok(match serde_json::from_str::<&RawValue>(text) {
            Ok(raw) => Payload::Json(raw.get()),
            Err(_) => Payload::Text(text),
        })
    }

    fn at(self, pointer: Option<&Pointer>) -> Result<Payload<'a>, PayloadFault> {
        let Some(pointer) = pointer else { return Ok(self) };
        match self {
            Payload::Text(_) => Err(PayloadFault::NotJson),
            Payload::Json(json) => {
                pointer.find(json).map(Payload::Json).ok_or_else(|| PayloadFault::PointerMissing(pointer.text.clone()))
            }
        }
    }

    /// The one value that the payload carries, given to `take`.
    ///
    /// # Errors
    /// Why it is not a value.
    pub fn scalar<T>(
        self,
        pointer: Option<&Pointer>,
        map: &Map,
        take: impl FnOnce(ValueRef<'_>) -> T,
    ) -> Result<T, PayloadFault> {
        match self.at(pointer)? {
            Payload::Text(text) => match map.get(text) {
                Some(mapped) => Ok(take(mapped.borrow())),
                None if is_not_finite(text) => Err(PayloadFault::NotFinite),
                None => Ok(take(ValueRef::Text(text))),
            },
            Payload::Json(json) => json_scalar(json, map, take),
        }
    }

    /// The values of an object's members, each given to `take` with its name; what is not a value to `faulty`.
    ///
    /// # Errors
    /// Why the payload is not an object of values.
    pub fn members(
        self,
        pointer: Option<&Pointer>,
        map: &Map,
        take: &mut dyn FnMut(&str, ValueRef<'_>),
        faulty: &mut dyn FnMut(&str, PayloadFault),
    ) -> Result<(), PayloadFault> {
        match self.at(pointer)? {
            Payload::Json(json) if json.starts_with('{') => {
                let mut name = String::new();
                walk(json, &mut name, 0, &mut |name, json| {
                    if let Err(fault) = json_scalar(json, map, |value| take(name, value)) {
                        faulty(name, fault);
                    }
                })
            }
            Payload::Json(_) | Payload::Text(_) => Err(PayloadFault::NotAnObject),
        }
    }

    /// The source's own time.
    ///
    /// # Errors
    /// Why it is no time.
    pub fn time(self, time: &TimePointer) -> Result<Stamp, PayloadFault> {
        let found = match self.at(Some(&time.pointer))? {
            Payload::Json(json) | Payload::Text(json) => json,
        };
        match time.unit {
            TimeUnit::Rfc3339 => {
                let text = serde_json::from_str::<Cow<'_, str>>(found)
                    .map_err(|_| PayloadFault::BadTime("it is no string, so it is not in RFC 3339"))?;
                Stamp::parse(&text).map_err(|_| PayloadFault::BadTime("it is not in RFC 3339"))
            }
            TimeUnit::Seconds => micros(found, 1e6),
            TimeUnit::Milliseconds => micros(found, 1e3),
        }
    }
}

/// A number of seconds or milliseconds as a stamp.
fn micros(json: &str, factor: f64) -> Result<Stamp, PayloadFault> {
    let bad = || PayloadFault::BadTime("it is no number of seconds or milliseconds since 1970");
    let number: f64 = if is_number(json) { json.parse().map_err(|_| bad())? } else { return Err(bad()) };
    let micros = (number * factor).round();
    // 9e18 µs are 285,000 years.
    if micros.abs() > 9e18 {
        return Err(bad());
    }
    #[expect(clippy::cast_possible_truncation, reason = "rounded, and far inside the range of i64")]
    Ok(Stamp::from_micros(micros as i64))
}

fn is_number(json: &str) -> bool {
    json.starts_with(|c: char| c == '-' || c.is_ascii_digit())
}

/// The spellings of NaN and infinity that printf and the languages of small devices produce.
fn is_not_finite(text: &str) -> bool {
    let word = text.trim().trim_start_matches(['+', '-']);
    ["nan", "inf", "infinity"].iter().any(|w| word.eq_ignore_ascii_case(w))
}

fn json_scalar<T>(json: &str, map: &Map, take: impl FnOnce(ValueRef<'_>) -> T) -> Result<T, PayloadFault> {
    let mapped = |text: &str| if map.is_empty() { None } else { map.get(text) };
    match json.as_bytes().first() {
        Some(b'"') => {
            let text: Cow<'_, str> = match json.get(1..json.len() - 1) {
                Some(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
                _ => Cow::Owned(serde_json::from_str(json).map_err(|_| PayloadFault::NotUtf8)?),
            };
            Ok(take(mapped(&text).map_or(ValueRef::Text(&text), Value::borrow)))
        }
        Some(b't' | b'f') => Ok(take(mapped(json).map_or(ValueRef::Boolean(json == "true"), Value::borrow))),
        Some(b'n') => Err(PayloadFault::NotScalar("null")),
        Some(b'[') => Err(PayloadFault::NotScalar("an array")),
        Some(b'{') => Err(PayloadFault::NotScalar("an object")),
        _ => {
            let number: f64 = json.parse().map_err(|_| PayloadFault::NumberOverflow)?;
            if !number.is_finite() {
                return Err(PayloadFault::NumberOverflow);
            }
            // A key of the map may be written as the device writes the number, or in its shortest form.
            let found = mapped(json).or_else(|| if map.is_empty() { None } else { map.get(&number.to_string()) });
            Ok(take(found.map_or(ValueRef::Number(number), Value::borrow)))
        }
    }
}

/// Visits the scalars of an object, nested objects included; arrays and nulls are not for alarms.
fn walk(json: &str, name: &mut String, depth: usize, visit: &mut dyn FnMut(&str, &str)) -> Result<(), PayloadFault> {
    if depth == MAX_DEPTH {
        return Err(PayloadFault::TooDeep);
    }
    let length = name.len();
    let mut result = Ok(());
    let read = for_each_member(json, &mut |key, value| {
        if result.is_err() || value.starts_with(['[', 'n']) {
            return;
        }
        if length > 0 {
            name.push('.');
        }
        name.push_str(key);
        if value.starts_with('{') {
            result = walk(value, name, depth + 1, visit);
        } else {
            visit(name, value);
        }
        name.truncate(length);
    });
    result.and(read)
}

/// The member or element of `json` with this name or number; of several members with one name the last.
fn child<'a>(json: &'a str, token: &str) -> Option<&'a str> {
    let mut found = None;
    if json.starts_with('{') {
        let read = for_each_member(json, &mut |key, value| {
            if key == token {
                found = Some(value);
            }
        });
        // Behind a broken name there may be another member with this one's.
        found = found.filter(|_| read.is_ok());
    } else if json.starts_with('[') && (token == "0" || !token.starts_with(['0', '+'])) {
        let index: usize = token.parse().ok()?;
        let mut deserializer = serde_json::Deserializer::from_str(json);
        found = deserializer.deserialize_seq(Element(index)).ok().flatten();
    }
    found
}

/// The text was found to be valid JSON before, so only a name that is no text can stop it half-way.
fn for_each_member<'a>(json: &'a str, visit: &mut dyn FnMut(&str, &'a str)) -> Result<(), PayloadFault> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    deserializer.deserialize_map(Members(visit)).map_err(|_| PayloadFault::BadName)
}

struct Members<'a, 'v>(&'v mut dyn FnMut(&str, &'a str));

impl<'a> Visitor<'a> for Members<'a, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Key)? {
            let value: &'a RawValue = map.next_value()?;
            (self.0)(&key, value.get());
        }
        Ok(())
    }
}

/// A member's name; borrowed unless it has escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

struct Element(usize);

impl<'a> Visitor<'a> for Element {
    type Value = Option<&'a str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<Option<&'a str>, A::Error> {
        for _ in 0..self.0 {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(None);
            }
        }
        let found: Option<&'a RawValue> = seq.next_element()?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found.map(RawValue::get))
    }
}

#[cfg(test)]
mod tests;
