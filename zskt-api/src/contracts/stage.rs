//! Stages: nodes that do work when the graph runs.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::{BuildContext, Selection};
use crate::nn::with_layer_streams;
use crate::{
    CheckError, FeatureMap, ImageSet, Inputs, NodeOutput, Params, PortInfo, PortType, Ports, Result, Signature,
    Signatures, TurnSignature,
};

/// A plugin that trains, or does other work that takes time.
pub trait Stage: Params + Send + Sync + 'static {
    /// The struct of its inputs, declared with [`ports!`](crate::ports).
    type Inputs: Ports;

    /// The type of its output, which the nodes after it take.
    const OUTPUT: PortType;

    /// What is wrong with what arrives; by default, classifiers must take the images and all class counts must agree.
    fn check(&self, inputs: &Signatures) -> Vec<CheckError> {
        inputs.check_compatible(&Self::Inputs::ports())
    }

    /// What can be known of its output before anything is built; `None` where an input that it depends on is at fault.
    fn output(&self, inputs: &Signatures) -> Option<Signature>;

    /// By what its best weights are chosen, which the run keeps beside the last; `None` keeps the last alone. What is wrong with it
    /// is said of the parameter `keep`, where the metric is named, and of `patience`. With patience, [`Observer::ends_early`] is
    /// asked before each batch.
    fn selection(&self) -> Option<Selection> {
        None
    }

    /// The size of its batches and how often metrics are evaluated meanwhile, where both are known before it runs: for an estimate of
    /// what a run will take.
    fn pace(&self) -> Option<Pace> {
        None
    }

    /// The names of all figures that it may report of a batch ([`Progress::figures`]) when it plays these turns. A pipeline that expects
    /// another (`expect: {"distill.imitate.los": …}`) is refused before it runs; without an answer that is found at the end of the run.
    fn figures(&self, _turns: &[NamedTurn<'_>]) -> Option<Vec<String>> {
        None
    }

    /// Does the work.
    ///
    /// # Errors
    /// [`Error::interrupted`](crate::Error::interrupted) when the user asked to stop, after a checkpoint.
    fn run(&self, inputs: Self::Inputs, context: &mut StageContext<'_>) -> Result<NodeOutput>;
}

/// A turn that leads to a stage, before it is built.
#[derive(Clone, Copy)]
pub struct NamedTurn<'a> {
    /// The name of its node, under which its figures are logged.
    pub name: &'a str,
    /// What is known of it.
    pub signature: &'a TurnSignature,
}

/// What is known of the batches of a stage before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Images in a batch. An estimate on a CPU may measure it with fewer, by a parameter of the stage's that is called `batch_size`, so how
    /// many batches there are must not depend on it; a stage without such a parameter is measured as it is.
    pub batch_size: usize,
    /// Batches from one evaluation of the metrics that hang on the stage to the next; `None` for none but that at its end.
    pub evaluate_every: Option<usize>,
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

/// How numbers are distributed that a stage looks at: a histogram in TensorBoard and in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LoggedDistribution {
    /// What the log and TensorBoard call it.
    pub name: String,
    /// The bins' edges in ascending order, one more than there are bins; what lies outside is in no bin.
    pub edges: Vec<f64>,
    /// The numbers.
    pub values: Vec<f64>,
}

/// How far a synthesis is.
pub struct SynthesisProgress<'a> {
    /// The turn that makes images.
    pub turn: &'a str,
    /// Syntheses that are over.
    pub synthesis: usize,
    /// Steps of this one that are done.
    pub step: usize,
    /// Steps of each.
    pub steps: usize,
    /// The loss at the last step.
    pub loss: Option<f64>,
}

/// What a stage reports to: the run, which logs, evaluates metrics and keeps checkpoints.
pub trait Observer {
    /// A batch is done. Layers that draw random numbers, such as dropout, draw for the next one from here on: whoever observes says so by
    /// [`layer_streams_at`](crate::nn::layer_streams_at).
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

    /// A step of a synthesis is about to be taken: for a person who waits.
    fn synthesis(&mut self, _progress: &SynthesisProgress<'_>) {}

    /// Keeps all images that a turn has made, once the stage is done with them.
    ///
    /// # Errors
    /// When they cannot be written.
    fn made_images(&mut self, _turn: &str, _images: &ImageSet) -> Result<()> {
        Ok(())
    }

    /// Evaluates the metrics that hang on this stage's output.
    ///
    /// # Errors
    /// When a metric fails.
    fn evaluate(&mut self, batch: usize) -> Result<()>;

    /// Whether the patience of the stage's [`Selection`] is at its end, which ends the stage. It stays so when the run is resumed.
    fn ends_early(&self) -> bool {
        false
    }

    /// Logs figures beside those of a batch, which were looked at after it.
    ///
    /// # Errors
    /// When a log cannot be written.
    fn monitor(&mut self, _batch: usize, _figures: &[LoggedScalar]) -> Result<()> {
        Ok(())
    }

    /// Logs how what was looked at after a batch is distributed.
    ///
    /// # Errors
    /// When a log cannot be written.
    fn distributions(&mut self, _batch: usize, _distributions: &[LoggedDistribution]) -> Result<()> {
        Ok(())
    }

    /// Warns the user of how the training goes, in one line, and puts that into the log and the report.
    ///
    /// # Errors
    /// When a log cannot be written.
    fn warn(&mut self, _batch: usize, _warning: &str) -> Result<()> {
        Ok(())
    }
}

/// Where a stage runs.
pub struct StageContext<'a> {
    /// The node's name, device, precision and random streams.
    pub build: BuildContext,
    /// The checkpoint to continue from; `None` to begin at the start.
    pub resume: Option<StageState>,
    /// What was known of its inputs before anything was built.
    pub inputs: Signatures,
    /// Where it reports its progress, and asks whether to stop.
    pub observer: &'a mut dyn Observer,
}

/// A stage whose inputs are no longer part of its type: what the graph holds.
pub trait StageNode: Send + Sync {
    /// [`Stage::Inputs`], as the graph checks them.
    fn ports(&self) -> Vec<PortInfo>;
    /// See [`Stage::check`].
    fn check(&self, inputs: &Signatures) -> Vec<CheckError>;
    /// See [`Stage::output`].
    fn output(&self, inputs: &Signatures) -> Option<Signature>;
    /// See [`Stage::selection`].
    fn selection(&self) -> Option<Selection>;
    /// See [`Stage::pace`].
    fn pace(&self) -> Option<Pace>;
    /// See [`Stage::figures`].
    fn figures(&self, turns: &[NamedTurn<'_>]) -> Option<Vec<String>>;
    /// See [`Stage::run`].
    ///
    /// # Errors
    /// Also when the inputs are of other types than declared, which the check before a run excludes.
    fn run(&self, inputs: Inputs, context: &mut StageContext<'_>) -> Result<NodeOutput>;
}

impl<T: Stage> StageNode for T {
    fn ports(&self) -> Vec<PortInfo> {
        T::Inputs::ports()
    }
    fn check(&self, inputs: &Signatures) -> Vec<CheckError> {
        Stage::check(self, inputs)
    }
    fn output(&self, inputs: &Signatures) -> Option<Signature> {
        Stage::output(self, inputs)
    }
    fn selection(&self) -> Option<Selection> {
        Stage::selection(self)
    }
    fn pace(&self) -> Option<Pace> {
        Stage::pace(self)
    }
    fn figures(&self, turns: &[NamedTurn<'_>]) -> Option<Vec<String>> {
        Stage::figures(self, turns)
    }
    fn run(&self, inputs: Inputs, context: &mut StageContext<'_>) -> Result<NodeOutput> {
        let inputs = T::Inputs::take(inputs)?;
        let (streams, node) = (context.build.streams.clone(), context.build.node.clone());
        let batch = context.resume.as_ref().map_or(0, |state| state.batch);
        with_layer_streams(&streams, &node, batch, || Stage::run(self, inputs, context))
    }
}
