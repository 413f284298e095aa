//! Delivers reactions: renders templates and talks to mail servers and web hooks, on a thread of its own.

pub(crate) mod email;
pub(crate) mod mqtt;
pub mod rehearsal;
pub mod sender;
pub mod template;
pub(crate) mod webhook;
