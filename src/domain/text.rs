//! Texts with a bound in bytes, for what people read of what somebody else wrote.
//!
//! Ids, names, comments and values come from outside and may have any length. Whatever repeats one of them (a fault, a
//! log line, a problem on the status) repeats at most so many bytes of it, cut between characters and with a sign that
//! there was more.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// The sign that a text was cut.
const MORE: &str = "…";

/// The text with at most `most` bytes, the sign that it was cut included.
///
/// ```
/// use annunciator::domain::text::clip;
/// assert_eq!(clip("boiler-7", 8), "boiler-7");
/// assert_eq!(clip("boiler-77", 8), "boile…");
/// assert_eq!(clip("Kühlung", 5), "K…", "not within a character");
/// ```
pub fn clip(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let kept = text.floor_char_boundary_at(most.saturating_sub(MORE.len()));
    Cow::Owned(format!("{kept}{MORE}"))
}

/// What these arguments say, with at most `most` bytes. No more than that is ever in memory.
pub(crate) fn say(most: usize, arguments: fmt::Arguments<'_>) -> String {
    let mut bounded = Bounded { text: String::new(), most };
    if bounded.write_fmt(arguments).is_err() {
        let kept = bounded.text.floor_char_boundary_at(most.saturating_sub(MORE.len())).len();
        bounded.text.truncate(kept);
        bounded.text.push_str(MORE);
    }
    bounded.text
}

/// A text that takes so many bytes and refuses the rest.
struct Bounded {
    text: String,
    most: usize,
}

impl Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = self.most - self.text.len();
        self.text.push_str(more.floor_char_boundary_at(room));
        if more.len() <= room { Ok(()) } else { Err(fmt::Error) }
    }
}

/// The beginning of a text that ends between two characters.
trait FloorCharBoundary {
    fn floor_char_boundary_at(&self, most: usize) -> &str;
}

impl FloorCharBoundary for str {
    fn floor_char_boundary_at(&self, most: usize) -> &str {
        let end = (0..=most.min(self.len())).rev().find(|end| self.is_char_boundary(*end)).unwrap_or(0);
        &self[..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_is_longer_and_short_ones_stay(text in ".{0,40}", most in 3..60_usize) {
            let clipped = clip(&text, most);
            prop_assert!(clipped.len() <= most);
            prop_assert_eq!(clipped == text, text.len() <= most);
            prop_assert!(text.starts_with(clipped.trim_end_matches(MORE)));
            prop_assert_eq!(say(most, format_args!("{text}")), clipped);
            let (begin, end) = text.split_at(text.floor_char_boundary_at(text.len() / 2).len());
            prop_assert_eq!(say(most, format_args!("{begin}{end}")), clip(&text, most));
        }
    }
}
