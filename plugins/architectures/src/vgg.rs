//! VGG networks (Simonyan & Zisserman, ICLR 2015).

use zskt_api::candle_core::Tensor;
use zskt_api::nn::{
    Activation, BatchNorm2d, Conv2d, Conv2dShape, Linear, Pool, activate, activate_vectors, adaptive_average_pool,
    max_pool,
};
use zskt_api::{
    Architecture, Builder, CheckError, Classifier, ClassifierOutput, ClassifierShape, FeatureMap, ForwardMode,
    ImageShape, NamedShapes, OutputShape, Recognized, Result, WeightLayout, params,
};

use crate::layouts::layout;
use crate::recognition::{Guess, Names, recognize};
use crate::resnet::check_channels;

/// Groups of convolutions.
const GROUPS: usize = 5;
/// Convolutions in each group, by depth.
const DEPTHS: [(usize, [usize; GROUPS]); 5] =
    [(8, [1, 1, 1, 1, 1]), (11, [1, 1, 2, 2, 2]), (13, [2, 2, 2, 2, 2]), (16, [2, 2, 3, 3, 3]), (19, [2, 2, 4, 4, 4])];
const REP_DISTILLER: &str = "HobbitLong/RepDistiller";

params! {
    /// VGG network: five groups of 3×3 convolutions with ReLU, of `width`, 2, 4, 8 and 8 times that many channels, with 2×2 max-pooling
    /// behind them, and a fully connected head without dropout. Its activations, for attention transfer, are the outputs of
    /// the five groups before they are pooled. Parameter names are torchvision's.
    pub struct Vgg {
        /// Layers: 11, 13, 16 or 19, and RepDistiller's 8.
        pub depth: usize => 8..=19,
        /// Whether a batch norm follows each convolution.
        pub batch_norm: bool = true,
        /// Units of the hidden layers of the head: `[]` where it is one layer, as in kuangliu/pytorch-cifar, `[512, 512]` in
        /// chenyaofo/pytorch-cifar-models, `[4096, 4096]` in torchvision and weiaicunzai/pytorch-cifar100.
        pub head: Vec<usize> = Vec::new() => 1..=65_536,
        /// Classes it tells apart.
        pub classes: usize = 10 => 2..=1_000_000,
        /// Channels of the images.
        pub channels: usize = 3 => 1..=1024,
        /// Channels of the first group; 64 in all that is published.
        pub width: usize = 64 => 1..=4096,
        /// Rows and columns of the map that the head takes, to which what is left is averaged: 1 for CIFAR, 7 in torchvision.
        pub pooled: usize = 1 => 1..=64,
        /// How many of the groups are max-pooled, from the first on. RepDistiller's have 3 for images of 32×32, and 4 for 64×64.
        pub poolings: usize = 5 => 0..=5,
    }
}

impl Vgg {
    fn convolutions(&self) -> Option<[usize; GROUPS]> {
        DEPTHS.into_iter().find(|(depth, _)| *depth == self.depth).map(|(_, convolutions)| convolutions)
    }

    /// Output channels, and for each convolution its place among `features`.
    fn groups(&self) -> Vec<(usize, Vec<usize>)> {
        let (mut place, layers) = (0, if self.batch_norm { 3 } else { 2 });
        let convolutions = self.convolutions().into_iter().flatten().zip([1, 2, 4, 8, 8]);
        let group = |(count, factor)| {
            let places = (0..count).map(|index| place + index * layers).collect();
            place += count * layers + 1;
            (self.width * factor, places)
        };
        convolutions.map(group).collect()
    }

    /// RepDistiller's groups are sequences of their own.
    fn rep_distiller(&self) -> WeightLayout {
        let mut renames = Vec::new();
        for (group, (_, places)) in self.groups().into_iter().enumerate() {
            let Some(first) = places.first().copied() else { continue };
            for place in places {
                for place in [place, place + 1] {
                    renames.push((format!(r"^block{group}\.{}\.", place - first), format!("features.{place}.")));
                }
            }
        }
        WeightLayout { source: REP_DISTILLER, renames }
    }
}

impl ClassifierShape for Vgg {
    fn output_shape(&self, image: ImageShape) -> std::result::Result<OutputShape, CheckError> {
        check_channels(self.channels, image)?;
        let smallest = 1 << self.poolings;
        if image.height.min(image.width) < smallest {
            let message = format!("expected images of {smallest}×{smallest} or more, found {image}");
            return Err(CheckError::new(message).help("it halves them `poolings` times"));
        }
        let activation = |(group, (channels, _)): (usize, (usize, _))| {
            let halvings = group.min(self.poolings);
            ImageShape::new(channels, image.height >> halvings, image.width >> halvings)
        };
        let activations = self.groups().into_iter().enumerate().map(activation).collect();
        Ok(OutputShape { classes: self.classes, activations })
    }

    fn classes(&self) -> usize {
        self.classes
    }
}

impl Architecture for Vgg {
    fn check(&self) -> std::result::Result<(), CheckError> {
        if self.convolutions().is_none() {
            let message = format!("expected 8, 11, 13, 16 or 19 layers, found {}", self.depth);
            return Err(CheckError::parameter("depth", message));
        }
        if self.head.len() > 16 {
            let message = format!("expected at most 16 hidden layers, found {}", self.head.len());
            return Err(CheckError::parameter("head", message));
        }
        Ok(())
    }

    fn build(&self, builder: &Builder) -> Result<Box<dyn Classifier>> {
        let (mut input, mut groups) = (self.channels, Vec::with_capacity(GROUPS));
        for (output, places) in self.groups() {
            let mut layers = Vec::with_capacity(places.len());
            for place in places {
                let features = builder.at("features");
                let norm = || BatchNorm2d::new(&features.at(place + 1), output, Activation::Relu);
                layers.push(Layer {
                    conv: Conv2d::new(&features.at(place), Conv2dShape::same(input, output, 3))?,
                    norm: self.batch_norm.then(norm).transpose()?,
                });
                input = output;
            }
            groups.push(layers);
        }
        let (mut units, mut head) = (input * self.pooled * self.pooled, Vec::with_capacity(self.head.len() + 1));
        for (index, outputs) in self.head.iter().copied().chain([self.classes]).enumerate() {
            // A hidden layer is followed by a ReLU and a dropout.
            let classifier = builder.at("classifier");
            let builder = if self.head.is_empty() { classifier } else { classifier.at(3 * index) };
            head.push(Linear::new(&builder, units, outputs)?);
            units = outputs;
        }
        Ok(Box::new(Network { groups, poolings: self.poolings, pooled: self.pooled, head }))
    }

    fn layouts(&self) -> Vec<WeightLayout> {
        vec![
            self.rep_distiller(),
            // One fully connected layer in a sequence, behind a dropout or not.
            layout(
                "the CIFAR variants of torchvision's VGG",
                &[(r"^(classifier|fc|linear)\.([01]\.)?(weight|bias)$", "classifier.$3")],
            ),
        ]
    }

    fn recognize(weights: &NamedShapes) -> Option<Recognized> {
        // Whatever their names, convolutions are all that has four dimensions.
        let convolutions = weights.values().filter(|shape| shape.len() == 4).count();
        let batch_norm = weights.keys().any(|name| name.ends_with("running_mean"));
        let vgg = Self {
            depth: convolutions + 3,
            batch_norm,
            head: Vec::new(),
            classes: 0,
            channels: 0,
            width: 0,
            pooled: 0,
            poolings: GROUPS,
        };
        vgg.convolutions()?;
        recognize(weights, vgg.layouts(), |names, source| guess(&vgg, names, source))
    }
}

fn guess(vgg: &Vgg, names: &Names<'_>, source: Option<&str>) -> Option<Guess<Vgg>> {
    let [width, channels, ..] = names.shape::<4>("features.0.weight")?;
    let last = |index: usize| names.shape(&format!("classifier.{}.weight", 3 * index));
    let hidden = names.count(|index| format!("classifier.{}.weight", 3 * index)).saturating_sub(1);
    let first = if hidden == 0 { names.shape("classifier.weight") } else { last(0) };
    let [_, inputs] = first?;
    let head = (0..hidden).map(|index| last(index).map(|[outputs, _]| outputs)).collect::<Option<Vec<_>>>()?;
    let [classes, _] = if hidden == 0 { first? } else { last(hidden)? };
    let pooled = inputs.checked_div(8 * width)?.isqrt();
    let mut assumptions = Vec::new();
    let poolings = if source == Some(REP_DISTILLER) {
        assumptions.push(
            "`poolings: 3`: RepDistiller's networks pool three times for images of 32×32; for images of 64×64 write `poolings: 4`"
                .into(),
        );
        3
    } else {
        GROUPS
    };
    Some((Vgg { head, classes, channels, width, pooled, poolings, ..vgg.clone() }, 32 * pooled.max(1), assumptions))
}

struct Network {
    groups: Vec<Vec<Layer>>,
    poolings: usize,
    pooled: usize,
    head: Vec<Linear>,
}

struct Layer {
    conv: Conv2d,
    norm: Option<BatchNorm2d>,
}

impl Layer {
    fn forward(&self, x: &FeatureMap, mode: ForwardMode) -> Result<FeatureMap> {
        let x = self.conv.forward(x, mode)?;
        match &self.norm {
            Some(norm) => norm.forward(&x, mode),
            None => activate(&x, Activation::Relu),
        }
    }
}

impl Classifier for Network {
    fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput> {
        let (mut x, mut activations) = (images.clone(), Vec::with_capacity(self.groups.len()));
        for (index, group) in self.groups.iter().enumerate() {
            for layer in group {
                x = layer.forward(&x, mode)?;
            }
            activations.push(x.clone());
            if index < self.poolings {
                x = max_pool(&x, Pool::squares(2))?;
            }
        }
        let mut units: Tensor = adaptive_average_pool(&x, self.pooled, self.pooled)?.flatten()?;
        for (index, layer) in self.head.iter().enumerate() {
            units =
                layer.forward(&if index == 0 { units } else { activate_vectors(&units, Activation::Relu)? }, mode)?;
        }
        Ok(ClassifierOutput { logits: units, activations })
    }

    fn replays(&self) -> bool {
        true
    }
}
