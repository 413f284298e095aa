//! Text that is not JSON: one value, as the device has written it.

use super::{Map, PayloadFault};
use crate::domain::model::ValueRef;

/// Gives the text, or its replacement in the map, to `take`.
///
/// # Errors
/// The text is NaN or an infinity.
pub(super) fn scalar<T>(text: &str, map: &Map, take: impl FnOnce(ValueRef<'_>) -> T) -> Result<T, PayloadFault> {
    match map.get(text) {
        Some(mapped) => Ok(take(mapped.borrow())),
        None if is_not_finite(text) => Err(PayloadFault::NotFinite),
        None => Ok(take(ValueRef::Text(text))),
    }
}

/// The spellings of NaN and infinity that printf and the languages of small devices produce.
fn is_not_finite(text: &str) -> bool {
    let word = text.trim().trim_start_matches(['+', '-']);
    ["nan", "inf", "infinity"].iter().any(|w| word.eq_ignore_ascii_case(w))
}
