//! A feature map on an accelerator, and how tensors become one.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::convolution;
use super::kernel::dense;
use super::tape::{self, Map, Node};
use super::{attention, batch_norm, pointwise, resampling};
use crate::kernels::{ConvGeometry, MapShape};
use crate::map::values::precision_of;
use crate::ops::BatchNormStatistics;
use crate::{Error, ImageShape, Precision, Result};

/// A feature map on an accelerator.
#[derive(Clone)]
pub struct DeviceMap(pub Arc<Map>);

impl DeviceMap {
    /// From a tensor `[B, H, W, C]` of `f32` or `f64`.
    ///
    /// # Errors
    /// When it has not four dimensions or another type.
    pub fn from_channels_last(tensor: &Tensor) -> Result<Self> {
        tensor.dims4().map_err(|_| Error::new(format!("expected a tensor [B, H, W, C], found {:?}", tensor.dims())))?;
        let (values, precision) = (dense(&tensor.detach())?, precision_of(tensor.dtype())?);
        Ok(Self(tape::entry(tensor, values, precision, |gradient| Ok(gradient.clone()))?))
    }

    /// From a tensor `[B, C, H, W]` of `f32` or `f64`.
    ///
    /// # Errors
    /// When it has not four dimensions or another type.
    pub fn from_nchw(tensor: &Tensor) -> Result<Self> {
        tensor.dims4().map_err(|_| Error::new(format!("expected a tensor [B, C, H, W], found {:?}", tensor.dims())))?;
        let values = tensor.detach().permute((0, 2, 3, 1))?.contiguous()?;
        let back = |gradient: &Tensor| gradient.permute((0, 3, 1, 2))?.contiguous();
        Ok(Self(tape::entry(tensor, values, precision_of(tensor.dtype())?, back)?))
    }

    /// As a tensor `[B, H, W, C]`, of `f32` where the map's precision is bf16.
    ///
    /// # Errors
    /// When the device fails.
    pub fn channels_last(&self) -> Result<Tensor> {
        let map = Arc::clone(&self.0);
        let values = map.values.to_dtype(map.precision.dtype())?;
        Ok(tape::exit(&self.0, values, move |gradient| {
            let gradient = gradient.to_dtype(map.values.dtype())?;
            map.deposit(|plus| pointwise::plus(gradient, plus, map.precision))
        })?)
    }

    /// As a tensor `[B, C, H, W]`, of `f32` where the map's precision is bf16.
    ///
    /// # Errors
    /// When the device fails.
    pub fn to_nchw(&self) -> Result<Tensor> {
        Ok(self.channels_last()?.permute((0, 3, 1, 2))?.contiguous()?)
    }

    /// Its shape.
    pub fn shape(&self) -> MapShape {
        self.0.shape()
    }

    /// Images in the batch.
    pub fn batch(&self) -> usize {
        self.shape().batch
    }

    /// The shape of one image.
    pub fn image(&self) -> ImageShape {
        let MapShape { height, width, channels, .. } = self.shape();
        ImageShape { channels, height, width }
    }

    /// How exact its numbers are.
    pub fn precision(&self) -> Precision {
        self.0.precision
    }

    /// The same values, through which no gradient flows.
    pub fn detach(&self) -> Self {
        Self(Map::constant(self.0.values.clone(), self.0.precision))
    }

    /// The same values in another precision of the same `dtype`.
    ///
    /// # Errors
    /// When only one of both is `f64`.
    pub fn to_precision(&self, precision: Precision) -> Result<Self> {
        if precision == self.precision() {
            return Ok(self.clone());
        }
        if precision.dtype() != self.precision().dtype() {
            return Err(Error::new(format!("a map of {:?} cannot become one of {precision:?}", self.precision())));
        }
        let from = Arc::clone(&self.0);
        let values = from.values.to_dtype(stored(precision))?;
        Ok(Self(tape::record(values, precision, &[&self.0], &[], || Cast(from))?))
    }

    /// `x` above zero and `slope`·`x` below.
    ///
    /// # Errors
    /// When the device fails.
    pub fn activate(&self, slope: f64) -> Result<Self> {
        Ok(Self(pointwise::activate(&self.0, slope)?))
    }

    /// The sum of two maps of one shape, in the precision of the first.
    ///
    /// # Errors
    /// When the shapes differ or the device fails.
    pub fn add(&self, other: &Self) -> Result<Self> {
        if self.0.values.dims() != other.0.values.dims() {
            return Err(Error::new(format!("cannot add {:?} and {:?}", self.0.values.dims(), other.0.values.dims())));
        }
        Ok(Self(pointwise::add(&self.0, &other.to_precision(self.precision())?.0)?))
    }

    /// Each pixel as a `factor`×`factor` square.
    ///
    /// # Errors
    /// When the device fails.
    pub fn upsample(&self, factor: usize) -> Result<Self> {
        Ok(Self(resampling::upsample(&self.0, factor)?))
    }

    /// The largest of each `size`×`size` square.
    ///
    /// # Errors
    /// When the device fails.
    pub fn max_pool(&self, size: usize) -> Result<Self> {
        Ok(Self(resampling::max_pool(&self.0, size)?))
    }

    /// The mean of each `size`×`size` square.
    ///
    /// # Errors
    /// When the device fails.
    pub fn average_pool(&self, size: usize) -> Result<Self> {
        Ok(Self(resampling::average_pool(&self.0, size)?))
    }

    /// The mean of each channel over the whole map: `[B, C]`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn global_average(&self) -> Result<Tensor> {
        Ok(resampling::global_average(&self.0)?)
    }

    /// Where a classifier looks, `[B, H·W]`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn attention_map(&self) -> Result<Tensor> {
        Ok(attention::attention_map(&self.0)?)
    }

    /// The mean squared difference between the attention map and another's.
    ///
    /// # Errors
    /// When the shapes or types differ or the device fails.
    pub fn attention_distance(&self, target: &Tensor) -> Result<Tensor> {
        Ok(attention::attention_distance(&self.0, target)?)
    }

    /// A convolution with `weight` `[O, I, K, K]` plus `bias` `[O]`, into a map of the given precision.
    ///
    /// # Errors
    /// When the device fails.
    pub fn conv2d(
        &self,
        geometry: ConvGeometry,
        weight: &Tensor,
        bias: Option<&Tensor>,
        precision: Precision,
    ) -> Result<Self> {
        Ok(Self(convolution::conv2d(&self.to_precision(precision)?.0, geometry, weight, bias)?))
    }

    /// Mean and biased variance of each channel, `[C]`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn batch_moments(&self) -> Result<BatchNormStatistics> {
        Ok(batch_norm::moments(&self.0)?)
    }

    /// `act(gamma · (x − mean) / √(variance + epsilon) + beta)`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn batch_norm(
        &self,
        gamma: &Tensor,
        beta: &Tensor,
        statistics: &BatchNormStatistics,
        epsilon: f64,
        slope: f64,
    ) -> Result<Self> {
        Ok(Self(batch_norm::normalize(&self.0, gamma, beta, statistics, epsilon, slope)?))
    }
}

/// The type of a map's numbers in memory.
pub fn stored(precision: Precision) -> DType {
    match precision {
        Precision::F32 | Precision::Tf32 => DType::F32,
        Precision::F64 => DType::F64,
        Precision::Bf16 => DType::BF16,
    }
}

/// From one precision to another.
struct Cast(Arc<Map>);

impl Node for Cast {
    fn backward(&self, gradient: &Tensor) -> candle_core::Result<()> {
        let gradient = gradient.to_dtype(self.0.values.dtype())?;
        self.0.deposit(|plus| pointwise::plus(gradient, plus, self.0.precision))
    }
}
