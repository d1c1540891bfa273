//! Batch normalization with PyTorch's running statistics.

use crate::activation::Activation;
use crate::error::Result;
use crate::feature_map::FeatureMap;
use crate::nn::forward_mode::ForwardMode;
use crate::nn::weights::{Builder, Init, Parameter};
use crate::ops;
use crate::statistics::{BatchNormStatistics, RunningStatistics};

/// How far one batch moves the running statistics, by PyTorch's default.
const MOMENTUM: f64 = 0.1;
/// What is added to the variance, by PyTorch's default.
const EPSILON: f64 = 1e-5;

/// Batch normalization of `[B, C, H, W]` over `B·H·W` (Ioffe & Szegedy 2015).
pub struct BatchNorm2d {
    gamma: Parameter,
    beta: Parameter,
    running_mean: Parameter,
    running_variance: Parameter,
    batches: Parameter,
    activation: Activation,
    epsilon: f64,
    momentum: f64,
}

impl BatchNorm2d {
    /// With gamma 1 and beta 0, followed by an activation; epsilon is 1e-5 and momentum 0.1.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(builder: &Builder, channels: usize, activation: Activation) -> Result<Self> {
        Self::with_constants(builder, channels, activation, EPSILON, MOMENTUM)
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
        Ok(Self {
            gamma: builder.parameter("weight", &[channels], Init::Constant(1.0))?,
            beta: builder.parameter("bias", &[channels], Init::Constant(0.0))?,
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
        let statistics = if mode.uses_batch_statistics() {
            // The normalization itself takes the gradient through them.
            let statistics = ops::batch_moments(&x.detach())?;
            let running = RunningStatistics {
                mean: self.running_mean.var(),
                variance: self.running_variance.var(),
                batches: self.batches.var(),
            };
            ops::track(running, &statistics, self.momentum, x.batch() * x.image().height * x.image().width)?;
            statistics
        } else {
            let (mean, variance) = (self.running_mean.value(), self.running_variance.value());
            BatchNormStatistics { mean, variance, of_batch: false }
        };
        let (gamma, beta) = (self.gamma.tensor(mode), self.beta.tensor(mode));
        ops::batch_norm(x, &gamma, &beta, &statistics, self.epsilon, self.activation)
    }
}
