//! The small networks of the fixtures.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use zskt_api::candle_core::{DType, Tensor};
use zskt_api::nn::{Activation, BatchNorm2d, Conv2d, Conv2dShape, Linear, global_average, upsample_nearest};
use zskt_api::{
    BuildContext, Builder, ClassTargets, Classifier, ClassifierNetwork, ClassifierOutput, Error, FeatureMap,
    ForwardMode, Generator, GeneratorInput, GeneratorNetwork, Init, Network, Normalization, Parameter, Result,
    StreamRng, standard_normal,
};

use super::tape::Tape;
use super::{CLASSES, under};

const SIZE: usize = 8;
const LATENT_DIM: usize = 5;

/// Convolution, batch norm, ReLU, twice, the second at half the resolution; then the mean over the image and a linear layer.
struct Tiny {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    fc: Linear,
}

impl Classifier for Tiny {
    fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput> {
        let x = self.bn1.forward(&self.conv1.forward(images, mode)?, mode)?;
        let x = self.bn2.forward(&self.conv2.forward(&x, mode)?, mode)?;
        Ok(ClassifierOutput { logits: self.fc.forward(&global_average(&x)?, mode)?, activations: Vec::new() })
    }
}

/// A classifier of a fixture.
pub fn classifier(
    name: &str,
    width: usize,
    weights: &BTreeMap<String, Tensor>,
    context: &BuildContext,
) -> Result<Arc<ClassifierNetwork>> {
    let builder = Builder::zeros(context.precision, &context.device);
    let conv = |name: &str, shape| Conv2d::without_bias(&builder.at(name), shape, Init::Constant(0.0));
    let norm = |name: &str, channels| BatchNorm2d::new(&builder.at(name), channels, Activation::Relu);
    let tiny = Tiny {
        conv1: conv("conv1", Conv2dShape::same(3, width, 3))?,
        bn1: norm("bn1", width)?,
        conv2: conv("conv2", Conv2dShape { stride: 2, ..Conv2dShape::same(width, 2 * width, 3) })?,
        bn2: norm("bn2", 2 * width)?,
        fc: Linear::new(&builder.at("fc"), 2 * width, CLASSES)?,
    };
    builder.weights().load(weights)?;
    Ok(Arc::new(Network {
        name: name.into(),
        weights: builder.weights(),
        forward: Box::new(tiny) as Box<dyn Classifier>,
    }))
}

/// What makes the images of a method.
#[derive(Clone, Copy)]
pub enum Maker {
    /// A generator that ends in a sigmoid, normalized.
    Sigmoid,
    /// One that ends in tanh and a batch norm.
    Tanh {
        /// Of its inner batch norms.
        epsilon: f64,
    },
    /// The images themselves.
    Pixels,
    /// A generator that is told a class.
    Labels,
}

const BATCH: usize = 6;
/// Of a generator that is told classes: two chunks of all classes, and half of one.
const LABELLED: usize = 10;
const WIDTHS: [usize; 3] = [8, 8, 4];

impl Maker {
    /// Images of a synthesis.
    pub fn batch(self) -> usize {
        if matches!(self, Self::Labels) { LABELLED } else { BATCH }
    }

    /// A generator with the weights of a fixture, and draws of its tape; of a batch's draws the first belongs to turns that share theirs.
    pub fn build(
        self,
        fixture: &BTreeMap<String, Tensor>,
        context: &BuildContext,
        tape: Tape,
        fresh_draws: usize,
    ) -> Result<Arc<GeneratorNetwork>> {
        let draws = Mutex::new(Taped { tape, fresh: fresh_draws, drawn: 0 });
        self.made(fixture, context, Some(draws))
    }

    /// The same with draws of its own.
    pub fn drawn(self, fixture: &BTreeMap<String, Tensor>, context: &BuildContext) -> Result<Arc<GeneratorNetwork>> {
        self.made(fixture, context, None)
    }

    /// One to look at only.
    pub fn stand_in(self, context: &BuildContext) -> Result<Arc<GeneratorNetwork>> {
        self.made(&BTreeMap::new(), context, None)
    }

    fn made(
        self,
        fixture: &BTreeMap<String, Tensor>,
        context: &BuildContext,
        draws: Option<Mutex<Taped>>,
    ) -> Result<Arc<GeneratorNetwork>> {
        let (builder, beside) = [0, 1].map(|_| Builder::zeros(context.precision, &context.device)).into();
        let images = match self {
            Self::Pixels => {
                Images::Pixels(builder.parameter("images", &[BATCH, 3, SIZE, SIZE], Init::Normal { std: 1.0 })?)
            }
            Self::Labels => Images::Labels(Box::new(LabelGenerator::new(&builder, fixture, context)?)),
            Self::Sigmoid => Images::Body(Box::new(Body::new(&builder, LATENT_DIM, None)?)),
            Self::Tanh { epsilon } => {
                // Its last batch norm has no factor and no term to learn.
                let last = BatchNorm2d::new(&beside, 3, Activation::Identity)?;
                beside.weights().load(&beside_weights(&beside)?)?;
                Images::Body(Box::new(Body::new(&builder, LATENT_DIM, Some((epsilon, last)))?))
            }
        };
        let mut weights = under(fixture, "init.generator.");
        weights.retain(|name, _| !name.starts_with("bn3."));
        if !weights.is_empty() {
            builder.weights().load(&weights)?;
        }
        let normalization = context.normalization.clone().ok_or_else(|| Error::new("no normalization"))?;
        let forward = Box::new(Generated { images, normalization, draws }) as Box<dyn Generator>;
        Ok(Arc::new(Network { name: "generator".into(), weights: builder.weights(), forward }))
    }
}

fn beside_weights(builder: &Builder) -> Result<BTreeMap<String, Tensor>> {
    let ones = |name: &str| name == "weight" || name == "running_var";
    let value = |weight: &Parameter| {
        let zeros = weight.value().zeros_like()?;
        Ok((weight.name().to_owned(), if ones(weight.name()) { zeros.ones_like()? } else { zeros }))
    };
    builder.weights().iter().map(value).collect()
}

/// Where a generator's latents come from.
struct Taped {
    tape: Tape,
    fresh: usize,
    drawn: usize,
}

enum Images {
    Pixels(Parameter),
    Labels(Box<LabelGenerator>),
    Body(Box<Body>),
}

struct Generated {
    images: Images,
    normalization: Normalization,
    draws: Option<Mutex<Taped>>,
}

impl Generated {
    fn normalized(&self, pixels: &Tensor) -> Result<Tensor> {
        let row =
            |numbers: &[f64]| Tensor::new(numbers, pixels.device())?.to_dtype(pixels.dtype())?.reshape((1, 3, 1, 1));
        let (mean, std) = (row(&self.normalization.mean)?, row(&self.normalization.std)?);
        Ok(pixels.broadcast_sub(&mean)?.broadcast_div(&std)?)
    }

    fn end(&self, body: &Body, x: &FeatureMap, mode: ForwardMode) -> Result<FeatureMap> {
        match &body.last {
            Some(norm) => norm.forward(&FeatureMap::from_nchw(&x.to_nchw()?.tanh()?)?, mode),
            None => {
                let pixels = ((x.to_nchw()?.neg()?.exp()? + 1.0)?).recip()?;
                FeatureMap::from_nchw(&self.normalized(&pixels)?)
            }
        }
    }
}

impl Generator for Generated {
    fn forward(&self, input: &GeneratorInput<'_>, mode: ForwardMode) -> Result<FeatureMap> {
        match &self.images {
            Images::Pixels(images) => FeatureMap::from_nchw(&images.tensor(mode)),
            Images::Body(body) => self.end(body, &body.forward(input.latents, mode)?, mode),
            Images::Labels(generator) => {
                let labels = input.labels.ok_or_else(|| Error::new("no labels"))?;
                let latents = generator.latents(labels, mode)?;
                self.end(&generator.body, &generator.body.forward(&latents, mode)?, mode)
            }
        }
    }

    fn latent_dim(&self) -> usize {
        if matches!(self.images, Images::Body(_)) { LATENT_DIM } else { 0 }
    }

    fn sample(&self, batch: usize, rng: &mut StreamRng) -> Vec<f64> {
        let count = batch * self.latent_dim();
        let Some(draws) = self.draws.as_ref().filter(|_| count > 0) else { return standard_normal(rng, count) };
        let mut draws = draws.lock().unwrap();
        draws.drawn += 1;
        if draws.fresh > 0 && draws.drawn % (1 + draws.fresh) == 1 {
            return vec![0.0; count];
        }
        draws.tape.next("z").flatten_all().unwrap().to_vec1().unwrap()
    }

    fn redraw(&self, rng: &mut StreamRng) -> Result<()> {
        let Images::Labels(generator) = &self.images else { return Ok(()) };
        for layer in &generator.noisy {
            let [weight, bias] = layer;
            let drawn = match &self.draws {
                Some(draws) => draws.lock().unwrap().tape.next("noisy"),
                None => Tensor::from_vec(
                    standard_normal(rng, weight.var().elem_count()),
                    weight.var().dims(),
                    weight.var().device(),
                )?,
            };
            weight.var().set(&drawn.to_dtype(weight.var().dtype())?.to_device(weight.var().device())?)?;
            bias.var().set(&bias.value().zeros_like()?)?;
        }
        Ok(())
    }

    fn constrain(&self) -> Result<()> {
        let Images::Pixels(images) = &self.images else { return Ok(()) };
        let pixels = images.value();
        let bound = |pixels: Tensor| self.normalized(&pixels)?.broadcast_as(pixels.dims()).map_err(Error::from);
        let (low, high) = (bound(pixels.zeros_like()?)?, bound(pixels.ones_like()?)?);
        images.var().set(&pixels.maximum(&low)?.minimum(&high)?.contiguous()?)?;
        Ok(())
    }
}

/// A linear layer to a map of 2×2, then twice upsampling, convolution and batch norm, and a last convolution.
struct Body {
    fc: Linear,
    bn0: BatchNorm2d,
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    conv3: Conv2d,
    last: Option<BatchNorm2d>,
}

impl Body {
    /// With the epsilon of its inner norms, and a batch norm at the end, where it ends in tanh: its convolutions have biases then.
    fn new(builder: &Builder, latent_dim: usize, tanh: Option<(f64, BatchNorm2d)>) -> Result<Self> {
        let [a, b, c] = WIDTHS;
        let biased = tanh.is_some();
        let epsilon = tanh.as_ref().map_or(1e-5, |(epsilon, _)| *epsilon);
        let conv = |name: &str, from, to| {
            let (builder, shape) = (builder.at(name), Conv2dShape::same(from, to, 3));
            if biased {
                Conv2d::new(&builder, shape)
            } else {
                Conv2d::without_bias(&builder, shape, Init::Constant(0.0))
            }
        };
        let norm = |name: &str, channels| {
            BatchNorm2d::with_constants(&builder.at(name), channels, Activation::LeakyRelu(0.2), epsilon, 0.1)
        };
        Ok(Self {
            fc: Linear::new(&builder.at("fc"), latent_dim, a * 4)?,
            bn0: BatchNorm2d::new(&builder.at("bn0"), a, Activation::Identity)?,
            conv1: conv("conv1", a, b)?,
            bn1: norm("bn1", b)?,
            conv2: conv("conv2", b, c)?,
            bn2: norm("bn2", c)?,
            conv3: Conv2d::new(&builder.at("conv3"), Conv2dShape::same(c, 3, 3))?,
            last: tanh.map(|(_, last)| last),
        })
    }

    fn forward(&self, latents: &Tensor, mode: ForwardMode) -> Result<FeatureMap> {
        let x = FeatureMap::from_nchw(&self.fc.forward(latents, mode)?.reshape(((), WIDTHS[0], 2, 2))?)?;
        let x = upsample_nearest(&self.bn0.forward(&x, mode)?, 2)?;
        let x = upsample_nearest(&self.bn1.forward(&self.conv1.forward(&x, mode)?, mode)?, 2)?;
        self.conv3.forward(&self.bn2.forward(&self.conv2.forward(&x, mode)?, mode)?, mode)
    }
}

/// A row of a table for each class, batch norm, a noisy layer for each chunk of as many images as there are classes, and a body.
struct LabelGenerator {
    table: Tensor,
    bn_label: BatchNorm2d,
    noisy: Vec<[Parameter; 2]>,
    body: Body,
}

impl LabelGenerator {
    const ROW: usize = 6;

    fn new(builder: &Builder, fixture: &BTreeMap<String, Tensor>, context: &BuildContext) -> Result<Self> {
        let none = || Tensor::zeros((CLASSES, Self::ROW), DType::F64, &context.device);
        let table = fixture.get("table").cloned().map_or_else(none, Ok)?;
        let noisy = (0..LABELLED.div_ceil(CLASSES)).map(|chunk| {
            let builder = builder.at(format!("noisy.{chunk}"));
            let parameter = |name: &str, shape: &[usize]| builder.parameter(name, shape, Init::Constant(0.0));
            Ok([parameter("weight", &[LATENT_DIM, Self::ROW])?, parameter("bias", &[LATENT_DIM])?])
        });
        Ok(Self {
            table: table.to_dtype(context.precision.dtype())?.to_device(&context.device)?,
            bn_label: BatchNorm2d::new(&builder.at("bn_label"), Self::ROW, Activation::Identity)?,
            noisy: noisy.collect::<Result<_>>()?,
            body: Body::new(&builder.at("body"), LATENT_DIM, None)?,
        })
    }

    fn latents(&self, labels: &Tensor, mode: ForwardMode) -> Result<Tensor> {
        let rows = self.table.index_select(labels, 0)?.reshape(((), Self::ROW, 1, 1))?;
        let rows = self.bn_label.forward(&FeatureMap::from_nchw(&rows)?, mode)?.to_nchw()?.reshape(((), Self::ROW))?;
        let chunk = |(chunk, [weight, bias]): (usize, &[Parameter; 2])| {
            let start = chunk * CLASSES;
            let rows = rows.narrow(0, start, CLASSES.min(LABELLED - start))?;
            Ok(rows.matmul(&weight.tensor(mode).t()?)?.broadcast_add(&bias.tensor(mode))?)
        };
        let chunks = self.noisy.iter().enumerate().map(chunk).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&chunks, 0)?)
    }
}

/// Class after class.
pub struct Classes;

impl ClassTargets for Classes {
    fn draw(&self, count: usize, classes: usize, rng: &mut StreamRng) -> Vec<u32> {
        use zskt_api::rand::Rng;
        (0..count).map(|_| rng.random_range(0..classes as u32)).collect()
    }
}
