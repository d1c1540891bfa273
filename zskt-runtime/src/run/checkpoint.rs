//! Checkpoints: all that a run needs to go on as if it had never stopped.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use zskt_api::{Error, Measurement, Result, StageState};

use super::failure::cannot_read;
use super::run_directory::RunDirectory;
use super::stage_record::{StageRecord, Timing};
use super::{atomic_file, tensor_file};

/// Where all but the tensors stands in the file's texts. A file of another form has another name for it.
const HEADER: &str = "zskt.run.1";
/// The tensor with the seconds of each batch of the running stage.
const TIMING: &str = "run/batch_seconds";

/// How far a run is, and where its logs end.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Standing {
    /// The sum of the resolved pipeline: no other can go on from here.
    pub pipeline_sha256: String,
    /// The stages that are done, in the order of their running.
    pub finished: Vec<FinishedStage>,
    /// What the metrics found, by node.
    pub measured: BTreeMap<String, Measured>,
    /// Seconds the run took so far, over all its sittings.
    pub seconds: f64,
    /// The most memory that any sitting took.
    pub peak_memory_bytes: Option<u64>,
    /// Bytes of `metrics.jsonl`.
    pub metrics_bytes: u64,
    /// Bytes of the events file.
    pub events_bytes: u64,
}

/// A stage that is done.
#[derive(Clone, Serialize, Deserialize)]
pub struct FinishedStage {
    /// Its node.
    pub node: String,
    /// The network that it gave; nothing when it gave none.
    pub network: Option<String>,
    /// What it did.
    pub record: StageRecord,
}

/// What a metric found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Its figures by name.
    pub figures: serde_json::Map<String, serde_json::Value>,
    /// One line for a person.
    pub summary: String,
}

impl From<Measurement> for Measured {
    fn from(measurement: Measurement) -> Self {
        Self { figures: measurement.figures, summary: measurement.summary }
    }
}

/// A stage in the middle of its work.
pub struct UnfinishedStage {
    /// Its node.
    pub node: String,
    /// What it did so far.
    pub record: StageRecord,
    /// How long each batch took.
    pub timing: Timing,
    /// What it needs to go on.
    pub state: StageState,
}

/// A checkpoint.
pub struct Checkpoint {
    /// How far the run is.
    pub standing: Standing,
    /// The weights of the networks, by the node that made them.
    pub networks: BTreeMap<String, BTreeMap<String, Tensor>>,
    /// The stage that was running.
    pub unfinished: Option<UnfinishedStage>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    #[serde(flatten)]
    standing: Standing,
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
        let mut header = Header { standing: self.standing, stage: None };
        if let Some(UnfinishedStage { node, record, timing, state }) = self.unfinished {
            header.stage = Some(StageHeader { node, batch: state.batch, record });
            tensors.extend(state.tensors.into_iter().map(|(name, tensor)| (format!("stage/{name}"), tensor)));
            tensors.insert(TIMING.into(), timing.to_tensor()?);
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
            return Err(cannot_read(path, "it is no checkpoint of this version of zskt"));
        };
        let Header { standing, stage } = serde_json::from_str(header).map_err(|error| cannot_read(path, error))?;
        let mut networks = BTreeMap::<String, BTreeMap<String, Tensor>>::new();
        let (mut of_stage, mut timing) = (BTreeMap::new(), Timing::default());
        for (name, tensor) in tensors {
            if let Some((network, weight)) = name.strip_prefix("network/").and_then(|rest| rest.split_once('/')) {
                networks.entry(network.to_owned()).or_default().insert(weight.to_owned(), tensor);
            } else if let Some(name) = name.strip_prefix("stage/") {
                of_stage.insert(name.to_owned(), tensor);
            } else if name == TIMING {
                timing = Timing::from_tensor(&tensor)?;
            }
        }
        let unfinished = stage.map(|StageHeader { node, batch, record }| UnfinishedStage {
            node,
            record,
            timing,
            state: StageState { batch, tensors: of_stage },
        });
        Ok(Self { standing, networks, unfinished })
    }
}
