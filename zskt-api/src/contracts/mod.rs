//! The contracts: what each kind of plugin promises.
//!
//! Whatever computes with tensors returns a [`Result`](crate::Result), for any device may fail or run out of memory. That goes
//! without saying in the documentation: an `# Errors` section is there where there is something else to say.

mod classifier;
mod dataset;
mod generator;
mod loss;
mod metric;
mod metric_files;
mod optimizer;
mod picture;
mod predictions;
mod schedule;
mod selection;
mod stage;
mod synthesis;
mod targets;
mod teacher;
mod turn;

pub use classifier::{Architecture, Classifier, ClassifierNetwork, ClassifierOutput};
pub use dataset::{Dataset, DatasetSource, Split};
pub use generator::{Generator, GeneratorArchitecture, GeneratorInput, GeneratorNetwork, GeneratorParts};
pub use loss::{Loss, LossBatch, LossInputs, TeacherOutput};
pub use metric::{Measurement, Metric, MetricContext, MetricNode};
pub use metric_files::MetricFiles;
pub use optimizer::{Optimizer, OptimizerState};
pub use picture::Picture;
pub use predictions::{PredictionCache, Predictions};
pub use schedule::Schedule;
pub use selection::{Keep, Score, Selection};
pub use stage::{
    LoggedDistribution, LoggedScalar, NamedTurn, Observer, Pace, Progress, Stage, StageContext, StageNode, StageState,
    SynthesisProgress,
};
pub use synthesis::{KeptImages, Reset, Rounds, Synthesis, Transforms};
pub use targets::ClassTargets;
pub use teacher::{FoundWeights, OnnxOrigin, StateDictPlace, TeacherSource, WeightsSource};
pub use turn::{Latents, Mode, Objective, Turn, TurnNode, TurnPlugin};

use candle_core::Device;

use crate::{Normalization, Precision, RandomStreams, Weights};

/// Where a node is built and run.
#[derive(Clone)]
pub struct BuildContext {
    /// The node's name in the pipeline. The names of its random streams begin with it, as in `streams.at("<node>/noise", batch)`.
    pub node: String,
    /// The device on which every tensor is made.
    pub device: Device,
    /// The precision of every weight and activation.
    pub precision: Precision,
    /// The run's random streams, which depend on its seed.
    pub streams: RandomStreams,
    /// How the images are normalized that the node makes or sees, where a teacher or a dataset that it is connected with says so.
    pub normalization: Option<Normalization>,
}

/// A network: how it computes, and the weights it computes with.
pub struct Network<F: ?Sized> {
    /// The name of the node that made it; the network keeps it when a stage gives it on.
    pub name: String,
    /// Parameters and buffers, under PyTorch's names.
    pub weights: Weights,
    /// The forward pass, which holds the same weights.
    pub forward: Box<F>,
}
