//! Wide residual networks (Zagoruyko & Komodakis, BMVC 2016), pre-activation, without dropout.

use zskt_api::nn::{Activation, BatchNorm2d, Conv2d, Conv2dShape, Linear, global_average};
use zskt_api::{
    Architecture, Builder, CheckError, Classifier, ClassifierOutput, ClassifierShape, FeatureMap, ForwardMode,
    ImageShape, Init, NamedShapes, OutputShape, Recognized, Result, WeightLayout, choice, params,
};

use crate::layouts::layout;
use crate::recognition::{Guess, Names, recognize};
use crate::resnet::check_channels;

const WEIAICUNZAI: &str = "weiaicunzai/pytorch-cifar100";
const MELIKETOY: &str = "meliketoy/wide-resnet.pytorch";

choice! {
    /// What codebases have made of the network.
    pub enum Variant {
        /// The authors'.
        Original,
        /// weiaicunzai/pytorch-cifar100's: convolutions have a bias, shortcuts take the input as it is, and no activation follows the last
        /// normalization.
        Weiaicunzai,
        /// meliketoy/wide-resnet.pytorch's: convolutions have a bias, shortcuts take the input as it is, and the second convolution of a block
        /// has its stride.
        Meliketoy,
    }
}

params! {
    /// Wide residual network WRN-depth-widen_factor: three groups of pre-activation blocks with 16, 32 and 64 times
    /// `widen_factor` channels, the second and third at half the resolution of the one before. Its activations, for
    /// attention transfer, are the outputs of the three groups. Parameter names are those of the common PyTorch port.
    pub struct WideResNet {
        /// Layers, 6·n + 4: 10, 16, 22, 28, 34, 40, …
        pub depth: usize => 10..=1000,
        /// How many times as wide as the plain residual network.
        pub widen_factor: usize => 1..=64,
        /// Classes it tells apart.
        pub classes: usize = 10 => 2..=1_000_000,
        /// Channels of the images.
        pub channels: usize = 3 => 1..=1024,
        /// What codebases have made of the network: in `Weiaicunzai`'s and `Meliketoy`'s convolutions have a bias and shortcuts take the input
        /// as it is; the first has no activation behind its last normalization, the second strides in the second convolution of a
        /// block.
        pub variant: Variant = Variant::Original,
    }
}

impl WideResNet {
    fn widths(&self) -> [usize; 3] {
        [16, 32, 64].map(|width| width * self.widen_factor)
    }
}

impl ClassifierShape for WideResNet {
    fn output_shape(&self, image: ImageShape) -> std::result::Result<OutputShape, CheckError> {
        check_channels(self.channels, image)?;
        let [first, second, third] = self.widths();
        let [half, quarter] = [2, 4].map(|by| (image.height.div_ceil(by), image.width.div_ceil(by)));
        Ok(OutputShape {
            classes: self.classes,
            activations: vec![
                ImageShape::new(first, image.height, image.width),
                ImageShape::new(second, half.0, half.1),
                ImageShape::new(third, quarter.0, quarter.1),
            ],
        })
    }

    fn classes(&self) -> usize {
        self.classes
    }
}

impl Architecture for WideResNet {
    fn check(&self) -> std::result::Result<(), CheckError> {
        if self.depth % 6 == 4 {
            return Ok(());
        }
        let below = (self.depth - 4) / 6 * 6 + 4;
        Err(CheckError::parameter("depth", format!("expected 6·n + 4 layers, found {}", self.depth)).help(format!(
            "the nearest depths are {} and {}",
            below.max(10),
            below + 6
        )))
    }

    fn build(&self, builder: &Builder) -> Result<Box<dyn Classifier>> {
        let (blocks, variant) = ((self.depth - 4) / 6, self.variant);
        let stem = variant.convolution(&builder.at("conv1"), Conv2dShape::same(self.channels, 16, 3))?;
        let mut groups = Vec::with_capacity(3);
        let mut input = 16;
        for (index, width) in self.widths().into_iter().enumerate() {
            let group = builder.at(format!("block{}", index + 1)).at("layer");
            let stride = if index == 0 { 1 } else { 2 };
            let mut layers = Vec::with_capacity(blocks);
            for block in 0..blocks {
                let first = block == 0;
                let (from, stride) = if first { (input, stride) } else { (width, 1) };
                layers.push(Block::new(&group.at(block), from, width, stride, variant)?);
            }
            groups.push(layers);
            input = width;
        }
        let last = if variant == Variant::Weiaicunzai { Activation::Identity } else { Activation::Relu };
        let norm = BatchNorm2d::new(&builder.at("bn1"), input, last)?;
        let head = Linear::with_bias(&builder.at("fc"), input, self.classes, Init::Constant(0.0))?;
        Ok(Box::new(Network { stem, groups, norm, head }))
    }

    fn layouts(&self) -> Vec<WeightLayout> {
        self.variant.layouts()
    }

    fn recognize(weights: &NamedShapes) -> Option<Recognized> {
        [Variant::Original, Variant::Weiaicunzai, Variant::Meliketoy]
            .into_iter()
            .find_map(|variant| recognize(weights, variant.layouts(), |names, source| guess(variant, names, source)))
    }
}

impl Variant {
    fn layouts(self) -> Vec<WeightLayout> {
        match self {
            // HobbitLong/RepDistiller, zju-vipa and xternalz/WideResNet-pytorch have the architecture's own.
            Self::Original => Vec::new(),
            Self::Weiaicunzai => vec![layout(
                WEIAICUNZAI,
                &[
                    (r"^init_conv\.", "conv1."),
                    (r"^conv2\.", "block1.layer."),
                    (r"^conv3\.", "block2.layer."),
                    (r"^conv4\.", "block3.layer."),
                    (r"\.residual\.0\.", ".bn1."),
                    (r"\.residual\.2\.", ".conv1."),
                    (r"\.residual\.3\.", ".bn2."),
                    (r"\.residual\.6\.", ".conv2."),
                    (r"\.shortcut\.0\.", ".convShortcut."),
                    (r"^bn\.", "bn1."),
                    (r"^linear\.", "fc."),
                ],
            )],
            Self::Meliketoy => vec![layout(
                MELIKETOY,
                &[
                    (r"^layer([123])\.", "block$1.layer."),
                    (r"\.shortcut\.0\.", ".convShortcut."),
                    (r"^linear\.", "fc."),
                ],
            )],
        }
    }

    /// Weights from N(0, 2 / (kernel²·output)) without a bias; else those of PyTorch.
    fn convolution(self, builder: &Builder, shape: Conv2dShape) -> Result<Conv2d> {
        if self != Self::Original {
            return Conv2d::new(builder, shape);
        }
        let std = (2.0 / (shape.kernel * shape.kernel * shape.output) as f64).sqrt();
        Conv2d::without_bias(builder, shape, Init::Normal { std })
    }
}

fn guess(variant: Variant, names: &Names<'_>, source: Option<&str>) -> Option<Guess<WideResNet>> {
    let [_, channels, ..] = names.shape::<4>("conv1.weight")?;
    let [classes, width] = names.shape("fc.weight")?;
    let depth = 6 * names.count(|block| format!("block1.layer.{block}.conv1.weight")) + 4;
    let mut assumptions = Vec::new();
    if variant == Variant::Weiaicunzai && source.is_none() {
        assumptions.push(
            "`variant: Weiaicunzai`: the convolutions have biases; meliketoy/wide-resnet.pytorch has them too, and is `variant: \
             Meliketoy`"
                .into(),
        );
    }
    Some((WideResNet { depth, widen_factor: width / 64, classes, channels, variant }, 32, assumptions))
}

struct Network {
    stem: Conv2d,
    groups: Vec<Vec<Block>>,
    norm: BatchNorm2d,
    head: Linear,
}

impl Classifier for Network {
    fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput> {
        let mut x = self.stem.forward(images, mode)?;
        let mut activations = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            for block in group {
                x = block.forward(&x, mode)?;
            }
            activations.push(x.clone());
        }
        let pooled = global_average(&self.norm.forward(&x, mode)?)?;
        Ok(ClassifierOutput { logits: self.head.forward(&pooled, mode)?, activations })
    }

    fn replays(&self) -> bool {
        true
    }
}

struct Block {
    norm1: BatchNorm2d,
    conv1: Conv2d,
    norm2: BatchNorm2d,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
    /// Whether the shortcut takes the normalized and activated input.
    activated: bool,
}

impl Block {
    fn new(builder: &Builder, input: usize, output: usize, stride: usize, variant: Variant) -> Result<Self> {
        let [first, second] = if variant == Variant::Meliketoy { [1, stride] } else { [stride, 1] };
        let conv = |name: &str, shape, stride| variant.convolution(&builder.at(name), Conv2dShape { stride, ..shape });
        Ok(Self {
            norm1: BatchNorm2d::new(&builder.at("bn1"), input, Activation::Relu)?,
            conv1: conv("conv1", Conv2dShape::same(input, output, 3), first)?,
            norm2: BatchNorm2d::new(&builder.at("bn2"), output, Activation::Relu)?,
            conv2: conv("conv2", Conv2dShape::same(output, output, 3), second)?,
            shortcut: if input == output {
                None
            } else {
                Some(conv("convShortcut", Conv2dShape::same(input, output, 1), stride)?)
            },
            activated: variant == Variant::Original,
        })
    }

    fn forward(&self, x: &FeatureMap, mode: ForwardMode) -> Result<FeatureMap> {
        let active = self.norm1.forward(x, mode)?;
        let hidden = self.norm2.forward(&self.conv1.forward(&active, mode)?, mode)?;
        let residual = self.conv2.forward(&hidden, mode)?;
        match &self.shortcut {
            None => &residual + x,
            Some(shortcut) => &residual + &shortcut.forward(if self.activated { &active } else { x }, mode)?,
        }
    }
}
