//! A small convolutional classifier.

use zskt_api::layers::{Activation, BatchNorm2d, Conv2d, Conv2dShape, Linear, global_average};
use zskt_api::{
    Architecture, BeliefShape, Beliefs, Builder, Classifier, ClassifierShape, Fault, FeatureMap, ImageShape, Init,
    Pass, Result, params,
};

params! {
    /// A small classifier: two 3×3 convolutions, each with batch norm and ReLU, the second at half the resolution, and a
    /// linear layer on the average over the image. Its activations, for attention transfer, are the outputs of the two.
    pub struct Example {
        /// Channels of the first convolution; the second has twice as many.
        pub width: usize = 16 => 1..=4096,
        /// Classes it tells apart.
        pub classes: usize = 10 => 2..=1_000_000,
        /// Channels of the images.
        pub channels: usize = 3 => 1..=1024,
    }
}

impl ClassifierShape for Example {
    fn beliefs(&self, image: ImageShape) -> std::result::Result<BeliefShape, Fault> {
        if image.channels != self.channels {
            return Err(Fault::new(format!("expected images of {} channels, found {image}", self.channels)));
        }
        let (height, width) = (image.height, image.width);
        Ok(BeliefShape {
            classes: self.classes,
            activations: vec![
                ImageShape::new(self.width, height, width),
                ImageShape::new(2 * self.width, height.div_ceil(2), width.div_ceil(2)),
            ],
        })
    }

    fn classes(&self) -> usize {
        self.classes
    }
}

impl Architecture for Example {
    fn build(&self, builder: &Builder) -> Result<Box<dyn Classifier>> {
        let wide = 2 * self.width;
        Ok(Box::new(Network {
            conv1: convolution(&builder.at("conv1"), self.channels, self.width, 1)?,
            norm1: BatchNorm2d::new(&builder.at("bn1"), self.width, Activation::Relu)?,
            conv2: convolution(&builder.at("conv2"), self.width, wide, 2)?,
            norm2: BatchNorm2d::new(&builder.at("bn2"), wide, Activation::Relu)?,
            head: Linear::new(&builder.at("fc"), wide, self.classes)?,
        }))
    }
}

/// Weights from N(0, 2 / (9·output)); batch norm follows, so there is no bias.
fn convolution(builder: &Builder, input: usize, output: usize, stride: usize) -> Result<Conv2d> {
    let shape = Conv2dShape { stride, ..Conv2dShape::same(input, output, 3) };
    Conv2d::without_bias(builder, shape, Init::Normal { std: (2.0 / (9 * output) as f64).sqrt() })
}

struct Network {
    conv1: Conv2d,
    norm1: BatchNorm2d,
    conv2: Conv2d,
    norm2: BatchNorm2d,
    head: Linear,
}

impl Classifier for Network {
    fn forward(&self, images: &FeatureMap, pass: Pass) -> Result<Beliefs> {
        let first = self.norm1.forward(&self.conv1.forward(images, pass)?, pass)?;
        let second = self.norm2.forward(&self.conv2.forward(&first, pass)?, pass)?;
        let logits = self.head.forward(&global_average(&second)?, pass)?;
        Ok(Beliefs { logits, activations: vec![first, second] })
    }
}

zskt_api::export! { architecture: Example }

#[cfg(test)]
mod tests {
    use zskt_api::candle_core::{Device, Tensor};
    use zskt_api::{
        Architecture, Builder, ClassifierShape, Error, FeatureMap, Gradients, Pass, Precision, Result, Streams,
        standard_normal,
    };

    use super::Example;

    #[test]
    fn beliefs_have_the_shape_it_tells_and_every_weight_learns() -> Result<()> {
        let streams = Streams::new(0);
        let builder = Builder::random(&streams, "network", Precision::F64, &Device::Cpu);
        let plugin = Example { width: 4, classes: 10, channels: 3 };
        let network = plugin.build(&builder)?;
        let pixels = standard_normal(&mut streams.named("images"), 2 * 3 * 9 * 9);
        let images = FeatureMap::from_nchw(&Tensor::from_vec(pixels, (2, 3, 9, 9), &Device::Cpu)?)?;
        let beliefs = network.forward(&images, Pass::learn())?;
        assert_eq!(beliefs.logits.dims(), [2, 10]);
        let told = plugin.beliefs(images.image()).map_err(|fault| Error::new(fault.message))?;
        assert_eq!(beliefs.activations.iter().map(FeatureMap::image).collect::<Vec<_>>(), told.activations);
        let weights = builder.weights();
        let gradients = Gradients::of(&beliefs.logits.sqr()?.sum_all()?, weights.parameters())?;
        assert_eq!(gradients.iter().count(), weights.parameters().count());
        Ok(())
    }
}
