//! `annunciator run`: the daemon.

use super::output::journal::Persistence;
use super::output::throttle::{ShortLines, Throttle};
use super::{ConfigArg, Failure, load, say};
use crate::daemon::{self, End, Stop, Unusable};
use std::os::unix::process::CommandExt as _;
use tracing_subscriber::filter::Targets;
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
    // What it writes is nobody else's to read, whoever starts it.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
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
    let registry = tracing_subscriber::registry().with(filter(std::env::var("ANNUNCIATOR_LOG").ok(), usual));
    let registry = registry.with(Throttle::default());
    let started = match Persistence::behind_standard_error() {
        Some(journal) => registry.with(journal).try_init().is_ok(),
        None => {
            let lines = tracing_subscriber::fmt::layer().with_writer(ShortLines::default);
            registry.with(lines.with_target(false).with_ansi(super::people_watch())).try_init().is_ok()
        }
    };
    if !started {
        tracing::debug!("logging was started before");
    }
}

/// Levels, for all or by module (`info,rumqttc=debug`). What cannot be read or says nothing is as good as nothing.
fn filter(wanted: Option<String>, usual: &str) -> Targets {
    let wanted = wanted.filter(|wanted| !wanted.is_empty()).and_then(|wanted| wanted.parse().ok());
    wanted.or_else(|| usual.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn somebody_says_what_is_logged_or_it_is_as_usual() {
        let logs = |wanted: Option<&str>, target: &str, level: Level| {
            filter(wanted.map(str::to_owned), "info,rumqttc=warn").would_enable(target, &level)
        };
        for usual in [None, Some(""), Some("info=much"), Some("a=b=c")] {
            assert!(logs(usual, "annunciator::daemon", Level::INFO) && !logs(usual, "rumqttc::state", Level::INFO));
        }
        assert!(logs(Some("debug"), "rumqttc::state", Level::DEBUG) && !logs(Some("debug"), "sled", Level::TRACE));
        let by_module = Some("warn,annunciator::io::mqtt=trace");
        assert!(logs(by_module, "annunciator::io::mqtt::poll", Level::TRACE));
        assert!(!logs(by_module, "annunciator::daemon", Level::INFO));
        assert!(!logs(Some("off"), "annunciator", Level::ERROR));
    }
}
