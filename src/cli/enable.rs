//! `annunciator enable`: alarms are evaluated again.

use super::{Failure, change};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    change: change::Args,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    change::run("enable", &args.change, &[])
}
