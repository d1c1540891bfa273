//! The layers of a plan, and how they compute.

use zskt_api::candle_core::Tensor;
use zskt_api::nn::{
    Activation, BatchNorm2d, Conv2d, Linear, Padding, activate, activate_vectors, average_pool, channel_shuffle,
    concat, global_average, max_pool, multiply, narrow_channels, pad,
};
use zskt_api::ops::{self, BatchNormStatistics};
use zskt_api::{
    Builder, Classifier, ClassifierOutput, Error, FeatureMap, ForwardMode, Init, Parameter, Precision, Result,
};

use super::plan::{Layer, Order, Plan, Slot, same_padding};

/// A network as a plan has it.
pub struct Network {
    steps: Vec<(Built, Vec<Slot>)>,
    /// The last step that takes each.
    last_uses: Vec<usize>,
    logits: Slot,
    activations: Vec<Slot>,
    precision: Precision,
}

/// A layer and its weights.
enum Built {
    Convolution(Conv2d),
    Normalization(BatchNorm2d),
    Affine(Affine),
    Linear(Linear),
    Weightless(Layer),
}

/// A factor and a term for each channel.
struct Affine {
    scale: Parameter,
    shift: Parameter,
    /// By zeros and ones.
    statistics: BatchNormStatistics,
    activation: Activation,
}

impl Network {
    /// Makes the layers and asks for their weights.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn build(plan: &Plan, builder: &Builder) -> Result<Self> {
        let mut steps = Vec::with_capacity(plan.steps.len());
        let mut last_uses = vec![0; plan.steps.len()];
        for (index, step) in plan.steps.iter().enumerate() {
            let builder = builder.at(&step.name);
            let built = match &step.layer {
                Layer::Convolution { shape, bias: true } => Built::Convolution(Conv2d::new(&builder, *shape)?),
                Layer::Convolution { shape, bias: false } => {
                    Built::Convolution(Conv2d::without_bias(&builder, *shape, Init::Constant(0.0))?)
                }
                Layer::Normalization { channels, epsilon, momentum, activation } => Built::Normalization(
                    BatchNorm2d::with_constants(&builder, *channels, *activation, *epsilon, *momentum)?,
                ),
                Layer::Affine { channels, activation } => Built::Affine(Affine::new(&builder, *channels, *activation)?),
                Layer::Linear { inputs, outputs } => Built::Linear(Linear::new(&builder, *inputs, *outputs)?),
                layer => Built::Weightless(layer.clone()),
            };
            for input in &step.inputs {
                last_uses[input.0] = index;
            }
            steps.push((built, step.inputs.clone()));
        }
        for slot in plan.activations.iter().chain([&plan.logits]) {
            last_uses[slot.0] = steps.len();
        }
        let (logits, activations) = (plan.logits, plan.activations.clone());
        Ok(Self { steps, last_uses, logits, activations, precision: builder.precision() })
    }
}

impl Classifier for Network {
    fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput> {
        let mut made: Vec<Option<Made>> = Vec::with_capacity(self.steps.len());
        for (index, (layer, slots)) in self.steps.iter().enumerate() {
            if matches!(layer, Built::Weightless(Layer::Images)) {
                made.push(Some(Made::Map(images.clone())));
                continue;
            }
            let inputs =
                slots.iter().map(|slot| made[slot.0].clone().ok_or_else(|| Error::new("a step came too early")));
            let inputs = inputs.collect::<Result<Vec<_>>>()?;
            // What is not read again need not be kept.
            for slot in slots.iter().filter(|slot| self.last_uses[slot.0] == index) {
                made[slot.0] = None;
            }
            made.push(Some(self.step(layer, inputs, mode)?));
        }
        let get = |slot: Slot| made[slot.0].clone().ok_or_else(|| Error::new("an output was not kept"));
        let activations = self.activations.iter().map(|slot| get(*slot)?.map(self.precision)).collect::<Result<_>>()?;
        Ok(ClassifierOutput { logits: get(self.logits)?.vectors()?, activations })
    }

    // Layers compute on the device only, and no number of the host changes.
    fn replays(&self) -> bool {
        true
    }
}

impl Network {
    fn step(&self, layer: &Built, inputs: Vec<Made>, mode: ForwardMode) -> Result<Made> {
        let are_vectors = inputs.iter().all(|input| matches!(input, Made::Vectors(_)));
        let layer = match layer {
            Built::Linear(linear) => return Ok(Made::Vectors(linear.forward(&first(inputs)?.vectors()?, mode)?)),
            Built::Weightless(Layer::Activation(activation)) => {
                return Ok(match first(inputs)? {
                    Made::Map(map) => Made::Map(activate(&map, *activation)?),
                    Made::Vectors(vectors) => Made::Vectors(activate_vectors(&vectors, *activation)?),
                });
            }
            layer => layer,
        };
        let maps = inputs.into_iter().map(|input| input.map(self.precision)).collect::<Result<Vec<_>>>()?;
        let x = maps.first().ok_or_else(|| Error::new("a step takes nothing"))?;
        let map = match layer {
            // Of vectors too: windows of one row and one column.
            Built::Convolution(conv) => return Ok(Made::Map(conv.forward(x, mode)?)),
            Built::Normalization(norm) => norm.forward(x, mode)?,
            Built::Affine(affine) => affine.forward(x)?,
            Built::Weightless(layer) => match layer {
                Layer::Add => (x + second(&maps)?)?,
                Layer::Multiply => product(x, second(&maps)?)?,
                Layer::Concat => concat(&maps)?,
                Layer::NarrowChannels { start, length } => narrow_channels(x, *start, *length)?,
                Layer::ChannelShuffle(groups) => channel_shuffle(x, *groups)?,
                Layer::MaxPool(windows) => return Ok(Made::Map(max_pool(x, windows.of(size(x)))?)),
                Layer::AveragePool(windows) => return Ok(Made::Map(average_pool(x, windows.of(size(x)))?)),
                Layer::Pad(padding) => return Ok(Made::Map(pad(x, *padding)?)),
                Layer::PadSame { kernel, stride, at_end } => {
                    let [rows, columns] = size(x).map(|size| same_padding(size, *kernel, *stride, *at_end));
                    return Ok(Made::Map(pad(x, Padding { rows, columns, ..Padding::default() })?));
                }
                Layer::GlobalAverage => return Ok(Made::Vectors(global_average(x)?)),
                Layer::Flatten { order: Order::ChannelsFirst, .. } => return Ok(Made::Vectors(x.flatten()?)),
                Layer::Flatten { order: Order::ChannelsLast, .. } => {
                    return Ok(Made::Vectors(x.channels_last()?.flatten_from(1)?));
                }
                layer => return Err(Error::new(format!("{layer:?} has no place among layers without weights"))),
            },
            Built::Linear(_) => return Err(Error::new("a fully connected layer takes vectors")),
        };
        if are_vectors { Ok(Made::Vectors(Made::Map(map).vectors()?)) } else { Ok(Made::Map(map)) }
    }
}

fn first(inputs: Vec<Made>) -> Result<Made> {
    inputs.into_iter().next().ok_or_else(|| Error::new("a step takes nothing"))
}

fn second(maps: &[FeatureMap]) -> Result<&FeatureMap> {
    maps.get(1).ok_or_else(|| Error::new("a step takes one map instead of two"))
}

fn size(x: &FeatureMap) -> [usize; 2] {
    [x.image().height, x.image().width]
}

/// One of both may be a factor for each channel.
fn product(a: &FeatureMap, b: &FeatureMap) -> Result<FeatureMap> {
    if size(a) == [1, 1] { multiply(b, a) } else { multiply(a, b) }
}

/// What a step has made.
#[derive(Clone)]
enum Made {
    Map(FeatureMap),
    /// `[B, N]`
    Vectors(Tensor),
}

impl Made {
    fn map(self, precision: Precision) -> Result<FeatureMap> {
        match self {
            Self::Map(map) => Ok(map),
            Self::Vectors(vectors) => FeatureMap::from_vectors(&vectors)?.to_precision(precision),
        }
    }

    fn vectors(self) -> Result<Tensor> {
        match self {
            Self::Map(map) => Ok(map.channels_last()?.flatten_from(1)?),
            Self::Vectors(vectors) => Ok(vectors),
        }
    }
}

impl Affine {
    fn new(builder: &Builder, channels: usize, activation: Activation) -> Result<Self> {
        let scale = builder.buffer("scale", &[channels], 1.0)?;
        let shift = builder.buffer("shift", &[channels], 0.0)?;
        let (mean, variance) = (shift.value().zeros_like()?, scale.value().ones_like()?);
        Ok(Self { scale, shift, statistics: BatchNormStatistics { mean, variance, of_batch: false }, activation })
    }

    fn forward(&self, x: &FeatureMap) -> Result<FeatureMap> {
        ops::batch_norm(x, &self.scale.value(), &self.shift.value(), &self.statistics, 0.0, self.activation)
    }
}
