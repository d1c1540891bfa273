//! Checkpoints: all that a run needs to go on as if it had never stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zskt_api::{Error, Measurement, Picture, Result, StageState};

use super::append_log::LogMark;
use super::file_error::cannot_read;
use super::kept_weights::WeightsFile;
use super::stage_record::{BatchTimes, StageRecord};
use super::tensor_file::{self, not_finite};
use crate::{input_file, text_format};

/// The name of the file's text that holds all but the tensors. A file of another format has another name for it.
const HEADER: &str = "zskt.run.2";
/// The names that earlier versions of zskt had for it.
const EARLIER_HEADERS: [&str; 1] = ["zskt.run.1"];
/// What the names of weights begin with, before the network's name.
const NETWORK: &str = "network/";
/// What the names of best weights begin with, before the stage's name.
const BEST: &str = "best/";
/// What the names of the running stage's tensors begin with.
const STAGE: &str = "stage/";
/// The tensor with the seconds of each batch of the running stage.
const TIMING: &str = "run/batch_seconds";

/// How far a run is, and where its logs end.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct ResumeState {
    /// The pipeline as resolved: no other can go on from here.
    pub pipeline: String,
    /// What the run was made with, as its manifest says it.
    pub manifest: Value,
    /// The stages that are done, in the order of their running.
    pub finished: Vec<FinishedStage>,
    /// What the metrics found, by node.
    pub measured: BTreeMap<String, MeasuredMetric>,
    /// Seconds the run took so far, over all its sessions.
    pub seconds: f64,
    /// The most memory that any session took.
    pub peak_memory_bytes: Option<u64>,
    /// Where `metrics.jsonl` ends.
    pub metrics: LogMark,
    /// Where the events file ends.
    pub events: LogMark,
    /// The report, once everything was run.
    pub report: Option<Value>,
}

/// A stage that is done, and what came of it.
#[derive(Clone, Serialize, Deserialize)]
pub struct FinishedStage {
    /// The stage's node.
    pub node: String,
    /// The network that it gave; nothing when it gave none.
    pub network: Option<String>,
    /// The file with that network's weights.
    pub weights: Option<WeightsFile>,
    /// The file with its best weights, where it kept them.
    #[serde(default)]
    pub best: Option<WeightsFile>,
    /// What it did.
    pub record: StageRecord,
}

/// What a metric found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeasuredMetric {
    /// Its figures by name, as the report has them.
    pub figures: serde_json::Map<String, Value>,
    /// One line for a person.
    pub summary: String,
    /// Those of the figures whose entries are of one class each.
    #[serde(default)]
    pub by_class: BTreeSet<String>,
    /// What these classes are called; empty where nobody knows, or there are no such figures.
    #[serde(default)]
    pub class_names: Vec<String>,
    /// The files of its pictures by name, within the run's folder.
    #[serde(default)]
    pub picture_files: BTreeMap<String, String>,
    /// The pictures themselves, until they are written.
    #[serde(skip)]
    pub pictures: BTreeMap<String, Picture>,
}

impl MeasuredMetric {
    /// Of what a metric gave on images of classes with these names.
    pub fn new(measurement: Measurement, class_names: &[String]) -> Self {
        let Measurement { figures, summary, pictures, mut by_class } = measurement;
        by_class.retain(|name| figures.get(name).is_some_and(Value::is_array));
        // Names are of the dataset's classes; a metric may look at others.
        let is_named = |name: &String| figures[name].as_array().is_some_and(|list| list.len() == class_names.len());
        let class_names = if by_class.iter().any(is_named) { class_names.to_vec() } else { Vec::new() };
        Self {
            figures,
            summary: text_format::one_line(&summary),
            by_class,
            class_names,
            picture_files: BTreeMap::new(),
            pictures,
        }
    }
}

/// An evaluation of the metrics that hang on a stage which the user's wish to stop has cut short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnfinishedEvaluation {
    /// The batch it comes after.
    pub batch: usize,
    /// The metrics that are measured and logged.
    pub measured: Vec<String>,
}

/// A stage in the middle of its work.
pub struct UnfinishedStage {
    /// The stage's node.
    pub node: String,
    /// What it did so far.
    pub record: StageRecord,
    /// How long each batch took.
    pub batch_times: BatchTimes,
    /// Evaluations that come before its next batch.
    pub evaluations: Vec<UnfinishedEvaluation>,
    /// What it needs to go on.
    pub state: StageState,
}

/// Everything that a checkpoint file holds.
pub struct Checkpoint {
    /// How far the run is.
    pub state: ResumeState,
    /// The weights of the networks, by the node that made them.
    pub networks: BTreeMap<String, BTreeMap<String, Tensor>>,
    /// The best weights of stages that keep them, by the stage.
    pub best: BTreeMap<String, BTreeMap<String, Tensor>>,
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
    evaluations: Vec<UnfinishedEvaluation>,
}

impl Checkpoint {
    /// The checkpoint as a file.
    ///
    /// # Errors
    /// When a number in it is not finite: nothing good can come of going on from there.
    pub fn encode(self) -> Result<Vec<u8>> {
        let mut tensors = BTreeMap::new();
        for (prefix, groups) in [(NETWORK, self.networks), (BEST, self.best)] {
            for (group, weights) in groups {
                tensors.extend(weights.into_iter().map(|(name, tensor)| (format!("{prefix}{group}/{name}"), tensor)));
            }
        }
        let mut header = Header { state: self.state, stage: None };
        let mut running = None;
        if let Some(UnfinishedStage { node, record, batch_times, evaluations, state: stage }) = self.unfinished {
            running = Some(node.clone());
            header.stage = Some(StageHeader { node, batch: stage.batch, record, evaluations });
            tensors.extend(stage.tensors.into_iter().map(|(name, tensor)| (format!("{STAGE}{name}"), tensor)));
            tensors.insert(TIMING.into(), batch_times.to_tensor()?);
        }
        let header = serde_json::to_string(&header).map_err(|error| Error::new(error.to_string()))?;
        let bytes = tensor_file::encode_with_sum(tensors, HEADER, header)?;
        if let Some(tensor) = tensor_file::first_not_finite(&bytes)? {
            let place = match (split_weight(NETWORK, &tensor), split_weight(BEST, &tensor)) {
                (Some((network, weight)), _) => format!("`{weight}` of network `{network}`"),
                (None, Some((stage, weight))) => format!("`{weight}` of the best weights of stage `{stage}`"),
                (None, None) => {
                    let name = tensor.strip_prefix(STAGE).unwrap_or(&tensor);
                    format!("`{name}`, a state of stage `{}`,", running.unwrap_or_default())
                }
            };
            return Err(not_finite(&place));
        }
        Ok(bytes)
    }

    /// How far a run is, by its checkpoint.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_state(path: &Path) -> Result<ResumeState> {
        open(path).map(|(_, header)| header.state)
    }

    /// Reads the checkpoint of a run.
    ///
    /// # Errors
    /// When it cannot be read, or is not one of this version of zskt.
    pub fn read(path: &Path, device: &Device) -> Result<Self> {
        let (bytes, Header { state, stage }) = open(path)?;
        let (tensors, _) = tensor_file::decode(&bytes, device).map_err(|error| cannot_read(path, error))?;
        let [mut networks, mut best] = [(); 2].map(|()| BTreeMap::<String, BTreeMap<String, Tensor>>::new());
        let (mut of_stage, mut batch_times) = (BTreeMap::new(), BatchTimes::default());
        for (name, tensor) in tensors {
            if let Some((network, weight)) = split_weight(NETWORK, &name) {
                networks.entry(network.to_owned()).or_default().insert(weight.to_owned(), tensor);
            } else if let Some((stage, weight)) = split_weight(BEST, &name) {
                best.entry(stage.to_owned()).or_default().insert(weight.to_owned(), tensor);
            } else if let Some(name) = name.strip_prefix(STAGE) {
                of_stage.insert(name.to_owned(), tensor);
            } else if name == TIMING {
                batch_times = BatchTimes::from_tensor(&tensor)?;
            }
        }
        let unfinished = stage.map(|StageHeader { node, batch, record, evaluations }| UnfinishedStage {
            node,
            record,
            batch_times,
            evaluations,
            state: StageState { batch, tensors: of_stage },
        });
        Ok(Self { state, networks, best, unfinished })
    }
}

/// The bytes of a checkpoint's file, which are whole, and what they say beside tensors.
fn open(path: &Path) -> Result<(Vec<u8>, Header)> {
    let bytes = input_file::read_whole(path).map_err(|error| cannot_read(path, error))?;
    if !tensor_file::sum_is_right(&bytes) {
        let texts = tensor_file::texts(&bytes).unwrap_or_default();
        return Err(if EARLIER_HEADERS.iter().any(|header| texts.contains_key(*header)) {
            cannot_read(
                path,
                "it is a checkpoint of an earlier version of zskt, without a sum; resume with that version",
            )
        } else {
            Error::new(format!("{} is damaged: its SHA-256 sum is not that of its contents", path.display()))
        });
    }
    let texts = tensor_file::texts(&bytes).map_err(|error| cannot_read(path, error))?;
    let Some(header) = texts.get(HEADER) else {
        return Err(cannot_read(path, "it is a checkpoint of another version of zskt; resume with that version"));
    };
    let header = serde_json::from_str(header).map_err(|error| cannot_read(path, error))?;
    Ok((bytes, header))
}

/// The network or stage, and the weight, of a tensor's name.
fn split_weight<'n>(prefix: &str, name: &'n str) -> Option<(&'n str, &'n str)> {
    name.strip_prefix(prefix)?.split_once('/')
}
