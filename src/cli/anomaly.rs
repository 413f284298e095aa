//! `annunciator anomaly`: what is learnt from the past, and what is unusual about the present.

mod drawing;
mod row;
mod score;

use super::Failure;
use clap::Subcommand;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Learn on the first part of a series, then score the rest of it value by value
    Score(score::Args),
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    match &args.verb {
        Verb::Score(args) => score::run(args),
    }
}
