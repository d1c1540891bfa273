//! What to say when a file of a run cannot be read or written, and what to do then.

use std::fmt::Display;
use std::io;
use std::path::Path;

use zskt_api::Error;

/// What to say when a file cannot be written.
pub fn cannot_write(path: &Path, error: &io::Error) -> Error {
    let advice = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space, or choose another disk with --out"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "make it writable, or choose another folder with --out"
        }
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            "a file is in the way; choose another folder with --out"
        }
        _ => "choose another folder with --out",
    };
    Error::new(format!("cannot write {}: {error}; {advice}", path.display()))
}

/// What to say when a file cannot be read.
pub fn cannot_read(path: &Path, error: impl Display) -> Error {
    Error::new(format!("cannot read {}: {error}", path.display()))
}
