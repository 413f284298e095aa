//! `annunciator run`: the daemon.

use super::{ConfigArg, Failure, load, say};
use crate::daemon::{self, Stop, Unusable};
use tracing_subscriber::EnvFilter;

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

/// Logs to standard error, what `ANNUNCIATOR_LOG` says or else `usual`. Under systemd the journal adds the time itself.
pub(super) fn start_logging(usual: &str) {
    let filter = EnvFilter::try_from_env("ANNUNCIATOR_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let started = if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.without_time().with_ansi(false).try_init()
    } else {
        builder.with_ansi(super::people_watch()).try_init()
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}
