//! The statistics of batch normalization.

use candle_core::{Tensor, Var};

/// The statistics that normalize a feature map.
#[derive(Clone, Debug)]
pub struct BatchNormStatistics {
    /// Mean of each channel, `[C]`.
    pub mean: Tensor,
    /// Biased variance of each channel, `[C]`.
    pub variance: Tensor,
    /// Whether they come from the very map they normalize, so that its normalization takes the gradient through them too. No
    /// other statistics can be tracked where they normalize.
    pub of_batch: bool,
}

/// The running statistics of a batch norm.
#[derive(Clone, Copy)]
pub struct RunningStatistics<'a> {
    /// Running mean of each channel, `[C]`.
    pub mean: &'a Var,
    /// Running unbiased variance of each channel, `[C]`.
    pub variance: &'a Var,
    /// Batches seen so far, a scalar of `i64`.
    pub batches: &'a Var,
}

/// What makes the biased variance of so many numbers the unbiased one: PyTorch normalizes by the former, but its running
/// variance is the latter.
pub fn bessel_correction(count: usize) -> f64 {
    count as f64 / (count as f64 - 1.0).max(1.0)
}
