//! How far a run is, and when that is written down.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use candle_core::Tensor;
use zskt_api::Result;

use super::checkpoint::{Checkpoint, FinishedStage, MeasuredMetric, ResumeState, UnfinishedStage};

/// How far a run is, and the checkpoint file that keeps it.
pub struct Checkpointer {
    file: PathBuf,
    /// How far the run was at its last checkpoint, but for the metrics and stages, which are always up to date.
    state: ResumeState,
    /// The stage that an earlier session did not finish.
    unfinished: Option<UnfinishedStage>,
    session_began: Instant,
    earlier_seconds: f64,
}

/// How long the logs are, which are cut back to that when the run is continued.
#[derive(Clone, Copy)]
pub struct LogLengths {
    /// Bytes of `metrics.jsonl`.
    pub metrics: u64,
    /// Bytes of the events file.
    pub events: u64,
}

impl Checkpointer {
    /// Goes on from a state, and from within a stage that an earlier session did not finish.
    pub fn new(file: PathBuf, state: ResumeState, unfinished: Option<UnfinishedStage>, session_began: Instant) -> Self {
        Self { file, earlier_seconds: state.seconds, state, unfinished, session_began }
    }

    /// How far the run is.
    pub fn state(&self) -> &ResumeState {
        &self.state
    }

    /// A stage that is done, in this session or an earlier one.
    pub fn finished_stage(&self, node: &str) -> Option<&FinishedStage> {
        self.state.finished.iter().find(|stage| stage.node == node)
    }

    /// What an earlier session left of a stage; it is given once.
    pub fn take_unfinished(&mut self, node: &str) -> Option<UnfinishedStage> {
        self.unfinished.take_if(|stage| stage.node == node)
    }

    /// Takes note of a stage that is done.
    pub fn add_stage(&mut self, stage: FinishedStage) {
        self.state.finished.push(stage);
    }

    /// Takes note of what a metric found in its place in the pipeline.
    pub fn add_metric(&mut self, node: String, measured: MeasuredMetric) {
        self.state.measured.insert(node, measured);
    }

    /// Keeps a checkpoint: within the unfinished stage that is given, or between stages.
    ///
    /// # Errors
    /// When it cannot be written; the last one stays.
    pub fn save(
        &mut self,
        logs: LogLengths,
        networks: BTreeMap<String, BTreeMap<String, Tensor>>,
        unfinished: Option<UnfinishedStage>,
    ) -> Result<()> {
        if self.unfinished.is_some() && unfinished.is_none() {
            // The stage of an earlier session is still to be continued: the checkpoint there is knows more.
            return Ok(());
        }
        self.state.metrics_bytes = logs.metrics;
        self.state.events_bytes = logs.events;
        self.state.seconds = self.earlier_seconds + self.session_began.elapsed().as_secs_f64();
        self.state.peak_memory_bytes = self.state.peak_memory_bytes.max(super::memory::peak_bytes());
        Checkpoint { state: self.state.clone(), networks, unfinished }.write(&self.file)
    }
}
