//! `annunciator anomaly import`: a past that the daemon has not seen, so that a model can be built on day one.
//!
//! The file is read as a whole before anything is sent: one that is wrong in its last line changes nothing. It is brought
//! into the order of time, sent in pieces, and each piece waits for its answer. What the daemon knows already it ignores,
//! and says so, so that the same file may be sent twice.

mod past;
mod recording;

use super::super::output::progress::Progress;
use super::csv_row::Layout;
use crate::cli::output::table::Cell;
use crate::cli::output::terminal::{Look, Paper, json_line, local_time, printable};
use crate::cli::remote::{Remote, accepted, print_table, put};
use crate::cli::{Failure, say};
use crate::client::{Client, Command};
use crate::config::Config;
use crate::domain::anomaly::series::Sample;
use anyhow::Context as _;
use past::Past;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};

/// Samples in one command: what the daemon takes at most.
const MOST_SAMPLES: usize = 5_000;
/// Bytes of the samples in one command: it stays below 64 KiB, which every command may have, and every broker takes.
const MOST_BYTES: usize = 60_000;
/// Reasons that are named at the end; the rest is counted.
const REASONS_NAMED: usize = 10;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    remote: Remote,
    /// The model whose history it is for
    #[arg(value_name = "MODEL")]
    model: String,
    /// The thing whose values they are; of a recording: only things that fit, * and ? stand for anything
    #[arg(long, value_name = "THING")]
    thing: Option<String>,
    /// The property whose values they are [default: the model's, if it has only one]; of a recording: only this one
    #[arg(long, value_name = "PROPERTY")]
    property: Option<String>,
    #[command(flatten)]
    layout: Layout,
    /// What became of each property as JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Rows of timestamp,value, or a recording of `mosquitto_sub -F %j`; - for standard input
    #[arg(value_name = "FILE.csv|FILE.jsonl")]
    file: PathBuf,
}

/// What became of the samples of one property.
#[derive(Debug, Default, Deserialize)]
struct Taken {
    #[serde(default)]
    taken: u64,
    #[serde(default)]
    ignored: u64,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let config = args.remote.load_what_is_right()?;
    let name = if is_stdin(&args.file) { "standard input".to_owned() } else { args.file.display().to_string() };
    let mut input = open(&args.file).with_context(|| format!("cannot read {name}"))?;
    let mut client = args.remote.connect(&config)?;
    // Before an hour is spent on the file: whether the daemon is there, and knows the model.
    let mut question = Command::new();
    put(&mut question, "model", Some(args.model.as_str()));
    accepted(client.request("anomaly-model", question)?)?;
    let past = read(args, &config, &mut input).map_err(|failure| match failure {
        Failure::Run(error) => Failure::Run(error.context(name.clone())),
        Failure::Config => Failure::Config,
    })?;
    tell(&past, &name);
    if past.samples() == 0 {
        return Err(Failure::Run(anyhow::anyhow!("{name}: there is nothing in it for the model {}", args.model)));
    }
    let ignored = send(args, &mut client, &past)?;
    if ignored > 0 {
        let model = config.anomalies.iter().find(|model| *model.name == *args.model);
        let history = model.map(|model| format!(" (history = {})", model.history)).unwrap_or_default();
        say(&format!(
            "{ignored} values were ignored: the daemon has them already, keeps none that are so old{history}, or they are \
             of the future"
        ));
    }
    Ok(())
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn open(path: &Path) -> std::io::Result<Box<dyn BufRead>> {
    if is_stdin(path) {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    Ok(Box::new(BufReader::with_capacity(1 << 16, std::fs::File::open(path)?)))
}

fn read(args: &Args, config: &Config, input: &mut dyn BufRead) -> Result<Past, Failure> {
    let begin = input.fill_buf()?.trim_ascii_start();
    if begin.starts_with(b"{") {
        // It goes by the sources, so these have to be right.
        let whole;
        let config = if config.sources.is_empty() {
            whole = args.remote.load_all()?;
            &whole
        } else {
            config
        };
        return Ok(recording::read(args, config, input)?);
    }
    let model = config.anomalies.iter().find(|model| *model.name == *args.model);
    let only = model.and_then(|model| match model.properties.as_slice() {
        [only] => Some(&**only),
        _ => None,
    });
    let property = args.property.as_deref().or(only);
    let Some((thing, property)) = args.thing.as_deref().zip(property) else {
        let missing = if args.thing.is_none() { "--thing" } else { "--property" };
        say(&format!("annunciator: a table does not say whose values they are: name it with {missing}"));
        return Err(Failure::Config);
    };
    Ok(past::of_table(&args.layout, input, thing, property)?)
}

/// What people should know of what was read.
fn tell(past: &Past, name: &str) {
    if past.late > 0 {
        say(&format!("{name}: {} values are earlier than the one before them; they were put into order", past.late));
    }
    let mut reasons: Vec<(&String, &u64)> = past.unused.iter().collect();
    reasons.sort_by(|a, b| b.1.cmp(a.1));
    for (reason, count) in reasons.iter().take(REASONS_NAMED) {
        say(&format!("{name}: not used ({count} times): {reason}"));
    }
    if reasons.len() > REASONS_NAMED {
        say(&format!("{name}: … and {} other reasons", reasons.len() - REASONS_NAMED));
    }
}

/// Sends everything; how many values the daemon has ignored.
fn send(args: &Args, client: &mut Client, past: &Past) -> Result<u64, Failure> {
    let mut progress = Progress::new();
    let mut rows = Vec::new();
    let (all, mut sent, mut ignored_in_all) = (past.samples(), 0, 0);
    for ((thing, property), samples) in &past.series {
        let mut total = Taken::default();
        for piece in pieces(samples) {
            let mut command = Command::new();
            put(&mut command, "model", Some(args.model.as_str()));
            put(&mut command, "thing", Some(thing.as_str()));
            put(&mut command, "property", Some(property.as_str()));
            put(&mut command, "samples", Some(piece.iter().map(pair).collect::<Vec<Value>>()));
            let answer = accepted(client.request("anomaly-import", command)?);
            let answer = answer.map_err(|failure| match failure {
                Failure::Run(error) => Failure::Run(error.context(format!("{thing}/{property}"))),
                Failure::Config => Failure::Config,
            });
            let Taken { taken, ignored } = answer?.read()?;
            (total.taken, total.ignored) = (total.taken + taken, total.ignored + ignored);
            sent += piece.len();
            progress.show("importing", Some(crate::domain::anomaly::real(sent) / crate::domain::anomaly::real(all)));
        }
        ignored_in_all += total.ignored;
        let times =
            samples.first().zip(samples.last()).map(|(first, last)| (first.at.to_string(), last.at.to_string()));
        let (from, to) = times.unwrap_or_default();
        if args.json {
            let line = json!({
                "thing": thing, "property": property, "taken": total.taken, "ignored": total.ignored,
                "from": from, "to": to,
            });
            std::io::stdout().write_all(json_line(&line.to_string()).as_bytes())?;
        }
        rows.push([
            Cell::plain(printable(thing)),
            Cell::plain(printable(property)),
            Cell::plain(local_time(&from)),
            Cell::plain(local_time(&to)),
            Cell::plain(total.taken.to_string()),
            Cell::new(if total.ignored > 0 { Look::Warning } else { Look::Plain }, total.ignored.to_string()),
        ]);
    }
    drop(progress);
    if !args.json {
        print_table(["THING", "PROPERTY", "FROM", "TO", "TAKEN", "IGNORED"], &rows, Paper::stdout())?;
    }
    Ok(ignored_in_all)
}

/// A sample as commands have it.
fn pair(sample: &Sample) -> Value {
    json!([sample.at.as_micros().div_euclid(1_000), sample.value])
}

/// The samples in pieces that fit into a command.
fn pieces(samples: &[Sample]) -> Vec<&[Sample]> {
    let (mut pieces, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (index, sample) in samples.iter().enumerate() {
        let length = pair(sample).to_string().len() + 1;
        if index > start && (bytes + length > MOST_BYTES || index - start == MOST_SAMPLES) {
            pieces.push(&samples[start..index]);
            (start, bytes) = (index, 0);
        }
        bytes += length;
    }
    pieces.push(&samples[start..]);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Stamp;

    #[test]
    fn pieces_fit_into_commands_and_lose_nothing() {
        let sample = |value: f64| move |n: i64| Sample { at: Stamp::from_micros(n * 1_000_000), value };
        let short: Vec<Sample> = (0..12_000).map(sample(1.0)).collect();
        let long: Vec<Sample> = (1_700_000_000..1_700_012_000).map(sample(-1.234_567_890_123_456_7e-100)).collect();
        for samples in [short, long] {
            let pieces = pieces(&samples);
            assert_eq!(pieces.concat(), samples);
            for piece in pieces {
                let text = Value::from(piece.iter().map(pair).collect::<Vec<Value>>()).to_string();
                assert!(piece.len() <= MOST_SAMPLES && text.len() <= MOST_BYTES + 1, "{} {}", piece.len(), text.len());
            }
        }
    }
}
