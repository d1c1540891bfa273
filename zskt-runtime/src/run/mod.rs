//! Running a plan: nodes are built, stages run, metrics are evaluated, and everything is kept in a run directory.
//!
//! [`start`] makes a run ready, anew or from a checkpoint; [`execution`] goes through the plan; [`stage_watch`] is what a
//! stage sees of all this. The other modules are one kind of file or one concern each.

mod append_log;
mod atomic_file;
mod attributed;
mod checkpoint;
mod clock;
mod console;
mod device;
mod execution;
mod failure;
pub(crate) mod fingerprint;
mod guard;
mod image_grid;
mod interrupt;
mod manifest;
mod memory;
mod metrics_log;
mod products;
mod report;
mod run_directory;
mod stage_progress;
mod stage_record;
mod stage_watch;
mod start;
mod tensor_file;
mod tensorboard;
#[cfg(test)]
mod tests;

pub use guard::caught;

use std::path::{Path, PathBuf};

use zskt_api::Error;

use crate::plan::Plan;
use console::Console;
use failure::Stop;
use interrupt::Interrupted;

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
pub enum Outcome {
    /// Everything was run.
    Done,
    /// The user asked to stop. What is worth keeping is in a checkpoint, and the user was told how to go on.
    Interrupted,
    /// Something failed while running.
    Failed(Error),
    /// What was asked for cannot be done, and nothing was run.
    Refused(String),
}

/// Runs a plan to its end, until it fails, or until the user presses Ctrl-C.
#[expect(clippy::needless_pass_by_value, reason = "a plan is run once")]
pub fn run(plan: Plan, options: Options) -> Outcome {
    let interrupted = interrupt::listen();
    // The tape of a deep network is walked by recursion.
    let pool = rayon::ThreadPoolBuilder::new().stack_size(64 << 20);
    // Whoever has made a pool before has chosen its size.
    let _ = pool.build_global();
    // From a thread of the pool the kernels start their parallel loops without waking another first, which would cost
    // more than a small layer.
    rayon::scope(|_| run_until(&plan, &options, Console::new(options.quiet, options.json), interrupted))
}

/// Runs a plan until the user asks to stop.
fn run_until(plan: &Plan, options: &Options, console: Console, interrupted: Interrupted) -> Outcome {
    let mut execution = match start::start(plan, options, console, interrupted) {
        Ok(Some(execution)) => execution,
        Ok(None) => return Outcome::Done,
        Err(Stop::Refused(reason)) => return Outcome::Refused(reason),
        Err(Stop::Failed(error)) if error.is_interrupted() => {
            console::notice("interrupted before anything was run");
            return Outcome::Interrupted;
        }
        Err(Stop::Failed(error)) => return Outcome::Failed(error),
    };
    let Err(error) = execution.run() else { return Outcome::Done };
    execution.console.clear();
    let resume = resume_command(execution.directory.path());
    if error.is_interrupted() {
        console::notice(&format!("interrupted; continue with: {resume}"));
        Outcome::Interrupted
    } else if execution.directory.checkpoint().is_file() {
        Outcome::Failed(Error::new(format!(
            "{error}\nthe last checkpoint is kept; where the cause lies outside the pipeline, continue when it is gone with: {resume}"
        )))
    } else {
        Outcome::Failed(error)
    }
}

fn resume_command(directory: &Path) -> String {
    let path = directory.display().to_string();
    // Fit to be pasted into a shell.
    let plain = path.chars().all(|c| c.is_alphanumeric() || "/._-+=:,\\".contains(c));
    let quote = |path: &str| if plain { path.to_owned() } else { format!("'{}'", path.replace('\'', "'\\''")) };
    format!("zskt-run {} --resume {}", quote(&format!("{path}/pipeline.ron")), quote(&path))
}
