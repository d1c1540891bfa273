//! A folder as one file, which holds nothing of when, where and by whom it was packed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use liblzma::write::XzEncoder;
use sha2::{Digest, Sha256};
use tar::{EntryType, Header, HeaderMode};

use crate::Result;

/// Lower ones make an archive of more than 60 MB.
const XZ_LEVEL: u32 = 6;

/// All files in a folder, in the order of their names, each as its place in the folder.
///
/// # Errors
/// When a folder cannot be read.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder)?.to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The sum of a file's bytes, in hexadecimal digits.
///
/// # Errors
/// When it cannot be read.
pub fn sum(file: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    io::copy(&mut File::open(file)?, &mut hash)?;
    Ok(format!("{:x}", hash.finalize()))
}

/// Writes `SHA256SUMS` into a folder: a line for each of its files, for `sha256sum --check`.
///
/// # Errors
/// When a file cannot be read, or written.
pub fn write_sums(folder: &Path) -> Result {
    let place = folder.join("SHA256SUMS");
    let mut lines = String::new();
    for file in files(folder)?.iter().filter(|file| **file != *"SHA256SUMS") {
        lines += &format!("{}  {}\n", sum(&folder.join(file))?, file.display());
    }
    Ok(fs::write(place, lines)?)
}

/// Writes the sum of an archive into the `SHA256SUMS` beside it, which keeps those of others that are there.
///
/// # Errors
/// When a file cannot be read, or written.
pub fn add_sum(folder: &Path, archive: &str) -> Result {
    let place = folder.join("SHA256SUMS");
    let known = fs::read_to_string(&place).unwrap_or_default();
    let others = known.lines().filter_map(|line| line.split_once("  ")).map(|(sum, file)| (file, sum.to_owned()));
    let mut sums: BTreeMap<_, _> = others.filter(|(file, _)| folder.join(file).is_file()).collect();
    sums.insert(archive, sum(&folder.join(archive))?);
    Ok(fs::write(place, sums.iter().map(|(file, sum)| format!("{sum}  {file}\n")).collect::<String>())?)
}

/// A file of this size that is there twice is packed once: the libraries, which the program and the SDK have. Smaller ones stay files of their own, for
/// whoever changes one of two equal pipelines means that one.
const LINKED_FROM: u64 = 1 << 20;

/// Packs a folder as `tar` does, below its own name. A large file that is there twice is a hard link the second time.
///
/// # Errors
/// When a file cannot be read, or the archive not written.
pub fn pack(folder: &Path, archive: &Path) -> Result {
    let name = folder.file_name().ok_or("a folder has a name")?;
    let writer = XzEncoder::new(BufWriter::new(File::create(archive)?), XZ_LEVEL);
    let mut packed = tar::Builder::new(writer);
    packed.mode(HeaderMode::Deterministic);
    let mut first = BTreeMap::new();
    for file in files(folder)? {
        let (from, to) = (folder.join(&file), Path::new(name).join(&file));
        let same = if from.metadata()?.len() < LINKED_FROM {
            &to
        } else {
            first.entry(sum(&from)?).or_insert_with(|| to.clone())
        };
        if *same == to {
            packed.append_path_with_name(&from, &to)?;
        } else {
            let mut link = Header::new_gnu();
            link.set_metadata_in_mode(&from.metadata()?, HeaderMode::Deterministic);
            link.set_entry_type(EntryType::Link);
            link.set_size(0);
            packed.append_link(&mut link, &to, same)?;
        }
    }
    packed.into_inner()?.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn archives_of_one_folder_have_one_file_of_sums() -> Result {
        let folder = std::env::temp_dir().join(format!("zskt-sums-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        for archive in ["b+cuda.tar.xz", "a.tar.xz", "gone.tar.xz", "b+cuda.tar.xz"] {
            fs::write(folder.join(archive), format!("{archive}, newer"))?;
            add_sum(&folder, archive)?;
        }
        fs::remove_file(folder.join("gone.tar.xz"))?;
        add_sum(&folder, "a.tar.xz")?;
        let said = Command::new("sha256sum").args(["--check", "SHA256SUMS"]).current_dir(&folder).output()?;
        fs::remove_dir_all(folder)?;
        assert_eq!(String::from_utf8(said.stdout)?, "a.tar.xz: OK\nb+cuda.tar.xz: OK\n");
        Ok(())
    }

    #[test]
    fn the_same_files_make_the_same_archive_and_come_out_of_it() -> Result {
        let place = std::env::temp_dir().join(format!("zskt-archive-{}", std::process::id()));
        let mut archives = Vec::new();
        for order in [["sdk/b", "bin/a", "lib/b", "a/c", "b/c"], ["b/c", "lib/b", "sdk/b", "bin/a", "a/c"]] {
            let folder = place.join("zskt-0.1.0");
            crate::layout::remove(&folder)?;
            for file in order {
                fs::create_dir_all(folder.join(file).parent().ok_or("it is in a folder")?)?;
                let times = if file.ends_with('b') { LINKED_FROM as usize } else { 9000 };
                fs::write(folder.join(file), file.split('/').next_back().unwrap_or_default().repeat(times))?;
            }
            write_sums(&folder)?;
            pack(&folder, &place.join("packed.tar.xz"))?;
            archives.push(fs::read(place.join("packed.tar.xz"))?);
        }
        assert!(archives[0] == archives[1]);
        fs::rename(place.join("zskt-0.1.0"), place.join("before"))?;
        // By the programs that users have.
        let shell = "tar xf packed.tar.xz && cd zskt-0.1.0 && sha256sum --quiet --check SHA256SUMS";
        let said = Command::new("sh").args(["-c", shell]).current_dir(&place).output()?;
        assert!(said.status.success() && said.stdout.is_empty(), "{said:?}");
        assert_eq!(files(&place.join("before"))?, files(&place.join("zskt-0.1.0"))?);
        assert_eq!(fs::metadata(place.join("zskt-0.1.0/lib/b"))?.nlink(), 2);
        assert_eq!(fs::metadata(place.join("zskt-0.1.0/a/c"))?.nlink(), 1);
        Ok(fs::remove_dir_all(place)?)
    }
}
