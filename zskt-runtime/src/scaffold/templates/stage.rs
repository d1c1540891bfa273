//! Distillation on noise.

use std::sync::Arc;
use std::time::Instant;

use zskt_api::candle_core::{DType, Tensor};
use zskt_api::{
    BuildContext, CheckError, ClassifierNetwork, Error, FeatureMap, ForwardMode, Gradients,
    ImageShape, LoggedScalar, Loss, LossBatch, Nested, NodeOutput, Optimizer, PortType, Ports,
    Progress, Result, Signature, Signatures, Stage, StageContext, StageState, TeacherOutput,
    Trainee, params, ports, standard_normal,
};

params! {
    /// The student imitates the teacher on images of plain noise, N(0, 1) in the space that classifiers take: the simplest
    /// transfer without data, to compare others with.
    pub struct ExampleStage {
        /// Batches.
        pub batches: usize = 100 => 1..=1_000_000_000,
        /// Images in a batch.
        pub batch_size: usize = 128 => 1..=1_000_000,
        /// Rows and columns of the images.
        pub size: usize = 32 => 1..=1024,
        /// Channels of the images.
        pub channels: usize = 3 => 1..=1024,
        /// How a gradient moves the student.
        pub optimizer: Nested<dyn Optimizer>,
        /// Batches between checkpoints.
        pub checkpoint_every: usize = 500 => 1..=1_000_000_000,
    }
}

ports! {
    /// Who learns, from whom, and how well.
    pub struct ExampleStageInputs {
        /// The network to imitate.
        pub teacher: Arc<ClassifierNetwork>,
        /// The network that learns.
        pub student: Trainee,
        /// What is made small.
        pub losses: Vec<Arc<dyn Loss>>,
    }
}

/// The images of batch number `batch`, `[B, C, H, W]`: they depend on the seed, the node and this number alone, so that a
/// run can be resumed anywhere.
fn noise(
    build: &BuildContext,
    batch: usize,
    count: usize,
    image: ImageShape,
) -> Result<FeatureMap> {
    let shape = (count, image.height, image.width, image.channels);
    let mut rng = build
        .streams
        .at(&format!("{}/noise", build.node), batch as u64);
    let numbers = standard_normal(
        &mut rng,
        count * image.height * image.width * image.channels,
    );
    let noise =
        Tensor::from_vec(numbers, shape, &build.device)?.to_dtype(build.precision.dtype())?;
    FeatureMap::from_channels_last(&noise)
}

impl ExampleStage {
    fn image(&self) -> ImageShape {
        ImageShape::new(self.channels, self.size, self.size)
    }
}

impl Stage for ExampleStage {
    type Inputs = ExampleStageInputs;

    const OUTPUT: PortType = PortType::Classifier;

    fn check(&self, inputs: &Signatures) -> Vec<CheckError> {
        let mut faults = inputs.check_compatible(&ExampleStageInputs::ports());
        for port in ["teacher", "student"] {
            let fault = inputs
                .classifier(port)
                .and_then(|network| network.shape.output_shape(self.image()).err());
            faults.extend(fault.map(|fault| CheckError {
                port: Some(port.into()),
                parameter: None,
                ..fault
            }));
        }
        faults
    }

    fn output(&self, inputs: &Signatures) -> Option<Signature> {
        inputs
            .classifier("student")
            .cloned()
            .map(Signature::Classifier)
    }

    fn run(
        &self,
        inputs: ExampleStageInputs,
        context: &mut StageContext<'_>,
    ) -> Result<NodeOutput> {
        let ExampleStageInputs {
            teacher,
            student: Trainee(student),
            losses,
        } = inputs;
        let parameters: Vec<_> = student.weights.parameters().cloned().collect();
        let mut updates = self.optimizer.start(parameters.clone())?;
        let mut done = 0;
        if let Some(state) = context.resume.take() {
            updates.restore(&state.tensors)?;
            done = state.batch;
        }
        while done < self.batches {
            if context.observer.interrupted() {
                context.observer.checkpoint(&StageState {
                    batch: done,
                    tensors: updates.state()?,
                })?;
                return Err(Error::interrupted());
            }
            let start = Instant::now();
            let images = noise(&context.build, done, self.batch_size, self.image())?;
            let belief = teacher.forward.forward(&images, ForwardMode::eval())?;
            let belief = TeacherOutput::from(belief);
            let attempt = student.forward.forward(&images, ForwardMode::train())?;
            let mut values = Vec::with_capacity(losses.len());
            for loss in &losses {
                let target = loss.target(&belief)?;
                values.push(loss.value(&LossBatch::new(&attempt, &target))?);
            }
            let sum = Tensor::stack(&values, 0)?.sum_all()?;
            updates.step(
                &Gradients::of(&sum, parameters.iter())?,
                self.optimizer.learning_rate(),
            )?;
            done += 1;
            // A loss that is not finite ends the run here.
            context.observer.batch(&Progress {
                batch: done,
                batches: self.batches,
                images: self.batch_size,
                seconds: start.elapsed().as_secs_f64(),
                figures: &[LoggedScalar::on_progress_line(
                    "loss",
                    sum.to_dtype(DType::F64)?.to_scalar()?,
                )],
            })?;
            if done < self.batches && done.is_multiple_of(self.checkpoint_every) {
                context.observer.checkpoint(&StageState {
                    batch: done,
                    tensors: updates.state()?,
                })?;
            }
        }
        Ok(NodeOutput::Classifier(student))
    }
}

zskt_api::export! { reads: none; stage: ExampleStage }

#[cfg(test)]
mod tests {
    use zskt_api::testing::{TestSgd, build_context, conforms};
    use zskt_api::{ImageShape, Precision, Result};

    use super::noise;

    // The optimizer that the stage is tried with.
    zskt_api::export! { optimizer: TestSgd }

    #[test]
    fn it_keeps_its_contract() -> Result<()> {
        conforms("ExampleStage(batches: 3, batch_size: 2, size: 4, optimizer: TestSgd())")
    }

    #[test]
    fn a_batch_depends_on_its_number_alone() -> Result<()> {
        let build = build_context("stage", Precision::F32);
        let batch = |number| -> Result<Vec<Vec<f32>>> {
            Ok(noise(&build, number, 2, ImageShape::new(3, 4, 4))?
                .flatten()?
                .to_vec2()?)
        };
        assert_eq!(batch(7)?, batch(7)?);
        assert_ne!(batch(7)?, batch(8)?);
        Ok(())
    }
}
