//! From a message to values: which sources match a topic, how its payload is read, and who watches what is in it.

pub mod formats;
pub mod recorder;
pub mod router;
pub mod source;
