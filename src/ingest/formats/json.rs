//! JSON, parsed in place: only selected parts are copied.

use super::{Map, PayloadFault};
use crate::domain::model::{Value, ValueRef};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Maximum depth of nested objects. A message nested deeper is no telemetry, and each level costs stack and another
/// pass over the text.
pub(super) const MAX_DEPTH: usize = 32;

/// The text without white space around it, if it is valid JSON.
pub(super) fn read(text: &str) -> Option<&str> {
    serde_json::from_str::<&RawValue>(text).ok().map(RawValue::get)
}

/// The part of `json` to which the steps of a pointer lead.
pub(super) fn find<'a>(json: &'a str, steps: &[String]) -> Option<&'a str> {
    steps.iter().try_fold(json, |json, step| child(json, step))
}

pub(super) fn scalar<T>(json: &str, map: &Map, take: impl FnOnce(ValueRef<'_>) -> T) -> Result<T, PayloadFault> {
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

/// Gives each scalar of an object to `take`, nested ones under names like `a.b`; one that is no value to `faulty`.
///
/// # Errors
/// The payload is not an object, is nested too deeply, or has a member whose name is not valid text.
pub(super) fn members(
    json: &str,
    map: &Map,
    take: &mut dyn FnMut(&str, ValueRef<'_>),
    faulty: &mut dyn FnMut(&str, PayloadFault),
) -> Result<(), PayloadFault> {
    if !json.starts_with('{') {
        return Err(PayloadFault::NotAnObject);
    }
    walk(json, &mut String::new(), 0, &mut |name, json| {
        if let Err(fault) = scalar(json, map, |value| take(name, value)) {
            faulty(name, fault);
        }
    })
}

pub(super) fn is_number(json: &str) -> bool {
    json.starts_with(|c: char| c == '-' || c.is_ascii_digit())
}

/// Visits the scalars of an object, nested objects included; arrays and nulls are skipped.
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
        // If the walk stopped at a broken name, a later member with the wanted name may be hidden.
        found = found.filter(|_| read.is_ok());
    } else if json.starts_with('[') && (token == "0" || !token.starts_with(['0', '+'])) {
        let index: usize = token.parse().ok()?;
        let mut deserializer = serde_json::Deserializer::from_str(json);
        found = deserializer.deserialize_seq(Element(index)).ok().flatten();
    }
    found
}

/// Visits the members of an object. The text is valid JSON, so only a name that is not valid text can end it early.
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
