//! Files that are there whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};
use zskt_api::Result;

use super::file_error::{WayOut, cannot_write};

/// What a file's name ends with until it is whole.
pub const SUFFIX: &str = ".zskt-partial";

/// Whether a file has the name of one that is not whole yet.
pub fn is_partial(path: &Path) -> bool {
    path.as_os_str().to_string_lossy().ends_with(SUFFIX)
}

/// Has `fill` write a file so that, whatever happens, `path` holds either all of its old content or all of the new: the bytes
/// reach the disk under another name first.
///
/// # Errors
/// When the file cannot be written; what was there before stays.
pub fn write(path: &Path, way_out: WayOut, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
    replace(path, fill, || Ok(())).map_err(|error| cannot_write(path, &error, way_out))
}

/// Writes `bytes` in the same way, and what was there before goes by the name `previous` from now on.
///
/// # Errors
/// When the file cannot be written; what was there before stays under one name or the other.
pub fn write_keeping(path: &Path, previous: &Path, way_out: WayOut, bytes: &[u8]) -> Result<()> {
    let keep = || {
        if !path.exists() {
            return Ok(());
        }
        let _ = fs::remove_file(previous);
        // A second name, where the file system has such a thing: then there is a file at `path` at every moment.
        fs::hard_link(path, previous).or_else(|_| fs::rename(path, previous))
    };
    replace(path, |file| file.write_all(bytes), keep).map_err(|error| cannot_write(path, &error, way_out))
}

/// Writes a file, and calls `before` when it is whole and about to take its place.
fn replace(
    path: &Path,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
    before: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let mut partial = partial_file(path)?;
    fill(partial.as_file_mut())?;
    partial.as_file().sync_all()?;
    before()?;
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
    use super::{WayOut, partial_name, write_keeping};
    use std::fs;
    use std::io::Write;
    use std::path::Path;

    fn write(path: &Path, bytes: &[u8]) -> zskt_api::Result<()> {
        super::write(path, WayOut::OtherFolder, |file| file.write_all(bytes))
    }

    #[test]
    fn the_file_before_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let [path, previous] = ["state", "previous"].map(|name| folder.path().join(name));
        for (number, before) in [("1", None), ("2", Some("1")), ("3", Some("2"))] {
            write_keeping(&path, &previous, WayOut::OtherFolder, number.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), number);
            assert_eq!(fs::read_to_string(&previous).ok().as_deref(), before);
        }
    }

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
