//! Everything that touches the world outside of the process: the clock, the broker, the disk, servers, secrets.

pub mod clock;
pub mod http;
pub mod mqtt;
pub(crate) mod secret;
pub mod send;
pub mod store;
