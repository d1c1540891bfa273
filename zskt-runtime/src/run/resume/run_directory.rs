//! The folder that a run writes to.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use zskt_api::{Diagnostic, Error, Result};

use super::file_error::{WayOut, cannot_read, cannot_write};
use super::file_identity::is_same_file;
use super::run_files::RunFiles;
use super::{atomic_file, fingerprint, leftovers};
use crate::file_names::file_name;
use crate::pipeline::resumed_part;
use crate::run::timestamp::folder_timestamp;
use crate::runs::{Configuration, Difference};

/// How often, and how long after each other, a folder's lock is tried.
const LOCK_TRIES: usize = 5;
const BETWEEN_LOCK_TRIES: Duration = Duration::from_millis(20);

/// How many differences between pipelines are told.
const MOST_SHOWN: usize = 20;

/// A run's folder. No other process writes to it while this value lives.
pub struct RunDirectory {
    files: RunFiles,
    new: bool,
    begins_anew: bool,
    way_out: WayOut,
    /// Locked, and what the folder is known by.
    handle: Option<File>,
}

impl Deref for RunDirectory {
    type Target = RunFiles;

    fn deref(&self) -> &RunFiles {
        &self.files
    }
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
        let way_out = WayOut::OtherFolder;
        fs::create_dir_all(&path)
            .map_err(|error| Diagnostic::global(cannot_write(&path, &error, way_out).to_string()))?;
        let mut directory = Self { new, way_out, ..Self::open(path)? };
        if !directory.clear(resolved)? {
            let path = directory.path().display();
            let help = if directory.checkpoints().iter().any(|file| file.exists()) {
                format!("continue that run with --resume {path}, or choose another folder")
            } else {
                "choose another folder, or empty this one".into()
            };
            return Err(Diagnostic::global(format!("{path} is not empty, and nothing is ever overwritten")).help(help));
        }
        Ok(directory)
    }

    /// Makes the folder empty, if there is nothing in it but what a run of this pipeline leaves that ended before its first
    /// checkpoint; says whether it is empty now.
    ///
    /// # Errors
    /// When it cannot be read, or something cannot be removed.
    pub fn clear(&mut self, resolved: &str) -> Result<bool, Diagnostic> {
        let failed = |error: Error| Diagnostic::global(error.to_string());
        let found = leftovers::find(self, resolved).map_err(|error| failed(cannot_read(self.path(), error)))?;
        let Some(leftovers) = found else { return Ok(false) };
        leftovers::remove(&leftovers).map_err(|error| failed(cannot_write(self.path(), &error, self.way_out())))?;
        self.begins_anew = !leftovers.is_empty();
        Ok(true)
    }

    /// Whether a run began here before, and ended before its first checkpoint.
    pub fn begins_anew(&self) -> bool {
        self.begins_anew
    }

    /// Opens the folder of a run that is there.
    ///
    /// # Errors
    /// When another process writes to it.
    pub fn open(path: PathBuf) -> Result<Self, Diagnostic> {
        // Only where a folder can be opened like a file can it be locked; elsewhere the user must take care.
        let lock = File::open(&path).ok();
        if let Some(folder) = &lock
            && is_in_use(folder)
        {
            let message = format!("{} is in use: another zskt-run is writing to it", path.display());
            return Err(Diagnostic::global(message));
        }
        let way_out = WayOut::CopyOfFolder;
        Ok(Self { files: RunFiles::new(path), new: false, begins_anew: false, way_out, handle: lock })
    }

    /// Where else the run could write: what goes on here, and what has come far enough to go on, is not begun elsewhere.
    pub fn way_out(&self) -> WayOut {
        if self.checkpoints().iter().any(|file| file.exists()) { WayOut::CopyOfFolder } else { self.way_out }
    }

    /// Writes a file of the run, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written, or the folder was taken away.
    pub fn write(&self, file: &Path, bytes: &[u8]) -> Result<()> {
        self.write_with(file, |file| file.write_all(bytes))
    }

    /// The same of a file that `fill` writes piece by piece.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_with(&self, file: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
        self.make_room_for(file)?;
        self.blame(atomic_file::write(file, self.way_out(), fill))
    }

    /// Writes a file of the run again, in place of one that is missing or not what the run wrote. That one is kept beside it, for it may
    /// be what somebody made of the file. Gives what to tell of it.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_again(&self, file: &Path, bytes: &[u8]) -> Result<String> {
        let shown = file.display();
        if fs::symlink_metadata(file).is_err() {
            self.write(file, bytes)?;
            return Ok(format!("{shown} is missing: written again"));
        }
        let aside = self.set_aside(file)?;
        self.write(file, bytes)?;
        Ok(format!("{shown} is not what the run wrote: kept as {}, and written again", aside.display()))
    }

    /// Gives a file another name, and says which.
    ///
    /// # Errors
    /// When it cannot be renamed, or the folder was taken away.
    pub fn set_aside(&self, file: &Path) -> Result<PathBuf> {
        let aside = |number: usize| {
            let mut name = file.file_name().unwrap_or_default().to_owned();
            name.push(if number == 1 { ".differs".to_owned() } else { format!(".differs-{number}") });
            file.with_file_name(name)
        };
        let aside = (1..).map(aside).find(|aside| fs::symlink_metadata(aside).is_err()).unwrap_or_default();
        self.blame(fs::rename(file, &aside).map_err(|error| cannot_write(&aside, &error, self.way_out())))?;
        Ok(aside)
    }

    /// Writes a checkpoint; the last one becomes the one before it, if `keep_last`.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_checkpoint(&self, bytes: &[u8], keep_last: bool) -> Result<()> {
        let [last, before] = self.checkpoints();
        if !keep_last {
            return self.write(&last, bytes);
        }
        self.make_room_for(&last)?;
        self.blame(atomic_file::write_keeping(&last, &before, self.way_out(), bytes))
    }

    /// What cannot be written because the folder was taken away meanwhile is told as that.
    fn blame<T>(&self, written: Result<T>) -> Result<T> {
        written.or_else(|error| self.check_present().and(Err(error)))
    }

    /// Makes the folder of a file, but never that of the run.
    fn make_room_for(&self, file: &Path) -> Result<()> {
        self.check_present()?;
        let inside = |folder: &&Path| *folder != self.path() && folder.starts_with(self.path());
        let folders: Vec<_> = file.ancestors().skip(1).take_while(inside).collect();
        folders.into_iter().rev().try_for_each(|folder| make_folder(folder, self.way_out()))
    }

    /// Makes sure that the path still leads to this folder.
    fn check_present(&self) -> Result<()> {
        let Some(opened) = self.handle.as_ref().and_then(|handle| handle.metadata().ok()) else { return Ok(()) };
        match fs::metadata(self.path()) {
            Ok(named) if is_same_file(&opened, &named) => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cannot_read(self.path(), error)),
            _ => Err(Error::new(format!(
                "the folder of the run, {}, was removed or renamed while the run wrote to it; it is not made anew, for what was \
                 in it would be missing",
                self.path().display()
            ))),
        }
    }

    /// Removes the folder, if it is new and nothing was written to it: a run that never began leaves nothing behind.
    pub fn abandon(&self) {
        if self.new {
            // A folder with something in it cannot be removed this way, and stays.
            let _ = fs::remove_dir(self.path());
        }
    }

    /// Checks that the run was made by this very pipeline, on whatever device, `kept` as it was resolved then.
    ///
    /// # Errors
    /// In what they differ.
    pub fn check_pipeline(&self, resolved: &str, kept: &str) -> Result<(), Diagnostic> {
        if resumed_part(kept) == resumed_part(resolved) {
            return Ok(());
        }
        let path = self.path().display();
        Err(Diagnostic::global(format!(
            "cannot resume {path}: its pipeline is not the one of the run, which was changed in\n  {}",
            Self::changes(kept, resolved)
        ))
        .help(format!(
            "resume with the run's own pipeline, {path}/pipeline.ron, or with the one it began with, if that was changed since; or run \
             without --resume"
        )))
    }

    /// In what a pipeline differs from the one that a run has `kept`, a line for each parameter.
    pub fn changes(kept: &str, resolved: &str) -> String {
        let [kept, resolved] = [resumed_part(kept), resumed_part(resolved)];
        let mut differences = Configuration::of(&kept).differences(&Configuration::of(&resolved));
        let more = differences.len().saturating_sub(MOST_SHOWN);
        differences.truncate(MOST_SHOWN);
        let mut changed: Vec<_> = differences.iter().map(Difference::to_string).collect();
        if changed.is_empty() {
            changed.push("the order of its nodes or edges".into());
        }
        if more > 0 {
            changed.push(format!("and {more} more"));
        }
        changed.join("\n  ")
    }
}

/// Tries to lock a folder. Whoever only looks whether it is in use holds the lock for a moment, too.
fn is_in_use(folder: &File) -> bool {
    let is_locked = || matches!(folder.try_lock(), Err(TryLockError::WouldBlock));
    (0..LOCK_TRIES).all(|attempt| {
        if attempt > 0 {
            thread::sleep(BETWEEN_LOCK_TRIES);
        }
        is_locked()
    })
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

/// Makes a folder within a run's, unless it is there.
fn make_folder(folder: &Path, way_out: WayOut) -> Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made.map_err(|error| cannot_write(folder, &error, way_out)),
    }
    if fs::symlink_metadata(folder).is_ok_and(|folder| folder.is_symlink()) {
        let folder = folder.display();
        return Err(Error::new(format!(
            "{folder} is a link, and what it leads to is not written to; put the folder itself there"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::RunDirectory;
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
}
