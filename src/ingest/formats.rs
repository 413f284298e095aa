//! From the bytes of a message to values.
//!
//! Valid JSON is read as JSON, anything else as UTF-8 text. A part that is not a value becomes a [`PayloadFault`],
//! which changes no alarm. Nothing is converted: `"1"` stays a string. The text is parsed in place; only selected parts
//! are copied.

mod json;
mod text;

use crate::domain::model::{Value, ValueRef};
use crate::domain::time::Stamp;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// The reason why a message, or a part of it, is not a value.
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
    /// The value at the time pointer is not a time; the mistake in a sentence.
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
            PayloadFault::TooDeep => write!(f, "objects are nested more than {} deep", json::MAX_DEPTH),
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
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The notation of a source's own time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// RFC 3339 text.
    Rfc3339,
    /// Seconds since 1970; fractions count.
    Seconds,
    /// Milliseconds since 1970; fractions count.
    Milliseconds,
}

/// The place and the notation of a source's own time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimePointer {
    /// The place in the payload.
    pub pointer: Pointer,
    /// The notation.
    pub unit: TimeUnit,
}

/// Replacements of scalar values, keyed by the text of the original value.
pub type Map = BTreeMap<String, Value>;

/// A payload, classified as JSON or other text.
#[derive(Debug, Clone, Copy)]
pub enum Payload<'a> {
    /// Valid JSON, without white space around it.
    Json(&'a str),
    /// Any other text.
    Text(&'a str),
}

impl<'a> Payload<'a> {
    /// Classifies the bytes of a message.
    ///
    /// # Errors
    /// [`PayloadFault::TooLarge`], [`PayloadFault::NotUtf8`].
    pub fn read(bytes: &'a [u8], max_payload: usize) -> Result<Payload<'a>, PayloadFault> {
        if bytes.len() > max_payload {
            return Err(PayloadFault::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| PayloadFault::NotUtf8)?;
        Ok(json::read(text).map_or(Payload::Text(text), Payload::Json))
    }

    fn at(self, pointer: Option<&Pointer>) -> Result<Payload<'a>, PayloadFault> {
        let Some(pointer) = pointer else { return Ok(self) };
        match self {
            Payload::Text(_) => Err(PayloadFault::NotJson),
            Payload::Json(json) => json::find(json, &pointer.tokens)
                .map(Payload::Json)
                .ok_or_else(|| PayloadFault::PointerMissing(pointer.text.clone())),
        }
    }

    /// Gives the one value at `pointer`, or its replacement in `map`, to `take`.
    ///
    /// # Errors
    /// There is no value at `pointer`.
    pub fn scalar<T>(
        self,
        pointer: Option<&Pointer>,
        map: &Map,
        take: impl FnOnce(ValueRef<'_>) -> T,
    ) -> Result<T, PayloadFault> {
        match self.at(pointer)? {
            Payload::Text(text) => text::scalar(text, map, take),
            Payload::Json(json) => json::scalar(json, map, take),
        }
    }

    /// Gives each value of an object, with its member's name, to `take`; faulty members are given to `faulty`.
    ///
    /// # Errors
    /// There is no object at `pointer`, or it cannot be read to its end.
    pub fn members(
        self,
        pointer: Option<&Pointer>,
        map: &Map,
        take: &mut dyn FnMut(&str, ValueRef<'_>),
        faulty: &mut dyn FnMut(&str, PayloadFault),
    ) -> Result<(), PayloadFault> {
        match self.at(pointer)? {
            Payload::Json(json) => json::members(json, map, take, faulty),
            Payload::Text(_) => Err(PayloadFault::NotAnObject),
        }
    }

    /// The source's own time.
    ///
    /// # Errors
    /// The payload has nothing at the pointer, or it is not a time.
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

/// The stamp for a JSON number of seconds or milliseconds since 1970; `factor` is the number of microseconds in one of
/// them.
fn micros(json: &str, factor: f64) -> Result<Stamp, PayloadFault> {
    let bad = || PayloadFault::BadTime("it is no number of seconds or milliseconds since 1970");
    let number: f64 = if json::is_number(json) { json.parse().map_err(|_| bad())? } else { return Err(bad()) };
    let micros = (number * factor).round();
    // 9e18 µs are 285,000 years.
    if micros.abs() > 9e18 {
        return Err(bad());
    }
    #[expect(clippy::cast_possible_truncation, reason = "rounded, and far inside the range of i64")]
    Ok(Stamp::from_micros(micros as i64))
}

#[cfg(test)]
mod tests;
