//! `annunciator acknowledge`: somebody takes note of alarms.

use super::{Failure, change};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    change: change::Args,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    change::run("acknowledge", &args.change, &[])
}
