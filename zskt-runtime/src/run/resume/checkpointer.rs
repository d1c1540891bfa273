//! How far a run is, and when that is written down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use candle_core::Tensor;
use serde_json::Value;
use zskt_api::{Context, Result};

use super::append_log::LogMark;
use super::checkpoint::{Checkpoint, FinishedStage, MeasuredMetric, ResumeState, UnfinishedStage};
use super::run_directory::RunDirectory;

/// How far a run is, and the checkpoint file that keeps it.
pub struct Checkpointer {
    directory: Arc<RunDirectory>,
    /// How far the run was at its last checkpoint, but for the metrics and stages, which are always up to date.
    state: ResumeState,
    /// The best weights of stages that keep them, by the stage.
    best: BTreeMap<String, BTreeMap<String, Tensor>>,
    /// The stage that an earlier session did not finish.
    unfinished: Option<UnfinishedStage>,
    last: LastCheckpoint,
    session_began: Instant,
    earlier_seconds: f64,
}

/// The checkpoint that there is.
pub struct LastCheckpoint {
    /// When it was made, as [`describe`] says it; nothing before the first.
    pub moment: Option<String>,
    /// Whether its file is the newest, and not one that was kept beside a newer one which is damaged.
    pub is_newest: bool,
}

/// Where the logs end, which are cut back to that when the run is continued.
pub struct LogMarks {
    /// Of `metrics.jsonl`.
    pub metrics: LogMark,
    /// Of the events file.
    pub events: LogMark,
}

/// When a checkpoint is made: `after batch 7 of "transfer"`.
pub fn describe(state: &ResumeState, unfinished: Option<&UnfinishedStage>) -> String {
    match (unfinished, state.finished.as_slice()) {
        (Some(stage), _) => format!("after batch {} of `{}`", stage.state.batch, stage.node),
        (None, [.., stage]) => format!("after `{}`", stage.node),
        (None, []) => "before the first stage".into(),
    }
}

impl Checkpointer {
    /// Goes on from a state, with the best weights so far, and from within a stage that an earlier session did not finish.
    pub fn new(
        directory: Arc<RunDirectory>,
        state: ResumeState,
        best: BTreeMap<String, BTreeMap<String, Tensor>>,
        unfinished: Option<UnfinishedStage>,
        last: LastCheckpoint,
        session_began: Instant,
    ) -> Self {
        Self { directory, earlier_seconds: state.seconds, state, best, unfinished, last, session_began }
    }

    /// How far the run is.
    pub fn state(&self) -> &ResumeState {
        &self.state
    }

    /// When the checkpoint that there is was made; nothing before the first.
    pub fn last_moment(&self) -> Option<&str> {
        self.last.moment.as_deref()
    }

    /// A stage that is done, in this session or an earlier one.
    pub fn finished_stage(&self, node: &str) -> Option<&FinishedStage> {
        self.state.finished.iter().find(|stage| stage.node == node)
    }

    /// What an earlier session left of a stage; it is given once.
    pub fn take_unfinished(&mut self, node: &str) -> Option<UnfinishedStage> {
        self.unfinished.take_if(|stage| stage.node == node)
    }

    /// The best weights so far of stages that keep them, by the stage.
    pub fn best(&self) -> &BTreeMap<String, BTreeMap<String, Tensor>> {
        &self.best
    }

    /// Takes note of a stage's best weights, in place of those before. They are copies, which nobody changes.
    pub fn set_best(&mut self, stage: &str, weights: BTreeMap<String, Tensor>) {
        self.best.insert(stage.to_owned(), weights);
    }

    /// Takes note of a stage that is done.
    pub fn add_stage(&mut self, stage: FinishedStage) {
        self.state.finished.push(stage);
    }

    /// Takes note of what a metric found in its place in the pipeline.
    pub fn add_metric(&mut self, node: String, measured: MeasuredMetric) {
        self.state.measured.insert(node, measured);
    }

    /// Keeps a checkpoint: within the unfinished stage that is given, or between stages. The one before stays beside it.
    ///
    /// # Errors
    /// When a number in it is not finite, or it cannot be written; the last one stays.
    pub fn save(
        &mut self,
        logs: LogMarks,
        networks: BTreeMap<String, BTreeMap<String, Tensor>>,
        unfinished: Option<UnfinishedStage>,
    ) -> Result<()> {
        if self.unfinished.is_some() && unfinished.is_none() {
            // The stage of an earlier session is still to be continued: the checkpoint there is knows more.
            return Ok(());
        }
        self.note_logs(logs);
        self.note_costs();
        self.write(networks, unfinished)
    }

    /// Keeps a checkpoint of a run that is done, with its report and where its logs end, both as `record` makes them.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn finish(
        &mut self,
        networks: BTreeMap<String, BTreeMap<String, Tensor>>,
        record: impl FnOnce(&ResumeState) -> Result<(Value, LogMarks)>,
    ) -> Result<()> {
        self.note_costs();
        let (report, logs) = record(&self.state)?;
        self.state.report = Some(report);
        self.note_logs(logs);
        self.write(networks, None)
    }

    fn note_logs(&mut self, LogMarks { metrics, events }: LogMarks) {
        self.state.metrics = metrics;
        self.state.events = events;
    }

    fn note_costs(&mut self) {
        self.state.seconds = self.earlier_seconds + self.session_began.elapsed().as_secs_f64();
        self.state.peak_memory_bytes = self.state.peak_memory_bytes.max(super::memory::peak_bytes());
    }

    fn write(
        &mut self,
        networks: BTreeMap<String, BTreeMap<String, Tensor>>,
        unfinished: Option<UnfinishedStage>,
    ) -> Result<()> {
        let moment = describe(&self.state, unfinished.as_ref());
        let checkpoint = Checkpoint { state: self.state.clone(), networks, best: self.best.clone(), unfinished };
        let bytes = checkpoint.encode().context(&moment)?;
        self.directory.write_checkpoint(&bytes, self.last.is_newest)?;
        self.last = LastCheckpoint { moment: Some(moment), is_newest: true };
        Ok(())
    }
}
