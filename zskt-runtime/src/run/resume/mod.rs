//! What a run keeps on disk so that it can go on: the run directory, its checkpoints, and files that a crash cannot spoil.

mod append_log;
mod atomic_file;
mod checkpoint;
mod checkpointer;
mod file_error;
mod file_identity;
mod fingerprint;
mod kept_weights;
mod leftovers;
mod memory;
mod run_directory;
mod run_files;
mod sealed_json;
mod selection_record;
mod stage_record;
mod tensor_file;

pub use append_log::{AppendLog, LogMark};
pub use atomic_file::SUFFIX as PARTIAL_SUFFIX;
pub use atomic_file::is_partial as is_partial_file;
pub use atomic_file::write as write_file;
pub use checkpoint::{Checkpoint, FinishedStage, MeasuredMetric, ResumeState, UnfinishedEvaluation, UnfinishedStage};
pub use checkpointer::{Checkpointer, LastCheckpoint, LogMarks, describe as describe_checkpoint};
pub use file_error::{WayOut, cannot_read};
pub use fingerprint::{Fingerprint, of_files as fingerprints_of, of_pipeline};
pub use kept_weights::WeightsFile;
pub use leftovers::EVENTS_HEAD;
pub use memory::{peak_bytes, restart_peak};
pub use run_directory::RunDirectory;
pub use run_files::{RunFiles, evaluation_name};
pub use sealed_json::{seal, unseal};
pub use selection_record::Evaluation;
pub use stage_record::{BatchTimes, StageRecord, StageWarning};
