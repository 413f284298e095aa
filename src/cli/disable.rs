//! `annunciator disable`: alarms are evaluated no more.

use super::{Failure, change};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    change: change::Args,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    change::run("disable", &args.change, &[])
}
