//! The narrow residual networks for CIFAR (He et al., CVPR 2016, section 4.2).

use zskt_api::nn::Conv2dShape;
use zskt_api::{
    Architecture, Builder, CheckError, Classifier, ClassifierShape, ImageShape, NamedShapes, OutputShape, Recognized,
    Result, WeightLayout, choice, params,
};

use crate::layouts;
use crate::recognition::{Guess, Names, recognize};
use crate::residual::{Group, ResidualNetwork, ShortcutKind, activations};
use crate::resnet::check_channels;

choice! {
    /// What is added where channels or resolution change.
    pub enum Shortcut {
        /// The input by a 1×1 convolution and a batch norm (the paper's option B).
        Convolution,
        /// Every second pixel of the input, with channels of zeros around its own (the paper's option A).
        Padding,
    }
}

params! {
    /// Residual network of 6·n + 2 layers: three groups of n basic blocks, the second and third at half the resolution of the one before.
    /// Its activations, for attention transfer, are the outputs of the three groups. Parameter names are torchvision's.
    pub struct CifarResNet {
        /// Layers, 6·n + 2: 8, 14, 20, 32, 44, 56, 110, …
        pub depth: usize => 8..=2000,
        /// Classes it tells apart.
        pub classes: usize = 10 => 2..=1_000_000,
        /// Channels of the images.
        pub channels: usize = 3 => 1..=1024,
        /// Channels of the first convolution and of the three groups; resnet8x4 and resnet32x4 have [32, 64, 128, 256].
        pub widths: [usize; 4] = [16, 16, 32, 64] => 1..=65_536,
        /// What is added where channels or resolution change: `Convolution` is a 1×1 convolution of the input, `Padding` every second pixel of
        /// it and zeros, which has no weights (akamaster/pytorch_resnet_cifar10).
        pub shortcut: Shortcut = Shortcut::Convolution,
    }
}

impl CifarResNet {
    fn groups(&self) -> Vec<Group> {
        let group = |(width, stride): (&usize, usize)| Group {
            width: *width,
            bottleneck: false,
            blocks: (self.depth - 2) / 6,
            stride,
        };
        self.widths[1..].iter().zip([1, 2, 2]).map(group).collect()
    }
}

impl ClassifierShape for CifarResNet {
    fn output_shape(&self, image: ImageShape) -> std::result::Result<OutputShape, CheckError> {
        check_channels(self.channels, image)?;
        let stem = ImageShape { channels: self.widths[0], ..image };
        Ok(OutputShape { classes: self.classes, activations: activations(&self.groups(), stem) })
    }

    fn classes(&self) -> usize {
        self.classes
    }
}

impl Architecture for CifarResNet {
    fn check(&self) -> std::result::Result<(), CheckError> {
        if self.depth % 6 != 2 {
            let below = (self.depth - 2) / 6 * 6 + 2;
            let message = format!("expected 6·n + 2 layers, found {}", self.depth);
            return Err(CheckError::parameter("depth", message).help(format!(
                "the nearest depths are {below} and {}; networks of 18, 34, 50, 101 and 152 layers are `ResNet`",
                below + 6
            )));
        }
        let [stem, first, second, third] = self.widths;
        if self.shortcut == Shortcut::Padding && (stem != first || second < first || third < second) {
            let message = format!("channels of zeros cannot make the widths {:?} of each other", self.widths);
            return Err(CheckError::parameter("widths", message).help(
                "with `shortcut: Padding` the first two are equal, and no group is narrower than the one before",
            ));
        }
        Ok(())
    }

    fn build(&self, builder: &Builder) -> Result<Box<dyn Classifier>> {
        let (stem, groups) = (Conv2dShape::same(self.channels, self.widths[0], 3), self.groups());
        let shortcut = match self.shortcut {
            Shortcut::Convolution => ShortcutKind::Convolution,
            Shortcut::Padding => ShortcutKind::Padding,
        };
        Ok(Box::new(ResidualNetwork::new(builder, stem, false, &groups, shortcut, self.classes)?))
    }

    fn layouts(&self) -> Vec<WeightLayout> {
        layouts::resnet()
    }

    fn recognize(weights: &NamedShapes) -> Option<Recognized> {
        recognize(weights, layouts::resnet(), guess)
    }
}

fn guess(names: &Names<'_>, _: Option<&str>) -> Option<Guess<CifarResNet>> {
    let [stem, channels, ..] = names.shape::<4>("conv1.weight")?;
    let [classes, _] = names.shape("fc.weight")?;
    let width = |group| Some(names.shape::<4>(&format!("layer{group}.0.conv1.weight"))?[0]);
    let widths = [stem, width(1)?, width(2)?, width(3)?];
    let depth = 6 * names.count(|block| format!("layer1.{block}.conv1.weight")) + 2;
    let shortcut = if names.has("layer2.0.downsample.0.weight") { Shortcut::Convolution } else { Shortcut::Padding };
    let mut assumptions = Vec::new();
    if shortcut == Shortcut::Padding {
        assumptions.push(
            "`shortcut: Padding`: the shortcuts have no weights, so they are taken to add channels of zeros on both sides, as in \
             akamaster/pytorch_resnet_cifar10"
                .into(),
        );
    }
    Some((CifarResNet { depth, classes, channels, widths, shortcut }, 32, assumptions))
}
