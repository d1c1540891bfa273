//! Batch normalization (Ioffe & Szegedy 2015) and the activation behind it.

use candle_core::Tensor;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::feature_map::{FeatureMap, on_backend, with_backend};
use crate::statistics::{BatchNormStatistics, RunningStatistics};

/// Moves running statistics towards those of a batch of `count` numbers per channel, in place, as PyTorch does:
/// `running ← (1 − momentum) · running + momentum · batch`.
///
/// # Errors
/// When the device fails.
pub fn track(running: RunningStatistics<'_>, batch: &BatchNormStatistics, momentum: f64, count: usize) -> Result<()> {
    Ok(with_backend!(batch.mean.device(), B => B::track(running, batch, momentum, count))?)
}

/// Mean and biased variance of each channel of `x` `[B, C, H, W]` over `B·H·W`; on the CPU in f64. Gradients flow through
/// both: a loss may be made of them.
///
/// # Errors
/// When the device fails.
pub fn batch_moments(x: &FeatureMap) -> Result<BatchNormStatistics> {
    Ok(on_backend!(x, x => x.batch_moments())?)
}

/// `act(gamma · (x − mean) / √(variance + epsilon) + beta)` for `x` `[B, C, H, W]`, `gamma` and `beta` `[C]`, where
/// act(v) is v above zero and `slope`·v below: 0 for ReLU, 1 for no activation.
///
/// # Errors
/// When the shapes do not fit, statistics are tracked that are not those of `x` (see [`BatchNormStatistics::of_batch`]), or the
/// device fails.
pub fn batch_norm(
    x: &FeatureMap,
    gamma: &Tensor,
    beta: &Tensor,
    statistics: &BatchNormStatistics,
    epsilon: f64,
    slope: f64,
) -> Result<FeatureMap> {
    let channels = x.image().channels;
    let lengths = [gamma, beta, &statistics.mean, &statistics.variance].map(Tensor::elem_count);
    if lengths.iter().any(|length| *length != channels) {
        return Err(Error::new(format!("batch norm of {} channels does not fit {channels}", lengths[0])));
    }
    x.check_device(&[gamma, beta, &statistics.mean, &statistics.variance])?;
    if gamma.dtype() != beta.dtype() {
        return Err(Error::new(format!("batch norm by {:?} and {:?}", gamma.dtype(), beta.dtype())));
    }
    if !statistics.of_batch && (statistics.mean.track_op() || statistics.variance.track_op()) {
        return Err(Error::new(
            "`ops::batch_norm` has no gradient of statistics that are not those of its map: detach their mean and variance",
        ));
    }
    on_backend!(x, x => Ok(x.batch_norm(gamma, beta, statistics, epsilon, slope)?.into()))
}
