//! The claims that the project makes, executed.
//!
//! One binary, one module per room. Everything runs in parallel: ports are random, folders temporary, and nothing waits
//! for time to pass where it can wait for the thing itself.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a test that fails says where and why by panicking, and bounds its waiting by the clock"
)]
#![allow(unreachable_pub, missing_docs, reason = "nobody imports a test")]

mod alarm_metrics;
mod anomalies;
mod anomaly;
mod anomaly_day_one;
mod anomaly_verbs;
mod attacks;
mod brokers;
mod clock;
mod commandline;
mod configuration;
mod connection;
mod damage;
mod demo;
mod disk;
mod earlier;
mod evaluation;
mod faults;
mod flood;
mod fuzz;
mod home_assistant;
mod http;
mod journal;
mod kill;
mod leftovers;
mod observing;
mod operators;
mod operators_at_once;
mod outage;
mod plot;
mod power;
mod proxy;
mod reactions;
mod readme;
mod recordings;
mod reference;
mod reload;
mod roles;
mod scores;
mod service;
mod shards;
mod standby;
mod streaming;
mod structure;
mod support;
mod tls;
mod version5;
mod wear;
mod web_socket;
