//! B12: what has to be downloaded and stored.

use crate::Effort;
use crate::stage::program;
use crate::table::{Aim, Row, Runs};
use anyhow::{Context as _, Result};
use std::path::Path;

const MEGABYTE: f64 = 1e6;

pub(crate) fn rows(_: Effort) -> Result<Vec<Row>> {
    let program = program();
    let package = newest_package(Path::new(env!("CARGO_MANIFEST_DIR"))).transpose()?;
    let row = |what: String, bytes: u64, limit| Row {
        number: "B12",
        what,
        measured: Runs::once(bytes as f64 / MEGABYTE),
        unit: "MB",
        baseline: None,
        aims: vec![Aim::AtMost(limit)],
    };
    let size = std::fs::metadata(&program).with_context(|| program.clone())?.len();
    let mut rows = vec![row("the program".to_owned(), size, 9.0)];
    match package {
        Some((name, bytes)) => rows.push(row(name, bytes, 4.5)),
        None => println!("B12: there is no package; systemd/package makes one"),
    }
    Ok(rows)
}

fn newest_package(root: &Path) -> Option<Result<(String, u64)>> {
    let architecture = if cfg!(target_arch = "x86_64") { "_amd64.deb" } else { ".deb" };
    let files = std::fs::read_dir(root.join("target/package")).ok()?;
    let found =
        files.filter_map(|file| file.ok()).filter(|file| file.file_name().to_string_lossy().ends_with(architecture));
    let newest = found.max_by_key(|file| file.metadata().and_then(|about| about.modified()).ok())?;
    Some(
        newest
            .metadata()
            .context("package")
            .map(|about| (newest.file_name().to_string_lossy().into_owned(), about.len())),
    )
}
