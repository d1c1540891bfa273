//! Files that are there whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};
use zskt_api::Result;

use super::file_error::cannot_write;

/// What a file's name ends with until it is whole.
const SUFFIX: &str = ".partial";

/// Writes a file so that, whatever happens, `path` holds either all of its old content or all of the new: the bytes
/// reach the disk under another name first.
///
/// # Errors
/// When the file cannot be written; what was there before stays.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes).map_err(|error| cannot_write(path, &error))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut partial = partial_file(path)?;
    partial.write_all(bytes)?;
    partial.as_file().sync_all()?;
    partial.persist(path)?;
    sync_folder(path)
}

/// A new file beside `path`, which is removed again unless it takes its place. It always has the same name, so that what a
/// process that was killed has left there does not stay.
fn partial_file(path: &Path) -> io::Result<NamedTempFile> {
    // No other process writes to a run's folder.
    let _ = fs::remove_file(partial_name(path));
    let mut builder = Builder::new();
    builder.prefix(path.file_name().unwrap_or_default()).suffix(SUFFIX).rand_bytes(0);
    // For everyone whom the user's umask lets read, as any other file; temporary files are private.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(path.parent().unwrap_or(path))
}

fn partial_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(SUFFIX);
    path.with_file_name(name)
}

/// Makes a rename survive a power failure: the name is part of the folder, not of the file.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix)
        && let Some(folder) = path.parent()
    {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{partial_name, write};
    use std::fs;

    #[test]
    fn a_write_that_fails_leaves_the_old_file_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        write(&path, b"old").unwrap();
        // A folder in the way of the partial file: nothing can be written.
        fs::create_dir(partial_name(&path)).unwrap();
        let error = write(&path, b"new").unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot write {}: ", path.display())), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");

        fs::remove_dir(partial_name(&path)).unwrap();
        // What a process that was killed has left.
        fs::write(partial_name(&path), b"half").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no partial file stays");
    }

    #[test]
    #[cfg(unix)]
    fn a_file_is_as_readable_as_any_other() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let [ours, plain] = ["ours", "plain"].map(|name| folder.path().join(name));
        write(&ours, b"").unwrap();
        fs::write(&plain, b"").unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(ours), mode(plain));
    }
}
