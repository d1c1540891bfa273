//! A small generator.

use zskt_api::nn::{Activation, BatchNorm2d, Conv2d, Conv2dShape, Linear, upsample_nearest};
use zskt_api::{
    Builder, CheckError, FeatureMap, ForwardMode, Generator, GeneratorArchitecture, GeneratorInput,
    ImageShape, Normalization, Result, params,
};

params! {
    /// A small generator: a linear layer to a map of half the image's size, batch norm and leaky ReLU, upsampling by 2, and
    /// a 3×3 convolution to the image, normalized, as classifiers take it.
    pub struct ExampleGenerator {
        /// Length of the latent vector.
        pub latent_dim: usize = 64 => 1..=65536,
        /// Channels of the map.
        pub channels: usize = 32 => 1..=4096,
        /// Rows and columns of the image, an even number.
        pub image_size: usize = 32 => 2..=1024,
        /// Channels of the image.
        pub image_channels: usize = 3 => 1..=1024,
    }
}

impl GeneratorArchitecture for ExampleGenerator {
    fn image(&self) -> std::result::Result<ImageShape, CheckError> {
        if !self.image_size.is_multiple_of(2) {
            return Err(CheckError::parameter(
                "image_size",
                format!("expected an even number, found {}", self.image_size),
            ));
        }
        Ok(ImageShape::new(
            self.image_channels,
            self.image_size,
            self.image_size,
        ))
    }

    fn build(&self, builder: &Builder, _: Option<&Normalization>) -> Result<Box<dyn Generator>> {
        let (channels, first_map) = (self.channels, self.image_size / 2);
        Ok(Box::new(Network {
            latent_dim: self.latent_dim,
            channels,
            first_map,
            fc: Linear::new(
                &builder.at("fc"),
                self.latent_dim,
                channels * first_map * first_map,
            )?,
            norm1: BatchNorm2d::new(&builder.at("bn1"), channels, Activation::LeakyRelu(0.2))?,
            conv: Conv2d::new(
                &builder.at("conv"),
                Conv2dShape::same(channels, self.image_channels, 3),
            )?,
            norm2: BatchNorm2d::new(
                &builder.at("bn2"),
                self.image_channels,
                Activation::Identity,
            )?,
        }))
    }
}

struct Network {
    latent_dim: usize,
    channels: usize,
    first_map: usize,
    fc: Linear,
    norm1: BatchNorm2d,
    conv: Conv2d,
    norm2: BatchNorm2d,
}

impl Generator for Network {
    fn forward(&self, input: &GeneratorInput<'_>, mode: ForwardMode) -> Result<FeatureMap> {
        let shape = ((), self.channels, self.first_map, self.first_map);
        let x = FeatureMap::from_nchw(&self.fc.forward(input.latents, mode)?.reshape(shape)?)?;
        let x = upsample_nearest(&self.norm1.forward(&x, mode)?, 2)?;
        self.norm2.forward(&self.conv.forward(&x, mode)?, mode)
    }

    // It computes on the device only, with numbers that never change: a GPU may replay it.
    fn replays(&self) -> bool {
        true
    }

    fn latent_dim(&self) -> usize {
        self.latent_dim
    }
}

zskt_api::export! { reads: none; generator: ExampleGenerator }

#[cfg(test)]
mod tests {
    use zskt_api::Result;
    use zskt_api::testing::conforms;

    #[test]
    fn it_keeps_its_contract() -> Result<()> {
        conforms("ExampleGenerator(latent_dim: 5, channels: 4, image_size: 8)")
    }
}
