//! Stages: nodes that do work when the graph runs.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::BuildContext;
use crate::{Fault, FeatureMap, Inputs, Params, PortInfo, PortType, Ports, Product, Result, Signature, Signatures};

/// A plugin that trains, or does other work that takes time.
pub trait Stage: Params + Send + Sync + 'static {
    /// Its inputs.
    type Inputs: Ports;

    /// What it gives to the nodes after it.
    const OUTPUT: PortType;

    /// What is wrong with what arrives; by default, classifiers must take the images and all class counts must agree.
    fn check(&self, inputs: &Signatures) -> Vec<Fault> {
        inputs.agree(&Self::Inputs::ports())
    }

    /// What it will give, before anything is built.
    fn output(&self, inputs: &Signatures) -> Option<Signature>;

    /// Does the work.
    ///
    /// # Errors
    /// When the device fails, or with [`Error::interrupted`](crate::Error::interrupted) after a checkpoint.
    fn run(&self, inputs: Self::Inputs, context: &mut StageContext<'_>) -> Result<Product>;
}

/// Everything that the rest of a stage depends on, but for the weights of the pipeline's networks, which are kept anyway.
#[derive(Clone, Default)]
pub struct StageState {
    /// Batches done.
    pub batch: usize,
    /// Optimizer state and the like, by name.
    pub tensors: BTreeMap<String, Tensor>,
}

/// How far a stage is.
pub struct Progress<'a> {
    /// Batches done.
    pub batch: usize,
    /// Batches in all.
    pub batches: usize,
    /// Images the players learnt from in this batch, each step counted.
    pub images: usize,
    /// Seconds this batch took.
    pub seconds: f64,
    /// What each turn saw, under `<turn>.<figure>`: losses, learning rates, gradient norms.
    pub figures: &'a [LoggedScalar],
}

/// A number that a stage reports of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct LoggedScalar {
    /// What the log, and the curve in TensorBoard, call it.
    pub name: String,
    /// Its value at this batch.
    pub value: f64,
    /// Whether the line of progress shows it too, which has room for few.
    pub on_progress_line: bool,
}

impl LoggedScalar {
    /// A number for the log alone.
    pub fn new(name: impl Into<String>, value: f64) -> Self {
        Self { name: name.into(), value, on_progress_line: false }
    }

    /// A number that the line of progress shows too, as a loss.
    pub fn on_progress_line(name: impl Into<String>, value: f64) -> Self {
        Self { on_progress_line: true, ..Self::new(name, value) }
    }
}

/// Who watches a stage: the run, which logs, measures and keeps checkpoints.
pub trait Observer {
    /// A batch is done.
    ///
    /// # Errors
    /// When a log cannot be written.
    fn batch(&mut self, progress: &Progress<'_>) -> Result<()>;

    /// Whether the user asked to stop.
    fn interrupted(&self) -> bool;

    /// Keeps a checkpoint.
    ///
    /// # Errors
    /// When it cannot be written; the last one stays.
    fn checkpoint(&mut self, state: &StageState) -> Result<()>;

    /// Keeps images to look at, `[B, C, H, W]`, in normalized space.
    ///
    /// # Errors
    /// When they cannot be written.
    fn images(&mut self, batch: usize, images: &FeatureMap) -> Result<()>;

    /// Evaluates the metrics that hang on this stage's output.
    ///
    /// # Errors
    /// When a metric fails.
    fn evaluate(&mut self, batch: usize) -> Result<()>;
}

/// Where a stage runs.
pub struct StageContext<'a> {
    /// The node, device, precision and streams.
    pub build: BuildContext,
    /// Where to continue; `None` from the start.
    pub resume: Option<StageState>,
    /// Who watches.
    pub observer: &'a mut dyn Observer,
}

/// A stage whose inputs are no longer part of its type: what the graph holds.
pub trait StageNode: Send + Sync {
    /// Its inputs.
    fn ports(&self) -> Vec<PortInfo>;
    /// What is wrong with what arrives.
    fn check(&self, inputs: &Signatures) -> Vec<Fault>;
    /// What it will give.
    fn output(&self, inputs: &Signatures) -> Option<Signature>;
    /// Does the work.
    ///
    /// # Errors
    /// When the device fails or the user asked to stop.
    fn run(&self, inputs: Inputs, context: &mut StageContext<'_>) -> Result<Product>;
}

impl<T: Stage> StageNode for T {
    fn ports(&self) -> Vec<PortInfo> {
        T::Inputs::ports()
    }
    fn check(&self, inputs: &Signatures) -> Vec<Fault> {
        Stage::check(self, inputs)
    }
    fn output(&self, inputs: &Signatures) -> Option<Signature> {
        Stage::output(self, inputs)
    }
    fn run(&self, inputs: Inputs, context: &mut StageContext<'_>) -> Result<Product> {
        Stage::run(self, T::Inputs::take(inputs)?, context)
    }
}
