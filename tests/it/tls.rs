//! TLS, client certificates and passwords, against a real mosquitto.

use crate::support::operator::Operator;
use crate::support::{Broker, Daemon, HI, Protocol, config, for_both_versions, until};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::path::Path;
use std::process::Command;

for_both_versions! {
    a_broker_that_asks_for_everything_is_satisfied,
    the_command_line_uses_the_same_certificates_and_passwords,
    what_is_wrong_with_the_connection_is_said_in_the_log,
}

/// A certification authority, a server's and a client's certificate, as PEM files in `folder`.
pub fn certificates(folder: &Path) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.distinguished_name.push(DnType::CommonName, "the authority");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_cert = ca.self_signed(&ca_key).unwrap();
    std::fs::write(folder.join("ca.pem"), ca_cert.pem()).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    for name in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let cert = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), cert.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("other.pem"), other.cert.pem()).unwrap();
}

fn secured(folder: &Path) -> Broker {
    let passwords = folder.join("passwords");
    let made =
        Command::new("mosquitto_passwd").args(["-c", "-b"]).arg(&passwords).args(["gw", "s3cret"]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let path = folder.display();
    Broker::with(&format!(
        "cafile {path}/ca.pem\ncertfile {path}/server.pem\nkeyfile {path}/server.key\nrequire_certificate true\n\
         allow_anonymous false\npassword_file {path}/passwords\n"
    ))
}

fn secure_config(mqtt: Protocol, broker: &Broker, folder: &Path, ca: &str, password: &str) -> String {
    std::fs::write(folder.join("password"), format!("{password}\n")).unwrap();
    let path = folder.display();
    config(mqtt.at(broker.port), HI).replace(
        &format!("url = \"mqtt://127.0.0.1:{}\"", broker.port),
        &format!(
            "url = \"mqtts://localhost:{}\"\nca_file = \"{path}/{ca}\"\ncert_file = \"{path}/client.pem\"\n\
             key_file = \"{path}/client.key\"\nusername = \"gw\"\npassword = {{ file = \"{path}/password\" }}",
            broker.port
        ),
    )
}

fn a_broker_that_asks_for_everything_is_satisfied(mqtt: Protocol) {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let broker = secured(folder.path());
    let mut daemon = Daemon::with(&secure_config(mqtt, &broker, folder.path(), "ca.pem", "s3cret"));
    until("the connection", || daemon.log().contains("connected and subscribed").then_some(()));
    assert_eq!(daemon.stop(), 0);
    assert!(!daemon.log().contains("s3cret"));
}

fn the_command_line_uses_the_same_certificates_and_passwords(mqtt: Protocol) {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let broker = secured(folder.path());
    let text = secure_config(mqtt, &broker, folder.path(), "ca.pem", "s3cret");
    let daemon = Daemon::with(&text);
    until("the connection", || daemon.log().contains("connected and subscribed").then_some(()));
    let operator = Operator::with(&text.replace("STATE", "state"));
    assert!(operator.succeeds("list", &[]).contains("press-1/pressure/hi"));
    // The password is read at the moment of use.
    std::fs::write(folder.path().join("password"), "guess\n").unwrap();
    let refused = operator.does("list", &[]);
    assert!(refused.code == 1 && refused.err.contains("it refuses this user name and password"), "{refused:?}");
    assert!(!refused.err.contains("guess"));
    std::fs::remove_file(folder.path().join("password")).unwrap();
    let unusable = operator.does("list", &[]);
    assert!(unusable.code == 2 && unusable.err.contains("cannot read the secret in"), "{unusable:?}");
}

fn what_is_wrong_with_the_connection_is_said_in_the_log(mqtt: Protocol) {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let broker = secured(folder.path());
    let stranger = Daemon::with(&secure_config(mqtt, &broker, folder.path(), "other.pem", "s3cret"));
    until("the certificate's refusal", || stranger.log().to_lowercase().contains("certificate").then_some(()));
    let wrong = Daemon::with(&secure_config(mqtt, &broker, folder.path(), "ca.pem", "guess"));
    until("the password's refusal", || wrong.log().contains("not authorised").then_some(()));
    assert!(!wrong.log().contains("guess"));
    let text = secure_config(mqtt, &broker, folder.path(), "missing.pem", "s3cret");
    let mut missing = Daemon::with(&text);
    assert_eq!(missing.wait(), 2);
    assert!(missing.log().contains("missing.pem"), "{}", missing.log());
}
