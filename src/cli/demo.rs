//! `annunciator demo`: the three example alarms on an embedded broker, with simulated things.
//!
//! Without the cargo feature `demo` there is no broker in the program, and the verb says how to get one.

use super::Failure;
use crate::config::parse_duration;
use crate::domain::time::Span;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the broker listens, on this machine only [default: any free port]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// When to end, such as 30s [default: at Ctrl-C]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    duration: Option<Span>,
}

#[cfg(feature = "demo")]
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    use std::io::IsTerminal as _;

    // The broker logs every connection; on this screen even the daemon speaks only of trouble.
    super::run::start_logging("off,annunciator=warn");
    let stdout = std::io::stdout();
    let has_colours = |name: &str| std::env::var_os(name).is_none_or(|value| value.is_empty());
    let coloured =
        stdout.is_terminal() && has_colours("NO_COLOR") && std::env::var_os("TERM").is_none_or(|t| t != "dumb");
    let options = crate::demo::Options { port: args.port, duration: args.duration, coloured };
    crate::demo::run(options, stdout)?;
    Ok(())
}

#[cfg(not(feature = "demo"))]
pub(super) fn run(_: &Args) -> Result<(), Failure> {
    super::say(
        "annunciator: this program was built without the demo; \
         in the source folder, `cargo run --release --locked --features demo -- demo` builds it in and starts it",
    );
    Err(Failure::Config)
}
