//! The command line: one file per verb.
//!
//! Standard output is data, standard error is for people. Exit status: 0 fine, 1 run-time failure, 2 configuration or
//! usage.

mod anomaly;
mod check;
mod completions;
mod demo;
mod man;
pub mod output;
mod remote;
mod replay;
mod run;
mod schema;
mod time_arg;

use crate::config::Config;
use clap::{Parser, Subcommand};
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// Alarm daemon for MQTT gateways.
#[derive(Debug, Parser)]
#[command(name = "annunciator", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the daemon
    Run(run::Args),
    /// Check a configuration and show every problem with its place
    Check(check::Args),
    /// List the alarms of a running daemon and their states
    List(remote::list::Args),
    /// Show what has happened: events of a running daemon, past and live
    History(remote::history::Args),
    /// Watch the active alarms of a running daemon, live
    Watch(remote::watch::Args),
    /// Take note of alarms, with your name on them
    Acknowledge(remote::acknowledge::Args),
    /// Let alarms be evaluated again
    Enable(remote::enable::Args),
    /// Let alarms be evaluated no more
    Disable(remote::disable::Args),
    /// Hold back the reactions of alarms for a while
    Shelve(remote::shelve::Args),
    /// Let the reactions of shelved alarms go out again
    Unshelve(remote::unshelve::Args),
    /// Explain why an alarm is active, or why it is not
    Explain(remote::explain::Args),
    /// Show how well the alarms serve people: load, floods, and the alarms that need work
    Stats(remote::stats::Args),
    /// Let the running daemon read its configuration again
    Reload(remote::reload::Args),
    /// Let the running daemon try a reaction, and show what the other side answers
    TestReaction(remote::test_reaction::Args),
    /// Play a recording through the engine and print the events it causes
    Replay(replay::Args),
    /// Watch the three example alarms live, on a broker and things of its own
    Demo(demo::Args),
    /// Learn what is normal, and find what is not
    Anomaly(anomaly::Args),
    /// Print the JSON Schema of the configuration, for editors
    Schema,
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Write the manual pages
    Man(man::Args),
}

/// Where the configuration is, for every verb that needs one.
#[derive(Debug, clap::Args)]
struct ConfigArg {
    /// The configuration; conf.d/*.toml beside it is read too
    #[arg(long, short, value_name = "FILE", default_value = "/etc/annunciator/annunciator.toml")]
    config: PathBuf,
}

/// How a verb can fail.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The configuration or the usage; what is wrong has been said.
    Config,
    /// Anything else, to be said now.
    Run(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Run(error.into())
    }
}

/// Parses the arguments, does what they say, and gives the exit status.
pub fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Run(args) => run::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Replay(args) => replay::run(&args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Anomaly(args) => anomaly::run(&args),
        Verb::Schema => schema::run(),
        Verb::List(args) => remote::list::run(&args),
        Verb::History(args) => remote::history::run(&args),
        Verb::Watch(args) => remote::watch::run(&args),
        Verb::Acknowledge(args) => remote::acknowledge::run(&args),
        Verb::Enable(args) => remote::enable::run(&args),
        Verb::Disable(args) => remote::disable::run(&args),
        Verb::Shelve(args) => remote::shelve::run(&args),
        Verb::Unshelve(args) => remote::unshelve::run(&args),
        Verb::Explain(args) => remote::explain::run(&args),
        Verb::Stats(args) => remote::stats::run(&args),
        Verb::Reload(args) => remote::reload::run(&args),
        Verb::TestReaction(args) => remote::test_reaction::run(&args),
        Verb::Completions(args) => completions::run(&args),
        Verb::Man(args) => man::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Config) => ExitCode::from(2),
        // Whoever reads our output has had enough.
        Err(Failure::Run(error)) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(Failure::Run(error)) => {
            say(&format!("annunciator: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Says something to people. It may quote what came from elsewhere, so nothing in it is obeyed by a terminal. That nobody
/// listens is no reason to stop.
fn say(text: &str) {
    let lines = text.trim_end().lines();
    let shown = lines.map(|line| line.split('\t').map(output::terminal::printable).collect::<Vec<_>>().join("\t"));
    let is_for_the_journal = output::journal::is_behind_standard_error();
    let mut stderr = std::io::stderr().lock();
    for line in shown {
        let line = if is_for_the_journal { output::journal::as_warning(&line).to_string() } else { line };
        let _ = writeln!(stderr, "{line}");
    }
}

fn people_watch() -> bool {
    std::io::stderr().is_terminal()
}

/// Loads the configuration and says what is wrong with it.
fn load(arg: &ConfigArg) -> Result<Config, Failure> {
    match Config::load(&arg.config) {
        Ok((config, warnings)) => {
            if !warnings.is_empty() {
                say(&warnings.to_text());
            }
            Ok(config)
        }
        Err(problems) => {
            say(&problems.to_text());
            Err(Failure::Config)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
