//! A network as layers of our own: what an ONNX graph is lowered to, and its shapes for images of any size.

use zskt_api::nn::{Activation, Conv2dShape, Padding, PoolWindows};
use zskt_api::{CheckError, ImageShape, OutputShape};

/// Numbers that a step may make of one image.
const MOST_NUMBERS: usize = 1 << 28;

/// What a step of the plan makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub usize);

/// The network behind a graph.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The images it takes.
    pub images: Images,
    /// What it computes, in this order; the first are the images.
    pub steps: Vec<Step>,
    /// What the logits are made of.
    pub logits: Slot,
    /// The maps that it gives beside them.
    pub activations: Vec<Slot>,
    /// Classes that it tells apart.
    pub classes: usize,
    /// The node of the softmax that the model applies to the logits, and which is taken off.
    pub softmax: Option<String>,
}

/// The images that a model takes; `None` where they may have any size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Images {
    pub channels: usize,
    pub height: Option<usize>,
    pub width: Option<usize>,
}

/// One layer.
#[derive(Clone, Debug)]
pub struct Step {
    /// The node that it comes from, for messages.
    pub node: String,
    /// What its weights' names begin with.
    pub name: String,
    pub layer: Layer,
    pub inputs: Vec<Slot>,
}

/// What a layer computes. Vectors `[B, N]` are maps `[B, N, 1, 1]` where maps are expected.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    Images,
    Convolution {
        shape: Conv2dShape,
        bias: bool,
    },
    Normalization {
        channels: usize,
        epsilon: f64,
        momentum: f64,
        activation: Activation,
    },
    /// A factor and a term for each channel, which do not learn.
    Affine {
        channels: usize,
        activation: Activation,
    },
    Activation(Activation),
    Add,
    Multiply,
    Concat,
    /// Channels from `start` on.
    NarrowChannels {
        start: usize,
        length: usize,
    },
    /// One channel of each of so many equal parts in turn.
    ChannelShuffle(usize),
    MaxPool(Windows),
    AveragePool(Windows),
    Pad(Padding),
    /// Zeros so that a convolution without padding gives ⌈size / stride⌉ rows and columns, as TensorFlow has it.
    PadSame {
        kernel: usize,
        stride: usize,
        at_end: bool,
    },
    /// The mean of each channel, as vectors.
    GlobalAverage,
    /// Vectors of all numbers of an image; `features` is how many that must be.
    Flatten {
        order: Order,
        features: Option<usize>,
    },
    Linear {
        inputs: usize,
        outputs: usize,
    },
}

/// Which axis is the fastest when a map becomes vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `[C, H, W]`.
    ChannelsFirst,
    /// `[H, W, C]`.
    ChannelsLast,
}

/// The windows of a pooling, for maps of any size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Windows {
    pub size: [usize; 2],
    pub stride: [usize; 2],
    pub padding: WindowPadding,
    /// Whether a window that has pixels of the map is kept where it reaches beyond its padding.
    pub ceil: bool,
    pub count_padding: bool,
}

/// How far windows reach beyond a map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WindowPadding {
    Fixed([[usize; 2]; 2]),
    /// As far as ⌈size / stride⌉ windows take.
    Same {
        at_end: bool,
    },
}

/// The shape of what a step makes, without the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A map; rows and columns where they are known.
    Map { channels: usize, size: Option<[usize; 2]> },
    /// Vectors; their length where it is known.
    Vectors(Option<usize>),
}

impl Shape {
    /// As a map: vectors have one row and one column.
    pub fn as_map(self) -> Option<(usize, Option<[usize; 2]>)> {
        match self {
            Self::Map { channels, size } => Some((channels, size)),
            Self::Vectors(length) => Some((length?, Some([1, 1]))),
        }
    }

    /// Channels, or the length of vectors.
    pub fn channels(self) -> Option<usize> {
        self.as_map().map(|(channels, _)| channels)
    }
}

/// Zeros before and after `size` pixels so that windows give ⌈size / stride⌉ outputs.
pub fn same_padding(size: usize, kernel: usize, stride: usize, at_end: bool) -> [usize; 2] {
    let covered = (size.div_ceil(stride).saturating_sub(1)).saturating_mul(stride).saturating_add(kernel);
    let total = covered.saturating_sub(size);
    let (less, more) = (total / 2, total - total / 2);
    if at_end { [less, more] } else { [more, less] }
}

impl Windows {
    /// The windows of a map of this size.
    pub fn of(&self, size: [usize; 2]) -> PoolWindows {
        let padding = [0, 1].map(|axis| {
            let (kernel, stride) = (self.size[axis], self.stride[axis]);
            let [before, after] = match self.padding {
                WindowPadding::Fixed(padding) => padding[axis],
                WindowPadding::Same { at_end } => same_padding(size[axis], kernel, stride, at_end),
            };
            let Some(steps) = (size[axis] + before + after).checked_sub(kernel) else { return [before, after] };
            // A window more, if it begins within the map or the padding before it.
            let (left, next) = (steps % stride, (steps / stride + 1) * stride);
            let more = if self.ceil && left > 0 && next < size[axis] + before { stride - left } else { 0 };
            [before, after + more]
        });
        PoolWindows { size: self.size, stride: self.stride, padding, count_padding: self.count_padding }
    }

    fn output(&self, size: [usize; 2]) -> Result<[usize; 2], String> {
        let PoolWindows { size: kernel, stride, padding, .. } = self.of(size);
        let mut output = [0; 2];
        for axis in [0, 1] {
            let padded = size[axis] + padding[axis][0] + padding[axis][1];
            if padded < kernel[axis] || padding[axis].iter().any(|padding| *padding >= kernel[axis]) {
                let [rows, columns] = kernel;
                return Err(format!("a window of {rows}×{columns} does not fit into {}×{}", size[0], size[1]));
            }
            output[axis] = (padded - kernel[axis]) / stride[axis] + 1;
        }
        Ok(output)
    }
}

impl Layer {
    /// The shape that it makes of these.
    ///
    /// # Errors
    /// Why they do not fit.
    pub fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        let known = |shape: Shape| shape.as_map().ok_or("the length of its vectors is not known".to_owned());
        let first = || inputs.first().copied().ok_or("it takes nothing".to_owned());
        let expect = |expected: usize| {
            let shape = first()?;
            match shape.channels() {
                Some(found) if found != expected => Err(format!("it takes {expected} channels, and gets {found}")),
                _ => Ok(shape),
            }
        };
        Ok(match self {
            Self::Images => return Err("images are not made of anything".into()),
            Self::Convolution { shape, .. } => {
                let (_, size) = known(expect(shape.input)?)?;
                let windows = Windows {
                    size: [shape.kernel; 2],
                    stride: [shape.stride; 2],
                    padding: WindowPadding::Fixed([[0; 2]; 2]),
                    ceil: false,
                    count_padding: true,
                };
                let padded = |size: [usize; 2]| size.map(|size| size + 2 * shape.padding);
                let size = size.map(|size| windows.output(padded(size))).transpose()?;
                Shape::Map { channels: shape.output, size }
            }
            Self::Normalization { channels, .. } | Self::Affine { channels, .. } => expect(*channels)?,
            Self::Activation(_) => first()?,
            Self::Add | Self::Multiply => match inputs {
                [a, b] if a == b => *a,
                [a, b] => {
                    let (whole, factor) = if known(*a)?.1 == Some([1, 1]) { (*b, *a) } else { (*a, *b) };
                    let ((channels, size), (others, other)) = (known(whole)?, known(factor)?);
                    let fits = channels == others && (size == other || size.is_none() || other.is_none());
                    let spreads = channels == others && *self == Self::Multiply && other == Some([1, 1]);
                    if !fits && !spreads {
                        return Err(format!("its inputs have the shapes {} and {}", shown(whole), shown(factor)));
                    }
                    whole
                }
                _ => return Err("it does not take two inputs".into()),
            },
            Self::Concat => {
                let mut sum = 0_usize;
                let mut place: Option<[usize; 2]> = None;
                for shape in inputs {
                    let (channels, size) = known(*shape)?;
                    if let (Some(one), Some(other)) = (place, size)
                        && one != other
                    {
                        return Err("its inputs have maps of different sizes".into());
                    }
                    place = place.or(size);
                    sum = sum.saturating_add(channels);
                }
                match first()? {
                    Shape::Vectors(_) => Shape::Vectors(Some(sum)),
                    Shape::Map { .. } => Shape::Map { channels: sum, size: place },
                }
            }
            Self::NarrowChannels { start, length } => {
                let (channels, size) = known(first()?)?;
                if *length == 0 || start.checked_add(*length).is_none_or(|end| end > channels) {
                    return Err(format!("it takes {length} channels from {start} on, and gets {channels}"));
                }
                match first()? {
                    Shape::Vectors(_) => Shape::Vectors(Some(*length)),
                    Shape::Map { .. } => Shape::Map { channels: *length, size },
                }
            }
            Self::ChannelShuffle(groups) => {
                let (channels, _) = known(first()?)?;
                if *groups == 0 || channels == 0 || !channels.is_multiple_of(*groups) {
                    return Err(format!("it shuffles {channels} channels in {groups} groups"));
                }
                first()?
            }
            Self::MaxPool(windows) | Self::AveragePool(windows) => {
                let (channels, size) = known(first()?)?;
                Shape::Map { channels, size: size.map(|size| windows.output(size)).transpose()? }
            }
            Self::Pad(padding) => {
                let (channels, size) = known(first()?)?;
                let add = |size: usize, [before, after]: [usize; 2]| size.saturating_add(before).saturating_add(after);
                let size = size.map(|[rows, columns]| [add(rows, padding.rows), add(columns, padding.columns)]);
                Shape::Map { channels: add(channels, padding.channels), size }
            }
            Self::PadSame { kernel, stride, at_end } => {
                let (channels, size) = known(first()?)?;
                let padded = |size: usize| size + same_padding(size, *kernel, *stride, *at_end).iter().sum::<usize>();
                Shape::Map { channels, size: size.map(|size| size.map(padded)) }
            }
            Self::GlobalAverage => Shape::Vectors(Some(known(first()?)?.0)),
            Self::Flatten { features, .. } => {
                let (channels, size) = known(first()?)?;
                let found = size.map(|[rows, columns]| channels.saturating_mul(rows).saturating_mul(columns));
                match (features, found, size) {
                    (Some(expected), Some(found), Some([rows, columns])) if *expected != found => {
                        return Err(format!(
                            "it takes {expected} numbers of each image, and gets {channels}×{rows}×{columns}"
                        ));
                    }
                    _ => Shape::Vectors(found.or(*features)),
                }
            }
            Self::Linear { inputs, outputs } => {
                expect(*inputs)?;
                Shape::Vectors(Some(*outputs))
            }
        })
    }
}

fn shown(shape: Shape) -> String {
    match shape.as_map() {
        Some((channels, Some([rows, columns]))) => format!("{channels}×{rows}×{columns}"),
        Some((channels, None)) => format!("{channels}×?×?"),
        None => "?".into(),
    }
}

impl Plan {
    /// The shape of each step for images of this shape.
    ///
    /// # Errors
    /// Why the model takes no such images.
    fn shapes(&self, image: ImageShape) -> Result<Vec<Shape>, CheckError> {
        let mut shapes: Vec<Shape> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            if step.layer == Layer::Images {
                shapes.push(Shape::Map { channels: image.channels, size: Some([image.height, image.width]) });
                continue;
            }
            let inputs: Vec<_> = step.inputs.iter().map(|input| shapes[input.0]).collect();
            let shape = step.layer.shape(&inputs);
            let shape = shape.and_then(|shape| {
                let numbers =
                    shape.as_map().and_then(|(channels, size)| size.map(|[rows, columns]| [channels, rows, columns]));
                let numbers = numbers.into_iter().flatten().try_fold(1_usize, usize::checked_mul);
                let is_small = numbers.is_some_and(|numbers| numbers <= MOST_NUMBERS);
                if is_small {
                    Ok(shape)
                } else {
                    Err(format!("of each image it makes more than {MOST_NUMBERS} numbers"))
                }
            });
            shapes
                .push(shape.map_err(|why| CheckError::new(format!("images {image} do not fit {}: {why}", step.node)))?);
        }
        Ok(shapes)
    }

    /// The shapes of the output for images of this shape.
    ///
    /// # Errors
    /// Why the model takes no such images.
    pub fn output_shape(&self, image: ImageShape) -> Result<OutputShape, CheckError> {
        let Images { channels, height, width } = self.images;
        let size = |fixed: Option<usize>| fixed.map_or("any".to_owned(), |size| size.to_string());
        let fits = |fixed: Option<usize>, found: usize| fixed.is_none_or(|fixed| fixed == found);
        if channels != image.channels || !fits(height, image.height) || !fits(width, image.width) {
            let expected = format!("{channels}×{}×{}", size(height), size(width));
            let fault = CheckError::new(format!("expected images {expected}, found {image}"));
            return Err(if channels == image.channels {
                fault.help("the model was exported for one size: export it with free rows and columns (`dynamic_axes`), or give it images of its own size")
            } else {
                fault
            });
        }
        let shapes = self.shapes(image)?;
        let activations = self.activations.iter().filter_map(|slot| match shapes[slot.0] {
            Shape::Map { channels, size: Some([rows, columns]) } => Some(ImageShape::new(channels, rows, columns)),
            _ => None,
        });
        Ok(OutputShape { classes: self.classes, activations: activations.collect() })
    }
}
