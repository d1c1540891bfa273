//! LeNet (LeCun et al. 1998), as the paper's repositories use it.

use zskt_api::nn::{Conv2d, Conv2dShape, Linear, activate, max_pool};
use zskt_api::{
    Architecture, Builder, CheckError, Classifier, ClassifierOutput, ClassifierShape, FeatureMap, ForwardMode,
    ImageShape, OutputShape, Result, params,
};

params! {
    /// LeNet-5 with ReLU and max pooling: two 5×5 convolutions of 6 and 16 channels without padding, each followed by
    /// 2×2 pooling, then layers of 120, 84 and `classes` units. Its activations, for attention transfer, are the outputs
    /// of the two convolutions.
    pub struct LeNet {
        /// Classes it tells apart.
        pub classes: usize = 10 => 2..=1_000_000,
        /// Channels of the images.
        pub channels: usize = 3 => 1..=1024,
        /// Rows and columns of the images; a fully connected layer follows the convolutions, so they are fixed.
        pub size: usize = 32 => 16..=1024,
    }
}

impl LeNet {
    /// Rows and columns after the first and the second convolution, and after the second pooling.
    fn sizes(&self) -> (usize, usize, usize) {
        let first = self.size - 4;
        let second = first / 2 - 4;
        (first, second, second / 2)
    }
}

impl ClassifierShape for LeNet {
    fn output_shape(&self, image: ImageShape) -> std::result::Result<OutputShape, CheckError> {
        let expected = ImageShape::new(self.channels, self.size, self.size);
        if image != expected {
            return Err(CheckError::new(format!("expected images {expected}, found {image}"))
                .help("LeNet takes one size only: set its `size` and `channels`"));
        }
        let (first, second, _) = self.sizes();
        Ok(OutputShape {
            classes: self.classes,
            activations: vec![ImageShape::new(6, first, first), ImageShape::new(16, second, second)],
        })
    }

    fn classes(&self) -> usize {
        self.classes
    }
}

impl Architecture for LeNet {
    fn build(&self, builder: &Builder) -> Result<Box<dyn Classifier>> {
        let valid = |input, output| Conv2dShape { padding: 0, ..Conv2dShape::same(input, output, 5) };
        let (_, _, size) = self.sizes();
        Ok(Box::new(Network {
            conv1: Conv2d::new(&builder.at("conv1"), valid(self.channels, 6))?,
            conv2: Conv2d::new(&builder.at("conv2"), valid(6, 16))?,
            fc1: Linear::new(&builder.at("fc1"), 16 * size * size, 120)?,
            fc2: Linear::new(&builder.at("fc2"), 120, 84)?,
            fc3: Linear::new(&builder.at("fc3"), 84, self.classes)?,
        }))
    }
}

struct Network {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

impl Classifier for Network {
    fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput> {
        let first = self.conv1.forward(images, mode)?;
        let second = self.conv2.forward(&max_pool(&activate(&first, 0.0)?, 2)?, mode)?;
        let features = max_pool(&activate(&second, 0.0)?, 2)?.flatten()?;
        let hidden = self.fc1.forward(&features, mode)?.relu()?;
        let hidden = self.fc2.forward(&hidden, mode)?.relu()?;
        Ok(ClassifierOutput { logits: self.fc3.forward(&hidden, mode)?, activations: vec![first, second] })
    }

    fn replays(&self) -> bool {
        true
    }
}
