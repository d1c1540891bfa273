//! What a run tells a program that reads along, one JSON object a line: `docs/events.md` has it for users.

use std::path::Path;
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use zskt_api::Error;

use crate::plan::Plan;
use crate::run::options::Budget;
use crate::run::resume::{FinishedStage, WeightsFile};
use crate::run::timestamp::timestamp;

/// The number of the format. It grows when what a reader may rely on changes; new events and new fields leave it as it is.
pub const FORMAT: u32 = 1;

/// What an event tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// What a run would take.
    Estimate,
    /// A run begins, or goes on.
    Started,
    /// A stage begins, or goes on.
    StageStarted,
    /// A batch of a stage.
    Batch,
    /// What a metric found.
    Metric,
    /// What a stage looked at beside a batch.
    Monitor,
    /// How what it looked at is distributed.
    Distributions,
    /// Made images were kept.
    Images,
    /// What a stage warned of.
    Warning,
    /// A stage is done.
    StageFinished,
    /// A run stops at a checkpoint.
    Interrupted,
    /// A run ends with an error.
    Failed,
    /// A run is done: its report.
    Finished,
    /// Whether it found what its pipeline expects.
    Expectations,
    /// The state of a point of a sweep.
    Point,
    /// The table of a sweep.
    Table,
}

impl EventKind {
    /// All of them, in the order of their coming.
    #[cfg(test)]
    pub const ALL: [Self; 16] = [
        Self::Estimate,
        Self::Started,
        Self::StageStarted,
        Self::Batch,
        Self::Metric,
        Self::Monitor,
        Self::Distributions,
        Self::Images,
        Self::Warning,
        Self::StageFinished,
        Self::Interrupted,
        Self::Failed,
        Self::Finished,
        Self::Expectations,
        Self::Point,
        Self::Table,
    ];

    /// What its field `event` says.
    pub fn name(self) -> &'static str {
        match self {
            Self::Estimate => "estimate",
            Self::Started => "started",
            Self::StageStarted => "stage_started",
            Self::Batch => "batch",
            Self::Metric => "metric",
            Self::Monitor => "monitor",
            Self::Distributions => "distributions",
            Self::Images => "images",
            Self::Warning => "warning",
            Self::StageFinished => "stage_finished",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
            Self::Finished => "finished",
            Self::Expectations => "expectations",
            Self::Point => "point",
            Self::Table => "table",
        }
    }

    /// An event of this kind, now, with these fields.
    pub fn with(self, fields: Value) -> Value {
        let mut object = Map::new();
        object.insert("event".into(), self.name().into());
        object.insert("time".into(), timestamp(SystemTime::now()).into());
        if let Value::Object(fields) = fields {
            object.extend(fields);
        }
        object.into()
    }
}

/// A run begins, or goes on from a checkpoint.
pub fn started(plan: &Plan, folder: &Path, device: &str, is_resumed: bool) -> Value {
    EventKind::Started.with(json!({
        "format": FORMAT,
        "zskt": env!("CARGO_PKG_VERSION"),
        "name": plan.name,
        "folder": folder.display().to_string(),
        "seed": plan.seed,
        "device": device,
        "precision": plan.precision.name(),
        "resumed": is_resumed,
    }))
}

/// A stage begins, or goes on.
pub fn stage_started(stage: &str, plugin: &str) -> Value {
    EventKind::StageStarted.with(json!({ "stage": stage, "plugin": plugin }))
}

/// A stage is done.
pub fn stage_finished(stage: &FinishedStage) -> Value {
    EventKind::StageFinished.with(json!({
        "stage": stage.node,
        "batches": stage.record.batches,
        "seconds": stage.record.seconds,
        "ended_early": stage.record.selection.ended_early,
        "weights": stage.weights.as_ref().map(WeightsFile::file_name),
        "best": stage.best.as_ref().map(WeightsFile::file_name),
    }))
}

/// Made images were kept as a file of the run's folder.
pub fn images(stage: &str, batch: usize, file: &str) -> Value {
    EventKind::Images.with(json!({ "stage": stage, "batch": batch, "file": file }))
}

/// Why a run ends before its end; where it goes on, this is no longer part of the log.
pub fn end(error: &Error, budget: Option<&Budget>) -> Value {
    if error.is_interrupted() {
        return EventKind::Interrupted.with(match budget.filter(|budget| budget.is_used_up()) {
            Some(budget) => json!({ "budget_seconds": budget.limit.as_secs_f64() }),
            None => json!({}),
        });
    }
    EventKind::Failed.with(json!({ "message": error.to_string() }))
}

/// A run is done.
pub fn finished(folder: &Path, report: &Value) -> Value {
    EventKind::Finished.with(json!({ "folder": folder.display().to_string(), "report": report }))
}
