//! Wide residual networks (Zagoruyko & Komodakis, BMVC 2016), pre-activation, without dropout.

use zskt_api::nn::{Activation, BatchNorm2d, Conv2d, Conv2dShape, Linear, global_average};
use zskt_api::{
    Architecture, Builder, CheckError, Classifier, ClassifierOutput, ClassifierShape, FeatureMap, ForwardMode,
    ImageShape, Init, OutputShape, Result, params,
};

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
    }
}

impl WideResNet {
    fn widths(&self) -> [usize; 3] {
        [16, 32, 64].map(|width| width * self.widen_factor)
    }
}

impl ClassifierShape for WideResNet {
    fn output_shape(&self, image: ImageShape) -> std::result::Result<OutputShape, CheckError> {
        if image.channels != self.channels {
            return Err(CheckError::new(format!("expected images of {} channels, found {image}", self.channels)));
        }
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
        let blocks = (self.depth - 4) / 6;
        let stem = convolution(&builder.at("conv1"), self.channels, 16, 3, 1)?;
        let mut groups = Vec::with_capacity(3);
        let mut input = 16;
        for (index, width) in self.widths().into_iter().enumerate() {
            let group = builder.at(format!("block{}", index + 1)).at("layer");
            let stride = if index == 0 { 1 } else { 2 };
            let mut layers = Vec::with_capacity(blocks);
            for block in 0..blocks {
                let first = block == 0;
                let (from, stride) = if first { (input, stride) } else { (width, 1) };
                layers.push(Block::new(&group.at(block), from, width, stride)?);
            }
            groups.push(layers);
            input = width;
        }
        let norm = BatchNorm2d::new(&builder.at("bn1"), input, Activation::Relu)?;
        let head = Linear::with_bias(&builder.at("fc"), input, self.classes, Init::Constant(0.0))?;
        Ok(Box::new(Network { stem, groups, norm, head }))
    }
}

/// Weights from N(0, 2 / (kernel²·output)), no bias.
fn convolution(builder: &Builder, input: usize, output: usize, kernel: usize, stride: usize) -> Result<Conv2d> {
    let std = (2.0 / (kernel * kernel * output) as f64).sqrt();
    Conv2d::without_bias(
        builder,
        Conv2dShape { stride, ..Conv2dShape::same(input, output, kernel) },
        Init::Normal { std },
    )
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
}

impl Block {
    fn new(builder: &Builder, input: usize, output: usize, stride: usize) -> Result<Self> {
        Ok(Self {
            norm1: BatchNorm2d::new(&builder.at("bn1"), input, Activation::Relu)?,
            conv1: convolution(&builder.at("conv1"), input, output, 3, stride)?,
            norm2: BatchNorm2d::new(&builder.at("bn2"), output, Activation::Relu)?,
            conv2: convolution(&builder.at("conv2"), output, output, 3, 1)?,
            shortcut: if input == output {
                None
            } else {
                Some(convolution(&builder.at("convShortcut"), input, output, 1, stride)?)
            },
        })
    }

    fn forward(&self, x: &FeatureMap, mode: ForwardMode) -> Result<FeatureMap> {
        let active = self.norm1.forward(x, mode)?;
        let hidden = self.norm2.forward(&self.conv1.forward(&active, mode)?, mode)?;
        let residual = self.conv2.forward(&hidden, mode)?;
        match &self.shortcut {
            None => &residual + x,
            // Where the channels change, the shortcut takes the normalized and activated input.
            Some(shortcut) => &residual + &shortcut.forward(&active, mode)?,
        }
    }
}
