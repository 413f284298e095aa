//! `annunciator unshelve`: reactions of alarms go out again.

use super::{Failure, change};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    change: change::Args,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    change::run("unshelve", &args.change, &[])
}
