//! How far something long is: a line that is drawn anew on a terminal, a line for each tenth anywhere else.

use crate::cli::output::interrupt::leave_with;
use crate::cli::output::terminal::printable;
use crate::cli::{Failure, people_watch, say};
use std::io::Write as _;

/// To the line's beginning, and what is behind the cursor away (ECMA-48, EL).
const ANEW: &str = "\r\x1b[K";

/// What people are shown while they wait.
#[derive(Debug)]
pub(crate) struct Progress {
    is_watched: bool,
    /// What was said last: the words and the tenths.
    said: Option<(String, u8)>,
}

impl Progress {
    pub(crate) fn new() -> Progress {
        Progress { is_watched: people_watch(), said: None }
    }

    /// Whether there is a terminal.
    pub(crate) fn is_watched(&self) -> bool {
        self.is_watched
    }

    /// The work and its share that is done, 0 … 1; none: nobody knows.
    pub(crate) fn show(&mut self, words: &str, share: Option<f64>) {
        if self.is_watched {
            let percent = share.map(|share| format!(" {:3.0} %", share * 100.0)).unwrap_or_default();
            // A courtesy: a terminal that has gone is no reason to stop.
            let _ = write!(std::io::stderr(), "{ANEW}{}{percent}", printable(words));
            self.said = Some((words.to_owned(), 0));
            return;
        }
        let tenths = tenths(share.unwrap_or_default());
        let is_news = self.said.as_ref().is_none_or(|(said, before)| said != words || tenths > *before);
        if is_news {
            let percent = if tenths > 0 { format!(" {tenths}0 %") } else { String::new() };
            say(&format!("{words}{percent}"));
            self.said = Some((words.to_owned(), tenths));
        }
    }

    /// Takes the line away, before something else is said.
    pub(crate) fn clear(&mut self) {
        if self.is_watched && self.said.take().is_some() {
            let _ = write!(std::io::stderr(), "{ANEW}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What is said to somebody who does not want to wait any longer. It was not finished, so the exit status is 1.
pub(crate) fn say_at_interrupt(words: String) -> Result<(), Failure> {
    leave_with(move || {
        // Behind the line that was drawn, and the ^C in it.
        let gap = if people_watch() { "\n" } else { "" };
        say(&format!("{gap}{words}"));
        1
    })
}

/// How many tenths are done.
fn tenths(share: f64) -> u8 {
    (0..=10).take_while(|tenths| f64::from(*tenths) <= share * 10.0).last().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::tenths;

    #[test]
    fn a_tenth_counts_when_it_is_done() {
        assert_eq!([0.0, 0.099, 0.1, 0.55, 1.0, 7.0].map(tenths), [0, 0, 1, 5, 10, 10]);
    }
}
