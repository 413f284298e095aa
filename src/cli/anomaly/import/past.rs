//! What a file says of the past: the values of each property, in the order of time.

use crate::cli::anomaly::csv_row::{Layout, Rows};
use crate::domain::anomaly::series::Sample;
use std::collections::BTreeMap;
use std::io::BufRead;

/// Values that are held at once: 30 days of four a second, in 160 MiB.
const MOST: usize = 10_000_000;
/// Different reasons that are counted one by one. Some contain a value, so there may be as many as lines.
const MOST_REASONS: usize = 1_000;

/// The past as a file has it.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// By thing and property.
    pub(super) series: BTreeMap<(String, String), Vec<Sample>>,
    /// Why something was not used, and how often.
    pub(super) unused: BTreeMap<String, u64>,
    /// Values that stood behind later ones.
    pub(super) late: u64,
    count: usize,
}

impl Past {
    /// A value of a property.
    pub(super) fn push(&mut self, thing: &str, property: &str, sample: Sample) -> anyhow::Result<()> {
        self.count += 1;
        anyhow::ensure!(self.count <= MOST, "there are more than {MOST} values in it: import it in parts");
        // Looked up before it is made: of a long file all but a few are there.
        let key = (thing.to_owned(), property.to_owned());
        let series = self.series.entry(key).or_default();
        self.late += u64::from(series.last().is_some_and(|last| sample.at < last.at));
        series.push(sample);
        Ok(())
    }

    /// Something that is of no use here.
    pub(super) fn unused(&mut self, reason: String) {
        let is_known = self.unused.contains_key(&reason);
        let reason = if is_known || self.unused.len() < MOST_REASONS { reason } else { "for other reasons".to_owned() };
        *self.unused.entry(reason).or_default() += 1;
    }

    /// How many values there are.
    pub(super) fn samples(&self) -> usize {
        self.count
    }

    /// Brings everything into the order of time.
    pub(super) fn sorted(mut self) -> Past {
        if self.late > 0 {
            self.series.values_mut().for_each(|samples| samples.sort_by_key(|sample| sample.at));
        }
        self
    }
}

/// Reads a table, whose values are those of one property.
pub(super) fn of_table(layout: &Layout, input: impl BufRead, thing: &str, property: &str) -> anyhow::Result<Past> {
    let mut past = Past::default();
    let mut rows = Rows::new(input, layout);
    while let Some(row) = rows.next()? {
        match row.sample() {
            Some(sample) => past.push(thing, property, sample)?,
            None => past.unused(format!("no value ({:?})", row.text)),
        }
    }
    Ok(past.sorted())
}
