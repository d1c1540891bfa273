//! Residual networks (He et al., CVPR 2016): what those for ImageNet and those for CIFAR have in common.

use zskt_api::candle_core::Tensor;
use zskt_api::nn::{Activation, BatchNorm2d, Conv2d, Conv2dShape, Linear, Pool, activate, global_average, max_pool};
use zskt_api::ops::conv2d;
use zskt_api::{Builder, Classifier, ClassifierOutput, FeatureMap, ForwardMode, ImageShape, Init, Precision, Result};

/// A convolution, and the batch norm and activation behind it.
pub struct ConvNorm {
    pub conv: Conv2d,
    pub norm: BatchNorm2d,
}

impl ConvNorm {
    /// Without a bias, with weights from N(0, 2 / (kernel²·output)), under the names of two builders.
    pub fn new(conv: &Builder, norm: &Builder, shape: Conv2dShape, activation: Activation) -> Result<Self> {
        let std = (2.0 / (shape.kernel * shape.kernel * shape.output) as f64).sqrt();
        Ok(Self {
            conv: Conv2d::without_bias(conv, shape, Init::Normal { std })?,
            norm: BatchNorm2d::new(norm, shape.output, activation)?,
        })
    }

    pub fn forward(&self, x: &FeatureMap, mode: ForwardMode) -> Result<FeatureMap> {
        self.norm.forward(&self.conv.forward(x, mode)?, mode)
    }
}

/// A group of blocks at one resolution.
pub struct Group {
    /// Output channels of the 3×3 convolutions.
    pub width: usize,
    /// Blocks of 1×1, 3×3 and 1×1 convolutions, the last four times as wide, instead of two of 3×3.
    pub bottleneck: bool,
    pub blocks: usize,
    /// Of the first block.
    pub stride: usize,
}

impl Group {
    pub fn output(&self) -> usize {
        if self.bottleneck { 4 * self.width } else { self.width }
    }

    /// The convolutions of a block. A bottleneck strides in its 3×3 convolution, as all codebases do since torchvision.
    fn convolutions(&self, input: usize, stride: usize) -> Vec<Conv2dShape> {
        let width = self.width;
        let strided = |input| Conv2dShape { stride, ..Conv2dShape::same(input, width, 3) };
        if self.bottleneck {
            let widened = Conv2dShape::same(width, 4 * width, 1);
            vec![Conv2dShape::same(input, width, 1), strided(width), widened]
        } else {
            vec![strided(input), Conv2dShape::same(width, width, 3)]
        }
    }
}

/// What is added where a block's output has other channels or another resolution than its input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ShortcutKind {
    /// The input by a 1×1 convolution and a batch norm.
    Convolution,
    /// Every second pixel of the input, with channels of zeros before and behind its own.
    Padding,
}

/// The stem, what follows it, and the groups.
pub struct ResidualNetwork {
    stem: ConvNorm,
    pool: bool,
    groups: Vec<Vec<Block>>,
    head: Linear,
}

impl ResidualNetwork {
    /// `pool`: 3×3 max-pooling with stride 2 behind the stem.
    pub fn new(
        builder: &Builder,
        stem: Conv2dShape,
        pool: bool,
        groups: &[Group],
        shortcut: ShortcutKind,
        classes: usize,
    ) -> Result<Self> {
        let mut input = stem.output;
        let stem = ConvNorm::new(&builder.at("conv1"), &builder.at("bn1"), stem, Activation::Relu)?;
        let mut made = Vec::with_capacity(groups.len());
        for (index, group) in groups.iter().enumerate() {
            let builder = builder.at(format!("layer{}", index + 1));
            let mut blocks = Vec::with_capacity(group.blocks);
            for block in 0..group.blocks {
                let stride = if block == 0 { group.stride } else { 1 };
                blocks.push(Block::new(&builder.at(block), group, input, stride, shortcut)?);
                input = group.output();
            }
            made.push(blocks);
        }
        Ok(Self { stem, pool, groups: made, head: Linear::new(&builder.at("fc"), input, classes)? })
    }
}

/// The shapes of the groups' outputs, for a map of this shape behind the stem.
pub fn activations(groups: &[Group], mut map: ImageShape) -> Vec<ImageShape> {
    let shapes = groups.iter().map(|group| {
        map = ImageShape::new(group.output(), map.height.div_ceil(group.stride), map.width.div_ceil(group.stride));
        map
    });
    shapes.collect()
}

impl Classifier for ResidualNetwork {
    fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput> {
        let mut x = self.stem.forward(images, mode)?;
        if self.pool {
            x = max_pool(&x, Pool { size: 3, stride: 2, padding: 1 })?;
        }
        let mut activations = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            for block in group {
                x = block.forward(&x, mode)?;
            }
            activations.push(x.clone());
        }
        Ok(ClassifierOutput { logits: self.head.forward(&global_average(&x)?, mode)?, activations })
    }

    fn replays(&self) -> bool {
        true
    }
}

struct Block {
    layers: Vec<ConvNorm>,
    shortcut: Shortcut,
}

enum Shortcut {
    Identity,
    Convolution(Box<ConvNorm>),
    /// A 1×1 kernel of ones and zeros, which is not learnt.
    Padding(Tensor, Precision),
}

impl Block {
    fn new(builder: &Builder, group: &Group, input: usize, stride: usize, shortcut: ShortcutKind) -> Result<Self> {
        let convolutions = group.convolutions(input, stride);
        let (last, output) = (convolutions.len(), group.output());
        let layer = |(index, shape): (usize, Conv2dShape)| {
            let activation = if index + 1 == last { Activation::Identity } else { Activation::Relu };
            let [conv, norm] = ["conv", "bn"].map(|name| builder.at(format!("{name}{}", index + 1)));
            ConvNorm::new(&conv, &norm, shape, activation)
        };
        let layers = convolutions.into_iter().enumerate().map(layer).collect::<Result<_>>()?;
        let shortcut = match shortcut {
            _ if stride == 1 && input == output => Shortcut::Identity,
            ShortcutKind::Convolution => {
                let [conv, norm] = [0, 1].map(|index| builder.at("downsample").at(index));
                let shape = Conv2dShape { stride, ..Conv2dShape::same(input, output, 1) };
                Shortcut::Convolution(Box::new(ConvNorm::new(&conv, &norm, shape, Activation::Identity)?))
            }
            ShortcutKind::Padding => {
                let (before, precision) = (output.saturating_sub(input) / 2, builder.precision());
                let kernel = |index| f64::from(u8::from(index / input == before + index % input));
                let kernel = Tensor::from_iter((0..output * input).map(kernel), builder.device())?;
                let kernel = kernel.reshape((output, input, 1, 1))?.to_dtype(precision.dtype())?;
                Shortcut::Padding(kernel, precision)
            }
        };
        Ok(Self { layers, shortcut })
    }

    fn forward(&self, x: &FeatureMap, mode: ForwardMode) -> Result<FeatureMap> {
        let residual = self.layers.iter().try_fold(x.clone(), |x, layer| layer.forward(&x, mode))?;
        let sum = match &self.shortcut {
            Shortcut::Identity => &residual + x,
            Shortcut::Convolution(shortcut) => &residual + &shortcut.forward(x, mode)?,
            Shortcut::Padding(kernel, precision) => &residual + &conv2d(x, kernel, None, 2, 0, 1, *precision)?,
        };
        activate(&sum?, Activation::Relu)
    }
}
