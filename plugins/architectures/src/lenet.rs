//! LeNet (LeCun et al. 1998), as the paper's repositories use it.

use zskt_api::nn::{Activation, Conv2d, Conv2dShape, Linear, Pool, activate, activate_vectors, max_pool};
use zskt_api::{
    Architecture, Builder, CheckError, Classifier, ClassifierOutput, ClassifierShape, FeatureMap, ForwardMode,
    ImageShape, NamedShapes, OutputShape, Recognized, Result, WeightLayout, params,
};

use crate::layouts::layout;
use crate::recognition::{Guess, Names, recognize};

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

    fn layouts(&self) -> Vec<WeightLayout> {
        layouts()
    }

    fn recognize(weights: &NamedShapes) -> Option<Recognized> {
        recognize(weights, layouts(), guess)
    }
}

fn layouts() -> Vec<WeightLayout> {
    vec![layout(
        "polo5/ZeroShotKnowledgeTransfer",
        &[
            (r"^layers\.0\.", "conv1."),
            (r"^layers\.3\.", "conv2."),
            (r"^layers\.7\.", "fc1."),
            (r"^layers\.9\.", "fc2."),
            (r"^layers\.11\.", "fc3."),
        ],
    )]
}

fn guess(names: &Names<'_>, _: Option<&str>) -> Option<Guess<LeNet>> {
    let [_, channels, ..] = names.shape::<4>("conv1.weight")?;
    let [_, features] = names.shape("fc1.weight")?;
    let [classes, _] = names.shape("fc3.weight")?;
    // The smallest images that leave a map of this size.
    let size = (features / 16).isqrt() * 4 + 12;
    let assumption = format!(
        "`size: {size}`: the weights fit images of {size}×{size} to {largest}×{largest}, and the smallest are taken",
        largest = size + 3
    );
    Some((LeNet { classes, channels, size }, size, vec![assumption]))
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
        let second = self.conv2.forward(&max_pool(&activate(&first, Activation::Relu)?, Pool::squares(2))?, mode)?;
        let features = max_pool(&activate(&second, Activation::Relu)?, Pool::squares(2))?.flatten()?;
        let hidden = activate_vectors(&self.fc1.forward(&features, mode)?, Activation::Relu)?;
        let hidden = activate_vectors(&self.fc2.forward(&hidden, mode)?, Activation::Relu)?;
        Ok(ClassifierOutput { logits: self.fc3.forward(&hidden, mode)?, activations: vec![first, second] })
    }

    fn replays(&self) -> bool {
        true
    }
}
