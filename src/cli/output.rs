//! How the command line looks: tables, colours, progress, and the log.

pub(crate) mod interrupt;
pub(crate) mod journal;
pub(crate) mod progress;
pub(crate) mod table;
pub(crate) mod terminal;
pub(crate) mod throttle;
