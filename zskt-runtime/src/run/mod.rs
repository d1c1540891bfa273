//! Running a plan: nodes are built, stages run, metrics are evaluated, and everything is kept in a run directory.
//!
//! [`engine`] makes a run ready, anew or from a checkpoint, and goes through the plan; [`record`] writes down and shows what
//! happens; [`resume`] is the run directory, and the checkpoints in it that a run is continued from.

mod engine;
mod interrupt;
mod options;
mod record;
mod resume;
mod start_error;
#[cfg(test)]
mod tests;
mod threads;
mod timestamp;

pub use options::{Options, RunOutcome};
pub use record::{data_free, image_grid};

pub use resume::{Checkpoint, checkpoints, describe_checkpoint};

use crate::plan::Plan;
use record::{Console, notice};

/// Runs a plan to its end, until it fails, or until the user presses Ctrl-C.
#[expect(clippy::needless_pass_by_value, reason = "a plan is run once")]
pub fn run(plan: Plan, options: Options) -> RunOutcome {
    let interrupted = interrupt::listen();
    if let Some(shortage) = threads::start() {
        notice(&shortage);
    }
    // From a thread of the pool the kernels start their parallel loops without waking another first, which would cost
    // more than a small layer.
    rayon::scope(|_| engine::run_until(&plan, &options, Console::new(options.quiet, options.json), interrupted))
}
