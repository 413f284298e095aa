//! TLS: which certificates are trusted, and the client's own.
//!
//! The library's defaults panic on a machine without a CA bundle, so the configuration is made here, with ring.

use crate::config::Tls;
use crate::domain::printable::printable;
use rumqttc::TlsConfiguration;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

pub(crate) fn configuration(tls: &Tls) -> Result<TlsConfiguration, String> {
    client_config(tls, Roots::System).map(|config| TlsConfiguration::Rustls(Arc::new(config)))
}

/// Whom to trust where no `ca_file` is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Roots {
    /// Whom the system trusts.
    System,
    /// Nobody: there will be no TLS.
    None,
}

/// The same, for whoever else talks TLS.
pub(crate) fn client_config(tls: &Tls, otherwise: Roots) -> Result<ClientConfig, String> {
    let roots = match (&tls.ca_file, otherwise) {
        (Some(path), _) => roots_from(path).map_err(|reason| format!("ca_file {reason}"))?,
        (None, Roots::System) => system_roots()?,
        (None, Roots::None) => RootCertStore::empty(),
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?
        .with_root_certificates(roots);
    match &tls.client {
        None => Ok(builder.with_no_client_auth()),
        Some((cert_file, key_file)) => {
            let chain = certificates(cert_file).map_err(|reason| format!("cert_file {reason}"))?;
            let key = key_from(key_file).map_err(|reason| format!("key_file {reason}"))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| format!("cert_file {} and key_file: {error}", cert_file.display()))
        }
    }
}

/// Bytes of a file with certificates or a key. A whole system's authorities have a quarter of that.
const LONGEST_FILE: u64 = 1 << 20;

/// The bytes of a file with certificates or a key.
///
/// # Errors
/// It cannot be read, or is too long.
pub(crate) fn bytes_of(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = crate::config::open_file(path).and_then(|file| file.take(LONGEST_FILE + 1).read_to_end(&mut bytes));
    match read {
        Ok(length) if length as u64 <= LONGEST_FILE => Ok(bytes),
        Ok(_) => Err(format!("{}: it has more than {LONGEST_FILE} bytes", path.display())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// The certificates in a file.
///
/// # Errors
/// It cannot be read, or there is none in it.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = bytes_of(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.map_err(|error| format!("{}: {}", path.display(), explain(&error)))?;
    if chain.is_empty() { Err(format!("{}: there is no certificate in it", path.display())) } else { Ok(chain) }
}

/// The certificates to trust.
///
/// # Errors
/// The file cannot be read, or there is none in it.
pub(crate) fn roots_from(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(roots)
}

/// A private key.
///
/// # Errors
/// The file cannot be read, or there is none in it.
pub(crate) fn key_from(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    PrivateKeyDer::from_pem_slice(&bytes_of(path)?).map_err(|error| {
        let is_missing = matches!(error, rustls::pki_types::pem::Error::NoItemsFound);
        if is_missing { wrong(&"there is no private key in it") } else { wrong(&explain(&error)) }
    })
}

/// The library shows bytes as numbers.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library's own words serve for the others")]
fn explain(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!("it ends before {}", printable(&String::from_utf8_lossy(end_marker)))
        }
        // The line may hold a key.
        pem::Error::IllegalSectionStart { .. } => {
            "a line that begins with -----BEGIN does not end with -----".to_owned()
        }
        error => error.to_string(),
    }
}

fn system_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        return Err("this machine has no certificates to trust: install ca-certificates, or give ca_file".to_owned());
    }
    Ok(roots)
}
