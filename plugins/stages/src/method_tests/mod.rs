//! Each method against an independent statement of it in PyTorch, which gives the same as its authors' public code: from the same weights
//! and draws, the same losses, images and final weights.
//!
//! `tests/fixtures/methods/README.md` says how the fixtures were made, and what they hold.

mod networks;
mod tape;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zskt_api::candle_core::{DType, Device, Tensor, safetensors};
use zskt_api::testing::build_context;
use zskt_api::{
    Augmentation, BuildContext, ClassifierNetwork, FeatureMap, GeneratorNetwork, ImageSet, ImageSource, KeptImages,
    Latents, Loss, Mode, Normalization, Objective, Observer, Optimizer, Player, Precision, Progress, Reset, Result,
    Rounds, Schedule, Signatures, StageContext, StageState, Synthesis, SynthesisProgress, Transforms, Turn, Weights,
};
use zskt_losses::{
    BatchNormMatching, FeatureActivation, InformationEntropy, JensenShannon, KlDivergence, Logarithm,
    MeanAbsoluteError, OneHot, Reduction, ShownClass, TotalVariation, VariationNorm,
};
use zskt_optimizers::{Adam, Sgd};

use self::networks::{Maker, classifier};
use self::tape::{Tape, TapedTargets};
use crate::batch_sampler::Targets;
use crate::draws::{Draws, StreamDraws};
use crate::intervals::Intervals;
use crate::monitors::{MonitorOptions, OnWarning};
use crate::training_loop::TrainingLoop;

const CLASSES: usize = 4;

/// A method, as its pipeline would have it.
struct Method {
    fixture: &'static str,
    maker: Maker,
    turns: fn(&Players) -> Vec<Turn>,
    batches: usize,
    batch_size: usize,
    has_targets: bool,
}

/// The networks that turns update.
struct Players {
    student: Arc<ClassifierNetwork>,
    generator: Arc<GeneratorNetwork>,
}

fn kl(weight: f64, temperature: f64, agreeing_only: bool) -> Arc<dyn Loss> {
    let (reduction, temperature_squared) = (Reduction::BatchMean, true);
    Arc::new(KlDivergence { temperature, weight, reduction, temperature_squared, agreeing_only })
}

fn statistics(weight: f64) -> Arc<dyn Loss> {
    Arc::new(BatchNormMatching { weight })
}

fn one_hot(weight: f64, class: ShownClass) -> Arc<dyn Loss> {
    Arc::new(OneHot { weight, class })
}

fn entropy(weight: f64, logarithm: Logarithm) -> Arc<dyn Loss> {
    Arc::new(InformationEntropy { weight, logarithm })
}

fn sgd(lr: f64, weight_decay: f64) -> Arc<dyn Optimizer> {
    Arc::new(Sgd { lr, momentum: 0.9, nesterov: false, weight_decay })
}

fn adam(lr: f64, betas: [f64; 2]) -> Arc<dyn Optimizer> {
    Arc::new(Adam { lr, betas, eps: 1e-8, weight_decay: 0.0 })
}

/// A cosine that moves once per epoch, towards its floor after five.
struct EpochCosine {
    batches: usize,
    floor: f64,
}

impl Schedule for EpochCosine {
    fn factor(&self, batch: usize, _: usize) -> f64 {
        let progress = (batch / self.batches) as f64 / 5.0;
        self.floor + (1.0 - self.floor) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
    }
}

fn turn(name: &str, player: Player, losses: Vec<Arc<dyn Loss>>, optimizer: Arc<dyn Optimizer>, steps: usize) -> Turn {
    Turn {
        name: name.into(),
        player,
        objective: Objective::Minimize,
        steps,
        losses,
        optimizer,
        schedule: None,
        clip_norm: None,
        latents: Latents::Fresh,
        opponent: Mode::Eval,
        synthesis: None,
    }
}

/// One step of the generator, two of the student: the loop of the generative methods, two batches to an epoch.
fn generative(players: &Players, losses: Vec<Arc<dyn Loss>>) -> Vec<Turn> {
    let create = turn("create", Player::Generator(players.generator.clone()), losses, adam(1e-3, [0.5, 0.999]), 1);
    let schedule: Arc<dyn Schedule> = Arc::new(EpochCosine { batches: 2, floor: 0.0 });
    let imitate = imitate(players, kl(1.0, 1.0, false), sgd(0.1, 1e-4), 2);
    vec![create, Turn { schedule: Some(schedule), ..imitate }]
}

fn imitate(players: &Players, loss: Arc<dyn Loss>, optimizer: Arc<dyn Optimizer>, steps: usize) -> Turn {
    turn("imitate", Player::Classifier(players.student.clone()), vec![loss], optimizer, steps)
}

/// A student that learns from a bank, three batches to an epoch.
fn from_bank(players: &Players, lr: f64, floor: f64) -> Turn {
    let schedule: Arc<dyn Schedule> = Arc::new(EpochCosine { batches: 3, floor });
    let imitate = imitate(players, kl(1.0, 20.0, false), sgd(lr, 1e-4), 1);
    Turn { schedule: Some(schedule), latents: Latents::Shared, ..imitate }
}

fn synthesis(images: usize, rounds: Rounds) -> Synthesis {
    Synthesis {
        images,
        rounds,
        keep: KeptImages::Best,
        transforms: Transforms { crop: 4, roll: 0, flip: true },
        latents_lr: None,
        outer: None,
        statistics_momentum: Some(0.9),
        reinitialize_every: None,
        reset: None,
        augmentation: Augmentation { crop: 4, flip: true },
        capacity: None,
    }
}

const METHODS: [Method; 8] = [
    Method {
        fixture: "zskt",
        maker: Maker::Sigmoid,
        turns: |players| generative(players, vec![kl(-1.0, 1.0, false)]),
        batches: 4,
        batch_size: 6,
        has_targets: false,
    },
    Method {
        fixture: "dafl",
        maker: Maker::Sigmoid,
        turns: |players| {
            let activation = Arc::new(FeatureActivation { weight: 1e-3 });
            let losses = vec![
                one_hot(1.0, ShownClass::MostProbable),
                entropy(20.0, Logarithm::Natural),
                activation as Arc<dyn Loss>,
            ];
            generative(players, losses)
        },
        batches: 4,
        batch_size: 6,
        has_targets: false,
    },
    Method {
        fixture: "dfq",
        maker: Maker::Sigmoid,
        turns: |players| {
            let losses = vec![
                kl(-1.0, 1.0, false),
                statistics(1.0),
                one_hot(1.0, ShownClass::MostProbable),
                entropy(20.0, Logarithm::Natural),
            ];
            generative(players, losses)
        },
        batches: 4,
        batch_size: 6,
        has_targets: false,
    },
    // Both networks learn from one draw. The student's turn comes first, for the generator's does not look at it.
    Method {
        fixture: "dafl_original",
        maker: Maker::Tanh { epsilon: 0.8 },
        turns: |players| {
            let activation = Arc::new(FeatureActivation { weight: 0.01 });
            let losses = vec![
                one_hot(0.05, ShownClass::MostProbable),
                entropy(5.0, Logarithm::Common),
                activation as Arc<dyn Loss>,
            ];
            let generator = Player::Generator(players.generator.clone());
            let create = turn("create", generator, losses, adam(0.02, [0.9, 0.999]), 1);
            let imitate = imitate(players, kl(1.0, 1.0, false), sgd(0.1, 5e-4), 1);
            let shared = |turn| Turn { latents: Latents::Shared, opponent: Mode::Train, ..turn };
            vec![shared(imitate), shared(create)]
        },
        batches: 4,
        batch_size: 6,
        has_targets: false,
    },
    Method {
        fixture: "dfad",
        maker: Maker::Tanh { epsilon: 1e-5 },
        turns: |players| {
            let distance = |weight| Arc::new(MeanAbsoluteError { weight }) as Arc<dyn Loss>;
            let generator = Player::Generator(players.generator.clone());
            let create = turn("create", generator, vec![distance(-1.0)], adam(1e-3, [0.9, 0.999]), 1);
            let imitate = imitate(players, distance(1.0), sgd(0.1, 5e-4), 2);
            [imitate, create].map(|turn| Turn { opponent: Mode::Train, ..turn }).into()
        },
        batches: 4,
        batch_size: 6,
        has_targets: false,
    },
    Method {
        fixture: "deepinv",
        maker: Maker::Pixels,
        turns: |players| {
            let rounds = Rounds { every: 3, syntheses: 1, warm_up: 0, warm_up_syntheses: 1, student_after: 0 };
            let losses = vec![
                statistics(10.0),
                one_hot(1.0, ShownClass::Label),
                Arc::new(JensenShannon { temperature: 3.0, weight: -1.0 }) as Arc<dyn Loss>,
                Arc::new(TotalVariation { weight: 1e-3, norm: VariationNorm::MeanAbsolute }),
            ];
            let generator = Player::Generator(players.generator.clone());
            let invert = Turn {
                synthesis: Some(Synthesis {
                    keep: KeptImages::Last,
                    transforms: Transforms { crop: 0, roll: 1, flip: true },
                    statistics_momentum: None,
                    reinitialize_every: Some(1),
                    ..synthesis(6, rounds)
                }),
                ..turn("invert", generator, losses, adam(0.1, [0.5, 0.99]), 3)
            };
            vec![invert, from_bank(players, 0.1, 0.0)]
        },
        batches: 6,
        batch_size: 5,
        has_targets: true,
    },
    Method {
        fixture: "fast",
        maker: Maker::Sigmoid,
        turns: |players| {
            let rounds = Rounds { every: 3, syntheses: 1, warm_up: 2, warm_up_syntheses: 1, student_after: 1 };
            let losses = vec![statistics(10.0), one_hot(0.4, ShownClass::Label), kl(-1.1, 1.0, true)];
            let generator = Player::Generator(players.generator.clone());
            let invert = Turn {
                synthesis: Some(Synthesis {
                    latents_lr: Some(0.01),
                    outer: Some(adam(3.0 * 3e-3, [0.5, 0.999])),
                    reset: Some(Reset { synthesis: 3, layers: vec!["fc".into(), "bn0".into()], std: 0.02 }),
                    ..synthesis(6, rounds)
                }),
                ..turn("invert", generator, losses, adam(3e-3, [0.5, 0.999]), 3)
            };
            vec![invert, from_bank(players, 0.2, 1e-3)]
        },
        batches: 6,
        batch_size: 5,
        has_targets: true,
    },
    Method {
        fixture: "nayer",
        maker: Maker::Labels,
        turns: |players| {
            let rounds = Rounds { every: 3, syntheses: 2, warm_up: 1, warm_up_syntheses: 1, student_after: 1 };
            let losses = vec![statistics(10.0), one_hot(0.5, ShownClass::Label), kl(-1.33, 1.0, true)];
            let generator = Player::Generator(players.generator.clone());
            let invert = Turn {
                synthesis: Some(Synthesis { reinitialize_every: Some(3), ..synthesis(10, rounds) }),
                ..turn("invert", generator, losses, adam(4e-3, [0.5, 0.999]), 2)
            };
            vec![invert, from_bank(players, 0.2, 1e-3)]
        },
        batches: 6,
        batch_size: 5,
        has_targets: true,
    },
];

/// What a run of a method left.
struct Outcome {
    players: Players,
    watched: Watched,
}

/// What a stage told.
#[derive(Default)]
struct Watched {
    /// The figures of each batch, by name.
    figures: Vec<BTreeMap<String, f64>>,
    /// Images that were learnt from, those of syntheses among them.
    learnt: usize,
    /// The bank's pixels.
    bank: Option<(Vec<u8>, [usize; 4])>,
    /// After how many questions whether to stop the answer is yes.
    stop_after: Option<usize>,
    asked: std::cell::Cell<usize>,
    checkpoint: Option<StageState>,
}

impl Observer for Watched {
    fn batch(&mut self, progress: &Progress<'_>) -> Result<()> {
        self.learnt += progress.images;
        self.figures.push(progress.figures.iter().map(|figure| (figure.name.clone(), figure.value)).collect());
        Ok(())
    }
    fn interrupted(&self) -> bool {
        self.asked.set(self.asked.get() + 1);
        self.stop_after.is_some_and(|questions| self.asked.get() > questions)
    }
    fn checkpoint(&mut self, state: &StageState) -> Result<()> {
        self.checkpoint = Some(state.clone());
        Ok(())
    }
    fn images(&mut self, _: usize, _: &FeatureMap) -> Result<()> {
        Ok(())
    }
    fn synthesis(&mut self, _: &SynthesisProgress<'_>) {}
    fn made_images(&mut self, _: &str, images: &ImageSet) -> Result<()> {
        let shape = images.shape();
        self.bank = Some((images.pixels().to_vec(), [images.len(), shape.channels, shape.height, shape.width]));
        Ok(())
    }
    fn evaluate(&mut self, _: usize) -> Result<()> {
        Ok(())
    }
}

fn fixture(name: &str) -> Result<BTreeMap<String, Tensor>> {
    // Elsewhere where the tests are carried to another machine.
    let folder = std::env::var_os("ZSKT_TEST_METHODS").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/methods"));
    Ok(safetensors::load(folder.join(format!("{name}.safetensors")), &Device::Cpu)?.into_iter().collect())
}

/// The tensors of a fixture whose names begin so, without that.
fn under(fixture: &BTreeMap<String, Tensor>, start: &str) -> BTreeMap<String, Tensor> {
    fixture.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(start)?.to_owned(), tensor.clone()))).collect()
}

fn context(precision: Precision) -> BuildContext {
    let normalization = Normalization { mean: vec![0.4914, 0.4822, 0.4465], std: vec![0.2023, 0.1994, 0.2010] };
    let device = zskt_api::tensor::test_device();
    BuildContext { device, normalization: Some(normalization), ..build_context("distill", precision) }
}

impl Method {
    /// Plays it on the draws of its fixture.
    fn play(&self, precision: Precision) -> Result<Outcome> {
        let fixture = fixture(self.fixture)?;
        let context = context(precision);
        let mut tape = Tape::of(&fixture);
        let network = |name: &str, width| classifier(name, width, &under(&fixture, &format!("init.{name}.")), &context);
        let (teacher, student) = (network("teacher", 4)?, network("student", 3)?);
        let turns_of_z = (self.turns)(&Players { student: student.clone(), generator: self.maker.stand_in(&context)? });
        let draws_per_batch = turns_of_z.iter().map(Turn::fresh_draws).sum();
        let generator = self.maker.build(&fixture, &context, tape.clone(), draws_per_batch)?;
        let players = Players { student, generator };
        let turns = (self.turns)(&players);
        let targets = self.has_targets.then(|| Targets {
            plugin: Arc::new(TapedTargets { tape: tape.clone(), batch: self.maker.batch() }),
            classes: CLASSES,
        });
        let watched = self.run(teacher, &players, turns, targets, &mut tape, context, Watched::default(), None)?;
        Ok(Outcome { players, watched })
    }

    #[expect(clippy::too_many_arguments, reason = "a stage has so many")]
    fn run(
        &self,
        teacher: Arc<ClassifierNetwork>,
        players: &Players,
        turns: Vec<Turn>,
        targets: Option<Targets>,
        draws: &mut dyn Draws,
        build: BuildContext,
        mut watched: Watched,
        resume: Option<StageState>,
    ) -> Result<Watched> {
        let training = TrainingLoop {
            teacher: Some(teacher),
            student: Arc::clone(&players.student),
            images: ImageSource::Generator(Arc::clone(&players.generator)),
            turns: turns.into_iter().map(Arc::new).collect(),
            targets,
            batches: self.batches,
            batch_size: self.batch_size,
            intervals: Intervals { evaluate_every: None, checkpoint_every: 1000, preview_every: 0 },
            replay: false,
            monitors: MonitorOptions { every: None, on_warning: OnWarning::Continue },
        };
        let inputs = Signatures::default();
        let done = training.run_with(draws, &mut StageContext { build, resume, inputs, observer: &mut watched });
        match done {
            Err(error) if !error.is_interrupted() => Err(error),
            _ => Ok(watched),
        }
    }
}

/// The largest difference of any weight from the fixture's, relative to the largest number of its tensor.
fn difference(weights: &Weights, expected: &BTreeMap<String, Tensor>, skip: &[&str]) -> Result<(f64, String)> {
    let mut worst = (0.0, String::new());
    for weight in weights.iter() {
        if weight.name().ends_with("num_batches_tracked") || skip.iter().any(|skip| weight.name().contains(skip)) {
            continue;
        }
        let expected = expected[weight.name()].flatten_all()?.to_vec1::<f64>()?;
        let found = weight.value().to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        let largest = expected.iter().fold(1e-3_f64, |largest, number| largest.max(number.abs()));
        for (found, expected) in found.iter().zip(&expected) {
            let difference = (found - expected).abs() / largest;
            if difference.is_nan() || difference > worst.0 {
                worst = (difference, weight.name().to_owned());
            }
        }
    }
    Ok(worst)
}

/// The means of the fixture's numbers, a batch each.
fn by_batch(trace: &Tensor, batches: usize) -> Result<Vec<f64>> {
    let numbers = trace.to_vec1::<f64>()?;
    let each = numbers.len() / batches;
    Ok(numbers.chunks(each).map(|part| part.iter().sum::<f64>() / each as f64).collect())
}

fn assert_near(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let near = |(found, expected): (&f64, &f64)| (found - expected).abs() <= tolerance * expected.abs().max(1.0);
    assert!(found.iter().zip(expected).all(near), "{what}: {found:?}, expected {expected:?}");
}

/// A figure of those batches that have it.
fn figures(watched: &Watched, name: &str) -> Vec<f64> {
    watched.figures.iter().filter_map(|figures| figures.get(name).copied()).collect()
}

/// Compares losses, images and weights. In single precision a number near the kink of a ReLU falls to its other side, and Adam makes a whole step
/// of the difference: what has learnt from such images has learnt something else.
fn check(method: &Method, precision: Precision, tolerance: f64) -> Result<()> {
    let fixture = fixture(method.fixture)?;
    let Outcome { players, watched } = method.play(precision)?;
    let name = method.fixture;
    let expected = by_batch(&fixture["trace.student"], method.batches)?;
    assert_near(&figures(&watched, "imitate.loss"), &expected, tolerance, &format!("{name}: the student's losses"));
    let image = fixture["trace.image"].to_vec1::<f64>()?;
    match &watched.bank {
        None => {
            assert_near(&figures(&watched, "create.loss"), &image, tolerance, &format!("{name}: the images' losses"));
        }
        Some((pixels, shape)) => {
            // The last step of the last synthesis of each round; the warm-up is before the first batch.
            let steps = (method.turns)(&players)[0].steps;
            let rounds = (method.turns)(&players)[0].synthesis.as_ref().map(|synthesis| synthesis.rounds).unwrap();
            let made = |round: usize| (0..=round).map(|round| rounds.syntheses_of(round)).sum::<usize>();
            let last = (rounds.warm_up..rounds.warm_up + 2).map(|round| image[made(round) * steps - 1]);
            assert_near(
                &figures(&watched, "invert.loss"),
                &last.collect::<Vec<_>>(),
                tolerance,
                &format!("{name}: the images' losses"),
            );
            let expected = &fixture["bank"];
            assert_eq!(expected.dims(), shape, "{name}: the bank");
            let expected = expected.flatten_all()?.to_vec1::<u8>()?;
            let off: Vec<_> = pixels.iter().zip(&expected).map(|(found, expected)| found.abs_diff(*expected)).collect();
            // Pixels that are cut off at white are 254 or 255 by the last bit of how they were normalized.
            if precision == Precision::F64 {
                let largest = off.iter().max().copied().unwrap_or_default();
                assert!(largest <= u8::from(name == "deepinv"), "{name}: a pixel of the bank is off by {largest}");
            }
            let mean = off.iter().map(|off| f64::from(*off)).sum::<f64>() / off.len() as f64;
            assert!(mean < 3.0, "{name}: pixels of the bank are off by {mean} on average");
        }
    }
    let learnt_elsewhere = precision != Precision::F64 && watched.bank.is_some();
    let tolerance = if learnt_elsewhere { 10.0 * tolerance } else { tolerance };
    let (worst, weight) = difference(&players.student.weights, &under(&fixture, "final.student."), &[])?;
    assert!(worst <= tolerance, "{name}: the student's `{weight}` is off by {worst:e}");
    let expected = under(&fixture, "final.generator.");
    if !expected.is_empty() {
        // In one joint step of both networks, as its authors have it, the generator's statistics move once; in two turns, twice.
        // Biases before a batch norm have no gradient but for rounding, which Adam divides by itself.
        let skip: &[&str] = match (name, precision) {
            ("dafl_original", Precision::F64) => &["running_"],
            ("dafl_original" | "dfad", _) => &["running_", "conv1.bias", "conv2.bias", "fc.bias"],
            (_, Precision::F64) => &[],
            (_, _) => &["fc.bias", "noisy"],
        };
        let (worst, weight) = difference(&players.generator.weights, &expected, skip)?;
        assert!(worst <= tolerance, "{name}: the generator's `{weight}` is off by {worst:e}");
    }
    Ok(())
}

#[test]
fn every_method_is_that_of_its_authors() -> Result<()> {
    METHODS.iter().try_for_each(|method| check(method, Precision::F64, 1e-7))
}

#[test]
fn every_method_is_near_that_in_single_precision() -> Result<()> {
    METHODS.iter().try_for_each(|method| check(method, Precision::F32, 2e-2))
}

#[test]
fn a_synthesis_that_is_interrupted_at_any_step_goes_on_to_the_same_bits() -> Result<()> {
    for method in METHODS.iter().filter(|method| method.has_targets) {
        let fixture = fixture(method.fixture)?;
        let context = context(Precision::F32);
        let session = |watched: Watched, from: Option<(StageState, [BTreeMap<String, Tensor>; 2])>| -> Result<_> {
            let network =
                |name: &str, width| classifier(name, width, &under(&fixture, &format!("init.{name}.")), &context);
            let (teacher, student) = (network("teacher", 4)?, network("student", 3)?);
            let players = Players { student, generator: method.maker.drawn(&fixture, &context)? };
            let state = match from {
                None => None,
                Some((state, [student, generator])) => {
                    players.student.weights.load(&student)?;
                    players.generator.weights.load(&generator)?;
                    Some(state)
                }
            };
            let turns = (method.turns)(&players);
            let targets = Targets { plugin: Arc::new(networks::Classes), classes: CLASSES };
            let mut draws = StreamDraws::new(&context, "invert");
            let watched =
                method.run(teacher, &players, turns, Some(targets), &mut draws, context.clone(), watched, state)?;
            Ok((players, watched))
        };
        let weights = |players: &Players| -> Result<_> {
            Ok([players.student.weights.snapshot()?, players.generator.weights.snapshot()?])
        };
        let (whole, watched) = session(Watched::default(), None)?;
        let questions = watched.asked.get();
        let bits = |players: &Players| {
            zskt_api::WeightsDigest::of(players.student.weights.iter().chain(players.generator.weights.iter()))
        };
        for stop in [0, 1, 2, 4, questions / 2, questions - 5, questions - 2] {
            let (stopped, until) = session(Watched { stop_after: Some(stop), ..Watched::default() }, None)?;
            let state = until.checkpoint.expect("a checkpoint where it was interrupted");
            let (resumed, rest) = session(Watched::default(), Some((state, weights(&stopped)?)))?;
            let name = method.fixture;
            assert_eq!(bits(&resumed)?, bits(&whole)?, "{name}, interrupted at question {stop} of {questions}");
            let learnt = until.learnt + rest.learnt;
            assert_eq!(learnt, watched.learnt, "{name}: images, interrupted at question {stop} of {questions}");
            assert_eq!(rest.bank, watched.bank, "{name}: the bank, interrupted at question {stop} of {questions}");
        }
    }
    Ok(())
}
