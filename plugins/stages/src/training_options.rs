//! The parameters that `Transfer` and `Train` share, and the training they describe.

use std::sync::Arc;

use zskt_api::{
    CheckError, ClassTargets, ClassifierNetwork, Error, ImageSource, Nested, NodeOutput, Pace, PortInfo, Result,
    Signature, Signatures, StageContext, Trainee, Turn,
};

use crate::batch_sampler::Targets;
use crate::check::check_inputs;
use crate::intervals::Intervals;
use crate::monitors::MonitorOptions;
use crate::selection::SelectionOptions;
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
    pub targets: Option<Nested<dyn ClassTargets>>,
    pub selection: SelectionOptions,
    pub monitors: MonitorOptions,
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
        let mut faults = check_inputs(inputs, ports, has_teacher, self.targets.is_some());
        faults.extend(self.check_batch_size(inputs));
        match TrainingLength::new(self.batches, self.epochs) {
            Ok(length) => faults.extend(length.check(inputs)),
            Err(fault) => faults.push(fault),
        }
        faults.extend(self.selection.check(self.evaluate_every));
        faults
    }

    /// Whether the generator makes as many images at once as a batch has: those of a bank are read in batches of any size.
    fn check_batch_size(&self, inputs: &Signatures) -> Option<CheckError> {
        let Some(Signature::Generator(generator)) = inputs.one("images") else { return None };
        let is_synthesis =
            |(_, turn): (usize, &Signature)| matches!(turn, Signature::Turn(turn) if turn.synthesis.is_some());
        let size = generator.batch_size.filter(|size| *size != self.batch_size)?;
        if inputs.all("turns").any(is_synthesis) {
            return None;
        }
        let message = format!("`{}` makes {size} images at once, not {}", generator.network, self.batch_size);
        Some(CheckError::parameter("batch_size", message).help("give both the same number"))
    }

    /// What is known of the batches.
    pub fn pace(&self) -> Pace {
        Pace { batch_size: self.batch_size, evaluate_every: self.evaluate_every }
    }

    /// Trains the student, and gives it on.
    pub fn train(self, inputs: TrainingInputs, context: &mut StageContext<'_>) -> Result<NodeOutput> {
        let TrainingInputs { teacher, student: Trainee(student), images, turns } = inputs;
        let length = TrainingLength::new(self.batches, self.epochs)?;
        let batches = length.in_batches(&images, self.batch_size)?;
        let intervals = Intervals {
            evaluate_every: self.evaluate_every,
            checkpoint_every: self.checkpoint_every,
            preview_every: self.preview_every.unwrap_or(batches.div_ceil(9)),
        };
        let targets = self.targets.as_ref().map(|targets| {
            let student = context.inputs.classifier("student");
            let classes = student.ok_or_else(|| Error::new("how many classes there are is not known"))?.shape.classes();
            Ok::<_, Error>(Targets { plugin: targets.plugin(), classes })
        });
        let Self { batch_size, replay, monitors, .. } = self;
        let targets = targets.transpose()?;
        let training =
            TrainingLoop { teacher, student, images, turns, targets, batches, batch_size, intervals, replay, monitors };
        training.check_players()?;
        training.run(context)?;
        Ok(NodeOutput::Classifier(training.student))
    }
}
