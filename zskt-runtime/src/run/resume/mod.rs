//! What a run keeps on disk so that it can go on: the run directory, its checkpoints, and files that a crash cannot spoil.

mod append_log;
mod atomic_file;
mod checkpoint;
mod checkpointer;
mod file_error;
mod fingerprint;
mod memory;
mod run_directory;
mod stage_record;
mod tensor_file;

pub use append_log::AppendLog;
pub use atomic_file::write as write_atomically;
pub use checkpoint::{Checkpoint, FinishedStage, MeasuredMetric, ResumeState, UnfinishedStage};
pub use checkpointer::{Checkpointer, LogLengths};
pub use file_error::cannot_read;
pub use fingerprint::{Fingerprint, of_files as fingerprints_of, of_pipeline};
pub use run_directory::RunDirectory;
pub use stage_record::{BatchTimes, StageRecord};
pub use tensor_file::encode as encode_tensors;
