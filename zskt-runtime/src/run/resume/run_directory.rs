//! The folder that a run leaves behind, and the names in it.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use zskt_api::{Diagnostic, Result};

use super::file_error::cannot_write;
use super::fingerprint;
use crate::pipeline::without_libraries;
use crate::run::timestamp::folder_timestamp;

/// A run's folder. No other process writes to it while this value lives.
pub struct RunDirectory {
    path: PathBuf,
    new: bool,
    _lock: Option<File>,
}

impl RunDirectory {
    /// Makes the folder of a new run: `out`, or `runs/<name>-<time>-<hash>`.
    ///
    /// # Errors
    /// When there is something in it already, or it cannot be made.
    pub fn create(out: Option<&Path>, name: &str, resolved: &str) -> Result<Self, Diagnostic> {
        let path = match out {
            Some(out) => out.to_owned(),
            None => unused(name, resolved),
        };
        let new = !path.exists();
        fs::create_dir_all(&path).map_err(|error| Diagnostic::global(cannot_write(&path, &error).to_string()))?;
        let directory = Self { new, ..Self::open(path)? };
        let path = directory.path.display();
        let unreadable = |error| Diagnostic::global(format!("cannot read {path}: {error}"));
        let mut entries = fs::read_dir(&directory.path).map_err(unreadable)?;
        if entries.next().is_some() {
            let help = if directory.checkpoint().exists() {
                format!("continue that run with --resume {path}, or choose another folder")
            } else {
                "choose another folder, or empty this one".into()
            };
            return Err(Diagnostic::global(format!("{path} is not empty, and nothing is ever overwritten")).help(help));
        }
        Ok(directory)
    }

    /// Opens the folder of a run that is there.
    ///
    /// # Errors
    /// When another process writes to it.
    pub fn open(path: PathBuf) -> Result<Self, Diagnostic> {
        // Only where a folder can be opened like a file can it be locked; elsewhere the user must take care.
        let lock = File::open(&path).ok();
        if let Some(folder) = &lock
            && let Err(TryLockError::WouldBlock) = folder.try_lock()
        {
            let message = format!("{} is in use: another zskt-run is writing to it", path.display());
            return Err(Diagnostic::global(message));
        }
        Ok(Self { path, new: false, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The pipeline as resolved.
    pub fn pipeline(&self) -> PathBuf {
        self.path.join("pipeline.ron")
    }

    /// What the run was made with.
    pub fn manifest(&self) -> PathBuf {
        self.path.join("manifest.json")
    }

    /// What happened, line by line.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// The same for TensorBoard, which knows its files by the word `tfevents`.
    pub fn events(&self) -> PathBuf {
        self.path.join("events.out.tfevents.zskt")
    }

    /// Where the run can be continued from.
    pub fn checkpoint(&self) -> PathBuf {
        self.path.join("checkpoint").join("state.safetensors")
    }

    /// What the run found; written last, so that it is there exactly when the run is finished.
    pub fn report(&self) -> PathBuf {
        self.path.join("report.json")
    }

    /// The weights of a trained network.
    pub fn weights(&self, name: &str) -> PathBuf {
        self.path.join(format!("{}.safetensors", file_name(name)))
    }

    /// A grid of pseudo-images.
    pub fn image(&self, stage: &str, batch: usize) -> PathBuf {
        self.path.join("images").join(format!("{}-{batch:07}.png", file_name(stage)))
    }

    /// Makes the folder of a file.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_room_for(file: &Path) -> Result<()> {
        let folder = file.parent().unwrap_or(file);
        fs::create_dir_all(folder).map_err(|error| cannot_write(folder, &error))
    }

    /// Removes the folder, if it is new and nothing was written to it: a run that never began leaves nothing behind.
    pub fn abandon(&self) {
        if self.new {
            // A folder with something in it cannot be removed this way, and stays.
            let _ = fs::remove_dir(&self.path);
        }
    }

    /// Whether the run reached its end.
    pub fn is_finished(&self) -> bool {
        self.report().exists()
    }

    /// Checks that the run was made by this very pipeline.
    ///
    /// # Errors
    /// The first line that differs.
    pub fn check_pipeline(&self, resolved: &str, sha256: &str) -> Result<(), Diagnostic> {
        if fingerprint::of_pipeline(resolved) == sha256 {
            return Ok(());
        }
        let path = self.path.display();
        let kept = fs::read_to_string(self.pipeline()).unwrap_or_default();
        let [kept, resolved] = [without_libraries(&kept), without_libraries(resolved)];
        let difference = match first_difference(&kept, &resolved) {
            Some((line, kept, asked)) => {
                format!(
                    "its pipeline differs from this one, first in line {line}:\n  of the run: {kept}\n  now:        {asked}"
                )
            }
            None => format!("{path}/pipeline.ron was changed since the run began"),
        };
        Err(Diagnostic::global(format!("cannot resume {path}: {difference}"))
            .help(format!("resume with the run's own pipeline, {path}/pipeline.ron, or run without --resume")))
    }
}

/// `runs/<name>-<UTC time>-<short hash>`, with a number behind it where that is taken.
fn unused(name: &str, resolved: &str) -> PathBuf {
    let time = folder_timestamp(SystemTime::now());
    let base = format!("{}-{time}-{}", file_name(name), &fingerprint::of_pipeline(resolved)[..8]);
    let mut path = Path::new("runs").join(&base);
    let mut number = 2;
    while path.exists() {
        path = Path::new("runs").join(format!("{base}-{number}"));
        number += 1;
    }
    path
}

/// A name as part of a file name: what could lead elsewhere, or needs quoting, becomes `_`.
fn file_name(name: &str) -> String {
    let safe: String =
        name.chars().map(|c| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' }).collect();
    if safe.starts_with('.') || safe.is_empty() { format!("_{safe}") } else { safe }
}

fn first_difference(kept: &str, asked: &str) -> Option<(usize, String, String)> {
    let (mut kept, mut asked) = (kept.lines(), asked.lines());
    for line in 1.. {
        match (kept.next(), asked.next()) {
            (None, None) => break,
            (one, other) if one == other => {}
            (one, other) => {
                let show = |line: Option<&str>| line.map_or("(no such line)", str::trim).to_owned();
                return Some((line, show(one), show(other)));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{RunDirectory, file_name, first_difference};
    use std::fs;

    #[test]
    fn a_folder_with_something_in_it_is_refused_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "years of work").unwrap();
        let error = RunDirectory::create(Some(folder.path()), "n", "p").err().unwrap();
        assert!(error.message.contains("is not empty, and nothing is ever overwritten"), "{error:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_in_use_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let first = RunDirectory::create(Some(&out), "n", "p").unwrap();
        assert!(RunDirectory::create(Some(&out), "n", "p").err().unwrap().message.contains("in use"));
        first.abandon();
        assert!(!out.exists());
    }

    #[test]
    fn names_stay_inside_the_folder() {
        assert_eq!(file_name("../cifar 10"), "_.._cifar_10");
        assert_eq!(file_name("wrn-40-2.fewshot"), "wrn-40-2.fewshot");
    }

    #[test]
    fn the_first_line_that_differs_is_shown() {
        let difference = first_difference("(\n  seed: 0,\n)", "(\n  seed: 1,\n)");
        assert_eq!(difference, Some((2, "seed: 0,".into(), "seed: 1,".into())));
        assert_eq!(first_difference("a\nb", "a"), Some((2, "b".into(), "(no such line)".into())));
    }
}
