//! SHA-256 sums: of the pipeline, and of the files that weights and images come from.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zskt_api::{Error, Result};

use super::failure::cannot_read;
use super::interrupt::Interrupted;
use crate::pipeline::without_libraries;

/// The sum of a text, in hexadecimal digits.
pub fn of_text(text: &str) -> String {
    of_bytes(text.as_bytes())
}

/// The sum of a resolved pipeline, wherever its libraries lie.
pub fn of_pipeline(resolved: &str) -> String {
    of_text(&without_libraries(resolved))
}

/// The sum of a file's contents, in hexadecimal digits.
pub fn of_bytes(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// A file that a run reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The node that reads it.
    pub node: String,
    /// Where it is.
    pub path: PathBuf,
    /// How long it is.
    pub bytes: u64,
    /// Its SHA-256 sum.
    pub sha256: String,
}

/// The sums of a file, or of every file in a folder and its subfolders, sorted by path.
///
/// # Errors
/// When one cannot be read, or the user asked to stop.
pub fn of_files(node: &str, path: &Path, interrupted: &Interrupted) -> Result<Vec<Fingerprint>> {
    let mut files = Vec::new();
    collect(path, &mut files)?;
    files.sort();
    files.into_iter().map(|path| of_file(node, path, interrupted)).collect()
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !fs::metadata(path).map_err(|error| cannot_read(path, error))?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(|error| cannot_read(path, error))? {
        let entry = entry.map_err(|error| cannot_read(path, error))?.path();
        // A link to a folder may lead back up.
        if !(entry.is_symlink() && entry.is_dir()) {
            collect(&entry, files)?;
        }
    }
    Ok(())
}

fn of_file(node: &str, path: PathBuf, interrupted: &Interrupted) -> Result<Fingerprint> {
    let mut file = File::open(&path).map_err(|error| cannot_read(&path, error))?;
    let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        if interrupted() {
            return Err(Error::interrupted());
        }
        match file.read(&mut buffer).map_err(|error| cannot_read(&path, error))? {
            0 => break,
            count => {
                hash.update(&buffer[..count]);
                bytes += count as u64;
            }
        }
    }
    Ok(Fingerprint { node: node.to_owned(), path, bytes, sha256: format!("{:x}", hash.finalize()) })
}
