//! From a message to values: the sources that match a topic, the format of the payload, and the alarms that watch the
//! values.

pub mod formats;
pub mod recorder;
pub mod router;
pub mod source;
