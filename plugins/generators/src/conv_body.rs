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
    /// Channels of the first map.
    pub first_channels: usize,
    /// Channels behind the convolution of each doubling but the last, which leaves half as many.
    pub channels: usize,
    /// Rows and columns of the first map.
    pub first_map: usize,
    /// How often rows and columns are doubled.
    pub doublings: usize,
    /// Channels of the image.
    pub image_channels: usize,
    /// Whether the convolutions in front of a batch norm have a bias.
    pub bias: bool,
    /// Added to the variances of the batch norms behind convolutions.
    pub epsilon: f64,
    /// What it ends in.
    pub output: Output,
}

/// The image of such a body.
///
/// # Errors
/// When the parameters do not go together.
pub fn image(
    [first_map, doublings, image_size]: [usize; 3],
    channels: usize,
    image_channels: usize,
) -> std::result::Result<ImageShape, CheckError> {
    let factor = 1 << doublings;
    if first_map * factor != image_size {
        let reason = format!(
            "a first map of {first_map}×{first_map}, doubled {doublings} times, gives images of {0}×{0}, not of \
             {image_size}×{image_size}",
            first_map * factor
        );
        return Err(CheckError::parameter("image_size", reason).help(way_to(image_size)));
    }
    if !channels.is_multiple_of(2) {
        return Err(CheckError::parameter("channels", format!("expected an even number, found {channels}")));
    }
    Ok(ImageShape::new(image_channels, image_size, image_size))
}

/// What gives images of this size: two doublings where they can be, and more for a first map of rarely more than 16.
fn way_to(image_size: usize) -> String {
    let (mut first_map, mut doublings) = (image_size, 0);
    while first_map.is_multiple_of(2) && (doublings < 2 || first_map > 16) {
        (first_map, doublings) = (first_map / 2, doublings + 1);
    }
    if doublings == 0 || first_map > 256 {
        return "take a multiple of four".into();
    }
    format!("`first_map: {first_map}, doublings: {doublings}` give images of {image_size}×{image_size}")
}

/// A linear layer to a small map, then several times upsampling by 2 and a 3×3 convolution, batch norm throughout, and a last
/// convolution to the image.
pub struct ConvBody {
    channels: usize,
    first_map: usize,
    fc: Linear,
    norm: BatchNorm2d,
    doublings: Vec<(Conv2d, BatchNorm2d)>,
    last: Conv2d,
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
        let BodyShape { inputs, first_channels, channels, first_map, doublings, image_channels, bias, epsilon, output } =
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
        let fc = Linear::new(&builder.at("fc"), inputs, first_channels * first_map * first_map)?;
        let norm0 = BatchNorm2d::new(&builder.at("bn0"), first_channels, Activation::Identity)?;
        let mut before = first_channels;
        let doublings = (1..=doublings).map(|layer| {
            let behind = if layer == doublings { channels / 2 } else { channels };
            let shape = Conv2dShape::same(std::mem::replace(&mut before, behind), behind, 3);
            Ok((conv(&format!("conv{layer}"), shape)?, norm(&format!("bn{layer}"), behind)?))
        });
        let doublings = doublings.collect::<Result<Vec<_>>>()?;
        let end = doublings.len() + 1;
        let (last, bn) = (builder.at(format!("conv{end}")), builder.at(format!("bn{end}")));
        Ok(Self {
            channels: first_channels,
            first_map,
            fc,
            norm: norm0,
            doublings,
            last: Conv2d::new(&last, Conv2dShape::same(before, image_channels, 3))?,
            end: match output {
                Output::BatchNorm => End::BatchNorm(BatchNorm2d::new(&bn, image_channels, Activation::Identity)?),
                Output::Sigmoid => End::Sigmoid(PixelsToNormalized::new(builder, image_channels, normalization)?),
                Output::Tanh => End::Tanh(BatchNorm2d::without_affine(&bn, image_channels)?),
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
        let mut x = self.norm.forward(&x, mode)?;
        for (conv, norm) in &self.doublings {
            x = norm.forward(&conv.forward(&upsample_nearest(&x, 2)?, mode)?, mode)?;
        }
        let x = self.last.forward(&x, mode)?;
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
