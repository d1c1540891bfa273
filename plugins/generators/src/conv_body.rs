//! What generators of convolutions have in common.

use zskt_api::candle_core::Tensor;
use zskt_api::nn::{Activation, BatchNorm2d, Conv2d, Conv2dShape, Linear, activate, upsample_nearest};
use zskt_api::ops::{BatchNormStatistics, batch_norm};
use zskt_api::{Builder, CheckError, Error, FeatureMap, ForwardMode, ImageShape, Init, Normalization, Result, choice};

choice! {
    /// What a generator ends in.
    pub enum Output {
        /// A batch norm: it draws in the normalized space, without bounds.
        BatchNorm,
        /// A sigmoid: pixels from 0 to 1, normalized as the teacher wants them.
        Sigmoid,
        /// A tanh and a batch norm without weights: it draws in the normalized space, within bounds.
        Tanh,
    }
}

/// The shape of a [`ConvBody`].
pub struct BodyShape {
    /// Numbers that an image is made from.
    pub inputs: usize,
    /// Channels of the first map, and behind the first and the second convolution.
    pub channels: [usize; 3],
    /// Rows and columns of the first map.
    pub first_map: usize,
    /// Channels of the image.
    pub image_channels: usize,
    /// Whether the convolutions in front of a batch norm have a bias.
    pub bias: bool,
    /// Added to the variances of the batch norms behind convolutions.
    pub epsilon: f64,
    /// What it ends in.
    pub output: Output,
}

/// The image of such a body, twice as large as the first map, twice.
///
/// # Errors
/// When the parameters do not go together.
pub fn image(
    first_map: usize,
    image_size: usize,
    channels: usize,
    image_channels: usize,
) -> std::result::Result<ImageShape, CheckError> {
    if first_map * 4 != image_size {
        let reason = format!(
            "a first map of {first_map}×{first_map} gives images of {0}×{0}, not of {image_size}×{image_size}",
            first_map * 4
        );
        return Err(CheckError::parameter("image_size", reason).help("image_size is four times first_map"));
    }
    if !channels.is_multiple_of(2) {
        return Err(CheckError::parameter("channels", format!("expected an even number, found {channels}")));
    }
    Ok(ImageShape::new(image_channels, image_size, image_size))
}

/// A linear layer to a small map, then twice upsampling by 2 and a 3×3 convolution, batch norm throughout, and a last convolution to
/// the image.
pub struct ConvBody {
    channels: usize,
    first_map: usize,
    fc: Linear,
    norm0: BatchNorm2d,
    conv1: Conv2d,
    norm1: BatchNorm2d,
    conv2: Conv2d,
    norm2: BatchNorm2d,
    conv3: Conv2d,
    end: End,
}

enum End {
    BatchNorm(BatchNorm2d),
    Sigmoid(PixelsToNormalized),
    Tanh(BatchNorm2d),
}

impl ConvBody {
    /// Asks for the weights.
    ///
    /// # Errors
    /// When the device has no room, or pixels cannot be normalized.
    pub fn new(builder: &Builder, shape: &BodyShape, normalization: Option<&Normalization>) -> Result<Self> {
        let BodyShape { inputs, channels: [first, second, third], first_map, image_channels, bias, epsilon, output } =
            *shape;
        let leaky = Activation::LeakyRelu(0.2);
        let conv = |name: &str, shape: Conv2dShape| {
            let bound = 1.0 / ((shape.input * shape.kernel * shape.kernel) as f64).sqrt();
            let builder = builder.at(name);
            if bias {
                Conv2d::new(&builder, shape)
            } else {
                Conv2d::without_bias(&builder, shape, Init::Uniform { bound })
            }
        };
        let norm = |name: &str, channels| {
            BatchNorm2d::with_constants(&builder.at(name), channels, leaky, epsilon, BatchNorm2d::MOMENTUM)
        };
        Ok(Self {
            channels: first,
            first_map,
            fc: Linear::new(&builder.at("fc"), inputs, first * first_map * first_map)?,
            norm0: BatchNorm2d::new(&builder.at("bn0"), first, Activation::Identity)?,
            conv1: conv("conv1", Conv2dShape::same(first, second, 3))?,
            norm1: norm("bn1", second)?,
            conv2: conv("conv2", Conv2dShape::same(second, third, 3))?,
            norm2: norm("bn2", third)?,
            conv3: Conv2d::new(&builder.at("conv3"), Conv2dShape::same(third, image_channels, 3))?,
            end: match output {
                Output::BatchNorm => {
                    End::BatchNorm(BatchNorm2d::new(&builder.at("bn3"), image_channels, Activation::Identity)?)
                }
                Output::Sigmoid => End::Sigmoid(PixelsToNormalized::new(builder, image_channels, normalization)?),
                Output::Tanh => End::Tanh(BatchNorm2d::without_affine(&builder.at("bn3"), image_channels)?),
            },
        })
    }

    /// Images from `[B, inputs]`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn forward(&self, inputs: &Tensor, mode: ForwardMode) -> Result<FeatureMap> {
        let shape = ((), self.channels, self.first_map, self.first_map);
        let x = FeatureMap::from_nchw(&self.fc.forward(inputs, mode)?.reshape(shape)?)?;
        let x = upsample_nearest(&self.norm0.forward(&x, mode)?, 2)?;
        let x = upsample_nearest(&self.norm1.forward(&self.conv1.forward(&x, mode)?, mode)?, 2)?;
        let x = self.norm2.forward(&self.conv2.forward(&x, mode)?, mode)?;
        let x = self.conv3.forward(&x, mode)?;
        match &self.end {
            End::BatchNorm(norm) => norm.forward(&x, mode),
            End::Sigmoid(normalized) => normalized.forward(&activate(&x, Activation::Sigmoid)?),
            End::Tanh(norm) => norm.forward(&activate(&x, Activation::Tanh)?, mode),
        }
    }
}

/// The normalization that a generator needs.
///
/// # Errors
/// When none is known, or for other channels: checked before a run, but not of a generator that is built by itself.
pub fn needed(normalization: Option<&Normalization>, channels: usize) -> Result<&Normalization> {
    let missing = || Error::new("how the teacher wants pixels normalized is not known: give it `mean` and `std`");
    let normalization = normalization.ok_or_else(missing)?;
    if normalization.mean.len() != channels || !normalization.is_sound() {
        return Err(Error::new(format!("{normalization} do not normalize images of {channels} channels")));
    }
    Ok(normalization)
}

/// `(pixel − mean) / std`.
struct PixelsToNormalized {
    factor: Tensor,
    term: Tensor,
    nothing: BatchNormStatistics,
}

impl PixelsToNormalized {
    fn new(builder: &Builder, channels: usize, normalization: Option<&Normalization>) -> Result<Self> {
        let Normalization { mean, std } = needed(normalization, channels)?;
        let tensor = |numbers: Vec<f64>| -> Result<Tensor> {
            Ok(Tensor::from_vec(numbers, channels, builder.device())?.to_dtype(builder.precision().dtype())?)
        };
        let factor = tensor(std.iter().map(|std| 1.0 / std).collect())?;
        Ok(Self {
            term: tensor(mean.iter().zip(std).map(|(mean, std)| -mean / std).collect())?,
            nothing: BatchNormStatistics { mean: factor.zeros_like()?, variance: factor.ones_like()?, of_batch: false },
            factor,
        })
    }

    fn forward(&self, pixels: &FeatureMap) -> Result<FeatureMap> {
        batch_norm(pixels, &self.factor, &self.term, &self.nothing, 0.0, Activation::Identity)
    }
}
