//! The systemd unit: right, hardened, and explained line by line.

use crate::support::PROGRAM;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Exposure as `systemd-analyze security` counts it, in tenths: 20 is 2.0 of 10.
const EXPOSURE: &str = "--threshold=20";

fn unit() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/annunciator.service")).unwrap()
}

/// The unit in a folder of its own, for a program that exists on this machine.
fn installed(folder: &Path) -> PathBuf {
    let file = folder.join("annunciator.service");
    std::fs::write(&file, unit().replace("/usr/bin/annunciator", PROGRAM)).unwrap();
    file
}

fn analyze(arguments: &[&str], file: &Path) -> Output {
    Command::new("systemd-analyze").args(arguments).arg(file).output().expect("systemd is installed")
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let output = analyze(&["verify", "--man=no"], &installed(folder.path()));
    let said = String::from_utf8_lossy(&output.stderr);
    // systemd before 254 says of these that it does not know them, and goes on without them.
    let is_news = |line: &&str| line.contains("'RestartSteps'") || line.contains("'RestartMaxDelaySec'");
    let complaints: Vec<&str> = said.lines().filter(|line| !is_news(line) && line.contains("annunciator")).collect();
    assert!(output.status.success() && complaints.is_empty(), "{said}");
}

#[test]
fn the_service_can_do_little_harm() {
    let folder = tempfile::tempdir().unwrap();
    let output = analyze(&["security", "--offline=true", EXPOSURE], &installed(folder.path()));
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{}", said.lines().last().unwrap_or_default());
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_line_of_the_unit_is_explained() {
    let mut explained = false;
    for line in unit().lines() {
        if line.starts_with('#') {
            explained = true;
        } else if line.is_empty() || line.starts_with('[') {
            explained = false;
        } else {
            assert!(explained, "no comment stands above {line}");
        }
    }
}
