//! Opening the files of a dataset.

use std::fs::File;
use std::path::Path;

use crate::ReadError;

/// Opens a file, and says how many bytes it has. What is not a file is refused unopened: opening a pipe would wait for its
/// other end, and a device never ends.
pub(crate) fn open(path: &Path) -> Result<(File, u64), ReadError> {
    let failed = |error: std::io::Error| ReadError::io(path, "cannot be opened", &error);
    let found = std::fs::metadata(path).map_err(failed)?;
    if !found.is_file() {
        let what = if found.is_dir() { "a folder" } else { "a device or a pipe" };
        return Err(ReadError::new(path, format!("it is {what}, not a file")));
    }
    Ok((File::open(path).map_err(failed)?, found.len()))
}
