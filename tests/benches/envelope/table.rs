//! The rows: what was measured, against what, and whether it is what was aimed at. For people as a table, else as JSON.

use serde_json::{Value, json};

/// What a figure has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Aim {
    AtMost(f64),
    AtMostTimes(f64),
    AtLeastTimes(f64),
    /// It is told because another one needs it.
    None,
}

/// Several runs of one measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Runs {
    pub(crate) median: f64,
    lowest: f64,
    highest: f64,
}

impl Runs {
    /// One that is not repeated: a count.
    pub(crate) fn once(value: f64) -> Runs {
        Runs { median: value, lowest: value, highest: value }
    }

    pub(crate) fn of(mut values: Vec<f64>) -> Runs {
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
        Runs { median: at(values.len() / 2), lowest: at(0), highest: at(values.len().saturating_sub(1)) }
    }
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) number: &'static str,
    pub(crate) what: String,
    pub(crate) measured: Runs,
    pub(crate) unit: &'static str,
    pub(crate) baseline: Option<(&'static str, Runs)>,
    pub(crate) aims: Vec<Aim>,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.baseline.map(|(_, baseline)| self.measured.median / baseline.median)
    }

    fn holds(&self) -> Option<bool> {
        let measured = self.measured.median;
        let ratio = self.ratio().unwrap_or(f64::NAN);
        self.aims.iter().fold(None, |all, aim| {
            let holds = match *aim {
                Aim::AtMost(limit) => measured <= limit,
                Aim::AtMostTimes(limit) => ratio <= limit,
                Aim::AtLeastTimes(limit) => ratio >= limit,
                Aim::None => return all,
            };
            Some(all.unwrap_or(true) && holds)
        })
    }

    fn verdict(&self) -> &'static str {
        match self.holds() {
            None => "",
            Some(true) => "holds",
            Some(false) => "MISSED",
        }
    }

    fn aim(&self) -> String {
        let words = self.aims.iter().filter_map(|aim| match aim {
            Aim::AtMost(limit) => Some(format!("≤ {} {}", number(*limit), self.unit)),
            Aim::AtMostTimes(limit) => Some(format!("≤ {limit} ×")),
            Aim::AtLeastTimes(limit) => Some(format!("≥ {limit} ×")),
            Aim::None => None,
        });
        words.collect::<Vec<_>>().join(", ")
    }

    /// As it is printed.
    pub(crate) fn cells(&self) -> [String; 7] {
        let Runs { median, lowest, highest } = self.measured;
        let spread = if (highest - lowest).abs() > f64::EPSILON {
            format!(" ({}–{})", number(lowest), number(highest))
        } else {
            String::new()
        };
        [
            self.number.to_owned(),
            self.what.clone(),
            format!("{} {}{spread}", number(median), self.unit),
            self.baseline
                .map_or(String::new(), |(name, baseline)| format!("{name} {} {}", number(baseline.median), self.unit)),
            self.ratio().map_or(String::new(), |ratio| format!("{ratio:.2}")),
            self.aim(),
            self.verdict().to_owned(),
        ]
    }

    pub(crate) fn json(&self) -> Value {
        let Runs { median, lowest, highest } = self.measured;
        json!({
            "row": self.number, "what": self.what, "unit": self.unit,
            "measured": median, "lowest": lowest, "highest": highest,
            "baseline": self.baseline.map(|(name, runs)| json!({ "name": name, "measured": runs.median })),
            "ratio": self.ratio(), "aim": self.aim(), "holds": self.holds(),
        })
    }
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// All rows in columns.
pub(crate) fn print(rows: &[Row]) {
    let head = ["#", "what", "measured", "baseline", "ratio", "aim", "verdict"].map(str::to_owned);
    let lines: Vec<[String; 7]> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    for cells in &lines {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width));
        println!("{}", padded.collect::<Vec<_>>().join("  ").trim_end());
    }
}
