//! Group normalization.

use candle_core::Tensor;

use crate::activation::Activation;
use crate::error::{Error, Result};
use crate::feature_map::FeatureMap;
use crate::nn::forward_mode::ForwardMode;
use crate::nn::weights::{Builder, Init, Parameter};
use crate::ops::{self, NormalizedOver};
use crate::statistics::BatchNormStatistics;

/// Group normalization of `[B, C, H, W]`: of each image, over all pixels of each of some equal parts of the channels (Wu & He, ECCV
/// 2018). It does the same in training and evaluation.
pub struct GroupNorm {
    affine: Affine,
    groups: usize,
    epsilon: f64,
    activation: Activation,
}

impl GroupNorm {
    /// What is added to the variance, by PyTorch's default.
    pub const EPSILON: f64 = 1e-5;

    /// With factors of 1 and terms of 0 for each channel, followed by an activation; epsilon is 1e-5.
    ///
    /// # Errors
    /// When the groups do not divide the channels, or the device has no room.
    pub fn new(builder: &Builder, groups: usize, channels: usize, activation: Activation) -> Result<Self> {
        Self::with_epsilon(builder, groups, channels, activation, Self::EPSILON)
    }

    /// The same, with another `epsilon`.
    ///
    /// # Errors
    /// When the groups do not divide the channels, or the device has no room.
    pub fn with_epsilon(
        builder: &Builder,
        groups: usize,
        channels: usize,
        activation: Activation,
        epsilon: f64,
    ) -> Result<Self> {
        if groups == 0 || !channels.is_multiple_of(groups) {
            return Err(Error::new(format!("{groups} groups do not divide {channels} channels")));
        }
        Ok(Self { affine: Affine::new(builder, channels)?, groups, epsilon, activation })
    }

    /// Normalizes each group of each image.
    ///
    /// # Errors
    /// When the channels do not fit or the device fails.
    pub fn forward(&self, x: &FeatureMap, mode: ForwardMode) -> Result<FeatureMap> {
        let over = NormalizedOver::Groups(self.groups);
        let normalized = self.affine.gamma.in_layer(|| ops::normalize(x, over, self.epsilon))?;
        self.affine.forward(&normalized, self.activation, mode)
    }
}

/// A learnt factor and a learnt term for each channel of what was normalized.
pub(super) struct Affine {
    gamma: Parameter,
    beta: Parameter,
    /// By which a batch norm leaves numbers as they are.
    unchanged: BatchNormStatistics,
}

impl Affine {
    /// With factors of 1 and terms of 0.
    ///
    /// # Errors
    /// When the device has no room.
    pub(super) fn new(builder: &Builder, channels: usize) -> Result<Self> {
        let constant = |value| Tensor::full(value, channels, builder.device())?.to_dtype(builder.precision().dtype());
        Ok(Self {
            gamma: builder.parameter("weight", &[channels], Init::Constant(1.0))?,
            beta: builder.parameter("bias", &[channels], Init::Constant(0.0))?,
            unchanged: BatchNormStatistics { mean: constant(0.0)?, variance: constant(1.0)?, of_batch: false },
        })
    }

    /// `act(gamma · x + beta)`.
    ///
    /// # Errors
    /// When the channels do not fit or the device fails.
    pub(super) fn forward(&self, x: &FeatureMap, activation: Activation, mode: ForwardMode) -> Result<FeatureMap> {
        let [gamma, beta] = [self.gamma.tensor(mode), self.beta.tensor(mode)];
        self.gamma.in_layer(|| ops::batch_norm(x, &gamma, &beta, &self.unchanged, 0.0, activation))
    }
}
