//! The contracts: what each kind of plugin promises.

mod classifier;
mod dataset;
mod generator;
mod loss;
mod metric;
mod optimizer;
mod schedule;
mod stage;
mod teacher;
mod turn;

pub use classifier::{Architecture, Beliefs, Classifier, ClassifierNetwork};
pub use dataset::{Augmentation, Batch, Dataset, DatasetSource, ImageSet, Split};
pub use generator::{Generator, GeneratorArchitecture, GeneratorNetwork};
pub use loss::{Loss, Needs, Target};
pub use metric::{Measurement, Metric, MetricContext, MetricNode};
pub use optimizer::{Optimizer, Updates};
pub use schedule::Schedule;
pub use stage::{LoggedScalar, Observer, Progress, Stage, StageContext, StageNode, StageState};
pub use teacher::TeacherSource;
pub use turn::{Objective, Turn, TurnNode, TurnPlugin};

use candle_core::Device;

use crate::{Precision, Streams, Weights};

/// Where a node is built and run.
#[derive(Clone)]
pub struct BuildContext {
    /// The node's name in the pipeline; its random streams begin with it.
    pub node: String,
    /// The device of every tensor.
    pub device: Device,
    /// The precision of every weight and activation.
    pub precision: Precision,
    /// The run's random streams.
    pub streams: Streams,
}

/// A network: how it computes, and the weights it computes with.
pub struct Network<F: ?Sized> {
    /// The node that made it.
    pub name: String,
    /// Its weights under PyTorch's names.
    pub weights: Weights,
    /// How it computes.
    pub forward: Box<F>,
}
