//! What a network computes, written down while it runs.
//!
//! [`trace`] runs a network once and gives its operations, in their order, with their constants and weights: so a network that is made of
//! [`ops`](crate::ops) and [`nn`](crate::nn) can be exported without a line of its own. Maps know which operation made them; tensors
//! `[B, N]` are known by candle's ids, weights by where their numbers lie and how: a part of a weight is a constant. What is made by operations of candle's own is not known, and
//! is refused where a recorded operation takes it.

use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::{Storage, Tensor, TensorId};

use crate::activation::Activation;
use crate::error::{Error, Result};
use crate::feature_map::FeatureMap;
use crate::nn::Weights;
use crate::ops::{Padding, PoolWindows};
use crate::shape::ImageShape;

/// A map or a tensor of a traced network: the images, or what an operation makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TracedValue(usize);

/// What a network computes.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The images.
    pub input: TracedValue,
    /// The operations in the order in which they were computed.
    pub steps: Vec<TracedStep>,
    /// What the network gives.
    pub output: TracedValue,
}

/// One operation of a traced network.
#[derive(Clone, Debug)]
pub struct TracedStep {
    /// What it computes.
    pub operation: TracedOperation,
    /// What it takes.
    pub inputs: Vec<TracedValue>,
    /// What it makes.
    pub output: TracedValue,
}

/// What an operation computes, with all that does not depend on the images.
#[derive(Clone, Debug)]
pub enum TracedOperation {
    /// [`conv2d`](crate::ops::conv2d).
    Convolution {
        /// `[O, I / groups, K, K]`.
        weight: TracedWeight,
        /// `[O]`.
        bias: Option<TracedWeight>,
        /// Pixels from one output to the next.
        stride: usize,
        /// Zero pixels at each side.
        padding: usize,
        /// Equal parts of the channels.
        groups: usize,
    },
    /// [`batch_norm`](crate::ops::batch_norm).
    BatchNorm {
        /// The factors, `[C]`.
        gamma: TracedWeight,
        /// The terms, `[C]`.
        beta: TracedWeight,
        /// The means, `[C]`.
        mean: TracedWeight,
        /// The variances, `[C]`.
        variance: TracedWeight,
        /// What is added to the variances.
        epsilon: f64,
        /// What follows.
        activation: Activation,
    },
    /// [`activate`](crate::ops::activate) and [`activate_vectors`](crate::ops::activate_vectors).
    Activation(Activation),
    /// [`add`](crate::ops::add).
    Add,
    /// [`multiply`](crate::ops::multiply).
    Multiply,
    /// [`concat`](crate::ops::concat).
    Concat,
    /// [`narrow_channels`](crate::ops::narrow_channels).
    NarrowChannels {
        /// The first channel.
        start: usize,
        /// How many there are.
        length: usize,
    },
    /// [`channel_shuffle`](crate::ops::channel_shuffle).
    ChannelShuffle {
        /// The map that it takes.
        of: ImageShape,
        /// Equal parts of the channels.
        groups: usize,
    },
    /// [`max_pool`](crate::ops::max_pool).
    MaxPool(PoolWindows),
    /// [`average_pool`](crate::ops::average_pool).
    AveragePool(PoolWindows),
    /// [`adaptive_average_pool`](crate::ops::adaptive_average_pool).
    AdaptiveAveragePool {
        /// The map that it takes.
        of: ImageShape,
        /// Rows and columns that it makes.
        output: [usize; 2],
    },
    /// [`upsample_nearest`](crate::ops::upsample_nearest).
    Upsample(usize),
    /// [`pad`](crate::ops::pad).
    Pad(Padding),
    /// [`global_average`](crate::ops::global_average).
    GlobalAverage,
    /// [`FeatureMap::flatten`].
    Flatten,
    /// [`FeatureMap::from_vectors`].
    FromVectors,
    /// [`linear`](crate::ops::linear).
    Linear {
        /// `[O, I]`.
        weight: TracedWeight,
        /// `[O]`.
        bias: TracedWeight,
    },
}

impl TracedOperation {
    /// What messages call it.
    fn described(&self) -> String {
        let (name, weight) = match self {
            Self::Convolution { weight, .. } => ("the convolution", Some(weight)),
            Self::BatchNorm { gamma, .. } => ("the batch norm", Some(gamma)),
            Self::Linear { weight, .. } => ("the fully connected layer", Some(weight)),
            Self::Activation(_) => ("an activation", None),
            Self::Add => ("a sum", None),
            Self::Multiply => ("a product", None),
            Self::Concat => ("a concatenation", None),
            Self::NarrowChannels { .. } => ("a slice of channels", None),
            Self::ChannelShuffle { .. } => ("a channel shuffle", None),
            Self::MaxPool(_) | Self::AveragePool(_) | Self::AdaptiveAveragePool { .. } => ("a pooling", None),
            Self::Upsample(_) => ("an upsampling", None),
            Self::Pad(_) => ("a padding", None),
            Self::GlobalAverage => ("the mean over a map", None),
            Self::Flatten => ("a flattening", None),
            Self::FromVectors => ("a map of one pixel", None),
        };
        match weight.and_then(|weight| weight.name.as_deref()) {
            Some(weight) => format!("{name} with `{weight}`"),
            None => name.to_owned(),
        }
    }
}

/// A weight of a traced operation, or a constant.
#[derive(Clone, Debug)]
pub struct TracedWeight {
    /// The network's name for it; `None` for what is computed of weights, and for constants.
    pub name: Option<String>,
    /// Its numbers.
    pub tensor: Tensor,
}

/// Which recorded operation made a map: none, or one of the pass that is recorded in this thread.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Origin(Option<(u64, TracedValue)>);

/// Runs a network once on `images`, and writes down what it computes. `network` gives a tensor `[B, N]`.
///
/// # Errors
/// When the network fails, or computes with something that cannot be recorded: which operation takes it.
pub fn trace(
    images: &FeatureMap,
    weights: &Weights,
    network: impl FnOnce(&FeatureMap) -> Result<Tensor>,
) -> Result<Trace> {
    let names = weights.iter().map(|weight| (Place::of(&weight.value()), weight.name().to_owned())).collect();
    let input = TracedValue(0);
    let pass = PASSES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let recorder = Recorder { pass, names, steps: Vec::new(), tensors: HashMap::new(), fault: None };
    let previous = RECORDER.replace(Some(recorder));
    let mut images = images.detach();
    images.1 = Origin(Some((pass, input)));
    let output = network(&images);
    let recorder = RECORDER.replace(previous).ok_or_else(|| Error::new("a trace within a trace"))?;
    let output = output?;
    if let Some(fault) = recorder.fault {
        return Err(Error::new(fault));
    }
    let output = recorder
        .tensors
        .get(&output.id())
        .copied()
        .ok_or_else(|| Error::new(format!("what the network gives is made {UNKNOWN}")))?;
    Ok(Trace { input, steps: recorder.steps, output })
}

const UNKNOWN: &str = "by operations of candle's own, which are not recorded: use those of `ops` and `nn`";

static PASSES: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

thread_local! {
    static RECORDER: RefCell<Option<Recorder>> = const { RefCell::new(None) };
}

struct Recorder {
    pass: u64,
    /// Of weights.
    names: HashMap<Place, String>,
    steps: Vec<TracedStep>,
    tensors: HashMap<TensorId, TracedValue>,
    fault: Option<String>,
}

impl Recorder {
    fn of_map(&self, map: &FeatureMap) -> Option<TracedValue> {
        map.1.0.filter(|(pass, _)| *pass == self.pass).map(|(_, value)| value)
    }

    fn of_tensor(&self, tensor: &Tensor) -> Option<TracedValue> {
        self.tensors.get(&tensor.id()).copied()
    }

    fn push(&mut self, operation: TracedOperation, inputs: Option<Vec<TracedValue>>) -> TracedValue {
        // The images are the first value.
        let output = TracedValue(self.steps.len() + 1);
        match inputs {
            Some(inputs) => self.steps.push(TracedStep { operation, inputs, output }),
            None => {
                let taken = operation.described();
                self.fault.get_or_insert_with(|| format!("{taken} takes what is made {UNKNOWN}"));
                self.steps.push(TracedStep { operation, inputs: Vec::new(), output });
            }
        }
        output
    }
}

/// A weight as a recorded operation has it.
pub(crate) fn weight(tensor: &Tensor) -> TracedWeight {
    let name = RECORDER
        .with_borrow(|recorder| recorder.as_ref().and_then(|recorder| recorder.names.get(&Place::of(tensor)).cloned()));
    TracedWeight { name, tensor: tensor.clone() }
}

/// Records an operation from maps to a map, if anything is recorded.
pub(crate) fn map(
    inputs: &[&FeatureMap],
    operation: impl FnOnce() -> TracedOperation,
    mut made: FeatureMap,
) -> FeatureMap {
    if is_recording() {
        let operation = operation();
        made.1 = RECORDER
            .with_borrow_mut(|recorder| {
                let recorder = recorder.as_mut()?;
                let inputs = inputs.iter().map(|map| recorder.of_map(map)).collect();
                Some((recorder.pass, recorder.push(operation, inputs)))
            })
            .map_or(Origin(None), |origin| Origin(Some(origin)));
    }
    made
}

/// Records an operation from a map to a tensor, if anything is recorded.
pub(crate) fn map_to_tensor(input: &FeatureMap, operation: TracedOperation, made: Tensor) -> Tensor {
    RECORDER.with_borrow_mut(|recorder| {
        if let Some(recorder) = recorder {
            let inputs = recorder.of_map(input).map(|input| vec![input]);
            let output = recorder.push(operation, inputs);
            recorder.tensors.insert(made.id(), output);
        }
    });
    made
}

/// Records an operation from a tensor to a map, if anything is recorded.
pub(crate) fn tensor_to_map(input: &Tensor, operation: TracedOperation, mut made: FeatureMap) -> FeatureMap {
    RECORDER.with_borrow_mut(|recorder| {
        if let Some(recorder) = recorder {
            let inputs = recorder.of_tensor(input).map(|input| vec![input]);
            made.1 = Origin(Some((recorder.pass, recorder.push(operation, inputs))));
        }
    });
    made
}

/// Records an operation from a tensor to a tensor, if anything is recorded.
pub(crate) fn tensor(input: &Tensor, operation: impl FnOnce() -> TracedOperation, made: Tensor) -> Tensor {
    if is_recording() {
        let operation = operation();
        RECORDER.with_borrow_mut(|recorder| {
            if let Some(recorder) = recorder {
                let inputs = recorder.of_tensor(input).map(|input| vec![input]);
                let output = recorder.push(operation, inputs);
                recorder.tensors.insert(made.id(), output);
            }
        });
    }
    made
}

/// Ends a trace, if anything is recorded, by what has no place in a network that is used.
pub(crate) fn refuse(what: &str) {
    RECORDER.with_borrow_mut(|recorder| {
        if let Some(recorder) = recorder {
            recorder.fault.get_or_insert_with(|| format!("{what}, and is not recorded"));
        }
    });
}

/// Runs what is recorded as one operation by whoever calls this.
pub(crate) fn unrecorded<T>(work: impl FnOnce() -> T) -> T {
    let recorder = RECORDER.take();
    let result = work();
    RECORDER.set(recorder);
    result
}

fn is_recording() -> bool {
    RECORDER.with_borrow(Option::is_some)
}

/// Where a tensor's numbers lie, and in which order. Weights of a network lie apart from each other; views of one lie in the same
/// storage, and differ in shape, strides or offset.
#[derive(PartialEq, Eq, Hash)]
struct Place {
    storage: usize,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl Place {
    fn of(tensor: &Tensor) -> Self {
        let (storage, layout) = tensor.storage_and_layout();
        Self {
            storage: std::ptr::from_ref::<Storage>(&storage).addr(),
            offset: layout.start_offset(),
            shape: layout.dims().to_vec(),
            strides: layout.stride().to_vec(),
        }
    }
}
