//! What a run is asked to do, and how it ended.

use std::path::PathBuf;

use zskt_api::{Diagnostic, Error};

/// How a plan is run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where the pipeline was read from, for the manifest.
    pub pipeline_path: Option<PathBuf>,
    /// The run directory; a new one under `runs/` without it.
    pub out: Option<PathBuf>,
    /// The run directory to continue in.
    pub resume: Option<PathBuf>,
    /// Whether nothing but errors and results are shown.
    pub quiet: bool,
    /// Whether standard output is JSON, an object per line.
    pub json: bool,
    /// How the program was called, for the manifest.
    pub command_line: Vec<String>,
}

/// How a run ended.
#[derive(Debug)]
pub enum RunOutcome {
    /// Everything was run.
    Done,
    /// The user asked to stop. What is worth keeping is in a checkpoint, and the user was told how to go on.
    Interrupted,
    /// Something failed while running.
    Failed(Error),
    /// What was asked for cannot be done, and nothing was run.
    Refused(Diagnostic),
}
