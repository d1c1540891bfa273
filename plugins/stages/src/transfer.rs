//! Transfer: a student learns from a teacher.

use std::sync::Arc;

use zskt_api::{
    CheckError, ClassTargets, ClassifierNetwork, ImageSource, Keep, NamedTurn, Nested, NodeOutput, Pace, PortType,
    Ports, Result, Selection, Signature, Signatures, Stage, StageContext, Trainee, Turn, above, params, ports,
};

use crate::batch_metrics::figure_names;
use crate::check::trained_student;
use crate::monitors::{MonitorOptions, OnWarning};
use crate::selection::SelectionOptions;
use crate::training_options::{TrainingInputs, TrainingOptions};

params! {
    /// A student learns from a teacher, on images that a generator makes or a dataset holds. In each batch the turns are
    /// taken in the order of their edges. With a generator that maximizes and a student that minimizes the divergence of
    /// their beliefs, this is the zero-shot transfer of Micaelli & Storkey (NeurIPS 2019); with a dataset it is distillation.
    pub struct Transfer {
        /// Batches to train on.
        pub batches: Option<usize> = None => 1..=1_000_000_000,
        /// Passes over the dataset, instead of `batches`.
        pub epochs: Option<f64> = None => above(0.0),
        /// Images in a batch.
        pub batch_size: usize = 128 => 1..=1_000_000,
        /// Batches between evaluations of the metrics that hang on this stage; `None` evaluates them at its end only.
        pub evaluate_every: Option<usize> = None => 1..=1_000_000_000,
        /// Whether the best weights by a metric are kept beside the last: `Best("METRIC")` names a metric that this stage leads to, which
        /// is evaluated every `evaluate_every` batches and at the end. Nodes after this stage take the last.
        pub keep: Keep = Keep::Last,
        /// Evaluations without an improvement of that metric after which the stage ends; `None` trains to the end.
        pub patience: Option<usize> = None => 1..=1_000_000_000,
        /// By how much the metric's figure must be better than at the last improvement, to be one for `patience`.
        pub min_delta: f64 = 0.0 => 0.0..,
        /// Batches between looks at what goes wrong unseen: a generator that has collapsed, a student that no longer moves. `None`
        /// never looks.
        pub monitor_every: Option<usize> = Some(100) => 1..=1_000_000_000,
        /// What follows a warning of these, or of weights and losses without a gradient, of which the first update of each turn tells:
        /// `Continue`, or `Stop`, which ends the run as a failure.
        pub on_warning: OnWarning = OnWarning::Continue,
        /// Batches between checkpoints.
        pub checkpoint_every: usize = 500 => 1..=1_000_000_000,
        /// Batches between previews of the images; `None` shows the first, the last and eight in between.
        pub preview_every: Option<usize> = None => 1..=1_000_000_000,
        /// Whether a GPU may record a batch as a CUDA graph and replay it, where the plugins allow it; a batch that cannot be
        /// recorded, or whose replay gives other figures, is computed kernel by kernel.
        pub replay: bool = true,
        /// The classes that made images are to show: generators of classes are told them, and losses find them as labels.
        pub targets: Option<Nested<dyn ClassTargets>> = None,
    }
}

ports! {
    /// Who teaches, who learns, and from what.
    pub struct TransferInputs {
        /// The network that knows: it is frozen.
        pub teacher: Arc<ClassifierNetwork>,
        /// The network that learns.
        pub student: Trainee,
        /// What the images come from.
        pub images: ImageSource,
        /// The turns of each batch, in the order of their edges.
        pub turns: Vec<Arc<Turn>>,
    }
}

impl Transfer {
    fn options(&self) -> TrainingOptions {
        TrainingOptions {
            batches: self.batches,
            epochs: self.epochs,
            batch_size: self.batch_size,
            evaluate_every: self.evaluate_every,
            checkpoint_every: self.checkpoint_every,
            preview_every: self.preview_every,
            replay: self.replay,
            targets: self.targets.clone(),
            selection: SelectionOptions { keep: self.keep.clone(), patience: self.patience, min_delta: self.min_delta },
            monitors: MonitorOptions { every: self.monitor_every, on_warning: self.on_warning },
        }
    }
}

impl Stage for Transfer {
    type Inputs = TransferInputs;

    const OUTPUT: PortType = PortType::Classifier;

    fn check(&self, inputs: &Signatures) -> Vec<CheckError> {
        self.options().check(inputs, &TransferInputs::ports(), true)
    }

    fn output(&self, inputs: &Signatures) -> Option<Signature> {
        trained_student(inputs)
    }

    fn selection(&self) -> Option<Selection> {
        self.options().selection.selection()
    }

    fn pace(&self) -> Option<Pace> {
        Some(self.options().pace())
    }

    fn figures(&self, turns: &[NamedTurn<'_>]) -> Option<Vec<String>> {
        Some(figure_names(turns))
    }

    fn run(&self, inputs: TransferInputs, context: &mut StageContext<'_>) -> Result<NodeOutput> {
        let TransferInputs { teacher, student, images, turns } = inputs;
        self.options().train(TrainingInputs { teacher: Some(teacher), student, images, turns }, context)
    }
}
