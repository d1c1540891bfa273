//! Batch normalization (Ioffe & Szegedy 2015) and the activation behind it.

use candle_core::Tensor;

use crate::activation::{Activation, Form, Rectifier};
use crate::backend::Backend;
use crate::cuda::exact_sums;
use crate::error::{Error, Result};
use crate::feature_map::{FeatureMap, on_backend, with_backend};
use crate::statistics::{BatchNormStatistics, RunningStatistics};
use crate::trace::{self, TracedOperation};

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

/// [`batch_moments`] of `x` `[B, C, H, W]`, as constants (where they normalize `x`, the normalization itself takes the gradient
/// through them), and by them [`track`] of running statistics.
///
/// # Errors
/// When the device fails.
pub fn tracked_batch_moments(
    x: &FeatureMap,
    running: RunningStatistics<'_>,
    momentum: f64,
) -> Result<BatchNormStatistics> {
    let statistics = batch_moments_to_normalize(x, running, momentum)?;
    finish_batch_moments()?;
    Ok(statistics)
}

/// Finishes what [`batch_moments_to_normalize`] has left, and moves the running statistics.
///
/// # Errors
/// When the device fails.
pub(crate) fn finish_batch_moments() -> Result<()> {
    Ok(exact_sums::finish_all()?)
}

/// [`tracked_batch_moments`] that nobody reads but [`batch_norm`]: on a GPU they may be finished by what reads its result.
///
/// # Errors
/// When the device fails.
pub(crate) fn batch_moments_to_normalize(
    x: &FeatureMap,
    running: RunningStatistics<'_>,
    momentum: f64,
) -> Result<BatchNormStatistics> {
    Ok(on_backend!(x, x => x.tracked_batch_moments(running, momentum)?))
}

/// Whether a batch norm of so many channels fits a map.
///
/// # Errors
/// When it does not.
pub(crate) fn check_channels(x: &FeatureMap, channels: usize) -> Result<()> {
    match x.image().channels {
        found if found == channels => Ok(()),
        found => Err(Error::new(format!("batch norm of {channels} channels does not fit {found}"))),
    }
}

/// `act(gamma · (x − mean) / √(variance + epsilon) + beta)` for `x` `[B, C, H, W]`, `gamma` and `beta` `[C]`. With a mean of 0,
/// a variance of 1 and an epsilon of 0 it is a factor and a term for each channel.
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
    activation: Activation,
) -> Result<FeatureMap> {
    for tensor in [gamma, beta, &statistics.mean, &statistics.variance] {
        check_channels(x, tensor.elem_count())?;
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
    let (rectifier, rest) = match activation.form() {
        Form::Rectifier(rectifier) => (rectifier, None),
        curve => (Rectifier::NONE, Some(curve)),
    };
    let normalized: FeatureMap = on_backend!(x, x => x.batch_norm(gamma, beta, statistics, epsilon, rectifier)?.into());
    let normalized = match rest {
        None => normalized,
        Some(curve) => on_backend!(normalized, normalized => normalized.activate(curve)?.into()),
    };
    let operation = || TracedOperation::BatchNorm {
        gamma: trace::weight(gamma),
        beta: trace::weight(beta),
        mean: trace::weight(&statistics.mean),
        variance: trace::weight(&statistics.variance),
        epsilon,
        activation,
    };
    Ok(trace::map(&[x], operation, normalized))
}
