//! Architectures, teachers and generators.

use candle_core::{DType, Device, Tensor};

use super::{build_context, finite_differences, normal, same_bits};
use crate::nn::with_layer_streams;
use crate::{
    Architecture, Builder, ClassifierNetwork, ClassifierOutput, ClassifierShape, Error, FeatureMap, ForwardMode,
    GeneratorArchitecture, GeneratorInput, GeneratorNetwork, Gradients, ImageShape, Init, Network, Normalization,
    Parameter, Precision, RandomStreams, Result, Role, TeacherSource, Weights,
};

/// Rows and columns of the images that classifiers are tried with.
const SIDES: [(usize, usize); 8] = [(8, 8), (9, 11), (16, 16), (28, 28), (32, 32), (64, 64), (96, 96), (224, 224)];
/// A point in the plane.
const POINT: ImageShape = ImageShape { channels: 2, height: 1, width: 1 };
/// Of the sizes that a classifier takes, how many are tried.
const SIZES: usize = 3;
const BATCH: usize = 2;

pub fn architecture(plugin: &dyn Architecture) -> Result<()> {
    classifier(plugin, &|precision| {
        let builder = Builder::random(&RandomStreams::new(0), "network", precision, &Device::Cpu);
        let forward = plugin.build(&builder)?;
        Ok(Network { name: "network".into(), weights: builder.weights(), forward })
    })
}

pub fn teacher(plugin: &dyn TeacherSource) -> Result<()> {
    plugin.check()?;
    classifier(plugin, &|precision| plugin.load(&build_context("teacher", precision)))
}

fn classifier(shape: &dyn ClassifierShape, build: &dyn Fn(Precision) -> Result<ClassifierNetwork>) -> Result<()> {
    let images = [3, 1].into_iter().flat_map(|channels| SIDES.map(|(h, w)| ImageShape::new(channels, h, w)));
    let tried: Vec<_> = images.chain([POINT]).map(|image| (image, shape.output_shape(image))).collect();
    let taken: Vec<_> = tried.iter().filter_map(|(image, output)| Some((image, output.as_ref().ok()?))).collect();
    for (image, promised) in taken.iter().take(SIZES) {
        let (classes, others) = (promised.classes, shape.classes());
        promise!(classes == others, "`output_shape` promises {classes} classes, and `classes` {others}");
        let images = FeatureMap::from_nchw(&images_of(**image)?.to_dtype(DType::F32)?)?;
        let ClassifierOutput { logits, activations } =
            build(Precision::F32)?.forward.forward(&images, ForwardMode::eval())?;
        let (made, dtype) = (logits.dims(), logits.dtype());
        promise!(
            made == [BATCH, classes],
            "logits [{BATCH}, {classes}] are promised for images {image}, and {made:?} made"
        );
        promise!(dtype == DType::F32, "logits are {dtype:?} in a network of f32");
        let promised: Vec<_> = promised.activations.iter().map(ToString::to_string).collect();
        let made: Vec<_> = activations.iter().map(|activation| activation.image().to_string()).collect();
        promise!(promised == made, "activations {promised:?} are promised for images {image}, and {made:?} made");
    }
    let Some((smallest, _)) = taken.first() else {
        return Err(Error::new(format!("`output_shape` takes none of the images that were tried: {:?}", tried[0].1)));
    };
    hold(&images_of(**smallest)?, true, &|| {
        let ClassifierNetwork { weights, forward, .. } = build(Precision::F64)?;
        let replays = forward.replays();
        let forward = move |images: &Tensor, mode| {
            let ClassifierOutput { logits, activations } = forward.forward(&FeatureMap::from_nchw(images)?, mode)?;
            [Ok(logits)].into_iter().chain(activations.iter().map(FeatureMap::to_nchw)).collect()
        };
        Ok(Fresh {
            weights,
            replays,
            forward: Box::new(move |images, mode, batch| in_batch(batch, || forward(images, mode))),
        })
    })
}

fn images_of(ImageShape { channels, height, width }: ImageShape) -> Result<Tensor> {
    normal("images", &[BATCH, channels, height, width], DType::F64)
}

pub fn generator(plugin: &dyn GeneratorArchitecture) -> Result<()> {
    let promised = plugin.image()?;
    plugin.check()?;
    let batch = plugin.batch_size().unwrap_or(BATCH);
    let normalization = Normalization { mean: vec![0.4; promised.channels], std: vec![0.3; promised.channels] };
    let build = |precision| -> Result<GeneratorNetwork> {
        let builder = Builder::random(&RandomStreams::new(0), "network", precision, &Device::Cpu);
        let forward = plugin.build(&builder, Some(&normalization))?;
        Ok(Network { name: "network".into(), weights: builder.weights(), forward })
    };
    let labels =
        plugin.classes().map(|classes| Tensor::from_iter((0..batch).map(|i| (i % classes) as u32), &Device::Cpu));
    let labels = labels.transpose()?;
    let network = build(Precision::F32)?.forward;
    let latent_dim = network.latent_dim();
    let sample = || network.sample(batch, &mut RandomStreams::new(0).named("latents"));
    let (latents, count) = (sample(), sample().len());
    promise!(
        count == batch * latent_dim,
        "`sample` promises {batch} vectors of {latent_dim} numbers, and gave {count}"
    );
    promise!(latents == sample(), "`sample` drew other numbers from the same stream");
    let latents = Tensor::from_vec(latents, (batch, latent_dim), &Device::Cpu)?;
    let input = GeneratorInput { latents: &latents.to_dtype(DType::F32)?, labels: labels.as_ref() };
    let images = network.forward(&input, ForwardMode::eval())?;
    let (made, image, dtype) = (images.batch(), images.image(), images.dtype());
    promise!(
        (made, image) == (batch, promised),
        "{batch} images {promised} are promised, and {made} images {image} made"
    );
    promise!(dtype == DType::F32, "images are {dtype:?} in a network of f32");
    own_changes(&|| build(Precision::F64))?;
    hold(&latents, false, &|| {
        let GeneratorNetwork { weights, forward, .. } = build(Precision::F64)?;
        let (replays, labels) = (forward.replays(), labels.clone());
        let forward = move |latents: &Tensor, mode| {
            let input = GeneratorInput { latents, labels: labels.as_ref() };
            Ok(vec![forward.forward(&input, mode)?.to_nchw()?])
        };
        Ok(Fresh {
            weights,
            replays,
            forward: Box::new(move |latents, mode, batch| in_batch(batch, || forward(latents, mode))),
        })
    })
}

/// What a generator does to its weights by itself.
fn own_changes(make: &dyn Fn() -> Result<GeneratorNetwork>) -> Result<()> {
    let redrawn = || -> Result<_> {
        let GeneratorNetwork { weights, forward, .. } = make()?;
        forward.redraw(&mut RandomStreams::new(0).named("redraw"))?;
        Ok((weights, forward))
    };
    let (weights, forward) = redrawn()?;
    let once = weights.snapshot()?;
    let same = same_bits(once.values(), redrawn()?.0.snapshot()?.values())?;
    promise!(same, "`redraw` drew other numbers from the same stream");
    forward.constrain()?;
    let constrained = weights.snapshot()?;
    forward.constrain()?;
    let same = same_bits(constrained.values(), weights.snapshot()?.values())?;
    promise!(same, "`constrain` changes weights that it has just put where they have to be");
    Ok(())
}

/// Layers that draw random numbers, such as dropout, draw as in this batch of a run.
fn in_batch<T>(batch: usize, work: impl FnOnce() -> T) -> T {
    with_layer_streams(&RandomStreams::new(0), "network", batch, work)
}

/// In a batch of this number.
type Forward = dyn Fn(&Tensor, ForwardMode, usize) -> Result<Vec<Tensor>>;

/// A network made anew.
struct Fresh {
    weights: Weights,
    replays: bool,
    forward: Box<Forward>,
}

/// What all networks promise. Gradients of the input are asked for where other players learn through the network.
fn hold(input: &Tensor, through: bool, make: &dyn Fn() -> Result<Fresh>) -> Result<()> {
    for mode in [ForwardMode::eval(), ForwardMode::train_frozen(), ForwardMode::train()] {
        let (network, other) = (make()?, make()?);
        let before = network.weights.snapshot()?;
        let found = (network.forward)(input, mode, 0)?;
        let same = same_bits(&found, &(other.forward)(input, mode, 0)?)?;
        promise!(same, "two networks with the same weights give different outputs for the same input");
        let after = network.weights.snapshot()?;
        for weight in network.weights.iter() {
            let (name, statistic) = (weight.name(), weight.role() == Role::Buffer && mode.uses_batch_statistics());
            let kept = statistic || same_bits([&before[name]], [&after[name]])?;
            promise!(kept, "a forward changes the weight `{name}`");
        }
        for batch in 1..if network.replays { 3 } else { 1 } {
            network.weights.load(&before)?;
            let same = same_bits(&found, &(network.forward)(input, mode, batch)?)?;
            promise!(same, "`replays` promises the same output each time, and there is another for the same input");
        }
        let gradients = Gradients::of(&weighted_sum(&found)?, network.weights.parameters());
        for name in network.weights.parameters().map(Parameter::name) {
            let reached = gradients.iter().flat_map(Gradients::iter).any(|(weight, _)| weight.name() == name);
            let learns = mode.tracks_weights();
            let (has, cause) = match &gradients {
                _ if reached => ("a", "`.tensor(mode)` is what to compute with".to_owned()),
                Err(error) => ("no", error.to_string()),
                Ok(_) => (
                    "no",
                    "it is not used, or the way to it is cut, by `detach` or by `.value()` in place of `.tensor(mode)`"
                        .into(),
                ),
            };
            promise!(
                reached == learns,
                "the weight `{name}` has {has} gradient in a mode where `tracks_weights()` is {learns}: {cause}"
            );
        }
        if !mode.tracks_weights() && !through {
            continue;
        }
        finite_differences::check("its outputs", &|change| {
            let network = make()?;
            let builder = Builder::zeros(Precision::F64, &Device::Cpu);
            let images = builder.parameter("images", input.dims(), Init::Constant(0.0))?;
            images.var().set(input)?;
            let weights = network.weights.parameters().filter(|_| mode.tracks_weights()).cloned();
            let parameters: Vec<_> = weights.chain(through.then(|| images.clone())).collect();
            change(&parameters)?;
            let input = if through { images.tensor(ForwardMode::train()) } else { images.value() };
            Ok((parameters, weighted_sum(&(network.forward)(&input, mode, 0)?)?))
        })?;
    }
    Ok(())
}

/// A sum in which each number has a weight of its own.
fn weighted_sum(outputs: &[Tensor]) -> Result<Tensor> {
    let mut sum = Tensor::zeros((), DType::F64, &Device::Cpu)?;
    for (index, output) in outputs.iter().enumerate() {
        let weights = normal(&format!("weights of output {index}"), output.dims(), DType::F64)?;
        sum = (sum + (output * weights)?.sum_all()? / (output.elem_count() as f64).sqrt())?;
    }
    Ok(sum)
}
