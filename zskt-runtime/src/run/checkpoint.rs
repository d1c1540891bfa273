//! Checkpoints: all that a run needs to go on as if it had never stopped.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use zskt_api::{Error, Measurement, Result, StageState};

use super::failure::cannot_read;
use super::run_directory::RunDirectory;
use super::stage_record::{StageRecord, Timing};
use super::{atomic_file, tensor_file};

/// Where [`Standing`] stands in the file's texts. A file of another form has another name for it.
const STANDING: &str = "zskt.run.1";

/// How far a run is, and where its logs end.
#[derive(Clone, Serialize, Deserialize)]
pub struct Standing {
    /// The sum of the resolved pipeline: no other can go on from here.
    pub pipeline_sha256: String,
    /// The stages that are done, in the order of their running.
    pub finished: Vec<FinishedStage>,
    /// The stage that was running.
    pub running: Option<RunningStage>,
    /// What the metrics found, by node.
    pub measured: BTreeMap<String, Measured>,
    /// Seconds the run took so far, over all its sessions.
    pub seconds: f64,
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

/// A stage that is not done.
#[derive(Clone, Serialize, Deserialize)]
pub struct RunningStage {
    /// Its node.
    pub node: String,
    /// Batches done.
    pub batch: usize,
    /// What it did so far.
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

/// A checkpoint.
pub struct Checkpoint {
    /// How far the run is.
    pub standing: Standing,
    /// The weights of every network, by the node that made it.
    pub networks: BTreeMap<String, BTreeMap<String, Tensor>>,
    /// The state of the running stage.
    pub stage: Option<StageState>,
    /// How long each batch of the running stage took.
    pub timing: Timing,
}

impl Checkpoint {
    /// Keeps the checkpoint in place of the one before.
    ///
    /// # Errors
    /// When it cannot be written; the one before stays.
    pub fn write(self, path: &Path) -> Result<()> {
        let standing = serde_json::to_string(&self.standing).map_err(|error| Error::new(error.to_string()))?;
        let mut tensors = BTreeMap::new();
        for (network, weights) in self.networks {
            tensors.extend(weights.into_iter().map(|(name, tensor)| (format!("network/{network}/{name}"), tensor)));
        }
        if let Some(stage) = self.stage {
            tensors.extend(stage.tensors.into_iter().map(|(name, tensor)| (format!("stage/{name}"), tensor)));
            tensors.insert("run/batch_seconds".into(), self.timing.to_tensor()?);
        }
        RunDirectory::make_room_for(path)?;
        atomic_file::write(path, &tensor_file::encode(&tensors, HashMap::from([(STANDING.into(), standing)]))?)
    }

    /// Reads the checkpoint of a run.
    ///
    /// # Errors
    /// When it cannot be read, or is not one of this version of zskt.
    pub fn read(path: &Path, device: &Device) -> Result<Self> {
        let bytes = fs::read(path).map_err(|error| cannot_read(path, error))?;
        let (tensors, texts) = tensor_file::decode(&bytes, device).map_err(|error| cannot_read(path, error))?;
        let Some(standing) = texts.get(STANDING) else {
            return Err(cannot_read(path, "it is no checkpoint of this version of zskt"));
        };
        let standing: Standing = serde_json::from_str(standing).map_err(|error| cannot_read(path, error))?;
        let mut networks = BTreeMap::<String, BTreeMap<String, Tensor>>::new();
        let mut stage = standing.running.as_ref().map(|stage| StageState { batch: stage.batch, ..StageState::default() });
        let mut timing = Timing::default();
        for (name, tensor) in tensors {
            if let Some((network, weight)) = name.strip_prefix("network/").and_then(|rest| rest.split_once('/')) {
                networks.entry(network.to_owned()).or_default().insert(weight.to_owned(), tensor);
            } else if let (Some(name), Some(stage)) = (name.strip_prefix("stage/"), &mut stage) {
                stage.tensors.insert(name.to_owned(), tensor);
            } else if name == "run/batch_seconds" {
                timing = Timing::from_tensor(&tensor)?;
            }
        }
        Ok(Self { standing, networks, stage, timing })
    }
}
