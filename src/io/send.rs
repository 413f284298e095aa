//! Delivers reactions: renders templates and talks to mail servers and web hooks, on a thread of its own.

pub mod action;
pub mod email;
pub mod mqtt;
pub mod rehearsal;
pub mod sender;
pub mod template;
pub mod webhook;
