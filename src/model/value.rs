//! What a thing says: a finite number, a boolean or a text.

use std::fmt;
use std::sync::Arc;

/// One value of a property. A number is always finite; what is not is a fault before it gets here.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A finite 64-bit float.
    Number(f64),
    /// True or false.
    Boolean(bool),
    /// A string.
    Text(Arc<str>),
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
            Value::Text(text) => ValueRef::Text(text),
        }
    }
}

impl ValueRef<'_> {
    /// The value's type.
    pub fn value_type(self) -> ValueType {
        match self {
            ValueRef::Number(_) => ValueType::Number,
            ValueRef::Boolean(_) => ValueType::Boolean,
            ValueRef::Text(_) => ValueType::Text,
        }
    }

    /// The same value, owned.
    pub fn to_value(self) -> Value {
        match self {
            ValueRef::Number(number) => Value::Number(number),
            ValueRef::Boolean(boolean) => Value::Boolean(boolean),
            ValueRef::Text(text) => Value::Text(Arc::from(text)),
        }
    }

    /// Puts the value into `slot`; a text that is there already is not copied again.
    pub fn store_in(self, slot: &mut Option<Value>) {
        if let (ValueRef::Text(new), Some(Value::Text(old))) = (self, slot.as_ref())
            && **old == *new
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
