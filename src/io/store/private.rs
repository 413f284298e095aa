//! What the store writes is nobody else's to read: folders are 0700 and files 0600, whoever starts the program.
//!
//! Things and values say much about a site, and undelivered reactions hold addresses.

use std::fs::{DirBuilder, Permissions};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The mode of files.
pub(super) const FILE: u32 = 0o600;
/// The mode of folders.
const FOLDER: u32 = 0o700;

/// Creates a folder, and those above it, if they are not there.
pub(super) fn create(folder: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER).create(folder)
}

/// Takes from others what earlier releases let them read. A folder that holds something else than what `is_ours` knows by
/// name keeps its mode: others may work in it. What cannot be changed stays as it is.
pub(super) fn keep(state_dir: &Path, is_ours: &dyn Fn(&str) -> bool) {
    let attempt = || -> Result<()> {
        let mut all_ours = true;
        for entry in std::fs::read_dir(state_dir)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(is_ours) {
                narrow(&entry.path())?;
            } else {
                all_ours = false;
            }
        }
        if all_ours { narrow_one(state_dir) } else { Ok(()) }
    };
    if let Err(error) = attempt() {
        tracing::debug!(%error, "cannot change who may read the store");
    }
}

/// Narrows a file, or a folder and all that is in it.
fn narrow(path: &Path) -> Result<()> {
    let about = std::fs::symlink_metadata(path)?;
    if about.is_dir() {
        for entry in std::fs::read_dir(path)? {
            narrow(&entry?.path())?;
        }
    }
    if about.is_symlink() { Ok(()) } else { narrow_one(path) }
}

fn narrow_one(path: &Path) -> Result<()> {
    let about = std::fs::metadata(path)?;
    let mode = if about.is_dir() { FOLDER } else { FILE };
    if about.permissions().mode() & 0o777 & !mode == 0 {
        return Ok(());
    }
    std::fs::set_permissions(path, Permissions::from_mode(mode))
}

/// What is in a folder and is neither a file nor a folder.
pub(super) fn others(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut others = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        // A link that leads nowhere is none of ours either.
        if !std::fs::metadata(&path).is_ok_and(|about| about.is_dir() || about.is_file()) {
            others.push(path);
        }
    }
    Ok(others)
}

/// Makes sure that a folder holds files and folders and nothing else: reading from a pipe would never end.
///
/// # Errors
/// What else is in it, or why it cannot be read.
pub(super) fn has_files_only(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let about = std::fs::metadata(&path)?;
        if about.is_dir() {
            has_files_only(&path)?;
        } else if !about.is_file() {
            let what = format!("{} is neither a file nor a folder: it is not the store's, remove it", path.display());
            return Err(Error::new(ErrorKind::InvalidInput, what));
        }
    }
    Ok(())
}
