//! `annunciator completions`: what shells need to complete verbs and options.

use super::{Cli, Failure};
use clap::CommandFactory as _;
use std::io::Write as _;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// For which shell
    #[arg(value_name = "SHELL")]
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "annunciator", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(())
}
