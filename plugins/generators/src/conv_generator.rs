//! The paper's generator (Micaelli & Storkey 2019, supplementary material).

use zskt_api::candle_core::Tensor;
use zskt_api::nn::{Activation, BatchNorm2d, Conv2d, Conv2dShape, Linear, upsample_nearest};
use zskt_api::{
    Builder, CheckError, FeatureMap, ForwardMode, Generator, GeneratorArchitecture, ImageShape, Result, params,
};

params! {
    /// The paper's generator: a linear layer to a small map of `channels` channels, then twice upsampling by 2 and a 3×3
    /// convolution (to `channels`, then to half as many), batch norm throughout, and a last convolution to the image. It
    /// ends in a batch norm, not in tanh: it draws in the normalized space that classifiers take.
    pub struct ConvGenerator {
        /// Length of the latent vector.
        pub latent_dim: usize = 100 => 1..=65536,
        /// Channels of the first map.
        pub channels: usize = 128 => 2..=4096,
        /// Rows and columns of the first map; two doublings must give the image.
        pub first_map: usize = 8 => 1..=256,
        /// Rows and columns of the image.
        pub image_size: usize = 32 => 4..=1024,
        /// Channels of the image.
        pub image_channels: usize = 3 => 1..=1024,
    }
}

impl GeneratorArchitecture for ConvGenerator {
    fn image(&self) -> std::result::Result<ImageShape, CheckError> {
        if self.first_map * 4 != self.image_size {
            return Err(CheckError::parameter(
                "image_size",
                format!(
                    "a first map of {0}×{0} gives images of {1}×{1}, not of {2}×{2}",
                    self.first_map,
                    self.first_map * 4,
                    self.image_size
                ),
            )
            .help("image_size is four times first_map"));
        }
        if !self.channels.is_multiple_of(2) {
            return Err(CheckError::parameter("channels", format!("expected an even number, found {}", self.channels)));
        }
        Ok(ImageShape::new(self.image_channels, self.image_size, self.image_size))
    }

    fn build(&self, builder: &Builder) -> Result<Box<dyn Generator>> {
        let (wide, narrow, image) = (self.channels, self.channels / 2, self.image_channels);
        let leaky = Activation::LeakyRelu(0.2);
        Ok(Box::new(Network {
            latent_dim: self.latent_dim,
            channels: wide,
            first_map: self.first_map,
            fc: Linear::new(&builder.at("fc"), self.latent_dim, wide * self.first_map * self.first_map)?,
            norm0: BatchNorm2d::new(&builder.at("bn0"), wide, Activation::Identity)?,
            conv1: Conv2d::new(&builder.at("conv1"), Conv2dShape::same(wide, wide, 3))?,
            norm1: BatchNorm2d::new(&builder.at("bn1"), wide, leaky)?,
            conv2: Conv2d::new(&builder.at("conv2"), Conv2dShape::same(wide, narrow, 3))?,
            norm2: BatchNorm2d::new(&builder.at("bn2"), narrow, leaky)?,
            conv3: Conv2d::new(&builder.at("conv3"), Conv2dShape::same(narrow, image, 3))?,
            norm3: BatchNorm2d::new(&builder.at("bn3"), image, Activation::Identity)?,
        }))
    }
}

struct Network {
    latent_dim: usize,
    channels: usize,
    first_map: usize,
    fc: Linear,
    norm0: BatchNorm2d,
    conv1: Conv2d,
    norm1: BatchNorm2d,
    conv2: Conv2d,
    norm2: BatchNorm2d,
    conv3: Conv2d,
    norm3: BatchNorm2d,
}

impl Generator for Network {
    fn forward(&self, latents: &Tensor, mode: ForwardMode) -> Result<FeatureMap> {
        let shape = ((), self.channels, self.first_map, self.first_map);
        let x = FeatureMap::from_nchw(&self.fc.forward(latents, mode)?.reshape(shape)?)?;
        let x = upsample_nearest(&self.norm0.forward(&x, mode)?, 2)?;
        let x = upsample_nearest(&self.norm1.forward(&self.conv1.forward(&x, mode)?, mode)?, 2)?;
        let x = self.norm2.forward(&self.conv2.forward(&x, mode)?, mode)?;
        self.norm3.forward(&self.conv3.forward(&x, mode)?, mode)
    }

    fn replays(&self) -> bool {
        true
    }

    fn latent_dim(&self) -> usize {
        self.latent_dim
    }
}
