//! The engine: makes a run ready, and goes through the nodes of the plan in their order.

mod device;
mod environment;
mod estimate;
mod executor;
mod fewer_images;
mod frozen_weights;
mod metric;
mod network_trial;
mod node_outputs;
mod restore_files;
mod restore_pipeline;
mod stage_observer;
mod stage_output;
mod stage_probe;
mod start;

use std::path::Path;

use zskt_api::Error;

pub use estimate::estimate;
pub use fewer_images::LIMIT;
pub use restore_pipeline::restore_pipeline;

use super::interrupt::Interrupted;
use super::options::{Options, RunOutcome};
use super::record::{Console, events, notice};
use super::start_error::StartError;
use crate::plan::Plan;
use crate::shell_quoting::quoted;
use crate::text_format;
use start::Started;

/// Runs a plan until the user asks to stop, or its budget is used up.
pub fn run_until(plan: &Plan, options: &Options, mut console: Console, interrupted: Interrupted) -> RunOutcome {
    let outcome = run_telling(plan, options, &mut console, interrupted);
    let Some(failure) = console.lost_objects() else { return outcome };
    let lost = format!("standard output does not have all that the run told: {}", text_format::reason(failure));
    match outcome {
        RunOutcome::Done => {
            RunOutcome::Failed(Error::new(format!("{lost}; the run is done, and its folder has all of it")))
        }
        // A code that says more is not lost, too.
        outcome => {
            notice(&format!("warning: {lost}"));
            outcome
        }
    }
}

/// The same, telling it on a console.
fn run_telling(plan: &Plan, options: &Options, console: &mut Console, interrupted: Interrupted) -> RunOutcome {
    let interrupted = options.or_out_of_budget(interrupted);
    let stopped = || match options.budget {
        Some(budget) if budget.is_used_up() => {
            (format!("the budget of {} is used up", humantime::format_duration(budget.limit)), RunOutcome::OutOfBudget)
        }
        _ => ("interrupted".to_owned(), RunOutcome::Interrupted),
    };
    let mut executor = match start::start(plan, options, console, interrupted) {
        Ok(Started::Going(executor)) => executor,
        Ok(Started::Finished(meets_expectations)) => return done(meets_expectations),
        Err(StartError::Refused(problem)) => return RunOutcome::Refused(problem),
        Err(StartError::Failed(error)) => {
            console.json(&events::end(&error, options.budget.as_ref()));
            if !error.is_interrupted() {
                return RunOutcome::Failed(error);
            }
            let (reason, outcome) = stopped();
            let way_on = match outcome {
                RunOutcome::OutOfBudget => ": there is nothing to go on with; give it more time",
                _ => "",
            };
            notice(&format!("{reason} before anything was run{way_on}"));
            return outcome;
        }
    };
    let error = match executor.run() {
        Ok(meets_expectations) => return done(meets_expectations),
        Err(error) => error,
    };
    let last = executor.last_checkpoint().map(str::to_owned);
    let end = events::end(&error, options.budget.as_ref());
    let teachers = executor.teachers_of_finished_stages();
    // A log with a line in it would not be one of a run that can begin anew.
    if last.is_some() {
        executor.note_end(&error, &end);
    }
    let directory = executor.into_directory();
    console.json(&end);
    let resume = resume_command(directory.path());
    if error.is_interrupted() {
        let (reason, outcome) = stopped();
        notice(&format!("{reason}; continue with: {resume}"));
        return outcome;
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
    let trained = match &teachers[..] {
        [] => String::new(),
        teachers => format!(
            "\na library that is built anew does not fit this run; another run can begin with what was trained here, as its teacher: {}",
            teachers.join(", ")
        ),
    };
    RunOutcome::Failed(Error::new(format!("{error}\n{kept}{trained}")))
}

fn done(meets_expectations: bool) -> RunOutcome {
    if meets_expectations { RunOutcome::Done } else { RunOutcome::ShortOfExpectations }
}

fn resume_command(directory: &Path) -> String {
    format!("zskt-run --resume {}", quoted(&directory.display().to_string()))
}
