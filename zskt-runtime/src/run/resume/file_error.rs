//! What to say when a file of a run cannot be read or written, and what to do then.

use std::fmt::Display;
use std::io;
use std::path::Path;

use zskt_api::Error;

/// Where else what a folder cannot take could be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WayOut {
    /// Into any other folder: it begins there.
    OtherFolder,
    /// Into a copy of the folder, which has what a run goes on with.
    CopyOfFolder,
    /// Into a copy of the folder of a sweep.
    CopyOfSweep,
}

/// What to say when a file cannot be written.
pub fn cannot_write(path: &Path, error: &io::Error, way_out: WayOut) -> Error {
    use WayOut::{CopyOfFolder, CopyOfSweep, OtherFolder};
    let advice = match (error.kind(), way_out) {
        (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, OtherFolder) => {
            "free some space, or choose another disk with --out"
        }
        (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, CopyOfFolder) => {
            "free some space, or copy the folder to another disk and go on with the copy: --resume COPY"
        }
        (io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem, OtherFolder) => {
            "make it writable, or choose another folder with --out"
        }
        (io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem, CopyOfFolder) => {
            "make it writable, or copy the folder and go on with the copy: --resume COPY"
        }
        (io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory, OtherFolder) => {
            "a file is in the way; choose another folder with --out"
        }
        (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, CopyOfSweep) => {
            "free some space, or copy the folder to another disk and use the copy: sweep --resume COPY, or --collect COPY"
        }
        (io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem, CopyOfSweep) => {
            "make it writable, or copy the folder and use the copy: sweep --resume COPY, or --collect COPY"
        }
        (io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory, CopyOfFolder | CopyOfSweep) => {
            "a file is in the way; move it elsewhere"
        }
        (_, OtherFolder) => "choose another folder with --out",
        (_, CopyOfSweep) => "copy the folder to another disk and use the copy: sweep --resume COPY, or --collect COPY",
        (_, CopyOfFolder) => "copy the folder to another disk and go on with the copy: --resume COPY",
    };
    Error::new(format!("cannot write {}: {error}; {advice}", path.display()))
}

/// What to say when a file cannot be read.
pub fn cannot_read(path: &Path, error: impl Display) -> Error {
    Error::new(format!("cannot read {}: {error}", path.display()))
}
