//! The generators of convolutions that data-free distillation is made with.

use zskt_api::nn::BatchNorm2d;
use zskt_api::{
    Builder, CheckError, FeatureMap, ForwardMode, Generator, GeneratorArchitecture, GeneratorInput, ImageShape,
    Normalization, Result, above, params,
};

use crate::conv_body::{self, BodyShape, ConvBody, Output};

params! {
    /// A linear layer to a small map, then `doublings` times upsampling by 2 and a 3×3 convolution (to `channels`, the last to half as
    /// many), batch norm throughout, and a last convolution to the image. By its defaults it is the generator of Micaelli & Storkey (NeurIPS 2019), which
    /// ends in a batch norm, and so draws in the normalized space that classifiers take. That of CMI, Fast-Datafree and their DFQ
    /// and ZSKT has `latent_dim: 256, output: Sigmoid, bias: false`, that of their DAFL `latent_dim: 512`, CMI's `LargeGenerator`
    /// `first_channels: Some(256)`, too; DFAD's `output: Tanh`, the original DAFL's `eps: 0.8` besides.
    pub struct ConvGenerator {
        /// Length of the latent vector.
        pub latent_dim: usize = 100 => 1..=65536,
        /// Channels of the first map and behind each doubling but the last, which leaves half as many.
        pub channels: usize = 128 => 2..=4096,
        /// Channels of the first map where they are others.
        pub first_channels: Option<usize> = None => 1..=4096,
        /// Rows and columns of the first map, which doubled so often are those of the image.
        pub first_map: usize = 8 => 1..=256,
        /// How often they are doubled: 2 in the papers, whose images have 32 rows or 64. For larger images more, for the linear layer has
        /// `latent_dim · channels · first_map²` weights: `first_map: 14, doublings: 4` for 224.
        pub doublings: usize = 2 => 1..=8,
        /// Rows and columns of the image.
        pub image_size: usize = 32 => 4..=1024,
        /// Channels of the image.
        pub image_channels: usize = 3 => 1..=1024,
        /// What it ends in.
        pub output: Output = Output::BatchNorm,
        /// Whether the convolutions in front of a batch norm have a bias, which that takes off again.
        pub bias: bool = true,
        /// What is added to the variances in the batch norms behind convolutions, but for that of the image.
        pub eps: f64 = BatchNorm2d::EPSILON => above(0.0),
    }
}

impl GeneratorArchitecture for ConvGenerator {
    fn image(&self) -> std::result::Result<ImageShape, CheckError> {
        conv_body::image([self.first_map, self.doublings, self.image_size], self.channels, self.image_channels)
    }

    fn needs_normalization(&self) -> bool {
        self.output == Output::Sigmoid
    }

    fn build(&self, builder: &Builder, normalization: Option<&Normalization>) -> Result<Box<dyn Generator>> {
        let shape = BodyShape {
            inputs: self.latent_dim,
            first_channels: self.first_channels.unwrap_or(self.channels),
            channels: self.channels,
            first_map: self.first_map,
            doublings: self.doublings,
            image_channels: self.image_channels,
            bias: self.bias,
            epsilon: self.eps,
            output: self.output,
        };
        Ok(Box::new(Network { latent_dim: self.latent_dim, body: ConvBody::new(builder, &shape, normalization)? }))
    }
}

struct Network {
    latent_dim: usize,
    body: ConvBody,
}

impl Generator for Network {
    fn forward(&self, input: &GeneratorInput<'_>, mode: ForwardMode) -> Result<FeatureMap> {
        self.body.forward(input.latents, mode)
    }

    fn replays(&self) -> bool {
        true
    }

    fn latent_dim(&self) -> usize {
        self.latent_dim
    }
}
