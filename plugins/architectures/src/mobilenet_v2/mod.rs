//! MobileNetV2 (Sandler et al., CVPR 2018).

mod recognition;
mod variant;

use zskt_api::nn::{Activation, Conv2d, Conv2dShape, Linear, adaptive_average_pool, global_average};
use zskt_api::{
    Architecture, Builder, CheckError, Classifier, ClassifierOutput, ClassifierShape, FeatureMap, ForwardMode,
    ImageShape, NamedShapes, OutputShape, Recognized, Result, WeightLayout, above, choice, params,
};

use crate::recognition::recognize;
use crate::residual::ConvNorm;
use crate::resnet::check_channels;
use recognition::{guess, layouts};
pub use variant::Variant;

choice! {
    /// Where the resolution is halved.
    pub enum Strides {
        /// Three times, from the third group of blocks on: for images of 32×32.
        Cifar,
        /// Five times, from the first convolution on.
        ImageNet,
    }
}

params! {
    /// MobileNetV2: seventeen blocks of a 1×1 convolution that widens, a depthwise 3×3 convolution and a 1×1 convolution that narrows, with
    /// ReLU6. Its activations, for attention transfer, are the last blocks' outputs before the resolution is halved again, and of
    /// all. Parameter names are torchvision's, or those of the variant's codebase; dropout is left out.
    pub struct MobileNetV2 {
        /// How many times as wide as the published network; numbers of channels are rounded to multiples of eight.
        pub width: f64 = 1.0 => above(0.0),
        /// Where the resolution is halved: `Cifar` three times, as in chenyaofo/pytorch-cifar-models, `ImageNet` five times. Other variants than
        /// `Original` have strides of their own.
        pub strides: Strides = Strides::Cifar,
        /// Classes it tells apart.
        pub classes: usize = 10 => 2..=1_000_000,
        /// Channels of the images.
        pub channels: usize = 3 => 1..=1024,
        /// What codebases have made of the network: `Kuangliu`'s has ReLU and convolutions in shortcuts, `Weiaicunzai`'s biases and a first
        /// convolution of 1×1, `RepDistiller`'s ReLU and a first convolution with stride 2.
        pub variant: Variant = Variant::Original,
    }
}

/// Of each group of blocks: how many times the first convolution widens, output channels, and blocks.
const GROUPS: [(usize, usize, usize); 7] =
    [(1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)];
/// Channels of the first and of the last convolution.
const FIRST: usize = 32;
const LAST: usize = 1280;

/// Where a block is.
#[derive(Clone, Copy)]
struct BlockPlace {
    group: usize,
    /// In its group.
    block: usize,
    /// Whether it is all of its group.
    alone: bool,
    /// In the network.
    network: usize,
}

#[derive(Clone, Copy)]
struct BlockShape {
    place: BlockPlace,
    widening: usize,
    output: usize,
    stride: usize,
    /// Two where nothing is widened and no convolution stands for that.
    convolutions: usize,
}

impl MobileNetV2 {
    /// The stride of the first convolution, and of the first block of each group.
    fn halvings(&self) -> (usize, [usize; 7]) {
        match (self.variant, self.strides) {
            (Variant::Original, Strides::ImageNet) => (2, [1, 2, 2, 2, 1, 2, 1]),
            (Variant::Original | Variant::Kuangliu, _) => (1, [1, 1, 2, 2, 1, 2, 1]),
            (Variant::Weiaicunzai, _) => (1, [1, 2, 2, 2, 1, 1, 1]),
            (Variant::RepDistiller, _) => (2, [1, 1, 2, 2, 1, 2, 1]),
        }
    }

    fn first(&self) -> Conv2dShape {
        let (stride, output) = (self.halvings().0, self.variant.channels(FIRST, self.width));
        match self.variant {
            Variant::Weiaicunzai => Conv2dShape { stride, padding: 1, ..Conv2dShape::same(self.channels, output, 1) },
            _ => Conv2dShape { stride, ..Conv2dShape::same(self.channels, output, 3) },
        }
    }

    fn blocks(&self) -> Vec<BlockShape> {
        let mut blocks = Vec::new();
        for (group, ((widening, channels, count), stride)) in GROUPS.into_iter().zip(self.halvings().1).enumerate() {
            for block in 0..count {
                blocks.push(BlockShape {
                    place: BlockPlace { group, block, alone: count == 1, network: blocks.len() },
                    widening,
                    output: self.variant.channels(channels, self.width),
                    stride: if block == 0 { stride } else { 1 },
                    convolutions: if widening == 1 && self.variant == Variant::Original { 2 } else { 3 },
                });
            }
        }
        blocks
    }

    /// Whether each block is the last at its resolution.
    fn ends(&self) -> Vec<bool> {
        let blocks = self.blocks();
        (1..=blocks.len()).map(|next| blocks.get(next).is_none_or(|block| block.stride == 2)).collect()
    }
}

impl ClassifierShape for MobileNetV2 {
    fn output_shape(&self, image: ImageShape) -> std::result::Result<OutputShape, CheckError> {
        check_channels(self.channels, image)?;
        let Conv2dShape { kernel, padding, stride, .. } = self.first();
        let [mut height, mut width] =
            [image.height, image.width].map(|size| (size + 2 * padding - kernel) / stride + 1);
        let mut activations = Vec::new();
        for (block, ends) in self.blocks().into_iter().zip(self.ends()) {
            (height, width) = (height.div_ceil(block.stride), width.div_ceil(block.stride));
            if ends {
                activations.push(ImageShape::new(block.output, height, width));
            }
        }
        Ok(OutputShape { classes: self.classes, activations })
    }

    fn classes(&self) -> usize {
        self.classes
    }
}

impl Architecture for MobileNetV2 {
    fn check(&self) -> std::result::Result<(), CheckError> {
        if self.width > 64.0 {
            let message = format!("expected at most 64 times as wide, found {}", self.width);
            return Err(CheckError::parameter("width", message));
        }
        if self.variant != Variant::Original && self.strides != Strides::Cifar {
            let message = "expected `Cifar`: only the variant `Original` has been given others";
            return Err(CheckError::parameter("strides", message).help("leave `strides` or `variant` out"));
        }
        Ok(())
    }

    fn build(&self, builder: &Builder) -> Result<Box<dyn Classifier>> {
        let (variant, first) = (self.variant, self.first());
        let stem = variant.conv_norm(builder, variant.stem_names(), first, variant.activation())?;
        let (mut input, mut blocks) = (first.output, Vec::new());
        for shape in self.blocks() {
            blocks.push(Block::new(builder, variant, input, shape)?);
            input = shape.output;
        }
        let last = Conv2dShape::same(input, variant.channels(LAST, self.width.max(1.0)), 1);
        let head = variant.head(builder, last.output, self.classes)?;
        let last = variant.conv_norm(builder, variant.last_names(), last, variant.activation())?;
        Ok(Box::new(Network { stem, blocks, ends: self.ends(), last, head }))
    }

    fn layouts(&self) -> Vec<WeightLayout> {
        layouts(self.variant)
    }

    fn recognize(weights: &NamedShapes) -> Option<Recognized> {
        [Variant::Original, Variant::Kuangliu, Variant::Weiaicunzai, Variant::RepDistiller]
            .into_iter()
            .find_map(|variant| recognize(weights, layouts(variant), |names, _| guess(variant, names)))
    }
}

struct Block {
    layers: Vec<ConvNorm>,
    shortcut: Shortcut,
}

enum Shortcut {
    None,
    Identity,
    Convolution(Box<ConvNorm>),
}

impl Block {
    fn new(builder: &Builder, variant: Variant, input: usize, shape: BlockShape) -> Result<Self> {
        let BlockShape { place, widening, output, stride, convolutions } = shape;
        let wide = input * widening;
        let depthwise = Conv2dShape { stride, groups: wide, ..Conv2dShape::same(wide, wide, 3) };
        let shapes = [Conv2dShape::same(input, wide, 1), depthwise, Conv2dShape::same(wide, output, 1)];
        let layer = |(index, shape): (usize, &Conv2dShape)| {
            let activation = if index + 1 == convolutions { Activation::Identity } else { variant.activation() };
            variant.conv_norm(builder, variant.block_names(place, index, convolutions), *shape, activation)
        };
        let layers = shapes[3 - convolutions..].iter().enumerate().map(layer).collect::<Result<_>>()?;
        let shortcut = if stride == 1 && input == output {
            Shortcut::Identity
        } else if stride == 1 && variant == Variant::Kuangliu {
            let shape = Conv2dShape::same(input, output, 1);
            let names = variant.shortcut_names(place);
            Shortcut::Convolution(Box::new(variant.conv_norm(builder, names, shape, Activation::Identity)?))
        } else {
            Shortcut::None
        };
        Ok(Self { layers, shortcut })
    }

    fn forward(&self, x: &FeatureMap, mode: ForwardMode) -> Result<FeatureMap> {
        let made = self.layers.iter().try_fold(x.clone(), |x, layer| layer.forward(&x, mode))?;
        match &self.shortcut {
            Shortcut::None => Ok(made),
            Shortcut::Identity => &made + x,
            Shortcut::Convolution(shortcut) => &made + &shortcut.forward(x, mode)?,
        }
    }
}

/// What makes logits of the last map.
enum Head {
    /// Of its mean.
    Linear(Linear),
    /// Of its mean as a map of one pixel.
    Convolution(Conv2d),
}

struct Network {
    stem: ConvNorm,
    blocks: Vec<Block>,
    ends: Vec<bool>,
    last: ConvNorm,
    head: Head,
}

impl Classifier for Network {
    fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput> {
        let (mut x, mut activations) = (self.stem.forward(images, mode)?, Vec::new());
        for (block, ends) in self.blocks.iter().zip(&self.ends) {
            x = block.forward(&x, mode)?;
            if *ends {
                activations.push(x.clone());
            }
        }
        let last = self.last.forward(&x, mode)?;
        let logits = match &self.head {
            Head::Linear(linear) => linear.forward(&global_average(&last)?, mode)?,
            Head::Convolution(conv) => conv.forward(&adaptive_average_pool(&last, 1, 1)?, mode)?.flatten()?,
        };
        Ok(ClassifierOutput { logits, activations })
    }

    fn replays(&self) -> bool {
        true
    }
}
