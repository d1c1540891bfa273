use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use zskt_api::{
    Builder, CheckError, Classifier, ClassifierOutput, ClassifierShape, Error, FeatureMap, ForwardMode, Generator,
    GeneratorInput, Gradients, ImageShape, Init, Loss, LossBatch, LossInputs, Optimizer, OptimizerState, OutputShape,
    Parameter, PluginRegistration, Precision, RandomStreams, Result, StreamRng, TeacherOutput, Weights, params,
};

use super::classifier::CheckedClassifier;
use super::generator::CheckedGenerator;
use super::loss::CheckedLoss;
use super::network::NetworkBoundary;
use super::{Boundary, CheckedOptimizer, Inspector, PluginOfNode};

params! {
    /// Answers every question, with something that is not the default.
    pub struct Talkative {
        /// What it answers when it is asked whether it may be replayed.
        pub replays: bool,
    }
}

impl Loss for Talkative {
    fn needs(&self) -> LossInputs {
        LossInputs { teacher: true, labels: true, ..LossInputs::default() }
    }
    fn check(&self, _student: &OutputShape, _teacher: Option<&OutputShape>) -> Result<(), CheckError> {
        Err(CheckError::new("asked in vain"))
    }
    fn target(&self, _teacher: &TeacherOutput) -> Result<Vec<Tensor>> {
        Err(Error::new("no target"))
    }
    fn replays(&self) -> bool {
        self.replays
    }
    fn value(&self, _: &LossBatch<'_>) -> Result<Tensor> {
        Err(Error::new("no value"))
    }
}

impl ClassifierShape for Talkative {
    fn output_shape(&self, image: ImageShape) -> Result<OutputShape, CheckError> {
        match image.channels {
            3 => Ok(OutputShape { classes: 2, activations: Vec::new() }),
            _ => Err(CheckError::new("no such images")),
        }
    }
    fn classes(&self) -> usize {
        2
    }
}

impl Classifier for Talkative {
    fn forward(&self, _images: &FeatureMap, _mode: ForwardMode) -> Result<ClassifierOutput> {
        Err(Error::new("no logits"))
    }
    fn replays(&self) -> bool {
        self.replays
    }
}

impl Generator for Talkative {
    fn forward(&self, _input: &GeneratorInput<'_>, _mode: ForwardMode) -> Result<FeatureMap> {
        Err(Error::new("no images"))
    }
    fn replays(&self) -> bool {
        self.replays
    }
    fn latent_dim(&self) -> usize {
        3
    }
    fn sample(&self, batch: usize, _rng: &mut StreamRng) -> Vec<f64> {
        vec![7.0; 3 * batch]
    }
    fn redraw(&self, _rng: &mut StreamRng) -> Result<()> {
        Err(Error::new("no other weights"))
    }
    fn constrain(&self) -> Result<()> {
        Err(Error::new("no bounds"))
    }
}

impl Optimizer for Talkative {
    fn learning_rate(&self) -> f64 {
        0.25
    }
    fn start(&self, _parameters: Vec<Parameter>) -> Result<Box<dyn OptimizerState>> {
        Ok(Box::new(Self { replays: self.replays }))
    }
}

impl OptimizerState for Talkative {
    fn step(&mut self, _gradients: &Gradients, _learning_rate: f64) -> Result<()> {
        Err(Error::new("no step"))
    }
    fn replays(&self) -> bool {
        self.replays
    }
    fn state(&self) -> Result<std::collections::BTreeMap<String, Tensor>> {
        Err(Error::new("no state"))
    }
    fn restore(&mut self, _state: &std::collections::BTreeMap<String, Tensor>) -> Result<()> {
        Err(Error::new("no way back"))
    }
}

static PLUGIN: PluginRegistration = PluginRegistration::loss::<Talkative>("zskt-test", "1.2.3");

fn says<T>(result: Result<T>) -> String {
    let error = result.err().map(|error| error.to_string()).unwrap_or_default();
    let blamed = error.strip_prefix("node `it`: the plugin `Talkative` of zskt-test 1.2.3: ");
    blamed.expect("who it was").to_owned()
}

/// A wrapper that does not hand a question on answers with the default, or not at all.
#[test]
fn what_a_plugin_answers_arrives() {
    let tensor = Tensor::zeros((1, 3), DType::F32, &Device::Cpu).unwrap();
    let images = |channels| {
        let tensor = Tensor::zeros((1, channels, 1, 1), DType::F32, &Device::Cpu).unwrap();
        FeatureMap::from_nchw(&tensor).unwrap()
    };
    let output = ClassifierOutput { logits: tensor.clone(), activations: Vec::new() };
    let shape = OutputShape { classes: 2, activations: Vec::new() };
    let boundary = || Boundary::new(PluginOfNode::new(&PLUGIN, "it"), &Inspector::default());
    let network = || NetworkBoundary::new(boundary(), Weights::default()).unwrap();
    for replays in [true, false] {
        let plugin = || Talkative { replays };
        let loss = CheckedLoss::new(boundary(), Arc::new(plugin()));
        assert_eq!(loss.needs(), LossInputs { teacher: true, labels: true, ..LossInputs::default() });
        assert_eq!(loss.check(&shape, None).unwrap_err().message, "asked in vain");
        assert_eq!(says(loss.target(&output.clone().into())), "no target");
        assert_eq!(says(loss.value(&LossBatch::new(&output, &[]))), "no value");
        assert_eq!(loss.replays(), replays);

        let classifier = CheckedClassifier::new(network(), Box::new(plugin()), Arc::new(plugin()));
        assert_eq!(says(classifier.forward(&images(3), ForwardMode::eval())), "no logits");
        assert_eq!(says(classifier.forward(&images(1), ForwardMode::eval())), "no such images");
        assert_eq!(classifier.replays(), replays);

        let generator = CheckedGenerator::new(network(), Box::new(plugin()), ImageShape::new(3, 1, 1));
        assert_eq!(says(generator.forward(&GeneratorInput::unconditional(&tensor), ForwardMode::eval())), "no images");
        assert_eq!(generator.latent_dim(), 3);
        assert_eq!(generator.sample(2, &mut RandomStreams::new(0).at("test", 0)), [7.0; 6]);
        assert_eq!(generator.replays(), replays);
        assert_eq!(says(generator.redraw(&mut RandomStreams::new(0).at("test", 0))), "no other weights");
        assert_eq!(says(generator.constrain()), "no bounds");

        let optimizer = CheckedOptimizer::new(boundary(), Arc::new(plugin()));
        assert_eq!(optimizer.learning_rate(), 0.25);
        let mut state = optimizer.start(Vec::new()).unwrap();
        let weight =
            Builder::zeros(Precision::F32, &Device::Cpu).parameter("weight", &[1], Init::Constant(1.0)).unwrap();
        let gradients = Gradients::of(&weight.var().sum_all().unwrap(), [&weight].into_iter()).unwrap();
        assert_eq!(says(state.step(&gradients, 0.1)), "no step");
        assert_eq!(says(state.state()), "no state");
        assert_eq!(says(state.restore(&Default::default())), "no way back");
        assert_eq!(state.replays(), replays);
    }
}
