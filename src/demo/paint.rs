//! How things look: colours, where the terminal has them, and small pictures made of characters.

use std::fmt::Write as _;

/// Cells of a gauge between two limits, and outside of them.
const CELLS: u8 = 5;
/// What one cell stands for.
const CELL: f64 = 2.0;

/// How something is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Without colour.
    Plain,
    /// Not the point.
    Faint,
    /// A headline.
    Strong,
    /// A command to copy.
    Command,
    /// As it should be.
    Good,
    /// Not as it should be, but no alarm yet.
    Warning,
    /// An alarm.
    Alarm,
    /// An alarm of which somebody knows.
    Acknowledged,
    /// The end of an alarm.
    AllClear,
}

impl Look {
    /// For the terminal (ECMA-48, SGR).
    fn code(self) -> &'static str {
        match self {
            Look::Plain => "0",
            Look::Faint => "2",
            Look::Strong => "1",
            Look::Command => "36",
            Look::Good => "32",
            Look::Warning => "1;33",
            Look::Alarm => "1;97;41",
            Look::Acknowledged => "30;43",
            Look::AllClear => "30;42",
        }
    }
}

/// Where a value lies between limits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    /// The value.
    pub(super) value: f64,
    /// How many limits are below it. The caller decides which side a limit itself belongs to.
    pub(super) zone: usize,
}

/// A brush: with colours, or without.
#[derive(Debug, Clone, Copy)]
pub(super) struct Brush {
    /// Whether the terminal has colours.
    pub(super) coloured: bool,
}

impl Brush {
    pub(super) fn paint(self, look: Look, text: &str) -> String {
        if self.coloured && look != Look::Plain {
            format!("\x1b[{}m{text}\x1b[0m", look.code())
        } else {
            text.to_owned()
        }
    }

    /// A scale with a stroke at each limit, and a dot where the value is: good in the zone that is normal.
    pub(super) fn gauge(self, mark: Option<Mark>, normal: usize, limits: &[f64]) -> String {
        let mut from = limits.first().copied().unwrap_or_default() - CELL * f64::from(CELLS);
        let mut text = String::new();
        for zone in 0..=limits.len() {
            let dots = |count: usize| self.paint(Look::Faint, &"·".repeat(count));
            let all = usize::from(CELLS);
            match mark.filter(|mark| mark.zone == zone) {
                None => text.push_str(&dots(all)),
                Some(Mark { value, .. }) => {
                    let place = (1..CELLS).filter(|cell| value >= from + CELL * f64::from(*cell)).count();
                    let dot = self.paint(if zone == normal { Look::Good } else { Look::Warning }, "●");
                    // Writing to a String cannot fail.
                    let _ = write!(text, "{}{dot}{}", dots(place), dots(all - 1 - place));
                }
            }
            if let Some(limit) = limits.get(zone) {
                text.push('│');
                from = *limit;
            }
        }
        text
    }

    /// A bar of `all` cells, so many of them full.
    pub(super) fn bar(self, full: usize, all: usize) -> String {
        let full = full.min(all);
        self.paint(Look::Warning, &format!("{}{}", "▮".repeat(full), "▯".repeat(all - full)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_shows_the_zone_of_a_value() {
        let brush = Brush { coloured: false };
        let gauge = |value, zone| brush.gauge(Some(Mark { value, zone }), 1, &[10.0, 20.0]);
        assert_eq!(gauge(-7.0, 0), "●····│·····│·····");
        assert_eq!(gauge(9.9, 0), "····●│·····│·····");
        assert_eq!(gauge(10.0, 1), "·····│●····│·····");
        assert_eq!(gauge(20.0, 1), "·····│····●│·····");
        assert_eq!(gauge(20.1, 2), "·····│·····│●····");
        assert_eq!(gauge(99.0, 2), "·····│·····│····●");
        assert_eq!(brush.gauge(None, 0, &[19.0]), "·····│·····");
    }

    #[test]
    fn only_a_terminal_gets_colours() {
        assert_eq!(Brush { coloured: false }.paint(Look::Alarm, "x"), "x");
        assert_eq!(Brush { coloured: true }.paint(Look::Alarm, "x"), "\x1b[1;97;41mx\x1b[0m");
    }
}
