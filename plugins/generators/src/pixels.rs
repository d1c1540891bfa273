//! Images that are weights themselves.

use zskt_api::candle_core::Tensor;
use zskt_api::{
    Builder, CheckError, Error, FeatureMap, ForwardMode, Generator, GeneratorArchitecture, GeneratorInput, ImageShape,
    Init, Normalization, Parameter, Result, params,
};

use crate::conv_body::needed;

params! {
    /// The images themselves, as weights that an optimizer moves: what DeepInversion (Yin et al., CVPR 2020) learns. They begin as
    /// N(0, 1) in the normalized space, and take no latents.
    pub struct Pixels {
        /// How many images, the size of every batch.
        pub images: usize => 1..=65536,
        /// Rows and columns of an image.
        pub image_size: usize = 32 => 1..=1024,
        /// Channels of an image.
        pub image_channels: usize = 3 => 1..=1024,
        /// Whether each update is followed by clipping to what pixels from 0 to 1 become when they are normalized as the teacher wants.
        pub clip: bool = false,
    }
}

impl GeneratorArchitecture for Pixels {
    fn image(&self) -> std::result::Result<ImageShape, CheckError> {
        Ok(ImageShape::new(self.image_channels, self.image_size, self.image_size))
    }

    fn batch_size(&self) -> Option<usize> {
        Some(self.images)
    }

    fn needs_normalization(&self) -> bool {
        self.clip
    }

    fn build(&self, builder: &Builder, normalization: Option<&Normalization>) -> Result<Box<dyn Generator>> {
        let shape = [self.images, self.image_channels, self.image_size, self.image_size];
        let images = builder.parameter("images", &shape, Init::Normal { std: 1.0 })?;
        let bounds = if self.clip {
            let Normalization { mean, std } = needed(normalization, self.image_channels)?;
            let normalized = |pixel: f64| -> Result<Tensor> {
                let numbers: Vec<_> = mean.iter().zip(std).map(|(mean, std)| (pixel - mean) / std).collect();
                let shape = (1, self.image_channels, 1, 1);
                Ok(Tensor::from_vec(numbers, shape, builder.device())?.to_dtype(builder.precision().dtype())?)
            };
            Some([normalized(0.0)?, normalized(1.0)?])
        } else {
            None
        };
        Ok(Box::new(Network { images, bounds }))
    }
}

struct Network {
    /// `[images, C, H, W]`
    images: Parameter,
    /// The normalized black and white, `[1, C, 1, 1]`.
    bounds: Option<[Tensor; 2]>,
}

impl Generator for Network {
    fn forward(&self, input: &GeneratorInput<'_>, mode: ForwardMode) -> Result<FeatureMap> {
        let images = self.images.tensor(mode);
        let (count, wanted) = (images.dim(0)?, input.latents.dim(0)?);
        if count != wanted {
            return Err(Error::new(format!(
                "a batch of {wanted} of `Pixels` that are {count} images: `images` is to be that of its `Synthesize`, or the stage's `batch_size`"
            )));
        }
        FeatureMap::from_nchw(&images)
    }

    fn replays(&self) -> bool {
        // What clips them is no part of an update.
        self.bounds.is_none()
    }

    fn latent_dim(&self) -> usize {
        0
    }

    fn constrain(&self) -> Result<()> {
        if let Some([black, white]) = &self.bounds {
            let clipped = self.images.value().broadcast_maximum(black)?.broadcast_minimum(white)?;
            self.images.var().set(&clipped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use zskt_api::Precision;
    use zskt_api::candle_core::{DType, Device};

    use super::*;

    #[test]
    fn pixels_stay_between_black_and_white_and_come_all_at_once() -> Result<()> {
        let plugin = Pixels { images: 1, image_size: 2, image_channels: 2, clip: true };
        let builder = Builder::zeros(Precision::F64, &Device::Cpu);
        let normalization = Normalization { mean: vec![0.5, 0.25], std: vec![0.5, 0.25] };
        let network = plugin.build(&builder, Some(&normalization))?;
        let images = builder.weights().iter().next().expect("its images").clone();
        images
            .var()
            .set(&Tensor::new(&[-2.0, -0.5, 0.5, 2.0, -2.0, -0.5, 0.5, 4.0], &Device::Cpu)?.reshape((1, 2, 2, 2))?)?;
        network.constrain()?;
        let found = images.value().flatten_all()?.to_vec1::<f64>()?;
        assert_eq!(found, [-1.0, -0.5, 0.5, 1.0, -1.0, -0.5, 0.5, 3.0]);
        let latents = Tensor::zeros((2, 0), DType::F64, &Device::Cpu)?;
        let input = GeneratorInput::unconditional(&latents);
        let error = network.forward(&input, ForwardMode::eval()).map(|_| ()).expect_err("two images of one");
        assert!(
            error.to_string().contains("`images` is to be that of its `Synthesize`, or the stage's `batch_size`"),
            "{error}"
        );
        Ok(())
    }
}
