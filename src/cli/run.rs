//! `annunciator run`: the daemon.

use super::journal::Journal;
use super::{ConfigArg, Failure, load, say};
use crate::daemon::{self, End, Stop, Unusable};
use std::os::unix::process::CommandExt as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Says to a process that begins anew that it was at work a moment ago.
const RETURNS: &str = "ANNUNCIATOR_RETURNS";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArg,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    start_logging("info,rumqttc=warn,sled=warn");
    let config = load(&args.config)?;
    let returns = std::env::var_os(RETURNS).is_some();
    let end = daemon::run(config, returns, Stop::on_signals()).map_err(|error| match error.downcast::<Unusable>() {
        Ok(unusable) => {
            say(&format!("annunciator: {unusable}"));
            Failure::Config
        }
        Err(other) => Failure::Run(other),
    })?;
    match end {
        End::Stopped => Ok(()),
        End::Yielded => Err(start_anew()),
    }
}

/// Begins from the beginning in the same process: nothing that was in memory survives, as after a crash, and whoever
/// supervises the process sees no end of it. If it cannot, the end is a failure, and they start it again.
fn start_anew() -> Failure {
    let started = std::env::current_exe().map(|program| {
        let mut anew = std::process::Command::new(program);
        anew.args(std::env::args_os().skip(1)).env(RETURNS, "1").exec()
    });
    Failure::Run(anyhow::Error::new(started.unwrap_or_else(|error| error)).context("cannot start anew"))
}

/// Logs what `ANNUNCIATOR_LOG` says or else `usual`: to the journal if standard error leads there, else to standard error.
pub(super) fn start_logging(usual: &str) {
    let filter = EnvFilter::try_from_env("ANNUNCIATOR_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let started = match Journal::behind_standard_error() {
        Some(journal) => tracing_subscriber::registry().with(filter).with(journal).try_init().is_ok(),
        None => {
            let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
            builder.with_target(false).with_ansi(super::people_watch()).try_init().is_ok()
        }
    };
    if !started {
        tracing::debug!("logging was started before");
    }
}
