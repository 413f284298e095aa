//! Names as levels of topics and as parts of ids, and back.

use std::borrow::Cow;

/// A name as one topic level. `/`, `+`, `#`, `%` and control characters are percent-encoded, so every name fits, and
/// [`decode`] gives it back.
///
/// ```
/// use annunciator::domain::model::encoding::{decode, encode};
/// assert_eq!(encode("boiler-7"), "boiler-7");
/// assert_eq!(encode("line 1/boiler"), "line 1%2Fboiler");
/// assert_eq!(decode(&encode("50 % + x")), "50 % + x");
/// ```
pub fn encode(name: &str) -> Cow<'_, str> {
    if !name.contains(needs_encoding) {
        return Cow::Borrowed(name);
    }
    let mut level = String::with_capacity(name.len() + 8);
    for c in name.chars() {
        if needs_encoding(c) {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                level.push_str(&format!("%{byte:02X}"));
            }
        } else {
            level.push(c);
        }
    }
    Cow::Owned(level)
}

fn needs_encoding(c: char) -> bool {
    matches!(c, '/' | '+' | '#' | '%') || c.is_control()
}

/// The name that a topic level stands for. What is not a valid escape stands for itself.
pub fn decode(level: &str) -> Cow<'_, str> {
    if !level.contains('%') {
        return Cow::Borrowed(level);
    }
    let bytes = level.as_bytes();
    let mut name = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = level.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                name.push(byte);
                at += 3;
            }
            None => {
                name.push(bytes[at]);
                at += 1;
            }
        }
    }
    match String::from_utf8(name) {
        Ok(name) => Cow::Owned(name),
        Err(_) => Cow::Borrowed(level),
    }
}
