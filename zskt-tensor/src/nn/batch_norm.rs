//! Batch normalization with PyTorch's running statistics.

use crate::error::Result;
use crate::feature_map::FeatureMap;
use crate::nn::forward_mode::ForwardMode;
use crate::nn::weights::{Builder, Init, Parameter};
use crate::ops;
use crate::statistics::{BatchNormStatistics, RunningStatistics};

/// How far one batch moves the running statistics.
const MOMENTUM: f64 = 0.1;
/// Keeps the variance from zero.
const EPSILON: f64 = 1e-5;

/// What follows a normalization, and is computed with it where the map is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// max(0, x).
    Relu,
    /// x above zero, slope·x below.
    LeakyRelu(f64),
}

impl Activation {
    fn slope(self) -> f64 {
        match self {
            Self::Identity => 1.0,
            Self::Relu => 0.0,
            Self::LeakyRelu(slope) => slope,
        }
    }
}

/// Batch normalization of `[B, C, H, W]` over `B·H·W` (Ioffe & Szegedy 2015), momentum 0.1, epsilon 1e-5.
pub struct BatchNorm2d {
    gamma: Parameter,
    beta: Parameter,
    running_mean: Parameter,
    running_variance: Parameter,
    batches: Parameter,
    activation: Activation,
}

impl BatchNorm2d {
    /// With gamma 1 and beta 0, followed by an activation.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(builder: &Builder, channels: usize, activation: Activation) -> Result<Self> {
        Ok(Self {
            gamma: builder.parameter("weight", &[channels], Init::Constant(1.0))?,
            beta: builder.parameter("bias", &[channels], Init::Constant(0.0))?,
            running_mean: builder.buffer("running_mean", &[channels], 0.0)?,
            running_variance: builder.buffer("running_var", &[channels], 1.0)?,
            batches: builder.counter("num_batches_tracked")?,
            activation,
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
            ops::track(running, &statistics, MOMENTUM, x.batch() * x.image().height * x.image().width)?;
            statistics
        } else {
            let (mean, variance) = (self.running_mean.value(), self.running_variance.value());
            BatchNormStatistics { mean, variance, of_batch: false }
        };
        let (gamma, beta) = (self.gamma.tensor(mode), self.beta.tensor(mode));
        ops::batch_norm(x, &gamma, &beta, &statistics, EPSILON, self.activation.slope())
    }
}
