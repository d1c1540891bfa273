//! Which Parquet files of a folder make up a split.
//!
//! The hub's layouts: `train-00000-of-00002.parquet` in the folder itself, in `data`, or in a folder for each configuration (`plain_text`,
//! `default`), and, as its server converts them, `default/train/0000.parquet`.

use std::path::{Path, PathBuf};

use super::Selection;
use crate::ReadError;
use crate::error::metadata;

/// The configuration that a dataset has where it says nothing of configurations.
const DEFAULT: &str = "default";

/// The files of a split under `path`, in order.
pub(super) fn select(path: &Path, selection: &Selection<'_>) -> Result<Vec<PathBuf>, ReadError> {
    let found = metadata(path)?;
    if !found.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let names = names_of(selection.split);
    if let Some(config) = selection.config {
        for folder in [path.join(config), path.join("data").join(config)] {
            let files = of_config(&folder, names)?;
            if !files.is_empty() {
                return Ok(files);
            }
        }
        let missing = format!("the configuration `{config}` has no Parquet file of the split `{}`", selection.split);
        return Err(nothing(path, selection.split, &missing));
    }
    let files = of_config(path, names)?;
    if !files.is_empty() {
        return Ok(files);
    }
    let mut configs = Vec::new();
    for folder in [path.to_path_buf(), path.join("data")] {
        for config in folders_in(&folder)? {
            let files = of_config(&config, names)?;
            if !files.is_empty() {
                configs.push((name(&folder, &config), files));
            }
        }
    }
    if let Some(default) = configs.iter().position(|(config, _)| config == DEFAULT) {
        return Ok(configs.swap_remove(default).1);
    }
    match <[_; 1]>::try_from(configs) {
        Ok([(_, files)]) => Ok(files),
        Err(configs) if configs.is_empty() => {
            let missing = format!("no Parquet file of the split `{}` in this folder", selection.split);
            Err(nothing(path, selection.split, &missing))
        }
        Err(configs) => {
            let configs: Vec<_> = configs.iter().map(|(config, _)| format!("`{config}`")).collect();
            let reason = format!(
                "{} configurations hold the split `{}`: {}",
                configs.len(),
                selection.split,
                configs.join(", ")
            );
            let first = configs[0].trim_matches('`');
            Err(ReadError::new(path, reason).with_help(format!("choose one of them: `config: \"{first}\"`")))
        }
    }
}

/// The names that a split has in files, the usual one first.
fn names_of(split: &str) -> &'static [&'static str] {
    match split {
        "train" => &["train"],
        "validation" => &["validation", "valid", "val", "dev"],
        _ => &["test"],
    }
}

/// The files of a split in the folder of a configuration: there, in its `data`, or in a folder named like the split.
fn of_config(folder: &Path, names: &[&str]) -> Result<Vec<PathBuf>, ReadError> {
    for split in names {
        for place in [folder.to_path_buf(), folder.join("data")] {
            let selected = of_split(&place, &parquet_files(&place)?, split)?;
            if !selected.is_empty() {
                return Ok(selected);
            }
        }
        for place in [folder.join(split), folder.join("data").join(split)] {
            let files = parquet_files(&place)?;
            if !files.is_empty() {
                return Ok(files);
            }
        }
    }
    Ok(Vec::new())
}

/// The error where no file was found, with what is there instead.
fn nothing(path: &Path, split: &str, missing: &str) -> ReadError {
    let (mut parquet, mut arrow) = (Vec::new(), false);
    let subfolders = folders_in(path).unwrap_or_default();
    let below = subfolders.iter().flat_map(|folder| folders_in(folder).unwrap_or_default());
    let folders: Vec<_> = std::iter::once(path.to_path_buf()).chain(subfolders.iter().cloned()).chain(below).collect();
    for folder in folders {
        parquet.extend(parquet_files(&folder).unwrap_or_default().iter().map(|file| name(path, file)));
        arrow = arrow || files_with(&folder, "arrow").is_ok_and(|files| !files.is_empty());
    }
    if parquet.is_empty() && arrow {
        let (path_shown, reason) =
            (path.display(), "it holds Arrow files, as `save_to_disk` writes them, which are not read");
        return ReadError::new(path, reason).with_help(format!(
            "write them as Parquet, in Python: datasets.load_from_disk(\"{path_shown}\")[\"{split}\"].to_parquet(\"{split}.parquet\")"
        ));
    }
    let shown = match parquet.len() {
        0 => "no Parquet files at all".to_owned(),
        1..=8 => format!("only {}", parquet.join(", ")),
        more => format!("only {} and {} more", parquet[..8].join(", "), more - 8),
    };
    ReadError::new(path, format!("{missing}: {shown}")).with_help(format!(
        "expected {split}.parquet or {split}-00000-of-00001.parquet, here, in data/, or in the folder of a configuration; `path` may also \
         name one file"
    ))
}

/// The folders directly in `folder`, sorted, but for hidden ones; none if there is no such folder.
fn folders_in(folder: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir() && !hidden(path)).collect())
}

/// Every `*.parquet` directly in `folder`, sorted; none if there is no such folder.
fn parquet_files(folder: &Path) -> Result<Vec<PathBuf>, ReadError> {
    files_with(folder, "parquet")
}

fn files_with(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, ReadError> {
    let fits = |path: &PathBuf| path.extension().is_some_and(|found| found == extension) && !path.is_dir();
    Ok(entries(folder)?.into_iter().filter(fits).collect())
}

/// What is directly in `folder`, sorted; nothing if there is no such folder.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, ReadError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let failed = |error: std::io::Error| ReadError::io(folder, "cannot be listed", &error);
    let found = std::fs::read_dir(folder).map_err(failed)?;
    let mut paths =
        found.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    Ok(paths)
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
        let (split, config) = split.split_once('@').map_or((split, None), |(split, config)| (split, Some(config)));
        let selection = Selection { config, ..Selection::of(split) };
        select(folder.path(), &selection).map(names).map_err(|error| error.to_string())
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
    fn configurations_of_the_hub() {
        let cifar = ["README.md", "plain_text/test-00000-of-00001.parquet", "plain_text/train-00000-of-00001.parquet"];
        assert_eq!(selected(&cifar, "test").unwrap(), ["plain_text/test-00000-of-00001.parquet"]);
        let converted = ["default/test/0000.parquet", "default/train/0000.parquet", "default/train/0001.parquet"];
        assert_eq!(selected(&converted, "train").unwrap(), converted[1..]);
        assert_eq!(selected(&["data/train/0000.parquet"], "train").unwrap(), ["data/train/0000.parquet"]);
        assert_eq!(
            selected(&["data/val-00000-of-00001.parquet"], "validation").unwrap(),
            ["data/val-00000-of-00001.parquet"]
        );
        let svhn = ["cropped_digits/test-00000-of-00001.parquet", "full_numbers/test-00000-of-00001.parquet"];
        let error = selected(&svhn, "test").unwrap_err();
        assert!(error.contains("2 configurations hold the split `test`: `cropped_digits`, `full_numbers`"), "{error}");
        assert!(error.contains("choose one of them: `config: \"cropped_digits\"`"), "{error}");
        assert_eq!(selected(&svhn, "test@full_numbers").unwrap(), svhn[1..]);
        let error = selected(&svhn, "test@numbers").unwrap_err();
        assert!(
            error.contains("the configuration `numbers` has no Parquet file of the split `test`: only cropped_"),
            "{error}"
        );
        let both = ["default/test.parquet", "other/test.parquet"];
        assert_eq!(selected(&both, "test").unwrap(), both[..1]);
        assert!(selected(&["train/0000.parquet", ".cache/test.parquet"], "test").unwrap_err().contains("only train"));
    }

    #[test]
    fn arrow_files_are_named_with_the_way_out() {
        let error =
            selected(&["dataset_dict.json", "test/data-00000-of-00001.arrow", "test/state.json"], "test").unwrap_err();
        assert!(error.contains("it holds Arrow files, as `save_to_disk` writes them"), "{error}");
        assert!(error.contains("[\"test\"].to_parquet(\"test.parquet\")"), "{error}");
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
