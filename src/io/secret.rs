//! Secrets: where they are, never what they are.
//!
//! The configuration names a file, an environment variable or a systemd credential. It is read at the moment of use,
//! and what was read is neither printed nor kept.

use crate::domain::printable::is_deceptive;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Bytes of a secret. The longest tokens have some thousand.
const LONGEST: u64 = 64 * 1024;

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// In a file; a newline at its end does not belong to it.
    File(PathBuf),
    /// In an environment variable.
    Env(String),
    /// In a credential that systemd hands to the service (`LoadCredential=`).
    Credential(String),
}

impl Secret {
    /// Reads it. It is never empty.
    ///
    /// # Errors
    /// Why it cannot be read, without a word of its content.
    pub fn read(&self) -> Result<String, String> {
        let secret = match self {
            Secret::File(path) => from_file(path)?,
            Secret::Env(name) => std::env::var(name).map_err(|error| match error {
                std::env::VarError::NotPresent => format!("environment variable {name} is not set"),
                std::env::VarError::NotUnicode(_) => format!("environment variable {name} is no text"),
            })?,
            Secret::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
                Some(folder) => from_file(&PathBuf::from(folder).join(name))?,
                None => {
                    return Err(format!(
                        "there is no credential {name:?}: systemd sets CREDENTIALS_DIRECTORY where the unit has LoadCredential={name}:…"
                    ));
                }
            },
        };
        // Everybody can sign with an empty key, and an empty password is the first one that is guessed.
        let is_unseen = |c: char| c.is_whitespace() || is_deceptive(c);
        if secret.trim_matches(is_unseen).is_empty() {
            Err(format!("cannot read the secret: {self} is empty"))
        } else {
            Ok(secret)
        }
    }

    /// Reads one that stands in an HTTP header: a line of printable ASCII, which every server takes.
    ///
    /// # Errors
    /// Why it cannot be read or sent, without a word of its content.
    pub fn read_for_header(&self) -> Result<String, String> {
        let secret = self.read()?;
        match secret.chars().position(|c| !matches!(c, ' '..='~')) {
            Some(place) => Err(format!("{self} has no single line of ASCII: character {} is another", place + 1)),
            None => Ok(secret),
        }
    }
}

/// Opens a file, and nothing else: a pipe that nobody writes into would be waited for.
pub(crate) fn open_file(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = rustix::fs::OFlags::NONBLOCK.bits();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)?;
    let kind = file.metadata()?.file_type();
    // To read a folder fails with words of its own.
    if kind.is_file() || kind.is_dir() { Ok(file) } else { Err(std::io::Error::other("it is no regular file")) }
}

/// The text in a file, without the newline at its end.
fn from_file(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    open_file(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot read the secret in {}: {error}", path.display()))?;
    match String::from_utf8(bytes) {
        Ok(text) if text.len() as u64 <= LONGEST => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
        Ok(_) => Err(format!("cannot read the secret in {}: it has more than {LONGEST} bytes", path.display())),
        Err(_) => Err(format!("cannot read the secret in {}: it is no UTF-8 text", path.display())),
    }
}

impl Secret {
    /// Whether it is in a file that every user of the machine may read.
    pub(crate) fn is_open_to_everybody(&self) -> bool {
        use std::os::unix::fs::PermissionsExt as _;
        const OTHERS_READ: u32 = 0o004;
        match self {
            Secret::File(path) => {
                std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & OTHERS_READ != 0)
            }
            Secret::Env(_) | Secret::Credential(_) => false,
        }
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::File(path) => write!(f, "file {}", path.display()),
            Secret::Env(name) => write!(f, "environment variable {name}"),
            Secret::Credential(name) => write!(f, "credential {name}"),
        }
    }
}
