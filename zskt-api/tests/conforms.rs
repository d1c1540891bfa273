//! `testing::conforms` finds out plugins that do not keep what they promise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use zskt_api::candle_core::{DType, Device, Tensor};
use zskt_api::nn::{Linear, global_average};
use zskt_api::testing::{TestSgd, conforms, plugin};
use zskt_api::{
    Architecture, Batch, BuildContext, Builder, CheckError, Classifier, ClassifierNetwork, ClassifierOutput,
    ClassifierShape, Dataset, DatasetSignature, DatasetSource, Error, FeatureMap, ForwardMode, Generator,
    GeneratorArchitecture, GeneratorInput, Gradients, ImageShape, Init, LoggedScalar, Loss, LossBatch, LossInputs,
    Measurement, Metric, MetricContext, NamedTurn, Nested, NodeOutput, Normalization, Objective, Optimizer,
    OptimizerState, OutputShape, Parameter, PluginInstance, PortType, Progress, Result, Schedule, Score, Signature,
    Signatures, Stage, StageContext, StageState, StreamRng, TeacherOutput, Trainee, choice, params, ports,
};

/// How often something was done in this process, which nothing but a run's seed should decide anything by.
static CALLS: AtomicUsize = AtomicUsize::new(0);

fn calls() -> f64 {
    CALLS.fetch_add(1, Ordering::Relaxed) as f64
}

choice! {
    /// What a plugin lies about.
    pub enum Lie {
        /// Nothing.
        Nothing,
        /// A shape.
        Shape,
        /// A gradient.
        Gradient,
        /// That gradients have a way.
        Way,
        /// That the same input gives the same bits.
        Sameness,
        /// That what the host computes does not change.
        Replay,
        /// That frozen weights stay as they are.
        Weights,
        /// What is restored.
        State,
        /// The type of numbers.
        Type,
        /// The order of images.
        Order,
        /// Labels.
        Label,
        /// The names of figures.
        Figure,
    }
}

params! {
    /// A network of one layer.
    pub struct LyingNet {
        /// About what.
        pub lie: Lie = Lie::Nothing,
    }
}

impl ClassifierShape for LyingNet {
    fn output_shape(&self, image: ImageShape) -> Result<OutputShape, CheckError> {
        if image.channels != 1 {
            return Err(CheckError::parameter("channels", "takes 1"));
        }
        Ok(OutputShape { classes: 5, activations: vec![image; if self.lie == Lie::Shape { 2 } else { 1 }] })
    }
    fn classes(&self) -> usize {
        5
    }
}

impl Architecture for LyingNet {
    fn build(&self, builder: &Builder) -> Result<Box<dyn Classifier>> {
        let spoilt = builder.parameter("spoilt", &[1], Init::Constant(1.0))?;
        Ok(Box::new(Net { head: Linear::new(&builder.at("fc"), 1, 5)?, spoilt, lie: self.lie, calls: 0.into() }))
    }
}

struct Net {
    head: Linear,
    spoilt: Parameter,
    lie: Lie,
    calls: AtomicUsize,
}

impl Classifier for Net {
    fn replays(&self) -> bool {
        true
    }
    fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) as f64;
        let factor = match self.lie {
            Lie::Sameness => calls(),
            Lie::Replay => 1.0 + 1e-9 * call,
            _ => 1.0,
        };
        let spoilt = self.spoilt.tensor(mode);
        let spoilt =
            if self.lie == Lie::Gradient { (spoilt.detach() + (&spoilt - spoilt.detach())? * 1.1)? } else { spoilt };
        if self.lie == Lie::Weights {
            self.spoilt.var().set(&(self.spoilt.value() * 1.5)?)?;
        }
        let images = &if self.lie == Lie::Way { images.detach() } else { images.clone() };
        let means = (global_average(images)?.broadcast_mul(&spoilt)?.sqr()? * factor)?;
        Ok(ClassifierOutput { logits: self.head.forward(&means, mode)?, activations: vec![images.clone()] })
    }
}

params! {
    /// A generator of one layer.
    pub struct LyingGenerator {
        /// About what.
        pub lie: Lie = Lie::Nothing,
    }
}

impl GeneratorArchitecture for LyingGenerator {
    fn image(&self) -> Result<ImageShape, CheckError> {
        Ok(if self.lie == Lie::Shape { ImageShape::new(1, 3, 2) } else { ImageShape::new(1, 2, 3) })
    }
    fn build(&self, builder: &Builder, _: Option<&Normalization>) -> Result<Box<dyn Generator>> {
        Ok(Box::new(Layer(Linear::new(builder, 3, 6)?, self.lie)))
    }
}

struct Layer(Linear, Lie);

impl Generator for Layer {
    fn forward(&self, input: &GeneratorInput<'_>, mode: ForwardMode) -> Result<FeatureMap> {
        let pixels = self.0.forward(input.latents, mode)?.reshape(((), 1, 2, 3))?;
        FeatureMap::from_nchw(&if self.1 == Lie::Gradient { pixels.detach() } else { pixels })
    }
    fn latent_dim(&self) -> usize {
        3
    }
    fn sample(&self, batch: usize, _: &mut StreamRng) -> Vec<f64> {
        match self.1 {
            Lie::Sameness => vec![calls(); batch * 3],
            Lie::Order => vec![0.5; batch],
            _ => vec![0.5; batch * 3],
        }
    }
}

params! {
    /// The mean square of the difference of logits.
    pub struct LyingLoss {
        /// About what.
        pub lie: Lie = Lie::Nothing,
    }
}

impl Loss for LyingLoss {
    fn needs(&self) -> LossInputs {
        LossInputs { teacher: true, ..LossInputs::default() }
    }
    fn replays(&self) -> bool {
        true
    }
    fn target(&self, teacher: &TeacherOutput) -> Result<Vec<Tensor>> {
        let logits = &teacher.logits;
        Ok(vec![if self.lie == Lie::Gradient { logits.detach() } else { logits.clone() }])
    }
    fn value(&self, batch: &LossBatch<'_>) -> Result<Tensor> {
        let square = (&batch.student()?.logits - &batch.target[0])?.sqr()?;
        Ok(match self.lie {
            Lie::Shape => square.mean(1)?,
            Lie::Sameness => (square.mean_all()? + calls())?,
            Lie::Type => square.mean_all()?.to_dtype(DType::F64)?,
            _ => square.mean_all()?,
        })
    }
}

params! {
    /// Gradient descent with momentum.
    pub struct LyingOptimizer {
        /// About what.
        pub lie: Lie = Lie::Nothing,
    }
}

impl Optimizer for LyingOptimizer {
    fn learning_rate(&self) -> f64 {
        0.1
    }
    fn start(&self, parameters: Vec<Parameter>) -> Result<Box<dyn OptimizerState>> {
        let inner = TestSgd { lr: 0.1, momentum: 0.9 }.start(parameters.clone())?;
        Ok(Box::new(LyingUpdates { inner, parameters, lie: self.lie }))
    }
}

struct LyingUpdates {
    inner: Box<dyn OptimizerState>,
    parameters: Vec<Parameter>,
    lie: Lie,
}

impl OptimizerState for LyingUpdates {
    fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()> {
        let rate = if self.lie == Lie::Sameness { 1e-3 * calls() } else { learning_rate };
        let mut moved = self.parameters.iter().filter(|_| self.lie == Lie::Weights);
        moved.try_for_each(|weight| weight.var().set(&(weight.value() * 0.9)?))?;
        self.inner.step(gradients, rate)
    }
    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        self.inner.state()
    }
    fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        if self.lie == Lie::State { Ok(()) } else { self.inner.restore(state) }
    }
}

params! {
    /// Divides by what is left.
    pub struct LyingSchedule {}
}

impl Schedule for LyingSchedule {
    fn factor(&self, batch: usize, batches: usize) -> f64 {
        1.0 / (batches - 1 - batch) as f64
    }
}

params! {
    /// Images of one colour.
    pub struct LyingDataset {
        /// About what.
        pub lie: Lie = Lie::Nothing,
    }
}

impl DatasetSource for LyingDataset {
    fn describe(&self) -> Result<DatasetSignature, CheckError> {
        Ok(self.signature())
    }
    fn load(&self, _: &BuildContext) -> Result<Arc<dyn Dataset>> {
        Ok(Arc::new(self.clone()))
    }
    fn files(&self) -> Vec<std::path::PathBuf> {
        Vec::new()
    }
}

impl Dataset for LyingDataset {
    fn signature(&self) -> DatasetSignature {
        let classes = if self.lie == Lie::Label { 2 } else { 3 };
        DatasetSignature { image: ImageShape::new(1, 2, 2), classes, images: 20 }
    }
    fn batch(&self, indices: &[usize], rng: Option<&mut StreamRng>, dtype: DType, device: &Device) -> Result<Batch> {
        if indices.iter().any(|index| *index >= 20) {
            return Err(Error::new("there are 20 images"));
        }
        let mut indices = indices.to_vec();
        if self.lie == Lie::Order {
            indices.sort_unstable();
        }
        let offset = if rng.is_some() && self.lie == Lie::Sameness { calls() } else { 0.0 };
        let colours = Tensor::from_iter(indices.iter().map(|index| *index as f64 + offset), device)?;
        let side = if self.lie == Lie::Shape { 3 } else { 2 };
        let images = colours.reshape((indices.len(), 1, 1, 1))?.broadcast_as((indices.len(), 1, 2, side))?;
        let labels = Tensor::from_iter(indices.iter().map(|index| (*index % 3) as u32), device)?;
        Ok(Batch { images: FeatureMap::from_nchw(&images.to_dtype(dtype)?)?, labels })
    }
}

params! {
    /// The student's logits become small.
    pub struct LyingStage {
        /// About what.
        pub lie: Lie = Lie::Nothing,
        /// How.
        pub optimizer: Nested<dyn Optimizer>,
    }
}

ports! {
    /// Who learns, and from what.
    pub struct LyingStageInputs {
        /// The network that learns.
        pub student: Trainee,
        /// What it learns from.
        pub dataset: Arc<dyn Dataset>,
    }
}

impl Stage for LyingStage {
    type Inputs = LyingStageInputs;
    const OUTPUT: PortType = PortType::Classifier;

    fn figures(&self, _: &[NamedTurn<'_>]) -> Option<Vec<String>> {
        Some(vec![if self.lie == Lie::Figure { "los" } else { "loss" }.to_owned()])
    }
    fn output(&self, inputs: &Signatures) -> Option<Signature> {
        if self.lie == Lie::Type { inputs.one("dataset") } else { inputs.one("student") }.cloned()
    }
    fn run(&self, inputs: LyingStageInputs, context: &mut StageContext<'_>) -> Result<NodeOutput> {
        let LyingStageInputs { student: Trainee(student), dataset } = inputs;
        let mut updates = self.optimizer.start(student.weights.parameters().cloned().collect())?;
        let state = context.resume.take().unwrap_or_default();
        if self.lie != Lie::State && state.batch > 0 {
            updates.restore(&state.tensors)?;
        }
        for batch in state.batch..4 {
            if context.observer.interrupted() && self.lie != Lie::Replay {
                context.observer.checkpoint(&StageState { batch, tensors: updates.state()? })?;
                return Err(Error::interrupted());
            }
            let images = dataset.batch(&[batch, batch + 1], None, DType::F32, &Device::Cpu)?.images;
            let loss = student.forward.forward(&images, ForwardMode::train())?.logits.sqr()?.mean_all()?;
            let loss = if self.lie == Lie::Sameness { (loss * calls())? } else { loss };
            updates.step(&Gradients::of(&loss, student.weights.parameters())?, 0.1)?;
            let figures = [LoggedScalar::new("loss", 0.0)];
            let progress = Progress { batch: batch + 1, batches: 4, images: 2, seconds: 0.0, figures: &figures };
            context.observer.batch(&progress)?;
        }
        Ok(NodeOutput::Classifier(student))
    }
}

params! {
    /// Counts.
    pub struct LyingMetric {
        /// About what.
        pub lie: Lie = Lie::Nothing,
    }
}

ports! {
    /// What is measured.
    pub struct LyingMetricInputs {
        /// A network.
        pub classifier: Arc<ClassifierNetwork>,
    }
}

impl Metric for LyingMetric {
    type Inputs = LyingMetricInputs;

    fn score(&self) -> Option<Score> {
        let figure = if self.lie == Lie::Shape { "amount" } else { "count" };
        Some(Score { figure, objective: Objective::Maximize })
    }

    fn figures(&self, _: &Signatures) -> Option<Vec<&'static str>> {
        Some(vec![if self.lie == Lie::Figure { "conut" } else { "count" }])
    }

    fn evaluate(&self, _: &LyingMetricInputs, _: &MetricContext) -> Result<Measurement> {
        Ok(Measurement::new("counted").figure("count", if self.lie == Lie::Sameness { calls() } else { 0.0 }))
    }
}

zskt_api::export! {
    architecture: LyingNet; generator: LyingGenerator; loss: LyingLoss; optimizer: LyingOptimizer, TestSgd;
    schedule: LyingSchedule; dataset: LyingDataset; stage: LyingStage; metric: LyingMetric
}

#[test]
fn each_lie_is_found_out_and_named() {
    for (kind, lies) in [
        (
            "Net(lie: ",
            &[
                ("Shape", "activations [\"1×8×8\", \"1×8×8\"] are promised for images 1×8×8, and [\"1×8×8\"] made"),
                ("Gradient", "the gradient of its outputs by `spoilt` is "),
                (
                    "Way",
                    "the gradient of its outputs: no gradient reaches `images`: what was computed does not use them, or",
                ),
                ("Sameness", "two networks with the same weights give different outputs"),
                ("Replay", "`replays` promises the same output each time"),
                ("Weights", "a forward changes the weight `spoilt`"),
            ][..],
        ),
        (
            "Generator(lie: ",
            &[
                ("Shape", "2 images 1×3×2 are promised, and 2 images 1×2×3 made"),
                (
                    "Gradient",
                    "the weight `weight` has no gradient in a mode where `tracks_weights()` is true: no gradient reaches `weight`, `bias`: ",
                ),
                ("Sameness", "`sample` drew other numbers from the same stream"),
                ("Order", "`sample` promises 2 vectors of 3 numbers, and gave 2"),
            ],
        ),
        (
            "Loss(lie: ",
            &[
                ("Shape", "`value` promises a scalar of F64 for such logits, and is [4] of F64"),
                ("Gradient", "the gradient of `value` by `teacher's logits` is 0 "),
                ("Sameness", "`value` is another the second time"),
                ("Type", "`value` promises a scalar of F32 for such logits, and is [] of F64"),
            ],
        ),
        (
            "Optimizer(lie: ",
            &[
                ("Sameness", "the same steps lead to other weights the second time"),
                ("Weights", "`step` moves a weight that has no gradient"),
                ("State", "steps after a `restore` of its `state` ([\"bias\", \"matrix\"]) lead to other weights"),
            ],
        ),
        (
            "Dataset(lie: ",
            &[
                ("Shape", "16 images 1×2×2 are promised, and [16, 1, 2, 3] given"),
                ("Label", "2 classes are promised, and a label is 2"),
                ("Order", "a batch is not in the order of the indices"),
                ("Sameness", "images are augmented in another way the second time"),
            ],
        ),
        (
            "Stage(optimizer: TestSgd(), lie: ",
            &[
                ("Type", "`OUTPUT` promises Some(Classifier), and `output` Some(Dataset)"),
                ("Sameness", "`run` ends with other weights the second time"),
                ("Replay", "asked to stop after a batch, it must make a checkpoint"),
                ("State", "interrupted and resumed, it ends with other weights"),
                ("Figure", "`figures` promises [\"los\"] and no other, and it reports Some(\"loss\")"),
            ],
        ),
        (
            "Metric(lie: ",
            &[
                ("Sameness", "it measures something else the second time: the figure `count` is "),
                ("Shape", "`score` promises a number `amount` in each measurement, and it is None"),
                ("Figure", "`figures` promises [\"conut\"] and no other, and it reports Some(\"count\")"),
            ],
        ),
    ] {
        let plugin = |lie: &str| format!("Lying{kind}{lie})");
        conforms(&plugin("Nothing")).unwrap_or_else(|error| panic!("{error}"));
        for (lie, expected) in lies {
            let error = conforms(&plugin(lie)).expect_err(&plugin(lie)).to_string();
            let expected = format!("`{}` does not keep its contract: {expected}", plugin(lie));
            assert!(error.starts_with(&expected), "expected {expected}\nfound    {error}");
        }
    }
    let error = conforms("LyingSchedule()").expect_err("an infinite factor").to_string();
    assert!(error.ends_with("`factor` of batch 0 of 1 is inf, and inf the second time"), "{error}");
}

#[test]
fn a_plugin_is_read_as_in_a_pipeline() {
    let Ok(PluginInstance::Optimizer(optimizer)) = plugin(" TestSgd( lr : 25e-2, ) ") else { panic!("an optimizer") };
    assert_eq!(optimizer.learning_rate(), 0.25);
    for (text, expected) in [
        ("TestSgd(lr: 1", "`TestSgd(lr: 1` is not written as in a pipeline: cannot read on at ``"),
        ("TestSgd(lr: 1) 2", "`TestSgd(lr: 1) 2` is not written as in a pipeline: cannot read on at `2`"),
        ("TestSgd(lr: \"a)", "`TestSgd(lr: \"a)` is not written as in a pipeline: cannot read on at `\"a)`"),
        ("TestSgd(lr: -1.0)", "`TestSgd(lr: -1.0)`: `lr` is out of range: expected 0 or more, found -1"),
        ("Sgb()", "`Sgb()`: there is no plugin `Sgb`; is it exported, and part of this program?"),
    ] {
        let error = plugin(text).err().expect(text).to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}
