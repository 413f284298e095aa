//! `annunciator anomaly`: what is learnt from the past, and what is unusual about the present.

mod build;
mod csv_row;
mod delete;
mod drawing;
mod import;
mod list;
mod model;
mod refresh;
mod reprocess;
mod score;
mod show;
mod timestamp;

use super::Failure;
use clap::Subcommand;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Learn on the first part of a series, then score the rest of it value by value; needs no daemon
    Score(score::Args),
    /// Let the daemon learn what is normal, from the history that it has
    Build(build::Args),
    /// List the anomalies that were found, or the models
    List(list::Args),
    /// Show what a model has learnt, and a thing as the model sees it
    Show(show::Args),
    /// Let a model look at a part of the past again
    Reprocess(reprocess::Args),
    /// Switch a model's look at live data on or off, or let it look now
    Refresh(refresh::Args),
    /// Delete anomalies, and with them their alarms
    Delete(delete::Args),
    /// Give the daemon a past that it has not seen: a table or a recording
    Import(import::Args),
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    match &args.verb {
        Verb::Score(args) => score::run(args),
        Verb::Build(args) => build::run(args),
        Verb::List(args) => list::run(args),
        Verb::Show(args) => show::run(args),
        Verb::Reprocess(args) => reprocess::run(args),
        Verb::Refresh(args) => refresh::run(args),
        Verb::Delete(args) => delete::run(args),
        Verb::Import(args) => import::run(args),
    }
}
