//! A plan: a pipeline that has been proven sound, in the order in which its nodes are built and run.

use zskt_api::{Instance, Registration, Signature};

/// A pipeline proven sound.
pub struct Plan {
    /// The pipeline's name.
    pub name: String,
    /// The seed of every random stream.
    pub seed: u64,
    /// `cpu`, `cuda:N` or `auto`.
    pub device: String,
    /// `f32`, `f64` or `bf16`.
    pub precision: String,
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
    /// Its name.
    pub name: String,
    /// Its plugin.
    pub registration: &'static Registration,
    /// Its plugin with its parameters.
    pub instance: Instance,
    /// Its plugin with its parameters, defaults included, as RON text.
    pub ron: String,
    /// Its edges, in the order of the pipeline.
    pub inputs: Vec<PlanEdge>,
    /// What it gives, as far as it was known; nothing for a metric.
    pub signature: Option<Signature>,
}

/// One edge of a plan.
pub struct PlanEdge {
    /// The input it leads to.
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
