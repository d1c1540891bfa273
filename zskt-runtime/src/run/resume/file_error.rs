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
    use io::ErrorKind::{
        AlreadyExists, NotADirectory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    let (first, elsewhere) = match error.kind() {
        StorageFull | QuotaExceeded => ("free some space, or ", "another disk"),
        PermissionDenied | ReadOnlyFilesystem => ("make it writable, or ", "another folder"),
        AlreadyExists | NotADirectory if way_out == WayOut::OtherFolder => ("a file is in the way; ", "another folder"),
        AlreadyExists | NotADirectory => ("a file is in the way: move it, or ", "another folder"),
        _ => ("", "another folder"),
    };
    let way_out = match way_out {
        WayOut::OtherFolder => format!("choose {elsewhere} with --out"),
        WayOut::CopyOfFolder => format!("copy the folder to {elsewhere} and go on with the copy: --resume COPY"),
        WayOut::CopyOfSweep => {
            format!("copy the folder to {elsewhere} and use the copy: sweep --resume COPY, or --collect COPY")
        }
    };
    let advice = format!("{first}{way_out}");
    Error::new(format!("cannot write {}: {error}; {advice}", path.display()))
}

/// What to say when a file cannot be read.
pub fn cannot_read(path: &Path, error: impl Display) -> Error {
    Error::new(format!("cannot read {}: {error}", path.display()))
}
