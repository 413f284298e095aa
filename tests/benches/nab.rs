//! How well anomalies are found: the Numenta Anomaly Benchmark's own rule, over whatever part of its data is given.
//!
//! `ANNUNCIATOR_NAB=DIRECTORY cargo bench --bench nab`, or the directory as an argument. It holds `windows.json` (per
//! file the labelled windows) and the files. Each is streamed as NAB prescribes: the first 15 % are for learning, 750
//! rows at most, then each value is scored as it comes. Beside the detector run two that need no thought, a windowed
//! Gaussian and the distance to the mean of the time of day, scored by the same rule. Then what a score costs.

#![expect(clippy::print_stdout, reason = "figures are for people to read")]

#[path = "nab/baseline.rs"]
mod baseline;
#[path = "nab/cost.rs"]
mod cost;
#[path = "nab/rule.rs"]
mod rule;
#[path = "nab/series.rs"]
mod series;

use annunciator::domain::anomaly::detector::Detector;
use series::Series;
use std::path::PathBuf;

/// The scores of one detector for all files.
struct Run {
    name: &'static str,
    scores: Vec<Vec<f64>>,
}

impl Run {
    fn new(name: &'static str, all: &[Series], score: impl Fn(&Series) -> Vec<f64>) -> Run {
        Run { name, scores: all.iter().map(score).collect() }
    }
}

fn detector(series: &Series) -> Vec<f64> {
    let (past, stream) = series.samples.split_at(series.probation());
    let mut scores = vec![0.0; past.len()];
    match Detector::learn(past) {
        Ok(mut detector) => scores.extend(stream.iter().map(|sample| detector.observe(*sample).onset)),
        Err(error) => {
            println!("{}: {error}", series.name);
            scores.resize(series.samples.len(), 0.0);
        }
    }
    scores
}

fn main() {
    let given = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let directory = given.or_else(|| std::env::var("ANNUNCIATOR_NAB").ok()).map(PathBuf::from);
    if let Some(directory) = directory {
        match series::load(&directory) {
            Ok(all) => quality(&all),
            Err(problem) => println!("{}: {problem}", directory.display()),
        }
    } else {
        println!("no data: give the directory as an argument or in ANNUNCIATOR_NAB");
    }
    cost::print();
}

fn quality(all: &[Series]) {
    let runs = [
        Run::new("annunciator", all, detector),
        Run::new("windowed Gaussian", all, baseline::windowed_gaussian),
        Run::new("seasonal mean", all, baseline::seasonal_mean),
    ];
    let best: Vec<rule::Best> = runs.iter().map(|run| rule::best(all, &run.scores)).collect();
    println!("{:58} {:>7} {:>36} {:>20} {:>16}", "", "windows", runs[0].name, runs[1].name, runs[2].name);
    println!("{:58} {:>7} {:>36} {:>20} {:>16}", "file", "", "score   found   missed   false", "score", "score");
    for (index, series) in all.iter().enumerate() {
        let [own, gaussian, seasonal] =
            [0, 1, 2].map(|run| rule::classify(series, &runs[run].scores[index], best[run].threshold));
        println!(
            "{:58} {:>7} {:>12.2} {:>7} {:>8} {:>7} {:>19.2} {:>16.2}",
            series.name,
            series.windows.len(),
            own.value,
            own.found,
            series.windows.len() - own.found,
            own.false_alarms,
            gaussian.value,
            seasonal.value
        );
    }
    println!();
    for (run, best) in runs.iter().zip(&best) {
        println!("NAB standard score: {:>6.2}  {} (threshold {:.3})", best.score, run.name, best.threshold);
    }
    for threshold in [3.0, 3.25, 3.5, 3.75, 4.0] {
        println!("  annunciator at {threshold}: {:.2}", rule::total(all, &runs[0].scores, threshold));
    }
}
