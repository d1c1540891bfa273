//! A plan: a pipeline that has been proven sound, in the order in which its nodes are built and run.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use zskt_api::{
    Diagnostic, Name, NestedPlugin, Normalization, PluginInstance, PluginKind, PluginRegistration, PortType, Precision,
    Reads, Score, Selection, Signature, Signatures,
};

use crate::device_request::DeviceRequest;
use crate::pipeline::Expectation;
use crate::plugin_calls::Inspector;
use crate::text_format;

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
    /// What the pipeline's source states of its figures (`accuracy.top1`), as it is written there.
    pub published: Vec<(Name, String)>,
    /// What a run has to reach.
    pub expect: Vec<Expectation>,
    /// What is probably not meant, in the order of the text.
    pub warnings: Vec<Diagnostic>,
    /// What the boundaries of its plugins have in common.
    pub inspector: Inspector,
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
    /// The plugins among its parameters at any depth, each with the way to it.
    pub nested: Vec<NestedPlugin>,
    /// The files and folders among its plugin's own parameters.
    pub paths: Vec<PathBuf>,
    /// Its plugin with its parameters, ready to be built or run.
    pub instance: PluginInstance,
    /// Its plugin with its parameters, defaults included, as RON text.
    pub ron: String,
    /// Its edges, in the order of the pipeline.
    pub inputs: Vec<PlanEdge>,
    /// What is known of its output before it is built; nothing for a metric.
    pub signature: Option<Signature>,
    /// The networks, by the nodes that make them, that it trains: a stage those of its turns, too.
    pub trains: BTreeSet<String>,
    /// How the images are normalized that it makes or sees, where a node that it is connected with says so.
    pub normalization: Option<Normalization>,
    /// Of a stage that keeps its best weights: by what they are chosen.
    pub selection: Option<StageSelection>,
}

impl Plan {
    /// What is known to arrive at a node's ports.
    pub fn arriving_at(&self, node: &PlanNode) -> Signatures {
        let mut arriving = Signatures::default();
        for edge in &node.inputs {
            arriving.push(&edge.port, self.nodes[edge.from].signature.clone());
        }
        arriving
    }

    /// The stage whose network is the run's student: the last that gives a classifier.
    pub fn student_stage(&self) -> Option<usize> {
        let gives_classifier = |node: &PlanNode| {
            matches!(node.instance, PluginInstance::Stage(_)) && node.registration.output == Some(PortType::Classifier)
        };
        self.nodes.iter().rposition(gives_classifier)
    }

    /// All networks that are trained.
    pub fn trained(&self) -> BTreeSet<&str> {
        self.nodes.iter().flat_map(|node| &node.trains).map(String::as_str).collect()
    }

    /// By what a stage chooses its best weights, if it keeps them.
    pub fn selection_of(&self, stage: &str) -> Option<&StageSelection> {
        self.nodes.iter().find(|node| node.name == stage)?.selection.as_ref()
    }

    /// The nodes whose learning rate moves a network: turns, or a stage that needs none.
    pub fn trainers(&self, network: &str) -> Vec<String> {
        let training = |kind| {
            let nodes = self.nodes.iter().filter(move |node| node.registration.kind == kind);
            nodes.filter(|node| node.trains.contains(network)).map(|node| node.name.clone()).collect::<Vec<_>>()
        };
        let turns = training(PluginKind::Turn);
        if turns.is_empty() { training(PluginKind::Stage) } else { turns }
    }
}

/// One edge of a plan.
pub struct PlanEdge {
    /// The name of the input that it leads to.
    pub port: String,
    /// The node it comes from, as an index into [`Plan::nodes`].
    pub from: usize,
}

/// By what the best weights of a stage are chosen, and on what.
#[derive(Clone)]
pub struct StageSelection {
    /// What the stage asks for.
    pub selection: Selection,
    /// The metric's figure.
    pub score: Score,
    /// Where the images come from that the metric looks at: datasets, and what reads some from outside.
    pub chosen_on: Vec<String>,
}

impl StageSelection {
    /// ` on "test_set"`; nothing for a metric without images.
    pub fn on_images(&self) -> String {
        let sources: Vec<_> = self.chosen_on.iter().map(String::as_str).collect();
        if sources.is_empty() { String::new() } else { format!(" on {}", text_format::list(&sources, "and")) }
    }
}

/// What is known of the claim that no image of a dataset reaches a network: no edge and no parameter of the pipeline brings one.
pub struct DataFreeProof {
    /// The node that makes the network.
    pub network: String,
    /// Datasets that shaped its teacher, and reach it as the teacher's knowledge alone.
    pub through_teacher: Vec<String>,
    /// What was read from files that is no image, such as vectors of class names.
    pub metadata: Vec<Metadata>,
    /// What has a part in its training and may read images from outside, which nobody knows: with any, nothing is proven.
    pub unknown: Vec<OutsideReader>,
    /// What has a part in its training, is not of zskt itself, and declares to read nothing from outside: the proof holds if that is
    /// true.
    pub on_its_word: Vec<OutsideReader>,
}

/// What a plugin that has a part in the training of a network reads from files, and is no image.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Metadata {
    /// The node, or the parameter of a node.
    pub place: String,
    /// What it is, in the plugin's words: its file and shape.
    pub what: String,
}

/// A plugin that has a part in the training of a network, and what it declares to read from outside.
#[derive(Clone)]
pub struct OutsideReader {
    /// The node, or the parameter of a node: `mix`, or `mix.data`.
    pub place: String,
    /// What declares the plugin.
    pub registration: &'static PluginRegistration,
    /// What it reads, as far as it says so.
    pub reads: Option<Reads>,
}

/// What a plugin reads from outside, as far as it says so: whoever is given a path reads it, whatever else is declared.
pub fn reads_of(registration: &PluginRegistration, paths: &[PathBuf]) -> Option<Reads> {
    match registration.reads {
        Some(Reads::None) if !paths.is_empty() => Some(Reads::Files),
        reads => reads,
    }
}

impl fmt::Display for OutsideReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PluginRegistration { name, crate_name, crate_version, .. } = self.registration;
        write!(f, "`{}` (`{name}` of {crate_name} {crate_version})", self.place)
    }
}

impl OutsideReader {
    /// What is known of what it reads: `reads files`.
    pub fn reads(&self) -> String {
        self.reads.map_or("does not say what it reads".to_owned(), |reads| format!("reads {reads}"))
    }
}

impl DataFreeProof {
    /// Whether it is proven that no image reaches the network.
    pub fn is_proven(&self) -> bool {
        self.unknown.is_empty()
    }
}
