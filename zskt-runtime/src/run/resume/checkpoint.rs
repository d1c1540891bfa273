//! Checkpoints: all that a run needs to go on as if it had never stopped.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use zskt_api::{Error, Measurement, Result, StageState};

use super::file_error::cannot_read;
use super::run_directory::RunDirectory;
use super::stage_record::{BatchTimes, StageRecord};
use super::{atomic_file, tensor_file};
use crate::text_format;

/// The name of the file's text that holds all but the tensors. A file of another format has another name for it.
const HEADER: &str = "zskt.run.1";
/// The tensor with the seconds of each batch of the running stage.
const TIMING: &str = "run/batch_seconds";

/// How far a run is, and where its logs end.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct ResumeState {
    /// The sum of the resolved pipeline: no other can go on from here.
    pub pipeline_sha256: String,
    /// The stages that are done, in the order of their running.
    pub finished: Vec<FinishedStage>,
    /// What the metrics found, by node.
    pub measured: BTreeMap<String, MeasuredMetric>,
    /// Seconds the run took so far, over all its sessions.
    pub seconds: f64,
    /// The most memory that any session took.
    pub peak_memory_bytes: Option<u64>,
    /// Bytes of `metrics.jsonl`.
    pub metrics_bytes: u64,
    /// Bytes of the events file.
    pub events_bytes: u64,
}

/// A stage that is done, and what came of it.
#[derive(Clone, Serialize, Deserialize)]
pub struct FinishedStage {
    /// The stage's node.
    pub node: String,
    /// The network that it gave; nothing when it gave none.
    pub network: Option<String>,
    /// What it did.
    pub record: StageRecord,
}

/// What a metric found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeasuredMetric {
    /// Its figures by name, as the report has them.
    pub figures: serde_json::Map<String, serde_json::Value>,
    /// One line for a person.
    pub summary: String,
}

impl From<Measurement> for MeasuredMetric {
    fn from(measurement: Measurement) -> Self {
        Self { figures: measurement.figures, summary: text_format::one_line(&measurement.summary) }
    }
}

/// A stage in the middle of its work.
pub struct UnfinishedStage {
    /// The stage's node.
    pub node: String,
    /// What it did so far.
    pub record: StageRecord,
    /// How long each batch took.
    pub batch_times: BatchTimes,
    /// What it needs to go on.
    pub state: StageState,
}

/// Everything that a checkpoint file holds.
pub struct Checkpoint {
    /// How far the run is.
    pub state: ResumeState,
    /// The weights of the networks, by the node that made them.
    pub networks: BTreeMap<String, BTreeMap<String, Tensor>>,
    /// The stage that was running.
    pub unfinished: Option<UnfinishedStage>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    #[serde(flatten)]
    state: ResumeState,
    stage: Option<StageHeader>,
}

#[derive(Serialize, Deserialize)]
struct StageHeader {
    node: String,
    batch: usize,
    record: StageRecord,
}

impl Checkpoint {
    /// Keeps the checkpoint in place of the one before.
    ///
    /// # Errors
    /// When it cannot be written; the one before stays.
    pub fn write(self, path: &Path) -> Result<()> {
        let mut tensors = BTreeMap::new();
        for (network, weights) in self.networks {
            tensors.extend(weights.into_iter().map(|(name, tensor)| (format!("network/{network}/{name}"), tensor)));
        }
        let mut header = Header { state: self.state, stage: None };
        if let Some(UnfinishedStage { node, record, batch_times, state: stage }) = self.unfinished {
            header.stage = Some(StageHeader { node, batch: stage.batch, record });
            tensors.extend(stage.tensors.into_iter().map(|(name, tensor)| (format!("stage/{name}"), tensor)));
            tensors.insert(TIMING.into(), batch_times.to_tensor()?);
        }
        let header = serde_json::to_string(&header).map_err(|error| Error::new(error.to_string()))?;
        RunDirectory::make_room_for(path)?;
        atomic_file::write(path, &tensor_file::encode(&tensors, HEADER, header)?)
    }

    /// Reads the checkpoint of a run.
    ///
    /// # Errors
    /// When it cannot be read, or is not one of this version of zskt.
    pub fn read(path: &Path, device: &Device) -> Result<Self> {
        let bytes = fs::read(path).map_err(|error| cannot_read(path, error))?;
        let (tensors, texts) = tensor_file::decode(&bytes, device).map_err(|error| cannot_read(path, error))?;
        let Some(header) = texts.get(HEADER) else {
            return Err(cannot_read(path, "it is not a checkpoint of this version of zskt"));
        };
        let Header { state, stage } = serde_json::from_str(header).map_err(|error| cannot_read(path, error))?;
        let mut networks = BTreeMap::<String, BTreeMap<String, Tensor>>::new();
        let (mut of_stage, mut batch_times) = (BTreeMap::new(), BatchTimes::default());
        for (name, tensor) in tensors {
            if let Some((network, weight)) = name.strip_prefix("network/").and_then(|rest| rest.split_once('/')) {
                networks.entry(network.to_owned()).or_default().insert(weight.to_owned(), tensor);
            } else if let Some(name) = name.strip_prefix("stage/") {
                of_stage.insert(name.to_owned(), tensor);
            } else if name == TIMING {
                batch_times = BatchTimes::from_tensor(&tensor)?;
            }
        }
        let unfinished = stage.map(|StageHeader { node, batch, record }| UnfinishedStage {
            node,
            record,
            batch_times,
            state: StageState { batch, tensors: of_stage },
        });
        Ok(Self { state, networks, unfinished })
    }
}
