//! Which Parquet files of a folder make up a split.

use std::path::{Path, PathBuf};

use crate::ReadError;
use crate::error::metadata;

/// The files of `split` under `path`, in order.
pub(super) fn select(path: &Path, split: &str) -> Result<Vec<PathBuf>, ReadError> {
    let found = metadata(path)?;
    if !found.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut seen = Vec::new();
    for folder in [path.to_path_buf(), path.join("data")] {
        let files = parquet_files(&folder)?;
        let selected = of_split(&folder, &files, split)?;
        if !selected.is_empty() {
            return Ok(selected);
        }
        seen.extend(files);
    }
    let files = parquet_files(&path.join(split))?;
    if !files.is_empty() {
        return Ok(files);
    }
    let names: Vec<_> = seen.iter().map(|file| name(path, file)).collect();
    let found = if names.is_empty() { "no Parquet files at all".into() } else { format!("only {}", names.join(", ")) };
    Err(ReadError::new(path, format!("no Parquet file of the split `{split}` in this folder: {found}")).with_help(format!(
        "expected {split}.parquet or {split}-00000-of-00001.parquet, here or in data/; `path` may also name one file"
    )))
}

/// Every `*.parquet` directly in `folder`, sorted; none if there is no such folder.
fn parquet_files(folder: &Path) -> Result<Vec<PathBuf>, ReadError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let failed = |error: std::io::Error| ReadError::io(folder, "cannot be listed", &error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.extension().is_some_and(|extension| extension == "parquet") && !file.is_dir() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn of_split(folder: &Path, files: &[PathBuf], split: &str) -> Result<Vec<PathBuf>, ReadError> {
    let mut whole = None;
    let mut shards: Vec<(usize, usize, &PathBuf)> = Vec::new();
    for file in files {
        let Some(rest) = file.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.strip_prefix(split))
        else {
            continue;
        };
        if rest.is_empty() {
            whole = Some(file);
        } else if let Some((index, total)) = shard_numbers(rest) {
            shards.push((index, total, file));
        }
    }
    match (whole, shards.first()) {
        (None, None) => Ok(Vec::new()),
        (Some(file), None) => Ok(vec![file.clone()]),
        (Some(file), Some((.., shard))) => Err(ReadError::new(
            folder,
            format!("both {} and {} hold the split `{split}`", name(folder, file), name(folder, shard)),
        )
        .with_help("remove one of the two, or let `path` name the file")),
        (None, Some(&(_, total, first))) => {
            shards.sort();
            let complete = shards.iter().enumerate().all(|(i, &(index, of, _))| index == i && of == total);
            if !complete || shards.len() != total {
                let names: Vec<_> = shards.iter().map(|(.., file)| name(folder, file)).collect();
                return Err(ReadError::new(
                    folder,
                    format!(
                        "the split `{split}` is not complete: {} promises {total} files, there are {}: {}",
                        name(folder, first),
                        shards.len(),
                        names.join(", ")
                    ),
                )
                .with_help("download the missing ones; remove what belongs to another download"));
            }
            Ok(shards.into_iter().map(|(.., file)| file.clone()).collect())
        }
    }
}

/// `-00003-of-00012` (older downloads append a hash) is shard 3 of 12.
fn shard_numbers(rest: &str) -> Option<(usize, usize)> {
    let mut parts = rest.strip_prefix('-')?.split('-');
    let index = parts.next()?.parse().ok()?;
    if parts.next()? != "of" {
        return None;
    }
    Some((index, parts.next()?.parse().ok()?))
}

fn name(folder: &Path, file: &Path) -> String {
    file.strip_prefix(folder).unwrap_or(file).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a subfolder");
            std::fs::write(path, "").expect("a file");
        }
        folder
    }

    fn selected(files: &[&str], split: &str) -> Result<Vec<String>, String> {
        let folder = folder(files);
        let names = |files: Vec<PathBuf>| files.iter().map(|file| name(folder.path(), file)).collect();
        select(folder.path(), split).map(names).map_err(|error| error.to_string())
    }

    #[test]
    fn the_layouts_people_download() {
        assert_eq!(selected(&["train.parquet", "test.parquet"], "test").unwrap(), ["test.parquet"]);
        assert_eq!(
            selected(&["data/train-00001-of-00002.parquet", "data/train-00000-of-00002.parquet", "README.md"], "train")
                .unwrap(),
            ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]
        );
        assert_eq!(
            selected(&["test-00000-of-00001-5cd0bc18.parquet", "training.parquet"], "test").unwrap(),
            ["test-00000-of-00001-5cd0bc18.parquet"]
        );
        assert_eq!(
            selected(&["train/0000.parquet", "train/0001.parquet"], "train").unwrap(),
            ["train/0000.parquet", "train/0001.parquet"]
        );
    }

    #[test]
    fn an_incomplete_or_doubtful_split_is_refused() {
        let missing = selected(&["train-00000-of-00003.parquet", "train-00002-of-00003.parquet"], "train").unwrap_err();
        assert!(missing.contains("promises 3 files, there are 2"), "{missing}");
        let both = selected(&["train.parquet", "train-00000-of-00001.parquet"], "train").unwrap_err();
        assert!(both.contains("both train.parquet and train-00000-of-00001.parquet"), "{both}");
        let none = selected(&["data/training.parquet"], "train").unwrap_err();
        assert!(none.contains("only data/training.parquet") && none.contains("expected train.parquet"), "{none}");
    }
}
