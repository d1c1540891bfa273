//! What a run leaves that ended before its first checkpoint: nothing of worth, so that the same command can begin it anew.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};

use super::atomic_file::SUFFIX;
use super::fingerprint;
use super::run_directory::RunDirectory;
use super::sealed_json::unseal;
use crate::report_page;

/// An events file without any event is not longer.
pub const EVENTS_HEAD: u64 = 64;

/// What is in the folder, the contents of a folder before it; nothing when anything else is there than what a run of this
/// pipeline leaves that ended before its first checkpoint.
///
/// # Errors
/// When something cannot be read.
pub fn find(directory: &RunDirectory, resolved: &str) -> io::Result<Option<Vec<PathBuf>>> {
    let mut leftovers = Vec::new();
    let pipeline = fingerprint::of_pipeline(resolved);
    let manifest = directory.manifest();
    let text = if manifest.exists() && is_file(&manifest)? { fs::read_to_string(&manifest).ok() } else { None };
    let ours =
        text.and_then(|text| unseal(&text)).is_some_and(|manifest| manifest["pipeline_sha256"] == pipeline.as_str());
    for entry in fs::read_dir(directory.path())? {
        let entry = entry?;
        let path = entry.path();
        let found = if is_partial(&entry)? {
            true
        } else if path == directory.pipeline() {
            is_file(&path)?
                && ours
                && fs::read_to_string(&path).is_ok_and(|text| fingerprint::of_pipeline(&text) == pipeline)
        } else if path == manifest {
            ours
        } else if path == directory.metrics() {
            is_file(&path)? && ours && fs::metadata(&path)?.len() == 0
        } else if path == directory.events() {
            is_file(&path)? && ours && fs::metadata(&path)?.len() <= EVENTS_HEAD
        } else if path == directory.page() {
            // Somebody had it made of what there was.
            is_file(&path)? && ours && report_page::is_page(&path)
        } else if directory.checkpoints()[0].parent() == Some(&path) && entry.file_type()?.is_dir() {
            let mut inside = fs::read_dir(&path)?.collect::<io::Result<Vec<_>>>()?.into_iter();
            inside.try_fold(true, |all, entry| {
                leftovers.push(entry.path());
                Ok::<_, io::Error>(all && is_partial(&entry)?)
            })?
        } else {
            false
        };
        if !found {
            return Ok(None);
        }
        leftovers.push(path);
    }
    Ok(Some(leftovers))
}

/// Removes them.
///
/// # Errors
/// When one cannot be removed.
pub fn remove(leftovers: &[PathBuf]) -> io::Result<()> {
    leftovers.iter().try_for_each(|path| if is_file(path)? { fs::remove_file(path) } else { fs::remove_dir(path) })
}

/// Whether it is a file that was never whole.
fn is_partial(entry: &DirEntry) -> io::Result<bool> {
    Ok(entry.file_name().to_string_lossy().ends_with(SUFFIX) && entry.file_type()?.is_file())
}

fn is_file(path: &Path) -> io::Result<bool> {
    Ok(fs::symlink_metadata(path)?.is_file())
}
