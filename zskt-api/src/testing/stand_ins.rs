//! What a plugin is tried with: small networks, images, a loss, an optimizer, who watches.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Device, Tensor};

use super::normal;
use crate::nn::{Linear, global_average, layer_streams_at};
use crate::{
    Batch, Builder, CheckError, Classifier, ClassifierOutput, ClassifierShape, Dataset, DatasetSignature, FeatureMap,
    ForwardMode, Generator, GeneratorArchitecture, GeneratorInput, Gradients, ImageShape, Loss, LossBatch, LossInputs,
    Normalization, Observer, Optimizer, OptimizerState, OutputShape, Parameter, Progress, Result, StageState,
    StreamRng, TeacherOutput, params,
};

pub const CLASSES: usize = 10;
pub const LATENT_DIM: usize = 4;
pub const IMAGE: ImageShape = ImageShape { channels: 3, height: 8, width: 8 };

/// Watches a stage in a test: writes nothing, and keeps what it is told.
#[derive(Default)]
pub struct TestObserver {
    /// Batches that were done.
    pub batches: usize,
    /// The names of all figures that were reported of them.
    pub figures: BTreeSet<String>,
    /// Checkpoints that were made.
    pub checkpoints: Vec<StageState>,
    /// After how many batches it asks the stage to stop; never without a number.
    pub stop_after: Option<usize>,
}

impl Observer for TestObserver {
    fn batch(&mut self, progress: &Progress<'_>) -> Result<()> {
        self.batches += 1;
        self.figures.extend(progress.figures.iter().map(|figure| figure.name.clone()));
        layer_streams_at(progress.batch);
        Ok(())
    }
    fn interrupted(&self) -> bool {
        self.stop_after.is_some_and(|batches| self.batches >= batches)
    }
    fn checkpoint(&mut self, state: &StageState) -> Result<()> {
        self.checkpoints.push(state.clone());
        Ok(())
    }
    fn images(&mut self, _: usize, _: &FeatureMap) -> Result<()> {
        Ok(())
    }
    fn evaluate(&mut self, _: usize) -> Result<()> {
        Ok(())
    }
}

params! {
    /// Gradient descent with momentum, for tests of plugins that take an optimizer: a crate's test registers it with
    /// `export! { optimizer: zskt_api::testing::TestSgd }`.
    pub struct TestSgd {
        /// Learning rate.
        pub lr: f64 = 0.1 => 0.0..,
        /// What is kept of earlier gradients.
        pub momentum: f64 = 0.9 => 0.0..=1.0,
    }
}

impl Optimizer for TestSgd {
    fn learning_rate(&self) -> f64 {
        self.lr
    }
    fn start(&self, _: Vec<Parameter>) -> Result<Box<dyn OptimizerState>> {
        Ok(Box::new(Descent { momentum: self.momentum, velocities: BTreeMap::new() }))
    }
}

struct Descent {
    momentum: f64,
    velocities: BTreeMap<String, Tensor>,
}

impl OptimizerState for Descent {
    fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()> {
        for (parameter, gradient) in gradients.iter() {
            let velocity = match self.velocities.get(parameter.name()) {
                Some(velocity) => ((velocity * self.momentum)? + gradient)?,
                None => gradient.detach(),
            };
            parameter.var().set(&(parameter.value() - (&velocity * learning_rate)?)?)?;
            self.velocities.insert(parameter.name().into(), velocity);
        }
        Ok(())
    }
    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        Ok(self.velocities.clone())
    }
    fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        self.velocities = state.clone();
        Ok(())
    }
}

/// Classifies images of three channels by their means.
pub struct TestClassifier(pub Linear);

impl Classifier for TestClassifier {
    fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput> {
        let logits = self.0.forward(&global_average(images)?, mode)?;
        Ok(ClassifierOutput { logits, activations: vec![images.clone()] })
    }
}

/// The shape of such classifiers.
pub struct TestShape;

impl ClassifierShape for TestShape {
    fn output_shape(&self, image: ImageShape) -> Result<OutputShape, CheckError> {
        Ok(OutputShape { classes: CLASSES, activations: vec![image] })
    }
    fn classes(&self) -> usize {
        CLASSES
    }
}

/// Makes images of as many numbers as a layer gives.
pub struct TestGenerator(pub Linear);

impl Generator for TestGenerator {
    fn forward(&self, input: &GeneratorInput<'_>, mode: ForwardMode) -> Result<FeatureMap> {
        let pixels = self.0.forward(input.latents, mode)?;
        FeatureMap::from_nchw(&pixels.reshape(((), IMAGE.channels, IMAGE.height, IMAGE.width))?)
    }
    fn latent_dim(&self) -> usize {
        LATENT_DIM
    }
}

/// The architecture of such generators.
pub struct TestGeneratorArchitecture;

impl GeneratorArchitecture for TestGeneratorArchitecture {
    fn image(&self) -> Result<ImageShape, CheckError> {
        Ok(IMAGE)
    }
    fn build(&self, builder: &Builder, _: Option<&Normalization>) -> Result<Box<dyn Generator>> {
        let pixels = IMAGE.channels * IMAGE.height * IMAGE.width;
        Ok(Box::new(TestGenerator(Linear::new(builder, LATENT_DIM, pixels)?)))
    }
}

/// Images of noise, class after class.
pub struct TestDataset;

impl Dataset for TestDataset {
    fn signature(&self) -> DatasetSignature {
        DatasetSignature { image: IMAGE, classes: CLASSES, images: 2 * CLASSES }
    }
    fn batch(&self, indices: &[usize], _: Option<&mut StreamRng>, dtype: DType, device: &Device) -> Result<Batch> {
        let images = normal("dataset", &[2 * CLASSES, IMAGE.channels, IMAGE.height, IMAGE.width], dtype)?;
        let chosen = Tensor::from_iter(indices.iter().map(|index| *index as u32), device)?;
        let images = images.to_device(device)?.index_select(&chosen, 0)?;
        let labels = Tensor::from_iter(indices.iter().map(|index| (*index % CLASSES) as u32), device)?;
        Ok(Batch { images: FeatureMap::from_nchw(&images)?, labels })
    }
}

/// The mean square of the logits' differences from a teacher's, or from zero.
pub struct TestLoss;

impl Loss for TestLoss {
    fn needs(&self) -> LossInputs {
        LossInputs::default()
    }
    fn target(&self, teacher: &TeacherOutput) -> Result<Vec<Tensor>> {
        Ok(vec![teacher.logits.clone()])
    }
    fn value(&self, batch: &LossBatch<'_>) -> Result<Tensor> {
        let logits = batch.student()?.logits.clone();
        let differences = batch.target.iter().try_fold(logits, |logits, teacher| logits - teacher)?;
        Ok(differences.sqr()?.mean_all()?)
    }
}
