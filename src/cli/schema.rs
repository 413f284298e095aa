//! `annunciator schema`: what may stand in a configuration, for editors.

use super::Failure;
use std::io::Write as _;

pub(super) fn run() -> Result<(), Failure> {
    std::io::stdout().write_all(crate::config::schema::render().as_bytes())?;
    Ok(())
}
