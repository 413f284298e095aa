//! The mark of a run whose disk accepted nothing more, not even a note of that: a retained message on the gateway's own
//! probe topic, published before any other message that the store does not know.
//!
//! Afterwards the disk looks as if the run had ended just before. The broker has the published messages and therefore
//! the mark, because it was first on the same connection. Without a mark, nothing was published without the store.

use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Mark {
    /// The id of the gateway that published it.
    gateway: String,
    /// Events with numbers below this one may have been published. Later events are numbered by the clock.
    unstored_below: u64,
}

/// The payload of a gateway's mark.
pub(crate) fn render(gateway: &str, unstored_below: u64) -> Vec<u8> {
    serde_json::to_vec(&Mark { gateway: gateway.to_owned(), unstored_below }).unwrap_or_default()
}

/// `unstored_below` of this gateway's mark; `None` for any other payload.
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
