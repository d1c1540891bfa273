//! Folders that are made anew: what an earlier call made there goes, and nothing else ever does.

use std::fs;
use std::io;
use std::path::Path;

use crate::Result;

/// Refuses to remove a folder that somebody else may have filled: one with something in it that `is_ours` does not know.
///
/// # Errors
/// When it is to be left alone, or cannot be read.
pub fn check(folder: &Path, is_ours: bool) -> Result {
    let is_empty = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(format!("{}: {error}", folder.display()).into()),
    };
    if is_empty || is_ours {
        return Ok(());
    }
    let folder = folder.display();
    Err(format!("{folder} would be removed, and no earlier call made it: name another folder, or remove it yourself")
        .into())
}
