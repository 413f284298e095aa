//! TLS: which certificates are trusted, and the client's own.
//!
//! The library's defaults panic on a machine without a CA bundle, so the configuration is made here, with ring.

use crate::config::Tls;
use rumqttc::TlsConfiguration;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;

pub(crate) fn configuration(tls: &Tls) -> Result<TlsConfiguration, String> {
    client_config(tls).map(|config| TlsConfiguration::Rustls(Arc::new(config)))
}

/// The same, for whoever else talks TLS.
pub(crate) fn client_config(tls: &Tls) -> Result<ClientConfig, String> {
    let roots = match &tls.ca_file {
        Some(path) => roots_from(path)?,
        None => system_roots()?,
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?
        .with_root_certificates(roots);
    match &tls.client {
        None => Ok(builder.with_no_client_auth()),
        Some((cert_file, key_file)) => {
            let chain = certificates(cert_file)?;
            let key = PrivateKeyDer::from_pem_file(key_file)
                .map_err(|error| format!("key_file {}: {error}", key_file.display()))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| format!("cert_file {} and key_file: {error}", cert_file.display()))
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let fail = |error| format!("{}: {error}", path.display());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(fail)?.collect();
    let chain = chain.map_err(fail)?;
    if chain.is_empty() { Err(format!("{}: there is no certificate in it", path.display())) } else { Ok(chain) }
}

fn roots_from(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| format!("ca_file {}: {error}", path.display()))?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        return Err("this machine has no certificates to trust: install ca-certificates, or give ca_file".to_owned());
    }
    Ok(roots)
}
