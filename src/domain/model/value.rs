//! What a thing says: a finite number, a boolean or a text.
//!
//! A text in a message has any length up to `max_payload`. What is kept of it has at most [`MAX_TEXT`] bytes; a text that
//! was cut keeps a hash and the length of the whole, so that it still compares with a limit as the whole would.

use crate::domain::text::clip;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Bytes of a text value that are kept and shown, the sign that it was cut included. A thousand alarms on texts are a
/// megabyte, and nobody reads more in a mail.
pub const MAX_TEXT: usize = 1_024;

/// One value of a property. A number is always finite; what is not is a fault before it gets here.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A finite 64-bit float.
    Number(f64),
    /// True or false.
    Boolean(bool),
    /// A string.
    Text(Text),
}

/// A text as it is kept: whole, or its first bytes and what is needed to compare it.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(Kept);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kept {
    Whole(Arc<str>),
    Cut(Arc<CutText>),
}

/// A text of more than [`MAX_TEXT`] bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutText {
    /// Its beginning, with a sign that there is more.
    pub shown: Box<str>,
    /// Bytes of the whole.
    pub length: u64,
    /// FNV-1a of the whole, 64 bit: the same in every release, because it is stored.
    pub hash: u64,
}

impl CutText {
    /// Whether the whole was this text.
    pub fn is(&self, text: &str) -> bool {
        self.length == text.len() as u64 && self.hash == super::fnv(text)
    }
}

impl Text {
    /// Whether the whole is this text.
    pub fn is(&self, text: &str) -> bool {
        match &self.0 {
            Kept::Whole(whole) => **whole == *text,
            Kept::Cut(cut) => cut.is(text),
        }
    }

    /// What was cut, if it was.
    pub fn cut(&self) -> Option<&CutText> {
        match &self.0 {
            Kept::Whole(_) => None,
            Kept::Cut(cut) => Some(cut),
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        if text.len() <= MAX_TEXT {
            return Text(Kept::Whole(Arc::from(text)));
        }
        let shown = clip(text, MAX_TEXT).into();
        Text::from(CutText { shown, length: text.len() as u64, hash: super::fnv(text) })
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text::from(text.as_str())
    }
}

impl From<Arc<str>> for Text {
    fn from(text: Arc<str>) -> Text {
        if text.len() <= MAX_TEXT { Text(Kept::Whole(text)) } else { Text::from(&*text) }
    }
}

impl From<CutText> for Text {
    fn from(cut: CutText) -> Text {
        Text(Kept::Cut(Arc::new(cut)))
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// What is shown of it.
impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Kept::Whole(text) => text,
            Kept::Cut(cut) => &cut.shown,
        }
    }
}

/// A [`Value`] whose text is still in the message it came with, so that hearing it costs no allocation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueRef<'a> {
    /// A finite 64-bit float.
    Number(f64),
    /// True or false.
    Boolean(bool),
    /// A string.
    Text(&'a str),
    /// What is left of a string that was too long to be kept.
    Cut(&'a CutText),
}

/// The three types a value can have. They are never converted into each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// A number.
    Number,
    /// A boolean.
    Boolean,
    /// A text.
    Text,
}

impl Value {
    /// The same value, borrowed.
    pub fn borrow(&self) -> ValueRef<'_> {
        match self {
            Value::Number(number) => ValueRef::Number(*number),
            Value::Boolean(boolean) => ValueRef::Boolean(*boolean),
            Value::Text(text) => text.cut().map_or(ValueRef::Text(text), ValueRef::Cut),
        }
    }
}

impl ValueRef<'_> {
    /// The value's type.
    pub fn value_type(self) -> ValueType {
        match self {
            ValueRef::Number(_) => ValueType::Number,
            ValueRef::Boolean(_) => ValueType::Boolean,
            ValueRef::Text(_) | ValueRef::Cut(_) => ValueType::Text,
        }
    }

    /// The same value, owned; a long text is cut.
    pub fn to_value(self) -> Value {
        match self {
            ValueRef::Number(number) => Value::Number(number),
            ValueRef::Boolean(boolean) => Value::Boolean(boolean),
            ValueRef::Text(text) => Value::Text(Text::from(text)),
            ValueRef::Cut(cut) => Value::Text(Text::from(cut.clone())),
        }
    }

    /// Puts the value into `slot`; a text that is there already is not copied again.
    pub fn store_in(self, slot: &mut Option<Value>) {
        if let (ValueRef::Text(new), Some(Value::Text(old))) = (self, slot.as_ref())
            && old.is(new)
        {
            return;
        }
        *slot = Some(self.to_value());
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ValueType::Number => "number",
            ValueType::Boolean => "boolean",
            ValueType::Text => "string",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_and_compares_as_the_whole_does() {
        let long = "é".repeat(MAX_TEXT);
        let Value::Text(text) = ValueRef::Text(&long).to_value() else { panic!() };
        assert!(text.len() <= MAX_TEXT && text.ends_with('…') && long.starts_with(text.trim_end_matches('…')));
        let mut other = long.clone();
        other.replace_range(long.len() - 2.., "è");
        let value = Value::Text(text.clone());
        let ValueRef::Cut(cut) = value.borrow() else { panic!() };
        assert_eq!((cut.is(&long), cut.is(&other), cut.is(&text)), (true, false, false));
        assert_eq!(value, ValueRef::Text(&long).to_value());
        assert_ne!(value, ValueRef::Text(&other).to_value());
        let whole = "x".repeat(MAX_TEXT);
        assert_eq!(ValueRef::Text(&whole).to_value().borrow(), ValueRef::Text(&whole));
    }

    #[test]
    fn a_value_weighs_no_more_than_before() {
        assert_eq!(size_of::<Value>(), 24);
    }
}
