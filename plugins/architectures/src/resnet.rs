//! Residual networks for ImageNet (He et al., CVPR 2016), and as they are used for smaller images.

use zskt_api::nn::Conv2dShape;
use zskt_api::{
    Architecture, Builder, CheckError, Classifier, ClassifierShape, ImageShape, NamedShapes, OutputShape, Recognized,
    Result, WeightLayout, choice, params,
};

use crate::layouts;
use crate::recognition::{Guess, Names, recognize};
use crate::residual::{Group, ResidualNetwork, ShortcutKind, activations};

choice! {
    /// What stands before the first group of blocks.
    pub enum Stem {
        /// A 3×3 convolution without stride, and no pooling: for images of 32×32.
        Cifar,
        /// The same, with ImageNet's max-pooling behind it.
        CifarPooled,
        /// A 7×7 convolution with stride 2, and 3×3 max-pooling with stride 2.
        ImageNet,
    }
}

params! {
    /// Residual network with four groups of blocks, of `width`, 2, 4 and 8 times that many channels, each at half the resolution of
    /// the one before. From depth 50 on its blocks are bottlenecks, whose outputs are four times as wide. Its activations, for
    /// attention transfer, are the outputs of the four groups. Parameter names are torchvision's.
    pub struct ResNet {
        /// Layers: 18, 34, 50, 101 or 152.
        pub depth: usize => 18..=152,
        /// What stands before the first group: `Cifar` is a 3×3 convolution, `CifarPooled` the same with ImageNet's max-pooling, `ImageNet`
        /// a 7×7 convolution with stride 2 and max-pooling.
        pub stem: Stem = Stem::Cifar,
        /// Classes it tells apart.
        pub classes: usize = 10 => 2..=1_000_000,
        /// Channels of the images.
        pub channels: usize = 3 => 1..=1024,
        /// Channels of the first group; 64 in all that is published, fewer make a small student.
        pub width: usize = 64 => 1..=4096,
    }
}

/// Blocks in each group, by depth.
const DEPTHS: [(usize, [usize; 4]); 5] =
    [(18, [2, 2, 2, 2]), (34, [3, 4, 6, 3]), (50, [3, 4, 6, 3]), (101, [3, 4, 23, 3]), (152, [3, 8, 36, 3])];

impl ResNet {
    fn groups(&self) -> Vec<Group> {
        let blocks = DEPTHS.into_iter().find(|(depth, _)| *depth == self.depth).map(|(_, blocks)| blocks);
        let group = |(index, blocks): (usize, usize)| Group {
            width: self.width << index,
            bottleneck: self.depth >= 50,
            blocks,
            stride: if index == 0 { 1 } else { 2 },
        };
        blocks.into_iter().flatten().enumerate().map(group).collect()
    }
}

impl ClassifierShape for ResNet {
    fn output_shape(&self, image: ImageShape) -> std::result::Result<OutputShape, CheckError> {
        check_channels(self.channels, image)?;
        let reduction = match self.stem {
            Stem::Cifar => 1,
            Stem::CifarPooled => 2,
            Stem::ImageNet => 4,
        };
        let stem = ImageShape::new(self.width, image.height.div_ceil(reduction), image.width.div_ceil(reduction));
        Ok(OutputShape { classes: self.classes, activations: activations(&self.groups(), stem) })
    }

    fn classes(&self) -> usize {
        self.classes
    }
}

/// That images have as many channels as a network takes.
pub fn check_channels(channels: usize, image: ImageShape) -> std::result::Result<(), CheckError> {
    if image.channels == channels {
        return Ok(());
    }
    let plural = if channels == 1 { "" } else { "s" };
    Err(CheckError::new(format!("expected images of {channels} channel{plural}, found {image}")))
}

impl Architecture for ResNet {
    fn check(&self) -> std::result::Result<(), CheckError> {
        if DEPTHS.iter().any(|(depth, _)| *depth == self.depth) {
            return Ok(());
        }
        Err(CheckError::parameter("depth", format!("expected 18, 34, 50, 101 or 152 layers, found {}", self.depth))
            .help("networks of 20, 32, 44, 56 and 110 layers are `CifarResNet`"))
    }

    fn build(&self, builder: &Builder) -> Result<Box<dyn Classifier>> {
        let stem = match self.stem {
            Stem::Cifar | Stem::CifarPooled => Conv2dShape::same(self.channels, self.width, 3),
            Stem::ImageNet => Conv2dShape { stride: 2, ..Conv2dShape::same(self.channels, self.width, 7) },
        };
        let pool = self.stem != Stem::Cifar;
        let (groups, shortcut) = (self.groups(), ShortcutKind::Convolution);
        Ok(Box::new(ResidualNetwork::new(builder, stem, pool, &groups, shortcut, self.classes)?))
    }

    fn layouts(&self) -> Vec<WeightLayout> {
        layouts::resnet()
    }

    fn recognize(weights: &NamedShapes) -> Option<Recognized> {
        recognize(weights, layouts::resnet(), guess)
    }
}

fn guess(names: &Names<'_>, _: Option<&str>) -> Option<Guess<ResNet>> {
    let [width, channels, kernel, _] = names.shape("conv1.weight")?;
    let [classes, _] = names.shape("fc.weight")?;
    let blocks = [1, 2, 3, 4].map(|group| names.count(|block| format!("layer{group}.{block}.conv1.weight")));
    let bottleneck = names.has("layer1.0.conv3.weight");
    let depth = DEPTHS.into_iter().find(|(depth, of_depth)| *of_depth == blocks && (*depth >= 50) == bottleneck)?.0;
    let (stem, assumption) = match kernel {
        3 => (
            Stem::Cifar,
            "`stem: Cifar`: the first convolution is 3×3, so it is taken to be without stride and without max-pooling behind it; \
             where the pooling was kept, as in huyvnphan/PyTorch_CIFAR10, write `stem: CifarPooled`",
        ),
        7 => (
            Stem::ImageNet,
            "`stem: ImageNet`: the first convolution is 7×7, so it is taken to have stride 2 and max-pooling behind it, as all that \
             is published has",
        ),
        _ => return None,
    };
    let size = if stem == Stem::Cifar { 32 } else { 224 };
    Some((ResNet { depth, stem, classes, channels, width }, size, vec![assumption.to_owned()]))
}
