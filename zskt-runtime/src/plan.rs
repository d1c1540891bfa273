//! A plan: a pipeline that has been proven sound, in the order in which its nodes are built and run.

use zskt_api::{PluginInstance, PluginRegistration, Precision, Signature};

use crate::device_request::DeviceRequest;

/// A pipeline that has been proven sound: nothing about it can be refused any more but what only the machine knows, as whether
/// there is such a device.
pub struct Plan {
    /// What the run's folder, and reports, call it.
    pub name: String,
    /// The seed of every random stream.
    pub seed: u64,
    /// Where the pipeline asks to be computed.
    pub device: DeviceRequest,
    /// How exact the numbers of its networks are.
    pub precision: Precision,
    /// The nodes, each after all that it needs. Nodes that do not depend on each other keep the file's order, except
    /// that whatever reads a network comes before a stage that changes it.
    pub nodes: Vec<PlanNode>,
    /// What was proven of the pipeline's `data_free` claim; empty without one.
    pub data_free: Vec<DataFreeProof>,
    /// The pipeline as resolved: overrides and defaults in their places, as RON text. Equal texts, but for where libraries
    /// lie, mean equal runs.
    pub resolved: String,
}

/// One node of a plan.
pub struct PlanNode {
    /// What the pipeline calls it; no two nodes have the same name.
    pub name: String,
    /// What declares its plugin: name, ports, origin.
    pub registration: &'static PluginRegistration,
    /// Its plugin, and those that its parameters name.
    pub plugins: Vec<&'static PluginRegistration>,
    /// Its plugin with its parameters, ready to be built or run.
    pub instance: PluginInstance,
    /// Its plugin with its parameters, defaults included, as RON text.
    pub ron: String,
    /// Its edges, in the order of the pipeline.
    pub inputs: Vec<PlanEdge>,
    /// What is known of its output before it is built; nothing for a metric.
    pub signature: Option<Signature>,
}

/// One edge of a plan.
pub struct PlanEdge {
    /// The name of the input that it leads to.
    pub port: String,
    /// The node it comes from, as an index into [`Plan::nodes`].
    pub from: usize,
}

/// The proof that no training image reaches a network.
pub struct DataFreeProof {
    /// The node that makes the network.
    pub network: String,
    /// Datasets that shaped its teacher, and reach it as the teacher's knowledge alone.
    pub through_teacher: Vec<String>,
}
