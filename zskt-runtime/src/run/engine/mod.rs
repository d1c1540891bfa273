//! The engine: makes a run ready, and goes through the nodes of the plan in their order.

mod device;
mod environment;
mod executor;
mod frozen_weights;
mod metric;
mod node_outputs;
mod restore_files;
mod stage_observer;
mod stage_output;
mod start;

use std::path::Path;

use zskt_api::Error;

use super::interrupt::Interrupted;
use super::options::{Options, RunOutcome};
use super::record::{Console, notice};
use super::start_error::StartError;
use crate::plan::Plan;

/// Runs a plan until the user asks to stop.
pub fn run_until(plan: &Plan, options: &Options, console: Console, interrupted: Interrupted) -> RunOutcome {
    let mut executor = match start::start(plan, options, console, interrupted) {
        Ok(Some(executor)) => executor,
        Ok(None) => return RunOutcome::Done,
        Err(StartError::Refused(problem)) => return RunOutcome::Refused(problem),
        Err(StartError::Failed(error)) if error.is_interrupted() => {
            notice("interrupted before anything was run");
            return RunOutcome::Interrupted;
        }
        Err(StartError::Failed(error)) => return RunOutcome::Failed(error),
    };
    let Err(error) = executor.run() else { return RunOutcome::Done };
    let last = executor.last_checkpoint().map(str::to_owned);
    let directory = executor.into_directory();
    let resume = resume_command(directory.path());
    if error.is_interrupted() {
        notice(&format!("interrupted; continue with: {resume}"));
        return RunOutcome::Interrupted;
    }
    if !directory.path().exists() {
        return RunOutcome::Failed(error);
    }
    let kept = match last {
        Some(_) if !directory.checkpoints()[0].is_file() => return RunOutcome::Failed(error),
        Some(moment) => format!(
            "the last checkpoint is kept, {moment}; where the cause lies outside the pipeline, continue when it is gone with: {resume}"
        ),
        None => "there is no checkpoint yet: the same command begins the run anew".into(),
    };
    RunOutcome::Failed(Error::new(format!("{error}\n{kept}")))
}

fn resume_command(directory: &Path) -> String {
    let path = directory.display().to_string();
    // Fit to be pasted into a shell.
    let plain = path.chars().all(|c| c.is_alphanumeric() || "/._-+=:,\\".contains(c));
    let quote = |path: &str| if plain { path.to_owned() } else { format!("'{}'", path.replace('\'', "'\\''")) };
    format!("zskt-run {} --resume {}", quote(&format!("{path}/pipeline.ron")), quote(&path))
}
