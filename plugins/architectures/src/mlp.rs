//! Multilayer perceptron.

use zskt_api::nn::{Activation, Linear, activate_vectors};
use zskt_api::{
    Architecture, Builder, CheckError, Classifier, ClassifierOutput, ClassifierShape, FeatureMap, ForwardMode,
    ImageShape, NamedShapes, OutputShape, Recognized, Result, params,
};

use crate::recognition::{Guess, Names, recognize};

params! {
    /// Multilayer perceptron: fully connected layers of `hidden` units, each followed by ReLU, and one of `classes` units, on all pixels
    /// of an image. It has no activations for attention transfer, which compares maps. Parameter names are those of PyTorch's
    /// `Sequential` under `layers`.
    pub struct Mlp {
        /// Units of the hidden layers, from input to output.
        pub hidden: Vec<usize> = vec![100, 500] => 1..=1_000_000,
        /// Classes it tells apart.
        pub classes: usize = 10 => 2..=1_000_000,
        /// Channels of the images.
        pub channels: usize = 3 => 1..=1024,
        /// Rows and columns of the images.
        pub size: usize = 32 => 1..=1024,
    }
}

impl ClassifierShape for Mlp {
    fn output_shape(&self, image: ImageShape) -> std::result::Result<OutputShape, CheckError> {
        let expected = ImageShape::new(self.channels, self.size, self.size);
        if image != expected {
            return Err(CheckError::new(format!("expected images {expected}, found {image}"))
                .help("`Mlp` takes one size only: set its `size` and `channels`"));
        }
        Ok(OutputShape { classes: self.classes, activations: Vec::new() })
    }

    fn classes(&self) -> usize {
        self.classes
    }
}

impl Architecture for Mlp {
    fn build(&self, builder: &Builder) -> Result<Box<dyn Classifier>> {
        let inputs = std::iter::once(self.channels * self.size * self.size).chain(self.hidden.iter().copied());
        let outputs = self.hidden.iter().copied().chain([self.classes]);
        let layer = |(index, (input, output))| Linear::new(&builder.at(layer_name(index)), input, output);
        Ok(Box::new(Network { layers: inputs.zip(outputs).enumerate().map(layer).collect::<Result<_>>()? }))
    }

    fn recognize(weights: &NamedShapes) -> Option<Recognized> {
        recognize(weights, Vec::new(), guess)
    }
}

/// In a `Sequential` there is a ReLU between any two layers.
fn layer_name(index: usize) -> String {
    format!("layers.{}", 2 * index)
}

fn guess(names: &Names<'_>, _: Option<&str>) -> Option<Guess<Mlp>> {
    let layers = names.count(|index| layer_name(index) + ".weight");
    let shapes = (0..layers).map(|index| names.shape::<2>(&(layer_name(index) + ".weight")));
    let shapes = shapes.collect::<Option<Vec<_>>>()?;
    let ([_, features], [classes, _]) = (*shapes.first()?, *shapes.last()?);
    let hidden = shapes[..layers - 1].iter().map(|[units, _]| *units).collect();
    // The fewest channels that leave a square.
    let square = |channels: &usize| {
        features.is_multiple_of(*channels) && {
            let pixels = features / channels;
            pixels.isqrt().pow(2) == pixels
        }
    };
    let channels = [1, 3].into_iter().find(square).unwrap_or(features);
    let size = (features / channels).isqrt();
    let assumption = format!("`channels: {channels}, size: {size}`: of an image only its {features} numbers are known");
    Some((Mlp { hidden, classes, channels, size }, size, vec![assumption]))
}

struct Network {
    layers: Vec<Linear>,
}

impl Classifier for Network {
    fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput> {
        let mut logits = images.flatten()?;
        for (index, layer) in self.layers.iter().enumerate() {
            if index > 0 {
                logits = activate_vectors(&logits, Activation::Relu)?;
            }
            logits = layer.forward(&logits, mode)?;
        }
        Ok(ClassifierOutput { logits, activations: Vec::new() })
    }

    fn replays(&self) -> bool {
        true
    }
}
