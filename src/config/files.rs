//! Files that a configuration names, and the contents that they need: certificates, keys, secrets.
//!
//! They are looked at by `check`, so that a person hears of an empty or garbled one before the daemon needs it. They may
//! be renewed at any time and are read again whenever they are used, so none of this keeps the daemon from starting. What
//! cannot be looked at from here may be there for the daemon's user: that is no problem.

use super::connection::Tls;
use super::report::{Place, Problem, Problems};
use crate::io::mqtt::tls;
use crate::io::secret::Secret;
use std::path::Path;

/// Whether this can be looked at by who asks. A pipe would wait for somebody to write into it.
fn is_open_to_us(path: &Path) -> bool {
    let can_be_read = |file: std::fs::Metadata| file.is_file() || file.is_dir();
    std::fs::metadata(path).is_ok_and(can_be_read) && std::fs::File::open(path).is_ok()
}

/// Looks at the files of a section. `place` tells where a key stands.
pub(super) fn check_tls(files: &Tls, place: impl Fn(&str) -> Place, problems: &mut Problems) {
    let help = "a PEM file: -----BEGIN …, base64, -----END …";
    let mut note = |name: &str, reason: String| {
        problems.add(Problem::unusable(place(name), format!("{name} {reason}"), help));
    };
    let mut is_whole = true;
    if let Some(path) = files.ca_file.as_deref().filter(|path| is_open_to_us(path))
        && let Err(reason) = tls::roots_from(path)
    {
        is_whole = false;
        note("ca_file", reason);
    }
    let Some((cert_file, key_file)) = &files.client else { return };
    if is_open_to_us(cert_file)
        && let Err(reason) = tls::certificates(cert_file)
    {
        is_whole = false;
        note("cert_file", reason);
    }
    if is_open_to_us(key_file)
        && let Err(reason) = tls::key_from(key_file)
    {
        is_whole = false;
        note("key_file", reason);
    }
    // Whether the key belongs to the certificate shows only if both can be read.
    if is_whole
        && is_open_to_us(cert_file)
        && is_open_to_us(key_file)
        && let Err(reason) = tls::client_config(&Tls { ca_file: None, client: files.client.clone() }, tls::Roots::None)
    {
        note("cert_file", reason.trim_start_matches("cert_file ").to_owned());
    }
}

/// Looks at a secret. A token stands in a header and is a line of ASCII.
pub(super) fn check_secret(name: &str, secret: &Secret, place: Place, problems: &mut Problems) {
    let is_within_reach = match secret {
        Secret::File(path) => is_open_to_us(path),
        Secret::Env(name) => std::env::var_os(name).is_some(),
        Secret::Credential(name) => std::env::var_os("CREDENTIALS_DIRECTORY")
            .is_some_and(|folder| is_open_to_us(&Path::new(&folder).join(name))),
    };
    let read = || if name == "token" { secret.read_for_header() } else { secret.read() };
    if is_within_reach && let Err(reason) = read() {
        let help = "one line of text, which is the secret";
        problems.add(Problem::unusable(place, format!("{name}: {reason}"), help).without_source());
    }
}
