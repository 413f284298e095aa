//! `check --online`: what can be known without sending anything.

use super::alarm;
use crate::support::servers::Server;
use crate::support::{Broker, Daemon, PROGRAM, Watcher, config};
use std::path::Path;
use std::process::Command;

fn check(config: &Path) -> (i32, String) {
    let output = Command::new(PROGRAM).args(["check", "--online", "--config"]).arg(config).output().unwrap();
    assert!(output.stdout.is_empty(), "standard output is for data");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn everything_is_walked_through_and_nothing_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    crate::tls::certificates(folder.path());
    std::fs::write(folder.path().join("password"), "correct horse\n").unwrap();
    let (broker, mut mail, mut web) = (Broker::start(), Server::mail(folder.path(), "starttls"), Server::http());
    let text = format!(
        "[smtp]\nhost = \"localhost\"\nport = {}\nfrom = \"gw@example.org\"\nca_file = \"{path}/ca.pem\"\n\
         username = \"gw-01\"\npassword = {{ file = \"{path}/password\" }}\n\n\
         [[reaction]]\nname = \"mail\"\ntype = \"email\"\nto = [\"duty@example.org\", \"chief@example.org\"]\n\n\
         [[reaction]]\nname = \"hook\"\ntype = \"webhook\"\nurl = \"http://127.0.0.1:{}/alarms\"\n\n\
         [[reaction]]\nname = \"horn\"\ntype = \"mqtt\"\ntopic = \"plant/horn\"\n",
        mail.port,
        web.port,
        path = folder.path().display()
    );
    let daemon = Daemon::prepare(&config(broker.port, &(alarm("\"mail\", \"hook\", \"horn\"") + &text)));
    let mut watcher = Watcher::connect(broker.port);
    let (status, said) = check(&daemon.config_file());
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("TLS, logged in as gw-01") && said.contains("duty@example.org: 250 2.1.5 Ok"), "{said}");
    assert!(said.contains("own topics can be written and read"), "{said}");
    watcher.settle();
    assert!(watcher.all.iter().all(|seen| seen.payload.is_empty() || seen.topic == "mark"), "{}", watcher.transcript());
    mail.behave("unknown chief");
    web.stop();
    std::fs::write(folder.path().join("password"), "hunter2\n").unwrap();
    let (status, said) = check(&daemon.config_file());
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("smtp: error: localhost") && said.contains("login as gw-01"), "{said}");
    assert!(said.contains("reaction hook: error"), "{said}");
    assert!(!said.contains("hunter2"));
    std::fs::write(folder.path().join("password"), "correct horse\n").unwrap();
    let (_, said) = check(&daemon.config_file());
    assert!(said.contains("chief@example.org: ") && said.contains("No such user here"), "{said}");
    assert!(mail.drain().is_empty() && web.drain().is_empty(), "nothing was sent");
}

#[test]
fn what_the_broker_forbids_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let acl = folder.path().join("acl");
    let rules = "topic read things/#\ntopic write annunciator/gw/#\ntopic read annunciator/gw/commands/#\n";
    std::fs::write(&acl, rules).unwrap();
    let mut broker = Broker::with(&format!("allow_anonymous true\nacl_file {}\n", acl.display()));
    let daemon = Daemon::prepare(&config(broker.port, &alarm("\"horn\"").replace("reactions = [\"horn\"]\n", "")));
    let (status, said) = check(&daemon.config_file());
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("annunciator/gw/probe does not come back"), "{said}");
    std::fs::write(&acl, format!("{rules}topic readwrite annunciator/gw/probe\n")).unwrap();
    broker.restart();
    let (status, said) = check(&daemon.config_file());
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("annunciator/gw/events/annunciator-check") && said.contains("cannot be seen"), "{said}");
    broker.stop();
    let (status, said) = check(&daemon.config_file());
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("error: Connection refused"), "{said}");
}

#[test]
fn a_secret_that_everybody_can_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("token");
    std::fs::write(&secret, "hunter2").unwrap();
    let hook = format!(
        "[[reaction]]\nname = \"hook\"\ntype = \"webhook\"\nurl = \"https://example.org/\"\ntoken = {{ file = \"{}\" }}\n",
        secret.display()
    );
    let daemon = Daemon::prepare(&config(1, &(alarm("\"hook\"") + &hook)));
    let said = |mode: u32| {
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).unwrap();
        let output = Command::new(PROGRAM).args(["check", "--config"]).arg(daemon.config_file()).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let warned = said(0o644);
    assert!(
        warned.contains("warning: token: every user of this machine can read") && !warned.contains("hunter2"),
        "{warned}"
    );
    assert!(!said(0o600).contains("warning:"));
}
