//! The parameters that `Transfer` and `Train` share, and the training they describe.

use std::sync::Arc;

use zskt_api::{
    CheckError, ClassifierNetwork, ImageSource, NodeOutput, PortInfo, Result, Signatures, StageContext, Trainee, Turn,
};

use crate::check::check_inputs;
use crate::intervals::Intervals;
use crate::training_length::TrainingLength;
use crate::training_loop::TrainingLoop;

/// The parameters of a stage that trains; their meaning is documented there.
pub struct TrainingOptions {
    pub batches: Option<usize>,
    pub epochs: Option<f64>,
    pub batch_size: usize,
    pub evaluate_every: Option<usize>,
    pub checkpoint_every: usize,
    /// As in [`Intervals`]; `None` for eight previews between the first and the last batch.
    pub preview_every: Option<usize>,
    pub replay: bool,
}

/// The networks and data of a stage that trains.
pub struct TrainingInputs {
    pub teacher: Option<Arc<ClassifierNetwork>>,
    pub student: Trainee,
    pub images: ImageSource,
    pub turns: Vec<Arc<Turn>>,
}

impl TrainingOptions {
    /// What is wrong with them or with the inputs. `has_teacher` is whether the stage has that port at all.
    pub fn check(&self, inputs: &Signatures, ports: &[PortInfo], has_teacher: bool) -> Vec<CheckError> {
        let mut faults = check_inputs(inputs, ports, has_teacher);
        match TrainingLength::new(self.batches, self.epochs) {
            Ok(length) => faults.extend(length.check(inputs)),
            Err(fault) => faults.push(fault),
        }
        faults
    }

    /// Trains the student, and gives it on.
    pub fn train(&self, inputs: TrainingInputs, context: &mut StageContext<'_>) -> Result<NodeOutput> {
        let TrainingInputs { teacher, student: Trainee(student), images, turns } = inputs;
        let length = TrainingLength::new(self.batches, self.epochs)?;
        let batches = length.in_batches(&images, self.batch_size)?;
        let intervals = Intervals {
            evaluate_every: self.evaluate_every,
            checkpoint_every: self.checkpoint_every,
            preview_every: self.preview_every.unwrap_or(batches.div_ceil(9)),
        };
        let (batch_size, replay) = (self.batch_size, self.replay);
        let training = TrainingLoop { teacher, student, images, turns, batches, batch_size, intervals, replay };
        training.check_players()?;
        training.run(context)?;
        Ok(NodeOutput::Classifier(training.student))
    }
}
