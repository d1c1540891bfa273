//! The method against PyTorch, from identical weights and latents.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use zskt_api::candle_core::{DType, Device, Tensor};
use zskt_api::testing::{self, TestObserver, build_context};
use zskt_api::{
    Architecture, BuildContext, Builder, ClassifierNetwork, FeatureMap, ForwardMode, Generator, GeneratorArchitecture,
    GeneratorInput, GeneratorNetwork, Gradients, ImageSource, Keep, Latents, Loss, LossBatch, LossInputs, Mode,
    Network, NodeOutput, Objective, Optimizer, Player, PluginInstance, Precision, RandomStreams, Result, Signatures,
    Stage, StageContext, StreamRng, TeacherOutput, Trainee, Turn,
};
use zskt_architectures::{LeNet, Variant, WideResNet};
use zskt_generators::{ConvGenerator, Output};
use zskt_losses::{AttentionTransfer, KlDivergence, Reduction};
use zskt_optimizers::Adam;
use zskt_schedules::Cosine;
use zskt_stages::{OnWarning, Transfer, TransferInputs};
use zskt_tests::{assert_weights, device, fill, fixture, numbers, relative_error, tensor, uniform};

fn wide_resnet(size: &Value) -> WideResNet {
    let [depth, widen_factor] = numbers(size)[..] else { panic!("depth and width") };
    let (depth, widen_factor) = (depth as usize, widen_factor as usize);
    WideResNet { depth, widen_factor, classes: 10, channels: 3, variant: Variant::Original }
}

fn classifier(architecture: &dyn Architecture, name: &str, precision: Precision) -> Arc<ClassifierNetwork> {
    let builder = Builder::zeros(precision, &device());
    let forward = architecture.build(&builder).unwrap();
    fill(&builder.weights(), name);
    Arc::new(Network { name: name.into(), weights: builder.weights(), forward })
}

/// The paper's generator, whose latents are the fixture's.
struct FixedLatents {
    generator: Box<dyn Generator>,
    latents: String,
    batch: Mutex<usize>,
}

impl Generator for FixedLatents {
    fn forward(&self, input: &GeneratorInput<'_>, mode: ForwardMode) -> Result<FeatureMap> {
        self.generator.forward(input, mode)
    }
    fn latent_dim(&self) -> usize {
        100
    }
    fn sample(&self, batch: usize, _rng: &mut StreamRng) -> Vec<f64> {
        let mut index = self.batch.lock().unwrap();
        let latents = uniform(&format!("{}.{index}", self.latents), batch * 100);
        *index += 1;
        latents.into_iter().map(|x| x * 3f64.sqrt()).collect()
    }
}

/// The paper's.
fn divergence_of_beliefs() -> KlDivergence {
    KlDivergence {
        temperature: 1.0,
        weight: 1.0,
        reduction: Reduction::Mean,
        temperature_squared: false,
        agreeing_only: false,
    }
}

/// A loss that keeps what it found.
struct Recorded<L> {
    loss: L,
    values: Arc<Mutex<Vec<f64>>>,
}

impl<L: Loss> Loss for Recorded<L> {
    fn needs(&self) -> LossInputs {
        self.loss.needs()
    }
    fn replays(&self) -> bool {
        // Each value is read on the host.
        false
    }
    fn target(&self, teacher: &TeacherOutput) -> Result<Vec<Tensor>> {
        self.loss.target(teacher)
    }
    fn value(&self, batch: &LossBatch<'_>) -> Result<Tensor> {
        let value = self.loss.value(batch)?;
        self.values.lock().unwrap().push(value.to_dtype(DType::F64)?.to_scalar()?);
        Ok(value)
    }
}

struct Played {
    generator_loss: Vec<f64>,
    student_loss: Vec<f64>,
    student: Arc<ClassifierNetwork>,
    generator: Arc<GeneratorNetwork>,
}

fn generator(run: &Value, precision: Precision) -> Arc<GeneratorNetwork> {
    let builder = Builder::zeros(precision, &device());
    let paper = ConvGenerator {
        latent_dim: 100,
        channels: 128,
        first_channels: None,
        first_map: 8,
        doublings: 2,
        image_size: 32,
        image_channels: 3,
        output: Output::BatchNorm,
        bias: true,
        eps: 1e-5,
    };
    let generator = paper.build(&builder, None).unwrap();
    fill(&builder.weights(), "generator");
    Arc::new(Network {
        name: "generator".into(),
        weights: builder.weights(),
        forward: Box::new(FixedLatents {
            generator,
            latents: run["latents"].as_str().unwrap().to_owned(),
            batch: Mutex::new(0),
        }) as Box<dyn Generator>,
    })
}

fn play(fixture: &Value, precision: Precision) -> Played {
    let run = &fixture[precision.dtype().as_str()];
    let teacher = classifier(&wide_resnet(&fixture["teacher"]), "teacher", precision);
    let student = classifier(&wide_resnet(&fixture["student"]), "student", precision);
    let generator = generator(run, precision);
    let values = || Arc::new(Mutex::new(Vec::new()));
    let (seek, divergence, attention) = (values(), values(), values());
    let kl = |values: &Arc<_>| -> Arc<dyn Loss> {
        Arc::new(Recorded { loss: divergence_of_beliefs(), values: Arc::clone(values) })
    };
    let at: Arc<dyn Loss> =
        Arc::new(Recorded { loss: AttentionTransfer { beta: 250.0, pairs: None }, values: Arc::clone(&attention) });
    let adam = |lr| -> Arc<dyn Optimizer> { Arc::new(Adam { lr, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0 }) };
    let turn = |name: &str, player, objective, steps, losses, optimizer| {
        let schedule = Some(Arc::new(Cosine { floor: 0.0 }) as _);
        Arc::new(Turn {
            name: name.into(),
            player,
            objective,
            steps,
            losses,
            optimizer,
            schedule,
            clip_norm: Some(5.0),
            latents: Latents::Shared,
            opponent: Mode::Train,
            synthesis: None,
        })
    };
    let turns = vec![
        turn("seek", Player::Generator(Arc::clone(&generator)), Objective::Maximize, 1, vec![kl(&seek)], adam(1e-3)),
        turn(
            "imitate",
            Player::Classifier(Arc::clone(&student)),
            Objective::Minimize,
            10,
            vec![kl(&divergence), at],
            adam(2e-3),
        ),
    ];
    let inputs = TransferInputs {
        teacher,
        student: Trainee(Arc::clone(&student)),
        images: ImageSource::Generator(Arc::clone(&generator)),
        turns,
    };
    let transfer = Transfer {
        batches: Some(run["batches"].as_u64().unwrap() as usize),
        epochs: None,
        batch_size: run["batch_size"].as_u64().unwrap() as usize,
        evaluate_every: None,
        checkpoint_every: 500,
        preview_every: Some(1000),
        replay: true,
        targets: None,
        keep: Keep::Last,
        patience: None,
        min_delta: 0.0,
        monitor_every: None,
        on_warning: OnWarning::Continue,
    };
    let build = BuildContext { device: device(), ..build_context("transfer", precision) };
    let mut observer = TestObserver::default();
    let product = transfer
        .run(inputs, &mut StageContext { build, resume: None, inputs: Signatures::default(), observer: &mut observer })
        .unwrap();
    assert!(matches!(product, NodeOutput::Classifier(trained) if Arc::ptr_eq(&trained, &student)));
    let taken = |values: &Arc<Mutex<Vec<f64>>>| values.lock().unwrap().clone();
    Played {
        generator_loss: taken(&seek).into_iter().map(|loss| -loss).collect(),
        student_loss: taken(&divergence).iter().zip(taken(&attention)).map(|(kl, at)| kl + at).collect(),
        student,
        generator,
    }
}

fn student_losses(expected: &Value) -> Vec<f64> {
    expected["student_loss"].as_array().unwrap().iter().flat_map(numbers).collect()
}

#[test]
fn three_pseudo_batches_in_f64_are_pytorchs() {
    for pair in ["wrn-16-1-to-wrn-10-1.json", "wrn-16-2-to-wrn-16-1.json"] {
        let fixture = fixture(pair);
        let played = play(&fixture, Precision::F64);
        let expected = &fixture["f64"];
        let error = relative_error(&played.generator_loss, &numbers(&expected["generator_loss"]));
        assert!(error < 1e-7, "{pair}: a generator loss is off by {error:.1e}");
        let error = relative_error(&played.student_loss, &student_losses(expected));
        assert!(error < 1e-7, "{pair}: a student loss is off by {error:.1e}");
        assert_weights(&played.student.weights, "student", &expected["weights"], 1e-7);
        assert_weights(&played.generator.weights, "generator", &expected["weights"], 1e-7);
    }
}

#[test]
fn the_first_pseudo_batch_in_f32_is_pytorchs() {
    check_first_pseudo_batch(Precision::F32, [1e-5, 1e-5, 1e-3]);
}

/// On a GPU products are of numbers with 16 bits, by cuDNN with eleven; on the CPU it is f32.
#[test]
fn the_first_pseudo_batch_in_tf32_is_close_to_pytorchs_in_f32() {
    check_first_pseudo_batch(Precision::Tf32, [1e-3, 1e-2, 1e-2]);
}

/// bf16 has eight bits of precision; rounding errors average out over maps, and are carried on by Adam's first steps.
#[test]
fn the_first_pseudo_batch_in_bf16_is_close_to_pytorchs_in_f32() {
    check_first_pseudo_batch(Precision::Bf16, [3e-3, 1e-2, 5e-2]);
}

/// Compares with PyTorch in f32: the student's loss before any update, then the generator's and the student's.
fn check_first_pseudo_batch(precision: Precision, bounds: [f64; 3]) {
    for pair in ["wrn-16-1-to-wrn-10-1.json", "wrn-16-2-to-wrn-16-1.json"] {
        let fixture = fixture(pair);
        let expected = &fixture["f32"];
        let initial =
            relative_error(&[initial_loss(&fixture, precision)], &[expected["initial_loss"].as_f64().unwrap()]);
        let played = play(&fixture, precision);
        let generator = relative_error(&played.generator_loss, &numbers(&expected["generator_loss"]));
        let student = relative_error(&played.student_loss, &student_losses(expected));
        let losses = ["student's loss before any update", "generator's loss", "student's loss"];
        for ((loss, error), bound) in losses.iter().zip([initial, generator, student]).zip(bounds) {
            assert!(error < bound, "{pair}: the {loss} is off by {error:.1e}");
        }
    }
}

/// The student's loss before any update.
fn initial_loss(fixture: &Value, precision: Precision) -> f64 {
    let run = &fixture["f32"];
    let generator = generator(run, precision);
    let teacher = classifier(&wide_resnet(&fixture["teacher"]), "teacher", precision);
    let student = classifier(&wide_resnet(&fixture["student"]), "student", precision);
    let batch = run["batch_size"].as_u64().unwrap() as usize;
    let latents = generator.forward.sample(batch, &mut RandomStreams::new(0).named("unused"));
    let latents = Tensor::from_vec(latents, (batch, 100), &device()).unwrap().to_dtype(precision.dtype()).unwrap();
    let images =
        generator.forward.forward(&GeneratorInput::unconditional(&latents), ForwardMode::train_frozen()).unwrap();
    let teacher = teacher.forward.forward(&images, ForwardMode::eval()).unwrap();
    let student = student.forward.forward(&images, ForwardMode::train_frozen()).unwrap();
    let losses: [&dyn Loss; 2] = [&divergence_of_beliefs(), &AttentionTransfer { beta: 250.0, pairs: None }];
    let value = |loss: &dyn Loss| {
        let target = loss.target(&teacher.clone().into()).unwrap();
        f64::from(loss.value(&LossBatch::new(&student, &target)).unwrap().to_scalar::<f32>().unwrap())
    };
    losses.into_iter().map(value).sum()
}

#[test]
fn lenet_is_pytorchs() {
    let network = classifier(&LeNet { classes: 10, channels: 3, size: 32 }, "lenet", Precision::F64);
    let images =
        FeatureMap::from_nchw(&tensor("lenet.images", &[2, 3, 32, 32], 1.0).to_device(&device()).unwrap()).unwrap();
    let output = network.forward.forward(&images, ForwardMode::eval()).unwrap();
    let expected = fixture("lenet.json");
    let logits = output.logits.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    assert!(relative_error(&logits, &numbers(&expected["logits"])) < 1e-9);
    let energies: Vec<f64> = output
        .activations
        .iter()
        .map(|map| map.channels_last().unwrap().sqr().unwrap().sum_all().unwrap().to_scalar().unwrap())
        .collect();
    assert!(relative_error(&energies, &numbers(&expected["energies"])) < 1e-9);
}

/// What a network gives for images and what becomes of its gradients, on a device.
fn outputs_and_gradients(plugin: &str, device: &Device) -> Result<Vec<f64>> {
    let PluginInstance::Architecture(architecture) = testing::plugin(plugin)? else { panic!("{plugin} is not one") };
    let builder = Builder::zeros(Precision::F64, device);
    let (network, weights) = (architecture.build(&builder)?, builder.weights());
    fill(&weights, "network");
    let images = FeatureMap::from_nchw(&tensor("images", &[2, 3, 33, 40], 1.0).to_device(device)?)?;
    let mut found = Vec::new();
    // In this order: learning moves the running statistics.
    for mode in [ForwardMode::eval(), ForwardMode::train()] {
        let output = network.forward(&images, mode)?;
        found.extend(output.logits.flatten_all()?.to_vec1::<f64>()?);
        let mut energy = output.logits.sqr()?.sum_all()?;
        for activation in &output.activations {
            energy = (energy + activation.channels_last()?.sqr()?.sum_all()?)?;
        }
        found.push(energy.to_scalar()?);
        if mode.tracks_weights() {
            for (_, gradient) in Gradients::of(&energy, weights.parameters())?.iter() {
                found.push(gradient.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt());
            }
        }
    }
    Ok(found)
}

/// On the CPU `plugins/architectures` compares them with PyTorch.
#[test]
fn architectures_compute_on_this_device_what_they_do_on_the_cpu() -> Result<()> {
    for plugin in [
        "ResNet(depth: 18, width: 4)",
        "ResNet(depth: 50, width: 2, stem: ImageNet)",
        "CifarResNet(depth: 8, widths: [4, 4, 8, 16], shortcut: Padding)",
        "Vgg(depth: 11, width: 4)",
        "Vgg(depth: 13, width: 4, batch_norm: false, head: [8, 8], pooled: 2, poolings: 3)",
        "MobileNetV2(width: 0.25)",
        "WideResNet(depth: 10, widen_factor: 1, variant: Meliketoy)",
    ] {
        let expected = outputs_and_gradients(plugin, &Device::Cpu)?;
        let error = relative_error(&outputs_and_gradients(plugin, &device())?, &expected);
        assert!(error < 1e-7, "{plugin} is off by {error:.1e}");
    }
    Ok(())
}
