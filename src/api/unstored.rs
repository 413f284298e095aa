//! The mark of a run whose disk took nothing more, not even a note of that: a retained message on the gateway's own probe
//! topic, published before anything else of which the store knows nothing.
//!
//! The disk looks afterwards as if the run had ended just before. The broker has what was published, and so it has the mark:
//! on one connection it comes first. Whoever finds none knows that nothing else was published either.

use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Mark {
    /// Who has published it.
    gateway: String,
    /// Events with numbers below this one may have been published. Later ones are numbered by the clock.
    unstored_below: u64,
}

/// The mark of a gateway.
pub(crate) fn render(gateway: &str, unstored_below: u64) -> Vec<u8> {
    serde_json::to_vec(&Mark { gateway: gateway.to_owned(), unstored_below }).unwrap_or_default()
}

/// Reads the mark of this gateway; none: it is something else.
pub(crate) fn read(payload: &[u8], gateway: &str) -> Option<u64> {
    let mark: Mark = serde_json::from_slice(payload).ok()?;
    (mark.gateway == gateway).then_some(mark.unstored_below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_mark_of_the_same_gateway_is_one() {
        let mark = render("gw", 7);
        assert_eq!(String::from_utf8(mark.clone()).unwrap(), r#"{"gateway":"gw","unstored_below":7}"#);
        assert_eq!((read(&mark, "gw"), read(&mark, "gw-2")), (Some(7), None));
        for other in [&b""[..], b"looking", b"{}", br#"{"gateway":"gw"}"#, b"\xff"] {
            assert_eq!(read(other, "gw"), None);
        }
    }
}
