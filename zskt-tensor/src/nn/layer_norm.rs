//! Layer normalization.

use candle_core::Tensor;

use crate::activation::Activation;
use crate::error::{Error, Result};
use crate::feature_map::FeatureMap;
use crate::nn::forward_mode::ForwardMode;
use crate::nn::group_norm::Affine;
use crate::nn::weights::Builder;
use crate::ops::{self, NormalizedOver};

/// Layer normalization over the channels (Ba, Kiros & Hinton 2016): of each pixel of a map, as in ConvNeXt, or of each vector.
///
/// (PyTorch's `LayerNorm([C, H, W])`, over a whole image, is [`GroupNorm`](crate::nn::GroupNorm) of one group with a factor for each pixel;
/// the layer without that factor is `GroupNorm` of one group.)
pub struct LayerNorm {
    affine: Affine,
    epsilon: f64,
}

impl LayerNorm {
    /// What is added to the variance, by PyTorch's default.
    pub const EPSILON: f64 = 1e-5;

    /// With factors of 1 and terms of 0 for each channel; epsilon is 1e-5.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(builder: &Builder, channels: usize) -> Result<Self> {
        Self::with_epsilon(builder, channels, Self::EPSILON)
    }

    /// The same, with another `epsilon`: 1e-6 in ConvNeXt and vision transformers.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn with_epsilon(builder: &Builder, channels: usize, epsilon: f64) -> Result<Self> {
        Ok(Self { affine: Affine::new(builder, channels)?, epsilon })
    }

    /// Normalizes each pixel of `[B, C, H, W]`.
    ///
    /// # Errors
    /// When the channels do not fit or the device fails.
    pub fn forward(&self, x: &FeatureMap, mode: ForwardMode) -> Result<FeatureMap> {
        self.affine.forward(&ops::normalize(x, NormalizedOver::Pixels, self.epsilon)?, Activation::Identity, mode)
    }

    /// Normalizes each vector of a tensor `[…, C]`, such as tokens `[B, T, C]`.
    ///
    /// # Errors
    /// When the lengths do not fit or the device fails.
    pub fn forward_vectors(&self, x: &Tensor, mode: ForwardMode) -> Result<Tensor> {
        let length = *x.dims().last().ok_or_else(|| Error::new("layer norm of a single number"))?;
        let vectors = x.elem_count() / length.max(1);
        let map = FeatureMap::from_channels_last(&x.reshape((vectors, 1, 1, length))?)?;
        Ok(self.forward(&map, mode)?.channels_last()?.reshape(x.shape())?)
    }
}
