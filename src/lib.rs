//! Annunciator, the alarm daemon for MQTT gateways.
//!
//! Words are those of ISA-18.2 (IEC 62682), OPC UA Part 9, MQTT and the W3C Web of Things.
#![doc = include_str!("manual/architecture.md")]

pub mod api;
pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
#[cfg(feature = "demo")]
pub mod demo;
pub mod domain;
pub mod ingest;
pub mod io;
pub mod plot;
pub mod replay;
