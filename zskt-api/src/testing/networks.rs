//! Architectures, teachers and generators.

use candle_core::{DType, Device, Tensor};

use super::{build_context, finite_differences, normal, same_bits};
use crate::{
    Architecture, Builder, ClassifierNetwork, ClassifierOutput, ClassifierShape, Error, FeatureMap, ForwardMode,
    GeneratorArchitecture, GeneratorNetwork, Gradients, ImageShape, Init, Network, Parameter, Precision, RandomStreams,
    Result, Role, TeacherSource, Weights,
};

/// Rows and columns of the images that classifiers are tried with.
const SIDES: [(usize, usize); 8] = [(8, 8), (9, 11), (16, 16), (28, 28), (32, 32), (64, 64), (96, 96), (224, 224)];
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
    let tried: Vec<_> = images.map(|image| (image, shape.output_shape(image))).collect();
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
        Ok(Fresh { weights, replays, forward: Box::new(forward) })
    })
}

fn images_of(ImageShape { channels, height, width }: ImageShape) -> Result<Tensor> {
    normal("images", &[BATCH, channels, height, width], DType::F64)
}

pub fn generator(plugin: &dyn GeneratorArchitecture) -> Result<()> {
    let promised = plugin.image()?;
    let build = |precision| -> Result<GeneratorNetwork> {
        let builder = Builder::random(&RandomStreams::new(0), "network", precision, &Device::Cpu);
        let forward = plugin.build(&builder)?;
        Ok(Network { name: "network".into(), weights: builder.weights(), forward })
    };
    let network = build(Precision::F32)?.forward;
    let latent_dim = network.latent_dim();
    let sample = || network.sample(BATCH, &mut RandomStreams::new(0).named("latents"));
    let (latents, count) = (sample(), sample().len());
    promise!(
        count == BATCH * latent_dim,
        "`sample` promises {BATCH} vectors of {latent_dim} numbers, and gave {count}"
    );
    promise!(latents == sample(), "`sample` drew other numbers from the same stream");
    let latents = Tensor::from_vec(latents, (BATCH, latent_dim), &Device::Cpu)?;
    let images = network.forward(&latents.to_dtype(DType::F32)?, ForwardMode::eval())?;
    let (batch, image, dtype) = (images.batch(), images.image(), images.dtype());
    promise!(
        (batch, image) == (BATCH, promised),
        "{BATCH} images {promised} are promised, and {batch} images {image} made"
    );
    promise!(dtype == DType::F32, "images are {dtype:?} in a network of f32");
    hold(&latents, false, &|| {
        let GeneratorNetwork { weights, forward, .. } = build(Precision::F64)?;
        let replays = forward.replays();
        let forward = move |latents: &Tensor, mode| Ok(vec![forward.forward(latents, mode)?.to_nchw()?]);
        Ok(Fresh { weights, replays, forward: Box::new(forward) })
    })
}

type Forward = dyn Fn(&Tensor, ForwardMode) -> Result<Vec<Tensor>>;

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
        let found = (network.forward)(input, mode)?;
        let same = same_bits(&found, &(other.forward)(input, mode)?)?;
        promise!(same, "two networks with the same weights give different outputs for the same input");
        let after = network.weights.snapshot()?;
        for weight in network.weights.iter() {
            let (name, statistic) = (weight.name(), weight.role() == Role::Buffer && mode.uses_batch_statistics());
            let kept = statistic || same_bits([&before[name]], [&after[name]])?;
            promise!(kept, "a forward changes the weight `{name}`");
        }
        for _ in 0..if network.replays { 2 } else { 0 } {
            network.weights.load(&before)?;
            let same = same_bits(&found, &(network.forward)(input, mode)?)?;
            promise!(same, "`replays` promises the same output each time, and there is another for the same input");
        }
        let gradients = Gradients::of(&weighted_sum(&found)?, network.weights.parameters());
        for name in network.weights.parameters().map(Parameter::name) {
            let reached = gradients.iter().flat_map(Gradients::iter).any(|(weight, _)| weight.name() == name);
            let (learns, has) = (mode.tracks_weights(), if reached { "a" } else { "no" });
            promise!(
                reached == learns,
                "the weight `{name}` has {has} gradient in a mode where `tracks_weights()` is {learns}"
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
            Ok((parameters, weighted_sum(&(network.forward)(&input, mode)?)?))
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
