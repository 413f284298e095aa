//! `annunciator check`: what is wrong with a configuration, all of it.

mod online;

use super::{ConfigArg, Failure, say};
use crate::config::Config;
use crate::io::store::inspect::{Built, Findings, inspect};
use std::io::Write as _;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// One JSON object a line on standard output: file, line, column, severity, message
    #[arg(long)]
    json: bool,
    /// Look at the stored state, too, without disturbing a running daemon; exit 1 if it needs a person
    #[arg(long)]
    state: bool,
    /// Also try what it names: the broker and its permissions, the mail server up to the recipients, webhooks
    #[arg(long)]
    online: bool,
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
                say(&match errors {
                    0 => format!("{file}: fine, {alarms} alarms on {sources} sources, {warnings} warnings"),
                    _ => format!("{file}: {errors} files or secrets cannot be used, {warnings} warnings"),
                });
            }
            if errors > 0 {
                return Err(Failure::Config);
            }
            if args.online {
                online::run(config, &args.config.config, args.json)?;
            }
            if args.state { state(config, args) } else { Ok(()) }
        }
        Err(_) => {
            if !args.json {
                say(&format!("{file}: {errors} errors, {warnings} warnings"));
            }
            Err(Failure::Config)
        }
    }
}

fn state(config: &Config, args: &Args) -> Result<(), Failure> {
    let Findings { problems, remark, models } =
        inspect(&config.gateway.state_dir, &config.gateway.id, &config.anomalies);
    if !remark.is_empty() {
        say(&format!("{}: {remark}", config.gateway.state_dir.display()));
    }
    problems.iter().for_each(|problem| say(problem));
    for Built { model, alarms_per_day, storm } in &models {
        let figure =
            format!("in the past that it was built from, it would have raised {alarms_per_day:.2} alarms a day");
        if alarms_per_day <= storm {
            say(&format!("model {model}: {figure}"));
            continue;
        }
        let warning = format!(
            "model {model}: {figure}, more than {storm} (storm): before alarms are switched on, a higher sensitivity \
             percentile, higher severities or a longer min_duration would help"
        );
        say(&format!("warning: {warning}"));
        if args.json {
            let line = serde_json::json!({
                "file": args.config.config.display().to_string(), "line": 1, "column": 1, "severity": "warning",
                "message": warning,
            });
            writeln!(std::io::stdout(), "{line}")?;
        }
    }
    match problems.len() {
        0 => Ok(()),
        count => Err(Failure::Run(anyhow::anyhow!("the stored state needs a look: {count} problems"))),
    }
}
