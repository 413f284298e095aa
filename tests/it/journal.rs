//! The log, as the systemd journal gets it.

use crate::support::tmpfs::Tmpfs;
use crate::support::{Broker, Daemon, HI, PATIENCE, PROGRAM, Watcher, config, until};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// The folder in which the journal's socket is; the tests have one of their own there.
const FOLDER: &str = "/run/systemd/journal";

/// Starts the daemon as systemd does: standard error leads to the journal, which is what the variable says.
fn launch(daemon: &mut Daemon, tmpfs: &Tmpfs) {
    let log = daemon.config_file().with_file_name("log");
    let file = std::fs::File::create(log).unwrap().metadata().unwrap();
    let mut command = tmpfs.command(PROGRAM);
    command.env("JOURNAL_STREAM", format!("{}:{}", file.dev(), file.ino()));
    daemon.launch_by(command);
}

#[test]
fn the_journal_gets_levels_and_fields() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let tmpfs = Tmpfs::mount(Path::new(FOLDER), "1m");
    let journal = UnixDatagram::bind(tmpfs.seen_from_outside().join("socket")).unwrap();
    journal.set_read_timeout(Some(PATIENCE)).unwrap();
    let entry = |wanted: &str| {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = journal.recv(&mut buffer).expect(wanted);
            let entry = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if entry.contains(wanted) {
                return entry;
            }
        }
    };
    let mut daemon = Daemon::prepare(&config(broker.port, HI));
    launch(&mut daemon, &tmpfs);
    let started = entry("MESSAGE=started ");
    assert!(started.starts_with("PRIORITY=6\nSYSLOG_IDENTIFIER=annunciator\n"), "{started}");
    assert!(started.contains("gateway=gw") && started.contains("\nANNUNCIATOR_GATEWAY=gw\n"), "{started}");
    watcher.status("online");
    watcher.value("press-1", "pressure", "\"high\"");
    let fault = entry("input cannot be used");
    assert!(fault.starts_with("PRIORITY=4\n"), "{fault}");
    assert!(fault.contains("\nANNUNCIATOR_TOPIC=things/press-1/properties/pressure\n"), "{fault}");
    assert_eq!(daemon.stop(), 0);
    assert_eq!(daemon.log(), "", "nothing is said twice");
}

#[test]
fn without_the_socket_standard_error_has_the_levels() {
    let broker = Broker::start();
    let tmpfs = Tmpfs::mount(Path::new(FOLDER), "1m");
    let mut daemon = Daemon::prepare(&config(broker.port, HI));
    launch(&mut daemon, &tmpfs);
    until("the line", || daemon.log().contains("<6>connected and subscribed host=127.0.0.1").then_some(()));
    assert!(daemon.log().lines().all(|line| line.starts_with('<')), "{}", daemon.log());
}

#[test]
fn what_keeps_a_service_from_starting_is_a_warning() {
    let tmpfs = Tmpfs::mount(Path::new(FOLDER), "1m");
    let mut daemon = Daemon::prepare("[gateway]\nid = \"a/b\"\n");
    launch(&mut daemon, &tmpfs);
    assert_eq!(daemon.wait(), 2);
    assert!(daemon.log().starts_with("<4>") && daemon.log().contains("cannot be a gateway id"), "{}", daemon.log());
    assert!(daemon.log().lines().all(|line| line.starts_with("<4>")), "{}", daemon.log());
}

#[test]
fn a_variable_that_was_only_inherited_changes_nothing() {
    let broker = Broker::start();
    let mut daemon = Daemon::prepare(&config(broker.port, HI));
    let mut command = std::process::Command::new(PROGRAM);
    command.env("JOURNAL_STREAM", "1:2");
    daemon.launch_by(command);
    until("a line with its time", || daemon.log().contains("INFO connected and subscribed").then_some(()));
}
