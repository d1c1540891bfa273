//! What a stage says when it cannot train on: memory runs out, training diverges, its length makes no sense.

use std::sync::Arc;

use zskt_api::candle_core::{self, Device, Tensor};
use zskt_api::{
    BuildContext, Builder, Classifier, ClassifierNetwork, ClassifierOutput, Error, FeatureMap, ForwardMode, Generator,
    GeneratorInput, ImageSource, Init, Keep, Latents, Loss, LossBatch, LossInputs, Mode, Network, Objective, Observer,
    Parameter, Player, Precision, Progress, RandomStreams, Result, Signatures, Stage, StageContext, StageState,
    Trainee, Turn,
};
use zskt_losses::{KlDivergence, Reduction};
use zskt_optimizers::Sgd;
use zskt_stages::{OnWarning, Transfer, TransferInputs};

/// A network on a device that has room for a few images.
struct Cramped {
    weight: Parameter,
    room: usize,
}

impl Classifier for Cramped {
    fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput> {
        if images.batch() > self.room {
            // As candle has it from CUDA's driver: the driver's error within, and a backtrace around it.
            let driver = "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")";
            return Err(candle_core::Error::Cuda(driver.into()).bt().into());
        }
        let means = zskt_api::ops::global_average(images)?;
        Ok(ClassifierOutput { logits: means.broadcast_mul(&self.weight.tensor(mode))?, activations: Vec::new() })
    }
}

/// A network of which one weight learns.
struct PartlyTrained {
    weight: Parameter,
    detached: Parameter,
    evaluated: Parameter,
}

impl Classifier for PartlyTrained {
    fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput> {
        let means = zskt_api::ops::global_average(images)?;
        let [weight, detached] = [&self.weight, &self.detached].map(|weight| weight.tensor(mode));
        let constant = means.broadcast_mul(&detached)?.detach();
        let constant = constant.broadcast_add(&self.evaluated.tensor(ForwardMode::eval()))?;
        Ok(ClassifierOutput { logits: (means.broadcast_mul(&weight)? + constant)?, activations: Vec::new() })
    }
}

/// A loss that gives no gradient.
struct Constant;

impl Loss for Constant {
    fn needs(&self) -> LossInputs {
        LossInputs::default()
    }
    fn value(&self, batch: &LossBatch<'_>) -> Result<Tensor> {
        let student = batch.student.ok_or_else(|| Error::new("there is no student"))?;
        Ok(student.logits.detach().sum_all()?)
    }
    fn node(&self) -> Option<&str> {
        Some("idle")
    }
}

/// Its latents are its images, but for what is added to the first channel.
struct Plain {
    added: f64,
}

impl Generator for Plain {
    fn forward(&self, input: &GeneratorInput<'_>, _: ForwardMode) -> Result<FeatureMap> {
        let added = Tensor::new(&[self.added as f32, 0.0, 0.0], input.latents.device())?;
        FeatureMap::from_nchw(&input.latents.broadcast_add(&added)?.unsqueeze(2)?.unsqueeze(3)?)
    }
    fn latent_dim(&self) -> usize {
        3
    }
}

/// Counts the reports it gets.
#[derive(Default)]
struct Counts {
    batches: usize,
    checkpoints: usize,
    warnings: Vec<(usize, String)>,
}

impl Observer for Counts {
    fn batch(&mut self, _: &Progress<'_>) -> Result<()> {
        self.batches += 1;
        Ok(())
    }
    fn interrupted(&self) -> bool {
        false
    }
    fn checkpoint(&mut self, _: &StageState) -> Result<()> {
        self.checkpoints += 1;
        Ok(())
    }
    fn images(&mut self, _: usize, _: &FeatureMap) -> Result<()> {
        Ok(())
    }
    fn evaluate(&mut self, _: usize) -> Result<()> {
        Ok(())
    }
    fn warn(&mut self, batch: usize, warning: &str) -> Result<()> {
        self.warnings.push((batch, warning.to_owned()));
        Ok(())
    }
}

fn network(room: usize, weight: f64) -> Arc<ClassifierNetwork> {
    let builder = Builder::zeros(Precision::F32, &Device::Cpu);
    let weight = builder.parameter("weight", &[3], Init::Constant(weight)).unwrap();
    let forward = Box::new(Cramped { weight, room }) as Box<dyn Classifier>;
    Arc::new(Network { name: "student".into(), weights: builder.weights(), forward })
}

/// What a run with batches of 100 says where there is room for so many images, at this learning rate.
fn failure(room: usize, lr: f64) -> (Error, Counts) {
    let transfer = Transfer { batches: Some(5), epochs: None, ..transfer() };
    failing(&transfer, room, lr)
}

fn transfer() -> Transfer {
    Transfer {
        batches: None,
        epochs: None,
        batch_size: 100,
        evaluate_every: None,
        checkpoint_every: 500,
        preview_every: None,
        replay: true,
        targets: None,
        keep: Keep::Last,
        patience: None,
        min_delta: 0.0,
        monitor_every: None,
        on_warning: OnWarning::Continue,
    }
}

fn failing(transfer: &Transfer, room: usize, lr: f64) -> (Error, Counts) {
    let (ended, observer) = run(transfer, room, lr, 0.0);
    (ended.expect_err("it fails"), observer)
}

fn run(transfer: &Transfer, room: usize, lr: f64, added: f64) -> (Result<()>, Counts) {
    run_of(transfer, network(room, 1.0), Vec::new(), lr, added)
}

/// A run of this student, with these losses beside the divergence of beliefs.
fn run_of(
    transfer: &Transfer,
    student: Arc<ClassifierNetwork>,
    beside: Vec<Arc<dyn Loss>>,
    lr: f64,
    added: f64,
) -> (Result<()>, Counts) {
    let belief: Arc<dyn Loss> = Arc::new(KlDivergence {
        temperature: 1.0,
        weight: 1.0,
        reduction: Reduction::Mean,
        temperature_squared: false,
        agreeing_only: false,
    });
    let weights = Builder::zeros(Precision::F32, &Device::Cpu).weights();
    let forward = Box::new(Plain { added }) as Box<dyn Generator>;
    let turn = Turn {
        name: "imitate".into(),
        player: Player::Classifier(Arc::clone(&student)),
        objective: Objective::Minimize,
        steps: 1,
        losses: [vec![belief], beside].concat(),
        optimizer: Arc::new(Sgd { lr, momentum: 0.0, nesterov: false, weight_decay: 0.0 }),
        schedule: None,
        clip_norm: None,
        latents: Latents::Shared,
        opponent: Mode::Train,
        synthesis: None,
    };
    let inputs = TransferInputs {
        teacher: network(usize::MAX, 2.0),
        student: Trainee(student),
        images: ImageSource::Generator(Arc::new(Network { name: "generator".into(), weights, forward })),
        turns: vec![Arc::new(turn)],
    };
    let build = BuildContext {
        node: "transfer".into(),
        device: Device::Cpu,
        precision: Precision::F32,
        streams: RandomStreams::new(0),
        normalization: None,
    };
    let mut observer = Counts::default();
    let ended = transfer
        .run(inputs, &mut StageContext { build, resume: None, inputs: Signatures::default(), observer: &mut observer });
    (ended.map(|_| ()), observer)
}

#[test]
fn what_would_fit_is_said_when_memory_runs_out() {
    let (error, observer) = failure(30, 0.1);
    assert!(error.is_out_of_memory());
    assert_eq!(
        error.to_string(),
        "there is no memory for a batch of 100 images, and 25 fit: `--set transfer.batch_size=25` (turn `imitate`, \
         batch 1: DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\"))"
    );
    // No batch that was tried counts, and no checkpoint holds what it did to the weights.
    assert_eq!((observer.batches, observer.checkpoints), (0, 0));
    let (error, _) = failure(0, 0.1);
    assert!(error.to_string().contains("not even one fits"), "{error}");
}

#[test]
fn training_that_diverges_says_where_and_reports_what_came_before() {
    let (error, observer) = failure(100, f64::MAX);
    let found = error.to_string();
    assert!(found.starts_with("turn `imitate`, batch 2: the loss is NaN: training has diverged"), "{found}");
    assert_eq!(observer.batches, 1);
}

#[test]
fn a_length_that_says_nothing_or_two_things_trains_no_batch() {
    let lengths = [
        (None, None, "how long to train"),
        (Some(5), Some(1.0), "give one of them"),
        (None, Some(1.0), "a generator has no epochs"),
    ];
    for (batches, epochs, reason) in lengths {
        let (error, observer) = failing(&Transfer { batches, epochs, ..transfer() }, 100, 0.1);
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(observer.batches, 0);
    }
}

#[test]
fn what_goes_wrong_unseen_is_told_once_or_ends_the_run() {
    let watched = |on_warning| Transfer { batches: Some(14), monitor_every: Some(2), on_warning, ..transfer() };
    let collapsed = "the generator has collapsed: its images are 100 % of class 0";
    let still = "the student no longer moves";
    // Where both networks are sure of one class, there is nothing to learn, either.
    for (lr, added, expected) in [(0.1, 0.0, &[][..]), (0.1, 1e3, &[collapsed, still]), (1e-12, 0.0, &[still])] {
        let (ended, observer) = run(&watched(OnWarning::Continue), 100, lr, added);
        ended.unwrap();
        let told = observer.warnings;
        assert_eq!(told.len(), expected.len(), "{told:?}");
        for ((batch, warning), expected) in told.iter().zip(expected) {
            assert!(*batch == 6 && warning.starts_with(expected), "{batch} {warning}");
        }
        let (ended, observer) = run(&watched(OnWarning::Stop), 100, lr, added);
        assert_eq!((ended.is_ok(), observer.batches), if expected.is_empty() { (true, 14) } else { (false, 6) });
    }
}

#[test]
fn weights_and_losses_without_a_gradient_are_told_after_the_first_update_alone() {
    let student = || {
        let builder = Builder::zeros(Precision::F32, &Device::Cpu);
        let weight = |name: &str| builder.parameter(name, &[3], Init::Constant(1.0)).unwrap();
        let [weight, detached, evaluated, _] = ["weight", "detached", "evaluated", "unused"].map(weight);
        let forward = Box::new(PartlyTrained { weight, detached, evaluated }) as Box<dyn Classifier>;
        Arc::new(Network { name: "student".into(), weights: builder.weights(), forward })
    };
    let short = |on_warning| Transfer { batches: Some(3), on_warning, ..transfer() };
    let (ended, observer) = run_of(&short(OnWarning::Continue), student(), vec![Arc::new(Constant)], 0.1, 0.0);
    ended.unwrap();
    let expected = [
        "no gradient reaches `detached`, `evaluated` and 1 more of `student` in turn `imitate`",
        "the loss `idle` gives no gradient in turn `imitate`",
    ];
    assert_eq!(observer.warnings.len(), 2, "{:?}", observer.warnings);
    for ((batch, warning), expected) in observer.warnings.iter().zip(expected) {
        assert!(*batch == 1 && warning.starts_with(expected), "{batch} {warning}");
    }
    let (ended, _) = run_of(&short(OnWarning::Stop), student(), Vec::new(), 0.1, 0.0);
    assert!(ended.unwrap_err().to_string().starts_with(expected[0]));
    // All of an ordinary network learns.
    let (ended, observer) = run(&short(OnWarning::Stop), 100, 0.1, 0.0);
    ended.unwrap();
    assert_eq!(observer.warnings, []);
}
