//! TLS, client certificates and passwords, against a real mosquitto.

use crate::support::operator::Operator;
use crate::support::{Broker, Daemon, HI, Protocol, config, for_both_versions, free_port, until};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

for_both_versions! {
    a_broker_that_asks_for_everything_is_satisfied,
    the_command_line_uses_the_same_certificates_and_passwords,
    what_is_wrong_with_the_connection_is_said_in_the_log,
    files_are_renewed_while_it_runs_and_garbage_is_no_end,
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
    until("the missing file", || missing.log().contains("reason=\"ca_file ").then_some(()));
    assert_eq!(missing.stop(), 0, "it goes on trying");
}

fn files_are_renewed_while_it_runs_and_garbage_is_no_end(mqtt: Protocol) {
    let (folder, window) = (tempfile::tempdir().unwrap(), free_port());
    let file = |name: &str| folder.path().join(name);
    certificates(folder.path());
    let mut broker = secured(folder.path());
    let text = secure_config(mqtt, &broker, folder.path(), "trusted.pem", "");
    std::fs::write(file("trusted.pem"), "").unwrap();
    let mut daemon = Daemon::with(&format!("{text}\n[http]\nlisten = \"127.0.0.1:{window}\"\n"));
    // One after the other they are mended; each is named in the meantime, where a technician looks.
    until("the empty file of authorities", || health(window).contains("there is no certificate in it").then_some(()));
    std::fs::write(file("trusted.pem"), "-----BEGIN CERTIFICATE-----\nno, no\n-----END CERTIFICATE-----\n").unwrap();
    until("the garbled file", || health(window).contains("cannot connect: ca_file ").then_some(()));
    std::fs::copy(file("ca.pem"), file("trusted.pem")).unwrap();
    let key = std::fs::read(file("client.key")).unwrap();
    std::fs::write(file("client.key"), "").unwrap();
    until("the empty key", || health(window).contains("there is no private key in it").then_some(()));
    std::fs::write(file("client.key"), key).unwrap();
    until("the empty password", || health(window).contains("cannot read the secret: file ").then_some(()));
    std::fs::write(file("password"), "s3cret\n").unwrap();
    until("the connection", || daemon.log().contains("connected and subscribed").then_some(()));
    until("no problem any more", || (!health(window).contains("cannot connect")).then_some(()));
    // Everything is renewed: authority, server, client, password.
    certificates(folder.path());
    std::fs::copy(file("ca.pem"), file("trusted.pem")).unwrap();
    std::fs::write(file("password"), "n3xt\n").unwrap();
    let renewed =
        Command::new("mosquitto_passwd").arg("-b").arg(file("passwords")).args(["gw", "n3xt"]).output().unwrap();
    assert!(renewed.status.success(), "{renewed:?}");
    broker.restart();
    until("the next connection", || (daemon.log().matches("connected and subscribed").count() >= 2).then_some(()));
    assert_eq!(daemon.stop(), 0);
    for secret in ["s3cret", "n3xt"] {
        assert!(!daemon.log().contains(secret));
    }
}

/// What the daemon says of itself over HTTP; nothing, as long as it does not.
fn health(port: u16) -> String {
    let Ok(mut connection) = TcpStream::connect(("127.0.0.1", port)) else { return String::new() };
    let mut said = String::new();
    let asked = connection.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    if asked.and_then(|()| connection.read_to_string(&mut said)).is_err() { String::new() } else { said }
}
