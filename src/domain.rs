//! The pure part: what an alarm is, and what becomes of it.
//!
//! Nothing in here asks for the time, reads or writes a file, awaits, or knows how a payload looks. Time and configuration
//! are arguments, so the same inputs give the same outputs: in the daemon, in a replay and in a simulation.

pub mod alarm_metrics;
pub mod anomaly;
pub(crate) mod dedup;
pub mod engine;
pub mod history;
pub mod model;
pub mod notify;
pub mod observation;
pub mod outbox;
pub(crate) mod printable;
pub mod small_list;
pub mod text;
pub mod time;
