//! Training without a teacher.

use std::sync::Arc;

use zskt_api::{
    CheckError, ImageSource, NodeOutput, PortType, Ports, Result, Signature, Signatures, Stage, StageContext, Trainee,
    Turn, above, params, ports,
};

use crate::check::trained_student;
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
        /// Batches between checkpoints.
        pub checkpoint_every: usize = 500 => 1..=1_000_000_000,
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
            replay: false,
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

    fn run(&self, inputs: TrainInputs, context: &mut StageContext<'_>) -> Result<NodeOutput> {
        let TrainInputs { student, images, turns } = inputs;
        self.options().train(TrainingInputs { teacher: None, student, images, turns }, context)
    }
}
