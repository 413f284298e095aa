//! `annunciator disable`: alarms are evaluated no more.

use super::super::Failure;
use super::change;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    change: change::Args,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    change::run("disable", &args.change, &[])
}
