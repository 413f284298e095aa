//! Annunciator, the alarm daemon for MQTT gateways.
//!
//! # The architecture on a page
//!
//! A pure core that never touches the world, edges that translate, a thin shell that connects them.
//!
//! ```text
//!   broker ──▶ mqtt ──▶ intake ──▶ engine ──▶ store ──▶ outbox ──▶ mqtt ──▶ broker
//!                        ▲  │        ▲  │       on disk before it is seen
//!                  source   │   time─┘  └─▶ wire: topics and payloads
//!                           └── faults
//! ```
//!
//! - [`engine`] decides which alarm is in which state. It is a function of its inputs: time is an argument, nothing is
//!   read or written, the same inputs give the same events. So the same engine runs the daemon, in real time, and
//!   [`replay`], in that of a recording.
//! - [`observation`] decides up to where silence is evidence, and which times are gaps.
//! - [`model`] is what it decides by: definitions, conditions, limits; compiled by [`config`] and never doubted again.
//! - [`source`] and [`intake`] turn messages into values and find out who watches them.
//! - [`anomaly`] is arithmetic: what is normal for a series, how unusual a value is, and which alarm an anomaly has.
//! - [`wire`] turns states and events into payloads, and payloads into commands.
//! - [`operate`] carries out what operators want of alarms, [`explain`] says why an alarm is as it is.
//! - [`performance`] counts how well the alarms serve people, in the figures of ISA-18.2.
//! - [`outbox`] knows what has to reach the broker, in which order, and what to do when there is too much.
//! - [`reaction`] decides when somebody is told of an alarm, and sees to it that they are: schedule and queue are
//!   functions too, and what sends has a thread of its own.
//! - [`store`] puts all of it on disk, in one atomic, synced write for each turn of the loop.
//! - [`mqtt`] is everything that knows rumqttc; [`clock`] is the one place that asks for the time.
//! - [`http`] is a window through which monitoring looks at figures, from a thread of its own.
//! - [`daemon`] is the loop, and what it has done for it by threads of low priority: models are built and look at the past
//!   there. It also knows when another instance has to be looked for, or given way to.
//! - [`cli`] is the command line, and [`client`] how it asks a running daemon.
//!
//! What is *not* there is as telling: the engine has no clock, no I/O, no errors and no strings to look up; nothing
//! awaits the connection's queue; no message is acknowledged before its effects are on disk; nothing is published
//! that a crash could take back.
//!
//! Words are those of ISA-18.2 (IEC 62682), OPC UA Part 9 and the W3C Web of Things.

pub mod anomaly;
pub mod cli;
pub mod client;
pub mod clock;
pub mod compact;
pub mod config;
pub mod daemon;
#[cfg(feature = "demo")]
pub mod demo;
pub mod engine;
pub mod explain;
pub mod history;
pub mod http;
pub mod intake;
pub mod model;
pub mod mqtt;
pub mod observation;
pub mod operate;
pub mod outbox;
pub mod performance;
pub mod plot;
mod printable;
pub mod reaction;
pub mod replay;
pub mod source;
pub mod store;
pub mod text;
pub mod time;
pub mod wire;
