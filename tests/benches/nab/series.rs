//! Reads the benchmark's files.

use annunciator::domain::anomaly::series::Sample;
use annunciator::domain::time::Stamp;
use std::collections::BTreeMap;
use std::path::Path;

/// Of longer files no more than 15 % of so many rows are for learning.
const LONGEST: usize = 5_000;

/// One file with its labels.
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) samples: Vec<Sample>,
    /// First and last row of each labelled window.
    pub(crate) windows: Vec<(usize, usize)>,
}

impl Series {
    /// How many rows are for learning.
    pub(crate) fn probation(&self) -> usize {
        self.samples.len().min(LONGEST) * 15 / 100
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = f64> {
        self.samples.iter().map(|sample| sample.value)
    }
}

fn stamp(text: &str) -> Result<Stamp, String> {
    Stamp::parse(&format!("{}Z", text.replace(' ', "T")))
}

/// All files that `windows.json` names.
pub(crate) fn load(directory: &Path) -> Result<Vec<Series>, String> {
    let text = std::fs::read(directory.join("windows.json")).map_err(|error| format!("windows.json: {error}"))?;
    let labels: BTreeMap<String, Vec<[String; 2]>> =
        serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    labels.into_iter().map(|(name, windows)| read(directory, name, &windows)).collect()
}

fn read(directory: &Path, name: String, windows: &[[String; 2]]) -> Result<Series, String> {
    let text = std::fs::read_to_string(directory.join(&name)).map_err(|error| format!("{name}: {error}"))?;
    let sample = |line: &str| {
        let (at, value) = line.split_once(',').ok_or("no comma")?;
        Ok(Sample { at: stamp(at)?, value: value.trim().parse().map_err(|_| format!("{value:?} is no number"))? })
    };
    let samples: Vec<Sample> = text.lines().skip(1).map(sample).collect::<Result<_, String>>()?;
    let rows = |[from, to]: &[String; 2]| {
        let (from, to) = (stamp(from)?, stamp(to)?);
        let first = samples.iter().position(|sample| sample.at >= from).ok_or("a window behind the end")?;
        let last = samples.iter().rposition(|sample| sample.at <= to).ok_or("a window before the beginning")?;
        Ok((first, last))
    };
    let windows = windows.iter().map(rows).collect::<Result<_, String>>()?;
    Ok(Series { name, samples, windows })
}
