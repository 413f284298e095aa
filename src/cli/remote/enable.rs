//! `annunciator enable`: alarms are evaluated again.

use super::super::Failure;
use super::change;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    change: change::Args,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    change::run("enable", &args.change, &[])
}
