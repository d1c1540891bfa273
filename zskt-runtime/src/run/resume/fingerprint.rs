//! What a run depends on, as sums: its pipeline, and the files that weights and images come from.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zskt_api::{Error, Result};

use super::file_error::cannot_read;
use crate::pipeline::computed_part;
use crate::run::interrupt::Interrupted;
use crate::{checksum, input_file};

/// The sum of what a resolved pipeline computes, wherever its libraries lie, and whatever is said of its figures.
pub fn of_pipeline(resolved: &str) -> String {
    checksum::of_bytes(computed_part(resolved).as_bytes())
}

/// A file that a run reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The node that reads it.
    pub node: String,
    /// Where it is; of a folder of many files, where that is.
    pub path: PathBuf,
    /// How long it is.
    pub bytes: u64,
    /// The SHA-256 sum of its contents, in hexadecimal digits.
    pub sha256: String,
}

/// With more files, a folder has one sum for all of them: manifests and checkpoints have to hold them.
const MANY_FILES: usize = 100;

/// The sums of a file, or of every file in a folder and its subfolders, sorted by path; one for the whole folder where these are many.
///
/// # Errors
/// When one cannot be read, or the user asked to stop.
pub fn of_files(node: &str, path: &Path, interrupted: &Interrupted) -> Result<Vec<Fingerprint>> {
    let mut files = Vec::new();
    collect(path, &mut files)?;
    files.sort();
    let many = files.len() > MANY_FILES;
    let each = files.into_iter().map(|path| of_file(node, path, interrupted)).collect::<Result<Vec<_>>>()?;
    if !many {
        return Ok(each);
    }
    let bytes = each.iter().map(|file| file.bytes).sum();
    let lines = each.iter().map(|file| format!("{} {}\n", file.sha256, file.path.display()));
    let sha256 = checksum::of_bytes(lines.collect::<String>().as_bytes());
    Ok(vec![Fingerprint { node: node.to_owned(), path: path.to_owned(), bytes, sha256 }])
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
    if path.to_str().is_none() {
        return Err(cannot_read(&path, "its name is not valid UTF-8, as manifests are: rename it"));
    }
    let (file, _) = input_file::open(&path).map_err(|error| cannot_read(&path, error))?;
    let sum = checksum::of_reader(file, || interrupted()).map_err(|error| cannot_read(&path, error))?;
    let (sha256, bytes) = sum.ok_or_else(Error::interrupted)?;
    Ok(Fingerprint { node: node.to_owned(), path, bytes, sha256 })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{MANY_FILES, of_files};

    #[test]
    fn a_folder_of_many_files_has_one_sum_which_depends_on_each() {
        let folder = tempfile::tempdir().unwrap();
        let write = |index: usize, text: &str| {
            let class = folder.path().join(format!("{}", index % 2));
            std::fs::create_dir_all(&class).unwrap();
            std::fs::write(class.join(format!("{index}.png")), text).unwrap();
        };
        let found = || of_files("set", folder.path(), &(Arc::new(|| false) as _)).unwrap();
        (0..MANY_FILES).for_each(|index| write(index, "few"));
        assert_eq!(found().len(), MANY_FILES);
        write(MANY_FILES, "many");
        let whole = found();
        assert_eq!((whole.len(), whole[0].bytes, &*whole[0].path), (1, 3 * MANY_FILES as u64 + 4, folder.path()));
        assert_eq!(found(), whole);
        write(7, "new");
        assert_ne!(found(), whole);
    }
}
