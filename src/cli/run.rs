//! `annunciator run`: the daemon.

use super::journal::Journal;
use super::{ConfigArg, Failure, load, say};
use crate::daemon::{self, Stop, Unusable};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArg,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    start_logging("info,rumqttc=warn,sled=warn");
    let config = load(&args.config)?;
    daemon::run(config, Stop::on_signals()).map_err(|error| match error.downcast::<Unusable>() {
        Ok(unusable) => {
            say(&format!("annunciator: {unusable}"));
            Failure::Config
        }
        Err(other) => Failure::Run(other),
    })
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
