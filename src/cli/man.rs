//! `annunciator man`: the manual pages, one for each verb.

use super::{Cli, Failure, say};
use anyhow::Context as _;
use clap::CommandFactory as _;
use std::io::Write as _;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Write all pages into this folder, such as /usr/local/share/man/man1; without it the main page is printed
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let command = Cli::command().disable_help_subcommand(true);
    let Some(folder) = &args.folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        std::io::stdout().write_all(&page)?;
        return Ok(());
    };
    let failed = || format!("cannot write manual pages to {}", folder.display());
    std::fs::create_dir_all(folder).with_context(failed)?;
    clap_mangen::generate_to(command, folder).with_context(failed)?;
    say(&format!(
        "manual pages are in {}; `man -l {}` shows the first",
        folder.display(),
        folder.join("annunciator.1").display()
    ));
    Ok(())
}
