//! Batch normalization with PyTorch's running statistics.

use candle_core::Tensor;

use crate::activation::Activation;
use crate::error::Result;
use crate::feature_map::FeatureMap;
use crate::nn::forward_mode::ForwardMode;
use crate::nn::observation;
use crate::nn::weights::{Builder, Init, Parameter};
use crate::ops;
use crate::statistics::{BatchNormStatistics, RunningStatistics};

/// Batch normalization of `[B, C, H, W]` over `B·H·W` (Ioffe & Szegedy 2015).
pub struct BatchNorm2d {
    affine: Affine,
    running_mean: Parameter,
    running_variance: Parameter,
    batches: Parameter,
    activation: Activation,
    epsilon: f64,
    momentum: f64,
}

/// What numbers are multiplied by and moved by after they are normalized.
enum Affine {
    Learnt { gamma: Parameter, beta: Parameter },
    Nothing { gamma: Tensor, beta: Tensor },
}

impl Affine {
    fn tensors(&self, mode: ForwardMode) -> [Tensor; 2] {
        match self {
            Self::Learnt { gamma, beta } => [gamma.tensor(mode), beta.tensor(mode)],
            Self::Nothing { gamma, beta } => [gamma.clone(), beta.clone()],
        }
    }
}

impl BatchNorm2d {
    /// How far one batch moves the running statistics, by PyTorch's default.
    pub const MOMENTUM: f64 = 0.1;
    /// What is added to the variance, by PyTorch's default.
    pub const EPSILON: f64 = 1e-5;

    /// With gamma 1 and beta 0, followed by an activation; epsilon is 1e-5 and momentum 0.1.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(builder: &Builder, channels: usize, activation: Activation) -> Result<Self> {
        Self::with_constants(builder, channels, activation, Self::EPSILON, Self::MOMENTUM)
    }

    /// Without gamma and beta, PyTorch's `affine=False`.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn without_affine(builder: &Builder, channels: usize) -> Result<Self> {
        let gamma = builder.constant("weight", &[channels], Init::Constant(1.0))?;
        let affine = Affine::Nothing { beta: gamma.zeros_like()?, gamma };
        Self::with_affine(builder, channels, affine, Activation::Identity, Self::EPSILON, Self::MOMENTUM)
    }

    /// The same, with `epsilon` added to the variance, to keep it from zero, and a `momentum` by which one batch moves the running
    /// statistics: `running ← (1 − momentum) · running + momentum · batch`.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn with_constants(
        builder: &Builder,
        channels: usize,
        activation: Activation,
        epsilon: f64,
        momentum: f64,
    ) -> Result<Self> {
        let affine = Affine::Learnt {
            gamma: builder.parameter("weight", &[channels], Init::Constant(1.0))?,
            beta: builder.parameter("bias", &[channels], Init::Constant(0.0))?,
        };
        Self::with_affine(builder, channels, affine, activation, epsilon, momentum)
    }

    fn with_affine(
        builder: &Builder,
        channels: usize,
        affine: Affine,
        activation: Activation,
        epsilon: f64,
        momentum: f64,
    ) -> Result<Self> {
        Ok(Self {
            affine,
            running_mean: builder.buffer("running_mean", &[channels], 0.0)?,
            running_variance: builder.buffer("running_var", &[channels], 1.0)?,
            batches: builder.counter("num_batches_tracked")?,
            activation,
            epsilon,
            momentum,
        })
    }

    /// Normalizes by the batch's statistics, which move the running ones, or by the running ones, as the mode says.
    ///
    /// # Errors
    /// When the channels do not fit or the device fails.
    pub fn forward(&self, x: &FeatureMap, mode: ForwardMode) -> Result<FeatureMap> {
        // Once for the statistics and what they normalize.
        let x = &x.materialized()?;
        // As PyTorch's hooks see it: before the running statistics move.
        observation::batch_norm_input(x, || [self.running_mean.value(), self.running_variance.value()])?;
        let statistics = if mode.uses_batch_statistics() {
            // The normalization itself takes the gradient through them.
            let running = RunningStatistics {
                mean: self.running_mean.var(),
                variance: self.running_variance.var(),
                batches: self.batches.var(),
            };
            ops::batch_moments_to_normalize(x, running, self.momentum)?
        } else {
            // What moves them may not have been read.
            ops::finish_batch_moments()?;
            let (mean, variance) = (self.running_mean.value(), self.running_variance.value());
            BatchNormStatistics { mean, variance, of_batch: false }
        };
        let [gamma, beta] = self.affine.tensors(mode);
        ops::batch_norm(x, &gamma, &beta, &statistics, self.epsilon, self.activation)
    }
}
