//! Training without a teacher.

use std::sync::Arc;

use zskt_api::{
    CheckError, ImageSource, Keep, NamedTurn, NodeOutput, Pace, PortType, Ports, Result, Selection, Signature,
    Signatures, Stage, StageContext, Trainee, Turn, above, params, ports,
};

use crate::batch_metrics::figure_names;
use crate::check::trained_student;
use crate::monitors::{MonitorOptions, OnWarning};
use crate::selection::SelectionOptions;
use crate::training_options::{TrainingInputs, TrainingOptions};

params! {
    /// A classifier learns from labelled images: the same stage as `Transfer`, without a teacher.
    pub struct Train {
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
        /// Whether a GPU may record a batch as a CUDA graph and replay it, as for `Transfer`.
        pub replay: bool = true,
    }
}

ports! {
    /// Who learns, and from what.
    pub struct TrainInputs {
        /// The network that learns.
        pub student: Trainee,
        /// What the images come from.
        pub images: ImageSource,
        /// The turns of each batch, in the order of their edges.
        pub turns: Vec<Arc<Turn>>,
    }
}

impl Train {
    fn options(&self) -> TrainingOptions {
        TrainingOptions {
            batches: self.batches,
            epochs: self.epochs,
            batch_size: self.batch_size,
            evaluate_every: self.evaluate_every,
            checkpoint_every: self.checkpoint_every,
            preview_every: Some(0),
            replay: self.replay,
            targets: None,
            selection: SelectionOptions { keep: self.keep.clone(), patience: self.patience, min_delta: self.min_delta },
            monitors: MonitorOptions { every: self.monitor_every, on_warning: self.on_warning },
        }
    }
}

impl Stage for Train {
    type Inputs = TrainInputs;

    const OUTPUT: PortType = PortType::Classifier;

    fn check(&self, inputs: &Signatures) -> Vec<CheckError> {
        self.options().check(inputs, &TrainInputs::ports(), false)
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

    fn run(&self, inputs: TrainInputs, context: &mut StageContext<'_>) -> Result<NodeOutput> {
        let TrainInputs { student, images, turns } = inputs;
        self.options().train(TrainingInputs { teacher: None, student, images, turns }, context)
    }
}
