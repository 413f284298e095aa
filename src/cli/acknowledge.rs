//! `annunciator acknowledge`: somebody takes note of alarms.

use super::{Failure, change};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    change: change::Args,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if !args.change.is_signed() {
        return Err(Failure::Run(anyhow::anyhow!("acknowledge has to know who takes note: add --by NAME")));
    }
    change::run("acknowledge", &args.change, &[])
}
