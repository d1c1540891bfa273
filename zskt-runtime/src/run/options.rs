//! What a run is asked to do, and how it ended.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use zskt_api::{Diagnostic, Error};

use super::interrupt::Interrupted;
use super::resume::RunFiles;

/// How a plan is run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where the pipeline was read from, for the manifest.
    pub pipeline_path: Option<PathBuf>,
    /// The run directory; a new one under `runs/` without it.
    pub out: Option<PathBuf>,
    /// The run directory to continue in.
    pub resume: Option<PathBuf>,
    /// How long it may take.
    pub budget: Option<Budget>,
    /// Whether a run that is in `out` already is gone on with.
    pub go_on: bool,
    /// Whether nothing but errors and results are shown.
    pub quiet: bool,
    /// Whether standard output is JSON, an object per line.
    pub json: bool,
    /// How the program was called, for the manifest.
    pub command_line: Vec<String>,
}

impl Options {
    /// The folder of the run that is gone on with, if any is: also of one that is finished.
    pub fn begun(&self) -> Option<&Path> {
        let is_begun = |out: &&Path| {
            let files = RunFiles::new(out.to_path_buf());
            files.checkpoints().iter().any(|checkpoint| checkpoint.exists())
                // The checkpoints of a finished run may be pruned.
                || files.manifest().exists() && files.report().exists()
        };
        self.resume.as_deref().or_else(|| self.out.as_deref().filter(|_| self.go_on).filter(is_begun))
    }

    /// Whether the user asked to stop, or the budget is used up.
    pub fn or_out_of_budget(&self, interrupted: Interrupted) -> Interrupted {
        match self.budget {
            Some(budget) => Arc::new(move || interrupted() || budget.is_used_up()),
            None => interrupted,
        }
    }
}

/// How long a session may take.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// How long.
    pub limit: Duration,
    /// Since when.
    pub began: Instant,
}

impl Budget {
    /// Whether nothing of it is left.
    pub fn is_used_up(&self) -> bool {
        self.began.elapsed() >= self.limit
    }
}

/// How a run ended.
#[derive(Debug)]
pub enum RunOutcome {
    /// Everything was run.
    Done,
    /// Everything was run, and something is not as the pipeline expects.
    ShortOfExpectations,
    /// The user asked to stop. What is worth keeping is in a checkpoint, and the user was told how to go on.
    Interrupted,
    /// The same, because its budget was used up.
    OutOfBudget,
    /// Something failed while running.
    Failed(Error),
    /// What was asked for cannot be done, and nothing was run.
    Refused(Diagnostic),
}
