//! What codebases have made of MobileNetV2, and what they call its weights.

use zskt_api::nn::{Activation, BatchNorm2d, Conv2d, Conv2dShape, Linear};
use zskt_api::{Builder, Init, Result, choice};

use super::{BlockPlace, Head};
use crate::residual::ConvNorm;

choice! {
    /// What codebases have made of the network. Each has its own names for the weights.
    pub enum Variant {
        /// torchvision's, timm's and chenyaofo/pytorch-cifar-models'.
        Original,
        /// kuangliu/pytorch-cifar's, for images of 32×32: with ReLU, a widening convolution in the first block too, and a convolution in the
        /// shortcuts of blocks that change nothing but the number of channels.
        Kuangliu,
        /// weiaicunzai/pytorch-cifar100's: convolutions have a bias, the first is 1×1 with padding 1, and the resolution is halved in the second,
        /// third and fourth group.
        Weiaicunzai,
        /// HobbitLong/RepDistiller's: with ReLU, channels rounded down to any number, and halved resolution from the first convolution on.
        RepDistiller,
    }
}

impl Variant {
    pub(super) fn activation(self) -> Activation {
        match self {
            Self::Original | Self::Weiaicunzai => Activation::Relu6,
            Self::Kuangliu | Self::RepDistiller => Activation::Relu,
        }
    }

    /// A published number of channels at a width.
    pub(super) fn channels(self, published: usize, width: f64) -> usize {
        let exact = published as f64 * width;
        if self == Self::RepDistiller {
            return (exact as usize).max(1);
        }
        // A multiple of eight, at least nine tenths of what it would be.
        let rounded = ((exact + 4.0) as usize / 8 * 8).max(8);
        if (rounded as f64) < 0.9 * exact { rounded + 8 } else { rounded }
    }

    /// Under the names of a convolution and its batch norm, with the codebase's initialization.
    pub(super) fn conv_norm(
        self,
        builder: &Builder,
        [conv, norm]: [String; 2],
        shape: Conv2dShape,
        activation: Activation,
    ) -> Result<ConvNorm> {
        let (conv, norm) = (builder.at(conv), builder.at(norm));
        let conv = match self {
            Self::Original | Self::RepDistiller => return ConvNorm::new(&conv, &norm, shape, activation),
            Self::Kuangliu => {
                let inputs = shape.input / shape.groups * shape.kernel * shape.kernel;
                Conv2d::without_bias(&conv, shape, Init::Uniform { bound: 1.0 / (inputs as f64).sqrt() })?
            }
            Self::Weiaicunzai => Conv2d::new(&conv, shape)?,
        };
        Ok(ConvNorm { conv, norm: BatchNorm2d::new(&norm, shape.output, activation)? })
    }

    pub(super) fn head(self, builder: &Builder, inputs: usize, classes: usize) -> Result<Head> {
        let builder = builder.at(self.head_name());
        Ok(match self {
            Self::Original | Self::RepDistiller => {
                Head::Linear(Linear::with_bias(&builder, inputs, classes, Init::Constant(0.0))?)
            }
            Self::Kuangliu => Head::Linear(Linear::new(&builder, inputs, classes)?),
            Self::Weiaicunzai => Head::Convolution(Conv2d::new(&builder, Conv2dShape::same(inputs, classes, 1))?),
        })
    }

    /// Of the first convolution and its batch norm.
    pub(super) fn stem_names(self) -> [String; 2] {
        let names = match self {
            Self::Original => ["features.0.0", "features.0.1"],
            Self::Kuangliu => ["conv1", "bn1"],
            Self::Weiaicunzai => ["pre.0", "pre.1"],
            Self::RepDistiller => ["conv1.0", "conv1.1"],
        };
        names.map(str::to_owned)
    }

    /// Of the last convolution before the mean and its batch norm.
    pub(super) fn last_names(self) -> [String; 2] {
        let names = match self {
            Self::Original => ["features.18.0", "features.18.1"],
            Self::Kuangliu => ["conv2", "bn2"],
            Self::Weiaicunzai => ["conv1.0", "conv1.1"],
            Self::RepDistiller => ["conv2.0", "conv2.1"],
        };
        names.map(str::to_owned)
    }

    pub(super) fn head_name(self) -> &'static str {
        match self {
            Self::Original => "classifier.1",
            Self::Kuangliu => "linear",
            Self::Weiaicunzai => "conv2",
            Self::RepDistiller => "classifier.0",
        }
    }

    /// Of a block's convolution `index` of `convolutions`, and its batch norm.
    pub(super) fn block_names(self, place: BlockPlace, index: usize, convolutions: usize) -> [String; 2] {
        let BlockPlace { group, block, alone, network } = place;
        match self {
            Self::Original => {
                let conv = format!("features.{}.conv", network + 1);
                if index + 1 == convolutions {
                    [0, 1].map(|layer| format!("{conv}.{}", index + layer))
                } else {
                    [0, 1].map(|layer| format!("{conv}.{index}.{layer}"))
                }
            }
            Self::Kuangliu => ["conv", "bn"].map(|layer| format!("layers.{network}.{layer}{}", index + 1)),
            Self::Weiaicunzai => {
                let stage = format!("stage{}", group + 1);
                let block = if alone { stage } else { format!("{stage}.{block}") };
                [0, 1].map(|layer| format!("{block}.residual.{}", 3 * index + layer))
            }
            Self::RepDistiller => [0, 1].map(|layer| format!("blocks.{group}.{block}.conv.{}", 3 * index + layer)),
        }
    }

    /// Of the convolution of a shortcut, and its batch norm.
    pub(super) fn shortcut_names(self, place: BlockPlace) -> [String; 2] {
        [0, 1].map(|layer| format!("layers.{}.shortcut.{layer}", place.network))
    }
}
