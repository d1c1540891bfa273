//! The runner with a device that captures on the CPU: what is captured is computed at once, and a launch computes no more.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use zskt_api::candle_core::{DType, Device, Tensor};
use zskt_api::{
    Builder, Classifier, ClassifierNetwork, ClassifierOutput, Error, FeatureMap, ForwardMode, Generator,
    GeneratorInput, GeneratorNetwork, Gradients, Init, Loss, LossBatch, LossInputs, Network, Objective, Optimizer,
    OptimizerState, Parameter, Player, Precision, Result, Schedule, Turn,
};

use super::captured_input::CapturedInput;
use super::{CapturedGraph, CudaGraphRunner, GraphCapture};
use crate::batch_sampler::{BatchInput, LatentDraws};
use crate::turn_runtime::{BatchPosition, Networks, TurnResult, TurnRuntime};

/// Batches of a test: two to warm up, one to capture, and replays.
const BATCHES: usize = 6;

/// What a device does wrong.
#[derive(Clone, Default)]
enum Flaw {
    #[default]
    None,
    CapturesNothing,
    FailsToCapture,
    FailsToLaunch,
    /// A launch computes this weight wrongly.
    Spoils(Parameter),
}

#[derive(Default)]
struct FakeDevice {
    flaw: Flaw,
    /// What it was asked for.
    calls: Rc<RefCell<Vec<&'static str>>>,
}

struct FakeGraph {
    flaw: Flaw,
    calls: Rc<RefCell<Vec<&'static str>>>,
    results: Vec<TurnResult>,
}

impl GraphCapture for FakeDevice {
    type Graph = FakeGraph;

    fn is_available(&self) -> bool {
        true
    }

    fn rehearse<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.calls.borrow_mut().push("rehearse");
        work()
    }

    fn capture(&self, work: impl FnOnce() -> Result<Vec<TurnResult>>) -> Result<Option<FakeGraph>> {
        self.calls.borrow_mut().push("capture");
        let results = work()?;
        match self.flaw {
            Flaw::CapturesNothing => Ok(None),
            Flaw::FailsToCapture => Err(Error::new("operation not permitted when stream is capturing")),
            _ => Ok(Some(FakeGraph { flaw: self.flaw.clone(), calls: Rc::clone(&self.calls), results })),
        }
    }
}

impl CapturedGraph for FakeGraph {
    fn results(&self) -> &[TurnResult] {
        &self.results
    }

    fn launch(&self) -> Result<()> {
        self.calls.borrow_mut().push("launch");
        match &self.flaw {
            Flaw::FailsToLaunch => Err(Error::new("an illegal memory access was encountered")),
            Flaw::Spoils(weight) => Ok(weight.var().set(&weight.value().affine(1.01, 0.0)?)?),
            _ => Ok(()),
        }
    }

    fn replay<T>(&self, updates: impl FnOnce() -> Result<T>) -> Result<T> {
        self.calls.borrow_mut().push("replay");
        updates()
    }
}

/// Scales each channel's mean.
struct Scale {
    weight: Parameter,
    replays: bool,
}

impl Classifier for Scale {
    fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput> {
        let means = zskt_api::ops::global_average(images)?;
        Ok(ClassifierOutput { logits: means.broadcast_mul(&self.weight.tensor(mode))?, activations: Vec::new() })
    }
    fn replays(&self) -> bool {
        self.replays
    }
}

/// Its latents are its images.
struct Identity {
    latents: Arc<Mutex<Option<Tensor>>>,
    replays: bool,
}

impl Generator for Identity {
    fn forward(&self, input: &GeneratorInput<'_>, _: ForwardMode) -> Result<FeatureMap> {
        *self.latents.lock().unwrap() = Some(input.latents.clone());
        FeatureMap::from_nchw(&input.latents.unsqueeze(2)?.unsqueeze(3)?)
    }
    fn latent_dim(&self) -> usize {
        3
    }
    fn replays(&self) -> bool {
        self.replays
    }
}

/// The mean of the logits, whose gradient depends on no weight, and a number of the host.
struct Mean {
    replays: bool,
    drift: f64,
    calls: AtomicUsize,
}

impl Loss for Mean {
    fn needs(&self) -> LossInputs {
        LossInputs { teacher: true, ..LossInputs::default() }
    }
    fn value(&self, batch: &LossBatch<'_>) -> Result<Tensor> {
        let drift = self.drift * self.calls.fetch_add(1, Ordering::Relaxed) as f64;
        Ok((batch.student()?.logits.mean_all()? + drift)?)
    }
    fn replays(&self) -> bool {
        self.replays
    }
}

/// Passes everything on but whether it may be replayed.
struct Forgetful(Arc<dyn Loss>);

impl Loss for Forgetful {
    fn needs(&self) -> LossInputs {
        self.0.needs()
    }
    fn value(&self, batch: &LossBatch<'_>) -> Result<Tensor> {
        self.0.value(batch)
    }
}

/// Steps that become shorter, so that one too many or too few is seen in all later ones.
struct Shrinking {
    replays: bool,
}

struct ShrinkingSteps {
    replays: bool,
    steps: f64,
}

impl Optimizer for Shrinking {
    fn learning_rate(&self) -> f64 {
        0.5
    }
    fn start(&self, _: Vec<Parameter>) -> Result<Box<dyn OptimizerState>> {
        Ok(Box::new(ShrinkingSteps { replays: self.replays, steps: 0.0 }))
    }
}

impl OptimizerState for ShrinkingSteps {
    fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()> {
        self.steps += 1.0;
        for (weight, gradient) in gradients.iter() {
            weight.var().set(&(weight.value() - gradient.affine(learning_rate / self.steps, 0.0)?)?)?;
        }
        Ok(())
    }
    fn replays(&self) -> bool {
        self.replays
    }
    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        Ok(BTreeMap::from([("steps".into(), Tensor::new(&[self.steps], &Device::Cpu)?)]))
    }
    fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        self.steps = state["steps"].to_vec1::<f64>()?[0];
        Ok(())
    }
}

struct Falling;

impl Schedule for Falling {
    fn factor(&self, batch: usize, batches: usize) -> f64 {
        1.0 - batch as f64 / batches as f64
    }
}

/// What says whether it may be replayed.
#[derive(Clone, Copy)]
struct Replays {
    teacher: bool,
    student: bool,
    generator: bool,
    loss: bool,
    optimizer: bool,
    wanted: bool,
}

const ALL: Replays =
    Replays { teacher: true, student: true, generator: true, loss: true, optimizer: true, wanted: true };

struct Training {
    teacher: ClassifierNetwork,
    student: Arc<ClassifierNetwork>,
    generator: GeneratorNetwork,
    turns: Vec<TurnRuntime>,
    /// The latents that the generator was last run on.
    latents: Arc<Mutex<Option<Tensor>>>,
    wanted: bool,
}

fn classifier(replays: bool) -> ClassifierNetwork {
    let builder = Builder::zeros(Precision::F64, &Device::Cpu);
    let weight = builder.parameter("weight", &[3], Init::Constant(1.0)).unwrap();
    Network { name: "network".into(), weights: builder.weights(), forward: Box::new(Scale { weight, replays }) }
}

fn mean(replays: bool, drift: f64) -> Arc<dyn Loss> {
    Arc::new(Mean { replays, drift, calls: AtomicUsize::new(0) })
}

impl Training {
    fn new(replays: Replays) -> Self {
        Self::with_loss(replays, mean(replays.loss, 0.0))
    }

    fn with_loss(replays: Replays, loss: Arc<dyn Loss>) -> Self {
        let student = Arc::new(classifier(replays.student));
        let latents = Arc::default();
        let turn = Turn {
            name: "turn".into(),
            player: Player::Classifier(Arc::clone(&student)),
            objective: Objective::Minimize,
            steps: 2,
            losses: vec![loss],
            optimizer: Arc::new(Shrinking { replays: replays.optimizer }),
            schedule: Some(Arc::new(Falling)),
            clip_norm: None,
            latents: zskt_api::Latents::Shared,
            opponent: zskt_api::Mode::Train,
            synthesis: None,
        };
        Self {
            teacher: classifier(replays.teacher),
            student,
            generator: Network {
                name: "generator".into(),
                weights: Builder::zeros(Precision::F64, &Device::Cpu).weights(),
                forward: Box::new(Identity { latents: Arc::clone(&latents), replays: replays.generator }),
            },
            turns: TurnRuntime::start(&[Arc::new(turn)]).unwrap(),
            latents,
            wanted: replays.wanted,
        }
    }

    fn weight(&self) -> Parameter {
        self.student.weights.iter().next().unwrap().clone()
    }

    /// All numbers that training changes.
    fn state(&self) -> Vec<f64> {
        let weight = self.weight().value().to_vec1::<f64>().unwrap();
        let steps = self.turns[0].state().unwrap()["turn.steps"].to_vec1::<f64>().unwrap();
        [weight, steps].concat()
    }

    /// Trains on all batches; what the device was asked for.
    fn run(&mut self, flaw: Flaw, input: impl Fn(usize) -> BatchInput) -> Vec<&'static str> {
        self.run_until_refused(flaw, input).0
    }

    /// The same, and why batches are not replayed.
    fn run_until_refused(
        &mut self,
        flaw: Flaw,
        input: impl Fn(usize) -> BatchInput,
    ) -> (Vec<&'static str>, Option<String>) {
        let device = FakeDevice { flaw, ..FakeDevice::default() };
        let calls = Rc::clone(&device.calls);
        let networks =
            Networks { teacher: Some(&self.teacher), student: &self.student, generator: Some(&self.generator) };
        let mut runner = CudaGraphRunner::new(device, &self.turns, networks, self.wanted);
        let (counted, trained) = (Cell::new(0), Cell::new(0));
        for batch in 0..BATCHES {
            let position = BatchPosition { batch, batches: BATCHES };
            let input = input(batch);
            trained.set(trained.get() + 2 * input.count());
            let result = runner.train_batch(&mut self.turns, networks, &input, position).unwrap();
            let (images, metrics) = result.read(batch + 1).unwrap();
            counted.set(counted.get() + images);
            let learning_rate = metrics.iter().find(|metric| metric.name == "turn.learning_rate").unwrap().value;
            assert_eq!(learning_rate, 0.5 * Falling.factor(batch, BATCHES));
        }
        assert_eq!(counted.get(), trained.get());
        (calls.take(), runner.take_refusal())
    }
}

/// Two latents that differ from batch to batch, but whose mean, and so the gradient, does not.
fn latents(batch: usize) -> Tensor {
    let offset = batch as f64;
    Tensor::new(&[[1.0 + offset; 3], [1.0 - offset; 3]], &Device::Cpu).unwrap()
}

fn generated(batch: usize) -> BatchInput {
    BatchInput::Latents(LatentDraws { all: latents(batch), labels: None, batch: 2 })
}

/// The state after training kernel by kernel.
fn eager_state() -> Vec<f64> {
    let mut training = Training::new(Replays { wanted: false, ..ALL });
    assert!(training.run(Flaw::None, generated).is_empty());
    training.state()
}

#[test]
fn a_replay_that_gives_the_same_is_used_for_all_later_batches() {
    let mut training = Training::new(ALL);
    let (calls, refusal) = training.run_until_refused(Flaw::None, generated);
    assert_eq!(
        (calls.as_slice(), refusal),
        (&["rehearse", "capture", "launch", "replay", "replay", "replay"][..], None)
    );
    assert_eq!(training.state(), eager_state());
    // The tensor that was captured holds the latents of the last batch.
    let captured = training.latents.lock().unwrap().take().unwrap();
    let numbers = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap().to_vec2::<f64>().unwrap();
    assert_eq!(numbers(&captured), numbers(&latents(BATCHES - 1)));
}

#[test]
fn what_cannot_be_captured_or_replayed_leaves_no_trace() {
    let expected = eager_state();
    for (flaw, calls, reason) in [
        (Flaw::CapturesNothing, &["rehearse", "capture"][..], "nothing was captured"),
        (Flaw::FailsToCapture, &["rehearse", "capture"], "operation not permitted when stream is capturing"),
        (Flaw::FailsToLaunch, &["rehearse", "capture", "launch"], "an illegal memory access was encountered"),
    ] {
        let mut training = Training::new(ALL);
        assert_eq!(training.run_until_refused(flaw, generated), (calls.to_vec(), Some(reason.to_owned())));
        assert_eq!(training.state(), expected);
    }
    let mut training = Training::new(ALL);
    let spoils = Flaw::Spoils(training.weight());
    let (calls, reason) = training.run_until_refused(spoils, generated);
    assert_eq!(calls, ["rehearse", "capture", "launch"]);
    assert_eq!(reason.as_deref(), Some("a replay gave other results or weights"));
    assert_eq!(training.state(), expected);
}

#[test]
fn a_loss_whose_value_changes_on_the_host_is_found_out() {
    let mut training = Training::with_loss(ALL, mean(true, 0.01));
    assert_eq!(training.run(Flaw::None, generated), ["rehearse", "capture", "launch"]);
    assert_eq!(training.state(), eager_state());
}

#[test]
fn nothing_is_captured_where_one_does_not_allow_it() {
    for replays in [
        Replays { teacher: false, ..ALL },
        Replays { student: false, ..ALL },
        Replays { generator: false, ..ALL },
        Replays { loss: false, ..ALL },
        Replays { optimizer: false, ..ALL },
        Replays { wanted: false, ..ALL },
    ] {
        assert!(Training::new(replays).run(Flaw::None, generated).is_empty());
    }
}

/// Two images of the same numbers and their labels; one in the third and in the last batch.
fn ready(batch: usize) -> BatchInput {
    images(batch, if batch == 2 || batch == BATCHES - 1 { 1 } else { 2 })
}

fn images(batch: usize, count: usize) -> BatchInput {
    let images = latents(batch).narrow(0, 0, count).unwrap().unsqueeze(2).unwrap().unsqueeze(3).unwrap();
    BatchInput::Ready {
        images: FeatureMap::from_nchw(&images).unwrap(),
        labels: Some(Tensor::full(batch as u32, count, &Device::Cpu).unwrap()),
    }
}

#[test]
fn batches_of_a_dataset_are_replayed_but_the_smaller_ones() {
    let expected = {
        let mut training = Training::new(Replays { wanted: false, ..ALL });
        assert!(training.run(Flaw::None, ready).is_empty());
        training.state()
    };
    let mut training = Training::new(ALL);
    assert_eq!(training.run(Flaw::None, ready), ["rehearse", "capture", "launch", "replay"]);
    assert_eq!(training.state(), expected);
}

#[test]
fn batches_that_grow_are_captured_once_more() {
    let growing = |batch: usize| images(batch, if batch < 3 { 1 } else { 2 });
    let expected = {
        let mut training = Training::new(Replays { wanted: false, ..ALL });
        assert!(training.run(Flaw::None, growing).is_empty());
        training.state()
    };
    let mut training = Training::new(ALL);
    let calls = training.run(Flaw::None, growing);
    assert_eq!(calls, ["rehearse", "capture", "launch", "rehearse", "capture", "launch", "replay"]);
    assert_eq!(training.state(), expected);
}

#[test]
fn what_a_captured_batch_reads_is_what_was_written_over_it_last() {
    let captured = CapturedInput::of(&ready(0)).unwrap();
    let read = captured.input().unwrap();
    assert!(captured.overwrite(&ready(1)).unwrap());
    assert!(!captured.overwrite(&ready(2)).unwrap(), "it has fewer images");
    assert!(!captured.overwrite(&generated(1)).unwrap());
    let (CapturedInput::Ready { images, .. }, BatchInput::Ready { labels: Some(labels), .. }) = (&captured, &read)
    else {
        panic!("images stay images")
    };
    assert_eq!(labels.to_vec1::<u32>().unwrap(), [1, 1]);
    let numbers = images.flatten_from(1).unwrap().to_vec2::<f64>().unwrap();
    assert_eq!(numbers, latents(1).to_vec2::<f64>().unwrap());
}

#[test]
fn a_wrapper_that_forgets_to_say_whether_it_may_be_replayed_is_not() {
    for replays in [false, true] {
        let mut training = Training::with_loss(ALL, Arc::new(Forgetful(mean(replays, 0.0))));
        assert!(training.run(Flaw::None, generated).is_empty());
    }
}
