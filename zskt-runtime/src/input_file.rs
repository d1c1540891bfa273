//! Opening what a user names: files, and nothing else.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// Opens a file, and says how many bytes it has. What is not a file is refused unopened: opening a pipe would wait for its
/// other end, and a device never ends.
///
/// # Errors
/// When it is something else, or cannot be opened.
pub fn open(path: &Path) -> io::Result<(File, u64)> {
    let found = fs::metadata(path)?;
    if found.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !found.is_file() {
        return Err(io::Error::other("it is a device or a pipe, not a file"));
    }
    Ok((File::open(path)?, found.len()))
}

/// The bytes of a file.
///
/// # Errors
/// When it is something else, or cannot be read.
pub fn read_whole(path: &Path) -> io::Result<Vec<u8>> {
    let (mut file, length) = open(path)?;
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The bytes of a file that has no reason to have more than `most`.
///
/// # Errors
/// When it has more, or cannot be read.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let (file, _) = open(path)?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {} MB", most >> 20)));
    }
    Ok(bytes)
}
