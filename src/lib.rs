//! Annunciator, the alarm daemon for MQTT gateways.
//!
//! # The architecture on a page
//!
//! A pure domain that never touches the world, edges that translate, a thin daemon that connects them.
//!
//! ```text
//!   broker ──▶ io::mqtt ──▶ ingest ──▶ domain::engine ──▶ io::store ──▶ domain::outbox ──▶ io::mqtt ──▶ broker
//!                           (router,    ▲        │        written before it is published
//!                            formats)   │        └─▶ api: topics and payloads
//!                                time ──┘        └─▶ domain::notify ──▶ io::send: mails, requests, messages
//! ```
//!
//! - [`domain`] is what an alarm is and what becomes of it, without a clock, files, tasks or payloads.
//!   [`domain::engine`] decides which alarm is in which state; time is an argument, and the same inputs give the same
//!   events, in the daemon and in a [`replay`] of a recording. [`domain::model`] holds the definitions that it decides by.
//!   [`domain::observation`] decides up to where silence is evidence, and which times are gaps. [`domain::outbox`] decides
//!   what has to reach the broker, in which order, and what is dropped when there is too much. [`domain::notify`] decides
//!   who is told of an alarm, when, and again after a failure. [`domain::anomaly`] is arithmetic: what is usual for a
//!   series, how unusual a value is, and which alarm an anomaly has. [`domain::alarm_metrics`] counts how well the alarms
//!   serve people, in the figures of ISA-18.2.
//! - [`ingest`] turns messages into values: sources, payload formats, and the router that finds out who watches them.
//! - [`api`] is what users see over MQTT: topics, events, states, status, commands and their answers.
//! - [`config`] compiles the TOML files into the domain's definitions and the settings of the edges, once.
//! - [`io`] is the edges: [`io::mqtt`] knows rumqttc, [`io::store`] writes each turn in one atomic, synced commit,
//!   [`io::send`] sends notifications from a thread of its own, [`io::http`] answers monitoring from another one, and
//!   [`io::clock`] is the one place that asks for the time.
//! - [`daemon`] is the loop that connects them, and threads of low priority that build models and score the past.
//! - [`cli`] is the command line, [`client`] how it asks a running daemon, [`plot`] how a replay is drawn.
//!
//! Absences that hold everywhere: the engine has no clock, no I/O and no errors; nothing awaits the connection's queue; no
//! message is acknowledged before its effects are on disk; nothing is published that a crash could take back.
//!
//! Words are those of ISA-18.2 (IEC 62682), OPC UA Part 9 and the W3C Web of Things.

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
