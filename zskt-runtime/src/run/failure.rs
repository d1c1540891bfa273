//! Why a run cannot go on, and the way out.

use std::fmt::Display;
use std::io;
use std::path::Path;

use zskt_api::Error;

/// Why a run ended before its end.
pub enum Stop {
    /// Nothing was run: what was asked for cannot be done.
    Refused(String),
    /// Something failed while running, or the user asked to stop.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What to say when a file cannot be written.
pub fn cannot_write(path: &Path, error: &io::Error) -> Error {
    let way_out = match error.kind() {
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
    Error::new(format!("cannot write {}: {error}; {way_out}", path.display()))
}

/// What to say when a file cannot be read.
pub fn cannot_read(path: &Path, error: impl Display) -> Error {
    Error::new(format!("cannot read {}: {error}", path.display()))
}
