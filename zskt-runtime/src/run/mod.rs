//! Running a plan: nodes are built, stages run, metrics are evaluated, and everything is kept in a run directory.
//!
//! [`engine`] makes a run ready, anew or from a checkpoint, and goes through the plan; [`record`] writes down and shows what
//! happens; [`resume`] is the run directory, and the checkpoints in it that a run is continued from.

mod engine;
mod estimate;
mod interrupt;
mod options;
mod record;
mod resume;
mod start_error;
#[cfg(test)]
mod tests;
mod threads;
mod timestamp;

pub use engine::restore_pipeline;
pub use estimate::Estimate;
pub use interrupt::{Interrupted, listen};
pub use options::{Budget, Options, RunOutcome};
pub use record::computed_by::shown as computed_by;
pub use record::events::EventKind;
pub use record::manifest::{changed_libraries, kept_libraries};
pub use record::{data_free, image_grid};

#[cfg(test)]
pub use resume::seal;
pub use resume::{
    Checkpoint, Fingerprint, PARTIAL_SUFFIX, RunDirectory, RunFiles, WayOut, describe_checkpoint, fingerprints_of,
    is_partial_file, of_pipeline, unseal, write_file,
};

use crate::plan::Plan;
use record::{Console, notice};
pub use start_error::StartError;

/// Measures what a run of a plan would take. On a CPU, where its batches would take long, another is measured that has fewer images at
/// once: what `with` makes of the same pipeline with changes `node.parameter=value`, unless it cannot.
///
/// # Errors
/// As the run's own, as far as they show in a few batches.
pub fn estimate(
    plan: Plan,
    with: &(dyn Fn(&[String]) -> Option<Plan> + Sync),
    options: &Options,
) -> Result<Estimate, StartError> {
    let interrupted = options.or_out_of_budget(listen());
    if let Some(shortage) = threads::start() {
        notice(&shortage);
    }
    rayon::scope(|_| {
        let mut console = Console::new(options.quiet, options.json);
        let estimated = engine::estimate(plan, with, engine::LIMIT, &mut console, &interrupted);
        // A run that follows has a peak of its own.
        resume::restart_peak();
        estimated
    })
}

/// Runs a plan to its end, until it fails, its budget is used up, or the user presses Ctrl-C.
#[expect(clippy::needless_pass_by_value, reason = "a plan is run once")]
pub fn run(plan: Plan, options: Options) -> RunOutcome {
    let interrupted = listen();
    if let Some(shortage) = threads::start() {
        notice(&shortage);
    }
    // From a thread of the pool the kernels start their parallel loops without waking another first, which would cost
    // more than a small layer.
    rayon::scope(|_| engine::run_until(&plan, &options, Console::new(options.quiet, options.json), interrupted))
}
