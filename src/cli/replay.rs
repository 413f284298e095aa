//! `annunciator replay`: a recording under a configuration, and the events it causes.

use super::{ConfigArg, Failure, load, people_watch, say};
use crate::api::event;
use crate::ingest::router::Fault;
use crate::plot::{self, Choice, Collector};
use crate::replay::Player;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, BufWriter, IsTerminal as _, Read as _, Write};
use std::path::{Path, PathBuf};

/// A line longer than this is no recorded message: MQTT itself ends at 256 MiB, and its JSON at six times that.
const MAX_LINE: u64 = 1 << 31;
/// Different faults that are named at the end; the rest is counted.
const FAULTS_NAMED: usize = 10;
/// Different faults that are counted one by one. Some contain a time or a value, so there may be as many as lines.
const FAULTS_KEPT: usize = 1000;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// The recording, as `mosquitto_sub -F %j` writes it; - for standard input
    #[arg(value_name = "TRACE")]
    trace: PathBuf,
    /// Draw values, limits and alarm states over time into this file
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Draw only alarms whose thing/property/level fits; * and ? stand for anything
    #[arg(long, value_name = "ALARMS", requires = "plot")]
    plot_only: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let config = load(&args.config)?;
    let gateway = config.gateway.id.clone();
    let mut player = Player::new(config);
    let not_judged: Vec<&str> = player.not_judged().collect();
    if !not_judged.is_empty() {
        let names = not_judged.join(", ");
        say(&format!("anomalies of models are not found in a recording, their past is not in it: {names}"));
    }
    let mut plot = args.plot.as_deref().map(|file| Plot::new(file, &player, args.plot_only.as_deref())).transpose()?;
    let played = play(args, &gateway, &mut player, plot.as_mut());
    // A recording that breaks off is drawn up to there: it may show why.
    let written = plot.map_or(Ok(()), |plot| plot.write(&player));
    played?;
    Ok(written?)
}

/// Plays the recording; its events go to standard output.
fn play(args: &Args, gateway: &str, player: &mut Player, mut plot: Option<&mut Plot>) -> Result<(), Failure> {
    let name = args.trace.display();
    let is_stdin = args.trace == Path::new("-");
    let (input, size): (Box<dyn BufRead>, u64) = if is_stdin {
        (Box::new(std::io::stdin().lock()), 0)
    } else {
        let file = std::fs::File::open(&args.trace).with_context(|| format!("cannot open {name}"))?;
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        (Box::new(BufReader::with_capacity(1 << 16, file)), size)
    };
    let stdout = std::io::stdout().lock();
    let live = stdout.is_terminal() || is_stdin;
    let mut output = BufWriter::new(stdout);
    let mut faults = Faults::default();
    let mut progress = Progress::new(size);

    let mut lines = Lines { input, line: Vec::new() };
    let mut number = 0_u64;
    while let Some(line) = lines.next().with_context(|| format!("cannot read {name}, line {}", number + 1))? {
        number += 1;
        progress.advance(line.len());
        player.play_bytes(line).map_err(|problem| anyhow::anyhow!("{name}:{number}: {problem}"))?;
        if let Some(plot) = &mut plot {
            plot.collector.observe(player);
        }
        player.faults.drain(..).for_each(|fault| faults.add(fault));
        for reply in player.replies.drain(..).filter(|reply| !reply.windows(9).any(|w| w == b"\"ok\":true")) {
            progress.clear();
            say(&format!("{name}:{number}: command refused: {}", String::from_utf8_lossy(&reply)));
        }
        for event in &player.effects.events {
            output.write_all(&event::render_recorded(event, gateway))?;
            output.write_all(b"\n")?;
        }
        if live && !player.effects.events.is_empty() {
            output.flush()?;
        }
    }
    output.flush()?;
    progress.clear();
    faults.report();
    Ok(())
}

/// The picture that is asked for with `--plot`.
struct Plot {
    path: PathBuf,
    file: std::fs::File,
    collector: Collector,
}

impl Plot {
    fn new(path: &Path, player: &Player, only: Option<&str>) -> anyhow::Result<Plot> {
        // Before an hour is spent on the recording.
        let file = std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Plot { path: path.to_owned(), file, collector: Collector::new(player, Choice::parse(only)) })
    }

    fn write(mut self, player: &Player) -> anyhow::Result<()> {
        let name = self.path.display();
        let svg = plot::draw(&self.collector.finish(player)).with_context(|| format!("cannot draw {name}"))?;
        self.file.write_all(svg.as_bytes()).with_context(|| format!("cannot write {name}"))
    }
}

/// What of the recording could not be used, by kinds.
#[derive(Default)]
struct Faults {
    kinds: BTreeMap<Fault, u64>,
    /// Faults of kinds for which there was no room.
    others: u64,
}

impl Faults {
    fn add(&mut self, fault: Fault) {
        if let Some(count) = self.kinds.get_mut(&fault) {
            *count += 1;
        } else if self.kinds.len() < FAULTS_KEPT {
            self.kinds.insert(fault, 1);
        } else {
            self.others += 1;
        }
    }

    fn report(&self) {
        let mut by_count: Vec<(&Fault, &u64)> = self.kinds.iter().collect();
        by_count.sort_by(|a, b| b.1.cmp(a.1));
        for (fault, count) in by_count.iter().take(FAULTS_NAMED) {
            say(&format!("not used ({count} times): {}: {}", fault.topic, fault.reason));
        }
        if by_count.len() > FAULTS_NAMED {
            let at_least = if self.others > 0 { "at least " } else { "" };
            say(&format!("… and {at_least}{} other kinds of faults", by_count.len() - FAULTS_NAMED));
        }
    }
}

struct Lines {
    input: Box<dyn BufRead>,
    line: Vec<u8>,
}

impl Lines {
    fn next(&mut self) -> std::io::Result<Option<&[u8]>> {
        self.line.clear();
        let read = (&mut self.input).take(MAX_LINE).read_until(b'\n', &mut self.line)?;
        Ok((read > 0).then_some(self.line.as_slice()))
    }
}

/// How far the recording has been played, for people who wait for it.
struct Progress {
    size: u64,
    done: u64,
    shown_at: u64,
    watched: bool,
}

impl Progress {
    /// Bytes between two updates: some tens of updates a second.
    const STEP: u64 = 4 << 20;

    fn new(size: u64) -> Progress {
        Progress { size, done: 0, shown_at: 0, watched: people_watch() && !std::io::stdout().is_terminal() }
    }

    fn advance(&mut self, bytes: usize) {
        self.done += bytes as u64;
        if self.watched && self.done - self.shown_at >= Self::STEP {
            self.shown_at = self.done;
            let megabytes = self.done >> 20;
            let text = match self.done.saturating_mul(100).checked_div(self.size) {
                Some(percent) => format!("\r{percent:3} %  {megabytes} MiB"),
                None => format!("\r{megabytes} MiB"),
            };
            // Progress is a courtesy: a terminal that has gone is no reason to stop.
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
    }

    fn clear(&mut self) {
        if self.watched && self.shown_at > 0 {
            let _ = std::io::stderr().write_all(b"\r                    \r");
        }
    }
}
