//! What a device has to be able to do.

use candle_core::{DType, Device, Result, Tensor};

use crate::activation::{Form, Rectifier};
use crate::channel_selection::ChannelSelection;
use crate::ops::{Border, NormalizedOver, Padding, Shift};
use crate::pool_windows::PoolGeometry;
use crate::precision::Precision;
use crate::shape::{ConvGeometry, MapShape};
use crate::statistics::{BatchNormStatistics, RunningStatistics};
use crate::update_rule::{AdamOperands, AdamStep, UpdateOperands, UpdateRule};

/// Keeps the norm of an attention map without energy from zero, as PyTorch's `normalize` does.
pub const ATTENTION_EPSILON: f64 = 1e-12;

/// The feature maps of a device, and all that is computed there.
///
/// [`crate::ops`] documents the operations and has checked that shapes, types and devices fit. Each result is on the tape if
/// one of its inputs is.
pub trait Backend: Clone + Sized {
    /// From a tensor `[B, H, W, C]`.
    fn from_channels_last(tensor: &Tensor) -> Result<Self>;
    /// From a tensor `[B, C, H, W]`.
    fn from_nchw(tensor: &Tensor) -> Result<Self>;
    /// As a tensor `[B, H, W, C]`.
    fn channels_last(&self) -> Result<Tensor>;
    /// The device it is on.
    fn device(&self) -> &Device;
    /// The shape that an operation sees.
    fn shape(&self) -> MapShape;
    /// How exact its numbers are.
    fn precision(&self) -> Precision;
    /// The same values, through which no gradient flows.
    fn detach(&self) -> Self;
    /// In another precision of the same `dtype`.
    fn to_precision(&self, precision: Precision) -> Result<Self>;
    /// With nothing left to be computed where it is read.
    fn materialized(&self) -> Result<Self>;

    /// [`crate::ops::activate`]
    fn activate(&self, form: Form) -> Result<Self>;
    /// [`crate::ops::add`], of maps of one shape and precision.
    fn add(&self, other: &Self) -> Result<Self>;
    /// [`crate::ops::multiply`], of maps of one precision.
    fn multiply(&self, other: &Self) -> Result<Self>;
    /// [`crate::ops::normalize`]
    fn normalize(&self, over: NormalizedOver, epsilon: f64) -> Result<Self>;
    /// [`crate::ops::concat`], of maps of one precision.
    fn concat(maps: &[Self]) -> Result<Self>;
    /// [`crate::ops::narrow_channels`] and [`crate::ops::channel_shuffle`], of channels that are there.
    fn select_channels(&self, selection: ChannelSelection) -> Result<Self>;
    /// [`crate::ops::pad`]
    fn pad(&self, padding: &Padding) -> Result<Self>;
    /// [`crate::ops::crop_and_flip`] and [`crate::ops::roll`], a shift for each image.
    fn shift(&self, shifts: &[Shift], border: &Border<'_>) -> Result<Self>;
    /// [`crate::ops::upsample_nearest`]
    fn upsample(&self, factor: usize) -> Result<Self>;
    /// [`crate::ops::max_pool`]
    fn max_pool(&self, geometry: &PoolGeometry) -> Result<Self>;
    /// [`crate::ops::average_pool`] and [`crate::ops::adaptive_average_pool`]
    fn average_pool(&self, geometry: &PoolGeometry) -> Result<Self>;
    /// [`crate::ops::global_average`]
    fn global_average(&self) -> Result<Tensor>;
    /// [`crate::ops::attention_map`]
    fn attention_map(&self) -> Result<Tensor>;
    /// [`crate::ops::attention_distances`], of maps and targets that fit.
    fn attention_distances(pairs: &[(&Self, &Tensor)], factor: f64) -> Result<Tensor>;
    /// [`crate::ops::conv2d`]; the geometry is that of [`shape`](Self::shape).
    fn conv2d(
        &self,
        geometry: &ConvGeometry,
        weight: &Tensor,
        bias: Option<&Tensor>,
        precision: Precision,
    ) -> Result<Self>;
    /// [`crate::ops::batch_moments`]
    fn batch_moments(&self) -> Result<BatchNormStatistics>;
    /// [`crate::ops::tracked_batch_moments`]
    fn tracked_batch_moments(&self, running: RunningStatistics<'_>, momentum: f64) -> Result<BatchNormStatistics> {
        let (statistics, shape) = (self.detach().batch_moments()?, self.shape());
        Self::track(running, &statistics, momentum, shape.batch * shape.height * shape.width)?;
        Ok(statistics)
    }
    /// [`crate::ops::batch_norm`]
    fn batch_norm(
        &self,
        gamma: &Tensor,
        beta: &Tensor,
        statistics: &BatchNormStatistics,
        epsilon: f64,
        rectifier: Rectifier,
    ) -> Result<Self>;

    /// [`crate::ops::track`]
    fn track(running: RunningStatistics<'_>, batch: &BatchNormStatistics, momentum: f64, count: usize) -> Result<()>;
    /// [`crate::ops::linear`]
    fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor>;
    /// [`crate::ops::log_softmax`]
    fn log_softmax(logits: &Tensor) -> Result<Tensor>;
    /// [`crate::ops::kl_divergence`]
    fn kl_divergence(logits: &Tensor, target: &Tensor, log_target: &Tensor, temperature: f64) -> Result<Tensor>;
    /// [`crate::ops::kl_divergence_with_logits`]
    fn kl_divergence_with_logits(logits: &Tensor, target_logits: &Tensor, temperature: f64) -> Result<Tensor>;
    /// [`crate::ops::apply_updates`]
    fn update(tensors: &[UpdateOperands<'_>], update: UpdateRule) -> Result<()>;
    /// [`crate::ops::apply_adam`]
    fn adam(tensors: &[AdamOperands<'_>], step: AdamStep) -> Result<()>;
    /// [`crate::ops::add_scalars`], where that is more than a chain of sums.
    fn add_scalars(_scalars: &[Tensor]) -> Result<Option<Tensor>> {
        Ok(None)
    }
    /// [`crate::ops::gather_scalars`]
    fn gather_scalars(scalars: &[Tensor]) -> Result<Tensor> {
        let numbers = scalars.iter().map(|scalar| scalar.detach().reshape(())?.to_dtype(DType::F64));
        Tensor::stack(&numbers.collect::<Result<Vec<_>>>()?, 0)
    }
    /// A sum over the bits of each of some tensors.
    fn digest(tensors: &[Tensor]) -> Result<Vec<u64>>;
    /// The L2 norm of all numbers of some tensors, an `f64` scalar on their device.
    fn norm(tensors: &[Tensor]) -> Result<Tensor>;
    /// Dense tensors times `limit / (norm + 1e-6)` where that is below one.
    fn clip(tensors: &[Tensor], norm: &Tensor, limit: f64) -> Result<Vec<Tensor>>;
}
