//! A small convolutional classifier.

use zskt_api::nn::{Activation, BatchNorm2d, Conv2d, Conv2dShape, Linear, global_average};
use zskt_api::{
    Architecture, Builder, CheckError, Classifier, ClassifierOutput, ClassifierShape, FeatureMap,
    ForwardMode, ImageShape, Init, OutputShape, Result, params,
};

params! {
    /// A small classifier: three 3×3 convolutions, each with batch norm and ReLU, the second and third at half the
    /// resolution of the one before, and a linear layer on the average over the image. Its activations, for attention
    /// transfer, are the outputs of the three: as large as those of `WideResNet`.
    pub struct ExampleArchitecture {
        /// Channels of the first convolution; each later one has twice as many.
        pub width: usize = 16 => 1..=4096,
        /// Classes it tells apart.
        pub classes: usize = 10 => 2..=1_000_000,
        /// Channels of the images.
        pub channels: usize = 3 => 1..=1024,
    }
}

impl ExampleArchitecture {
    fn widths(&self) -> [usize; 3] {
        [1, 2, 4].map(|by| by * self.width)
    }
}

impl ClassifierShape for ExampleArchitecture {
    fn output_shape(&self, image: ImageShape) -> std::result::Result<OutputShape, CheckError> {
        if image.channels != self.channels {
            return Err(CheckError::new(format!(
                "expected images of {} channels, found {image}",
                self.channels
            )));
        }
        let mut activations = Vec::new();
        let (mut height, mut width) = (image.height, image.width);
        for channels in self.widths() {
            activations.push(ImageShape::new(channels, height, width));
            (height, width) = (height.div_ceil(2), width.div_ceil(2));
        }
        Ok(OutputShape {
            classes: self.classes,
            activations,
        })
    }

    fn classes(&self) -> usize {
        self.classes
    }
}

impl Architecture for ExampleArchitecture {
    fn build(&self, builder: &Builder) -> Result<Box<dyn Classifier>> {
        let mut blocks = Vec::new();
        let mut input = self.channels;
        for (index, output) in self.widths().into_iter().enumerate() {
            let stride = if index == 0 { 1 } else { 2 };
            blocks.push(Block::new(
                &builder.at(format!("block{index}")),
                input,
                output,
                stride,
            )?);
            input = output;
        }
        let head = Linear::new(&builder.at("fc"), input, self.classes)?;
        Ok(Box::new(Network { blocks, head }))
    }
}

struct Network {
    blocks: Vec<Block>,
    head: Linear,
}

impl Classifier for Network {
    fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput> {
        let mut x = images.clone();
        let mut activations = Vec::new();
        for block in &self.blocks {
            x = block.norm.forward(&block.conv.forward(&x, mode)?, mode)?;
            activations.push(x.clone());
        }
        let logits = self.head.forward(&global_average(&x)?, mode)?;
        Ok(ClassifierOutput {
            logits,
            activations,
        })
    }

    // It computes on the device only, with numbers that never change: a GPU may replay it.
    fn replays(&self) -> bool {
        true
    }
}

struct Block {
    conv: Conv2d,
    norm: BatchNorm2d,
}

impl Block {
    /// Weights from N(0, 2 / (9·output)); batch norm follows, so there is no bias.
    fn new(builder: &Builder, input: usize, output: usize, stride: usize) -> Result<Self> {
        let shape = Conv2dShape {
            stride,
            ..Conv2dShape::same(input, output, 3)
        };
        let init = Init::Normal {
            std: (2.0 / (9 * output) as f64).sqrt(),
        };
        Ok(Self {
            conv: Conv2d::without_bias(&builder.at("conv"), shape, init)?,
            norm: BatchNorm2d::new(&builder.at("bn"), output, Activation::Relu)?,
        })
    }
}

zskt_api::export! { reads: none; architecture: ExampleArchitecture }

#[cfg(test)]
mod tests {
    use zskt_api::Result;
    use zskt_api::testing::conforms;

    #[test]
    fn it_keeps_its_contract() -> Result<()> {
        conforms("ExampleArchitecture(width: 4)")
    }
}
