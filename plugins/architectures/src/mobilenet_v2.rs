//! MobileNetV2 (Sandler et al., CVPR 2018).

use zskt_api::nn::{Activation, Conv2dShape, Init, Linear, global_average};
use zskt_api::{
    Architecture, Builder, CheckError, Classifier, ClassifierOutput, ClassifierShape, FeatureMap, ForwardMode,
    ImageShape, NamedShapes, OutputShape, Recognized, Result, WeightLayout, above, choice, params,
};

use crate::recognition::{Guess, Names, recognize};
use crate::residual::ConvNorm;
use crate::resnet::check_channels;

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
    /// all. Parameter names are torchvision's; its dropout is left out.
    pub struct MobileNetV2 {
        /// How many times as wide as the published network; numbers of channels are rounded to multiples of eight.
        pub width: f64 = 1.0 => above(0.0),
        /// Where the resolution is halved: `Cifar` three times, as in chenyaofo/pytorch-cifar-models, `ImageNet` five times.
        pub strides: Strides = Strides::Cifar,
        /// Classes it tells apart.
        pub classes: usize = 10 => 2..=1_000_000,
        /// Channels of the images.
        pub channels: usize = 3 => 1..=1024,
    }
}

/// Of each group of blocks: how many times the first convolution widens, output channels, blocks, and the stride of the first.
const GROUPS: [(usize, usize, usize, usize); 7] =
    [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
/// Channels of the first and of the last convolution.
const FIRST: usize = 32;
const LAST: usize = 1280;

/// A block's widening, output channels and stride.
#[derive(Clone, Copy)]
struct BlockShape {
    widening: usize,
    output: usize,
    stride: usize,
}

/// A published number of channels at a width: a multiple of eight, at least nine tenths of what it would be.
fn scaled(channels: usize, width: f64) -> usize {
    let exact = channels as f64 * width;
    let rounded = ((exact + 4.0) as usize / 8 * 8).max(8);
    if (rounded as f64) < 0.9 * exact { rounded + 8 } else { rounded }
}

impl MobileNetV2 {
    fn first(&self) -> Conv2dShape {
        let stride = if self.strides == Strides::Cifar { 1 } else { 2 };
        Conv2dShape { stride, ..Conv2dShape::same(self.channels, scaled(FIRST, self.width), 3) }
    }

    fn blocks(&self) -> Vec<BlockShape> {
        let mut blocks = Vec::new();
        for (group, (widening, channels, count, stride)) in GROUPS.into_iter().enumerate() {
            let stride = if self.strides == Strides::Cifar && group == 1 { 1 } else { stride };
            let output = scaled(channels, self.width);
            blocks.extend((0..count).map(|block| BlockShape {
                widening,
                output,
                stride: if block == 0 { stride } else { 1 },
            }));
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
        let (mut height, mut width) = (image.height, image.width);
        let mut halve = |stride: usize| {
            (height, width) = (height.div_ceil(stride), width.div_ceil(stride));
            (height, width)
        };
        halve(self.first().stride);
        let mut activations = Vec::new();
        for (block, ends) in self.blocks().into_iter().zip(self.ends()) {
            let (height, width) = halve(block.stride);
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
        if self.width <= 64.0 {
            return Ok(());
        }
        Err(CheckError::parameter("width", format!("expected at most 64 times as wide, found {}", self.width)))
    }

    fn build(&self, builder: &Builder) -> Result<Box<dyn Classifier>> {
        let features = builder.at("features");
        let first = self.first();
        let mut input = first.output;
        let stem = conv_norm(&features.at(0), first, Activation::Relu6)?;
        let mut blocks = Vec::new();
        for (index, shape) in self.blocks().into_iter().enumerate() {
            blocks.push(Block::new(&features.at(index + 1).at("conv"), input, shape)?);
            input = shape.output;
        }
        let output = scaled(LAST, self.width.max(1.0));
        let last = &features.at(blocks.len() + 1);
        let last = conv_norm(last, Conv2dShape::same(input, output, 1), Activation::Relu6)?;
        let head = Linear::with_bias(&builder.at("classifier").at(1), output, self.classes, Init::Constant(0.0))?;
        Ok(Box::new(Network { stem, blocks, ends: self.ends(), last, head }))
    }

    fn layouts(&self) -> Vec<WeightLayout> {
        layouts()
    }

    fn recognize(weights: &NamedShapes) -> Option<Recognized> {
        recognize(weights, layouts(), guess)
    }
}

/// timm's names are those of its EfficientNets.
fn layouts() -> Vec<WeightLayout> {
    let mut renames = vec![
        (r"^conv_stem\.".to_owned(), "features.0.0.".to_owned()),
        (r"^bn1\.".to_owned(), "features.0.1.".to_owned()),
        (r"^conv_head\.".to_owned(), "features.18.0.".to_owned()),
        (r"^bn2\.".to_owned(), "features.18.1.".to_owned()),
        (r"^classifier\.(weight|bias)$".to_owned(), "classifier.1.$1".to_owned()),
    ];
    let mut place = 1;
    for (group, (widening, _, count, _)) in GROUPS.into_iter().enumerate() {
        for block in 0..count {
            let layers: &[(&str, &str)] = if widening == 1 {
                &[("conv_dw", "0.0"), ("bn1", "0.1"), ("conv_pw", "1"), ("bn2", "2")]
            } else {
                &[
                    ("conv_pw", "0.0"),
                    ("bn1", "0.1"),
                    ("conv_dw", "1.0"),
                    ("bn2", "1.1"),
                    ("conv_pwl", "2"),
                    ("bn3", "3"),
                ]
            };
            let rename = |(from, to): &(&str, &str)| {
                (format!(r"^blocks\.{group}\.{block}\.{from}\."), format!("features.{place}.conv.{to}."))
            };
            renames.extend(layers.iter().map(rename));
            place += 1;
        }
    }
    vec![WeightLayout { source: "timm", renames }]
}

/// Classes of ImageNet.
const IMAGENET_CLASSES: usize = 1000;

fn guess(names: &Names<'_>, _: Option<&str>) -> Option<Guess<MobileNetV2>> {
    let [first, channels, ..] = names.shape::<4>("features.0.0.weight")?;
    let [classes, inputs] = names.shape("classifier.1.weight")?;
    let [narrow, ..] = names.shape::<4>("features.17.conv.2.weight")?;
    // ImageNet is the only usual set with so many classes.
    let (strides, size) = if classes == IMAGENET_CLASSES { (Strides::ImageNet, 224) } else { (Strides::Cifar, 32) };
    let of = |width: f64| MobileNetV2 { width, strides, classes, channels };
    // Several widths are rounded to the same channels; published ones come first.
    let published = [1.0, 0.5, 0.75, 1.4, 1.3, 1.1, 1.2, 0.35, 0.25, 0.1];
    let network =
        published.into_iter().chain((1..=200).map(|step| f64::from(step) / 20.0)).map(of).find(|network| {
            let last = scaled(LAST, network.width.max(1.0));
            [scaled(FIRST, network.width), scaled(320, network.width), last] == [first, narrow, inputs]
                && network.blocks().into_iter().enumerate().all(|(index, block)| {
                    let name =
                        format!("features.{}.conv.{}.weight", index + 1, if block.widening == 1 { 1 } else { 2 });
                    names.shape::<4>(&name).is_some_and(|[output, ..]| output == block.output)
                })
        })?;
    let (taken, other) = match strides {
        Strides::Cifar => ("Cifar", "networks for ImageNet have `strides: ImageNet`"),
        Strides::ImageNet => ("ImageNet", "networks for images of 32×32 have `strides: Cifar`"),
    };
    let assumption = format!(
        "`strides: {taken}`: weights do not tell where the resolution is halved, and this is usual for so many classes; {other}"
    );
    Some((network, size, vec![assumption]))
}

fn conv_norm(builder: &Builder, shape: Conv2dShape, activation: Activation) -> Result<ConvNorm> {
    ConvNorm::new(&builder.at(0), &builder.at(1), shape, activation)
}

struct Block {
    layers: Vec<ConvNorm>,
    residual: bool,
}

impl Block {
    fn new(builder: &Builder, input: usize, BlockShape { widening, output, stride }: BlockShape) -> Result<Self> {
        let wide = input * widening;
        let depthwise = Conv2dShape { stride, groups: wide, ..Conv2dShape::same(wide, wide, 3) };
        let mut layers = Vec::with_capacity(3);
        if widening != 1 {
            layers.push(conv_norm(&builder.at(0), Conv2dShape::same(input, wide, 1), Activation::Relu6)?);
        }
        layers.push(conv_norm(&builder.at(layers.len()), depthwise, Activation::Relu6)?);
        let [conv, norm] = [0, 1].map(|index| builder.at(layers.len() + index));
        layers.push(ConvNorm::new(&conv, &norm, Conv2dShape::same(wide, output, 1), Activation::Identity)?);
        Ok(Self { layers, residual: stride == 1 && input == output })
    }

    fn forward(&self, x: &FeatureMap, mode: ForwardMode) -> Result<FeatureMap> {
        let made = self.layers.iter().try_fold(x.clone(), |x, layer| layer.forward(&x, mode))?;
        if self.residual { &made + x } else { Ok(made) }
    }
}

struct Network {
    stem: ConvNorm,
    blocks: Vec<Block>,
    ends: Vec<bool>,
    last: ConvNorm,
    head: Linear,
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
        let pooled = global_average(&self.last.forward(&x, mode)?)?;
        Ok(ClassifierOutput { logits: self.head.forward(&pooled, mode)?, activations })
    }

    fn replays(&self) -> bool {
        true
    }
}
