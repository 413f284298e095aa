//! `annunciator acknowledge`: somebody takes note of alarms.

use super::super::Failure;
use super::change;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    change: change::Args,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if !args.change.is_signed() {
        return Err(Failure::Run(anyhow::anyhow!("acknowledge has to know who takes note: add --by NAME")));
    }
    change::run("acknowledge", &args.change, &[])
}
