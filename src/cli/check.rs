//! `annunciator check`: what is wrong with a configuration, all of it.

use super::{ConfigArg, Failure, say};
use crate::config::Config;
use std::io::Write as _;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// One JSON object a line on standard output: file, line, column, severity, message
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let result = Config::load(&args.config.config);
    let problems = match &result {
        Ok((_, warnings)) => warnings,
        Err(problems) => problems,
    };
    if args.json {
        std::io::stdout().write_all(problems.to_json_lines().as_bytes())?;
    } else if !problems.is_empty() {
        say(&problems.to_text());
    }
    let (errors, warnings) = problems.count();
    let file = args.config.config.display();
    match &result {
        Ok((config, _)) => {
            if !args.json {
                let (alarms, sources) = (config.model.definitions.len(), config.sources.len());
                say(&format!("{file}: fine, {alarms} alarms on {sources} sources, {warnings} warnings"));
            }
            Ok(())
        }
        Err(_) => {
            if !args.json {
                say(&format!("{file}: {errors} errors, {warnings} warnings"));
            }
            Err(Failure::Config)
        }
    }
}
