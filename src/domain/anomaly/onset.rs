//! Tells the beginning of something new from its echo.
//!
//! A fault is felt in many values: in those after it, in the windows that contain it, on the way back to normal. Who
//! gets a message for each of them stops reading. So the score of what follows a peak counts as new only when it is
//! clearly rarer than the peak, or when the echo time is over.

/// A score from here on is a peak whose echo is held back: once in three hundred values.
const PEAK: f64 = 2.5;
/// Clearly rarer: four times as rare.
const RARER: f64 = 0.6;

/// Holds back what is not new.
#[derive(Debug, Clone, PartialEq)]
pub struct Onset {
    /// How many values an echo lasts.
    echo: usize,
    peak: f64,
    since: usize,
}

impl Onset {
    /// An echo lasts for so many values.
    pub fn new(echo: usize) -> Onset {
        Onset { echo, peak: 0.0, since: echo }
    }

    /// The score, or 0 if it only echoes what was reported before.
    pub fn observe(&mut self, score: f64) -> f64 {
        self.since = self.since.saturating_add(1);
        if self.since < self.echo && score <= self.peak + RARER {
            return 0.0;
        }
        if score >= PEAK {
            self.peak = score;
            self.since = 0;
        }
        score
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_peak_is_its_echo_unless_it_is_clearly_rarer() {
        let mut onset = Onset::new(4);
        let scores = [1.0, 4.0, 3.0, 4.2, 5.0, 1.0, 5.2, 2.0, 2.0, 3.0];
        let heard = scores.map(|score| onset.observe(score) > 0.0);
        assert_eq!(heard, [true, true, false, false, true, false, false, false, true, true]);
    }
}
