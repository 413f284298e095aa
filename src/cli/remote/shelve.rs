//! `annunciator shelve`: reactions of alarms are held back for a while.

use super::super::Failure;
use super::change;
use crate::config::parse_duration;
use crate::domain::time::Span;
use serde_json::Value;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long, such as 30m; it ends by itself
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    length: Span,
    #[command(flatten)]
    change: change::Args,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    change::run("shelve", &args.change, &[("for", Value::from(args.length.to_string()))])
}
