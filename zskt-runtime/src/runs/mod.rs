//! Run directories as others read them: what state a run is in, what it was made with, what it found, and what happened.
//! Nothing here writes.

mod configuration;
mod defaults;
mod figures;
mod headline;
mod log;
mod state;

pub use configuration::{Configuration, Difference};
pub use defaults::{changed, defaults};
pub use figures::Figures;
pub use headline::Headlines;
pub use log::{Curve, Log, LogReader, StageProgress};
use state::NOT_AS_EXPECTED;
pub use state::RunState;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use zskt_api::Diagnostic;

use crate::pipeline::Bounds;
use crate::run::{Checkpoint, RunDirectory, RunFiles, computed_by, unseal};
use crate::shell_quoting::quoted;
use crate::{home_folder, input_file, text_format};

/// More than any file of a run has that is read whole.
const MAX_FILE: u64 = 64 << 20;

/// A run, as far as its folder tells.
pub struct Run {
    /// Where it is.
    pub folder: PathBuf,
    /// What its pipeline calls it.
    pub name: String,
    /// How far it is.
    pub state: RunState,
    /// What it was made with (`manifest.json`).
    pub manifest: Value,
    /// What it found (`report.json`); nothing before its end.
    pub report: Option<Value>,
    /// Its pipeline as resolved (`pipeline.ron`).
    pub pipeline: String,
}

impl Run {
    /// Reads the folder of a run.
    ///
    /// # Errors
    /// When it is not one, or a file in it is damaged.
    pub fn read(folder: &Path) -> Result<Self, Diagnostic> {
        // Before the report is looked for: a run that ends meanwhile has one by then, and is not taken for one that was killed.
        let is_running = state::is_locked(folder);
        Self::read_files(folder, is_running)
    }

    /// Reads the folder of a run that this program alone may write to.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_locked(directory: &RunDirectory) -> Result<Self, Diagnostic> {
        Self::read_files(directory.path(), false)
    }

    fn read_files(folder: &Path, is_running: bool) -> Result<Self, Diagnostic> {
        let files = Self::files_of(folder)?;
        let damaged = |file: &Path| {
            let help = match files.checkpoints().iter().any(|checkpoint| checkpoint.exists()) {
                true => format!("`zskt-run --resume {}` writes it again", quoted(&folder.display().to_string())),
                false => "without a checkpoint nothing can write it again: restore it from a copy".into(),
            };
            Diagnostic::global(format!("{} is damaged", file.display())).help(help)
        };
        let manifest = unseal(&text(&files.manifest())?).ok_or_else(|| damaged(&files.manifest()))?;
        let pipeline = text(&files.pipeline())?;
        let report = match files.report() {
            file if file.exists() => Some(serde_json::from_str(&text(&file)?).map_err(|_| damaged(&file))?),
            _ => None,
        };
        let state = if is_running { RunState::Running } else { RunState::at_rest(&files, report.is_some()) };
        let name = manifest["name"].as_str().unwrap_or_default().to_owned();
        Ok(Self { folder: folder.to_owned(), name, state, manifest, report, pipeline })
    }

    /// Whether a folder is a run's.
    pub fn is_at(folder: &Path) -> bool {
        RunFiles::new(folder.to_owned()).manifest().is_file()
    }

    /// Where the files of a run are, whatever became of them.
    ///
    /// # Errors
    /// When it is not the folder of a run.
    pub fn files_of(folder: &Path) -> Result<RunFiles, Diagnostic> {
        let files = RunFiles::new(folder.to_owned());
        if files.manifest().is_file() {
            return Ok(files);
        }
        let message = format!("`{}` is not the folder of a run: there is no manifest.json in it", folder.display());
        Err(Diagnostic { help: home_folder::hint(folder), ..Diagnostic::global(message) })
    }

    /// The runs in a folder and its subfolders, by when they began, and what of it looks like a run and cannot be read.
    ///
    /// # Errors
    /// When the folder itself cannot be read.
    pub fn find(root: &Path) -> Result<(Vec<Self>, Vec<Diagnostic>), Diagnostic> {
        let (mut runs, mut damaged) = (Vec::new(), Vec::new());
        for folder in Self::folders(root)? {
            match Self::read(&folder) {
                Ok(run) => runs.push(run),
                Err(problem) => damaged.push(problem),
            }
        }
        runs.sort_by(|a, b| (a.began(), &a.folder).cmp(&(b.began(), &b.folder)));
        Ok((runs, damaged))
    }

    /// The folders of all runs in a folder and its subfolders, by name.
    ///
    /// # Errors
    /// When the folder itself cannot be read.
    pub fn folders(root: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
        let cannot_read = |path: &Path, error: &std::io::Error| {
            Diagnostic::global(format!("cannot read {}: {}", path.display(), text_format::reason(error)))
        };
        let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
        while let Some(folder) = folders.pop() {
            if Self::is_at(&folder) {
                found.push(folder);
                continue;
            }
            let entries = match fs::read_dir(&folder) {
                Err(error) if folder == root => return Err(cannot_read(root, &error)),
                entries => entries.into_iter().flatten().flatten(),
            };
            // A link to a folder may lead back up.
            folders.extend(
                entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
            );
        }
        found.sort();
        Ok(found)
    }

    /// When it began, as `2026-11-22T11:06:08.125Z`.
    pub fn began(&self) -> &str {
        self.manifest["starts"][0]["start"].as_str().unwrap_or_default()
    }

    /// Where it was computed: each device that it began or went on on.
    pub fn devices(&self) -> Option<String> {
        let starts = self.manifest["starts"].as_array().into_iter().flatten();
        let all = std::iter::once(&self.manifest["device"]).chain(starts.map(|start| &start["device"]));
        let mut devices: Vec<_> = all.filter_map(Value::as_str).collect();
        devices.dedup();
        (!devices.is_empty()).then(|| devices.join(", then "))
    }

    /// The builds and the processors' instructions that computed it, one after the other; nothing of runs that earlier versions made.
    pub fn computed_by(&self) -> Option<String> {
        let starts = self.manifest["starts"].as_array().into_iter().flatten();
        let mut all: Vec<_> = starts.map(computed_by).collect();
        all.dedup();
        let is_known = all.iter().any(Option::is_some);
        let all = all.into_iter().map(|found| found.unwrap_or_else(|| "what is not known".into()));
        is_known.then(|| all.collect::<Vec<_>>().join(", then "))
    }

    /// The most memory that it had taken when its last checkpoint was made, if there is one, in bytes.
    pub fn last_known_memory(&self) -> Option<u64> {
        self.files().checkpoints().iter().find_map(|file| Checkpoint::read_state(file).ok()?.peak_memory_bytes)
    }

    /// What it found: of a finished run, what its report has; of another, what its log says last.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn figures(&self) -> Result<Figures, Diagnostic> {
        Ok(match &self.report {
            Some(report) => Figures::of_report(report),
            None => Figures::of_log(&self.log()?),
        })
    }

    /// Every parameter that it was made with.
    pub fn configuration(&self) -> Configuration {
        Configuration::of(&self.pipeline)
    }

    /// What the source of its pipeline states of its figures, as it is written there.
    pub fn published(&self) -> Vec<(String, String)> {
        configuration::published(&self.pipeline)
    }

    /// Where its pipeline expects its figures to lie.
    pub fn expected(&self) -> Vec<(String, Bounds)> {
        configuration::expected(&self.pipeline)
    }

    /// How far it is, and of a finished run whether it found what its pipeline expects.
    pub fn state_by(&self, figures: &BTreeMap<String, f64>) -> String {
        if self.falls_short(figures) { NOT_AS_EXPECTED.to_owned() } else { self.state.to_string() }
    }

    /// Whether it is finished and one of its figures does not lie where its pipeline expects it.
    pub fn falls_short(&self, figures: &BTreeMap<String, f64>) -> bool {
        let short = |(key, bounds): &(String, Bounds)| figures.get(key).is_none_or(|found| !bounds.hold(*found));
        self.state == RunState::Finished && self.expected().iter().any(short)
    }

    /// What happened.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<Log, Diagnostic> {
        let mut reader = LogReader::new(self.files().metrics());
        reader.read_on()?;
        Ok(reader.into_log())
    }

    /// Where its files are.
    pub fn files(&self) -> RunFiles {
        RunFiles::new(self.folder.clone())
    }
}

fn text(file: &Path) -> Result<String, Diagnostic> {
    let bytes = input_file::read(file, MAX_FILE).map_err(|error| {
        Diagnostic::global(format!("cannot read {}: {}", file.display(), text_format::reason(&error)))
    })?;
    String::from_utf8(bytes).map_err(|_| Diagnostic::global(format!("{} is not valid UTF-8", file.display())))
}
