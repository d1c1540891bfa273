//! What a run writes down and shows while it goes, and when it is done.

mod console;
mod image_grid;
pub mod manifest;
mod metrics_log;
mod recorder;
pub mod report;
mod stage_progress;
mod tensorboard;

#[cfg(test)]
pub use console::OutputMode;
pub use console::{Console, notice};
pub use recorder::{KeptLogs, Recorder};
pub use stage_progress::StageProgress;
