//! What a run writes down and shows while it goes, and when it is done.

pub mod computed_by;
mod console;
mod data_free;
pub mod events;
pub mod expectations;
mod histogram;
pub mod image_grid;
mod made_images;
pub mod manifest;
mod measurement;
mod metrics_log;
pub mod page;
mod png_picture;
mod recorder;
pub mod report;
mod stage_progress;
mod stated_accuracy;
mod tensorboard;

#[cfg(test)]
pub use console::OutputMode;
pub use console::{Console, notice};
pub use data_free::statement as data_free;
pub use made_images::write as write_made_images;
pub use recorder::{KeptLogs, Recorder};
pub use stage_progress::StageProgress;
