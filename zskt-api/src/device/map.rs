//! A feature map as a tensor, and the operations on it.

use candle_core::{D, DType, Tensor};

use super::convolution::conv2d;
use crate::kernels::{ConvGeometry, MapShape};
use crate::map::values::precision_of;
use crate::ops::{ATTENTION_EPSILON, BatchNormStatistics};
use crate::{Error, ImageShape, Precision, Result};

/// A feature map on an accelerator.
#[derive(Clone)]
pub struct DeviceMap {
    /// `[B, C, H, W]`, dense.
    tensor: Tensor,
    precision: Precision,
}

impl DeviceMap {
    /// From a tensor `[B, H, W, C]` of `f32` or `f64`.
    ///
    /// # Errors
    /// When it has not four dimensions or another type.
    pub fn from_channels_last(tensor: &Tensor) -> Result<Self> {
        tensor.dims4().map_err(|_| Error::new(format!("expected a tensor [B, H, W, C], found {:?}", tensor.dims())))?;
        Self::from_nchw(&tensor.permute((0, 3, 1, 2))?)
    }

    /// From a tensor `[B, C, H, W]` of `f32` or `f64`.
    ///
    /// # Errors
    /// When it has not four dimensions or another type.
    pub fn from_nchw(tensor: &Tensor) -> Result<Self> {
        tensor.dims4().map_err(|_| Error::new(format!("expected a tensor [B, C, H, W], found {:?}", tensor.dims())))?;
        Ok(Self { tensor: tensor.contiguous()?, precision: precision_of(tensor.dtype())? })
    }

    fn of(&self, tensor: Tensor) -> Self {
        Self { tensor, precision: self.precision }
    }

    /// As a tensor `[B, H, W, C]`, of `f32` where the map's precision is bf16.
    ///
    /// # Errors
    /// When the device fails.
    pub fn channels_last(&self) -> Result<Tensor> {
        Ok(self.to_nchw()?.permute((0, 2, 3, 1))?.contiguous()?)
    }

    /// As a tensor `[B, C, H, W]`, of `f32` where the map's precision is bf16.
    ///
    /// # Errors
    /// When the device fails.
    pub fn to_nchw(&self) -> Result<Tensor> {
        Ok(self.tensor.to_dtype(self.precision.dtype())?)
    }

    /// Its shape.
    pub fn shape(&self) -> MapShape {
        let dims = self.tensor.dims();
        MapShape { batch: dims[0], channels: dims[1], height: dims[2], width: dims[3] }
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
        self.precision
    }

    /// The same values, through which no gradient flows.
    pub fn detach(&self) -> Self {
        self.of(self.tensor.detach())
    }

    /// The same values in another precision of the same `dtype`.
    ///
    /// # Errors
    /// When only one of both is `f64`.
    pub fn to_precision(&self, precision: Precision) -> Result<Self> {
        if precision.dtype() != self.precision.dtype() {
            return Err(Error::new(format!("a map of {:?} cannot become one of {precision:?}", self.precision)));
        }
        Ok(Self { tensor: self.tensor.to_dtype(stored(precision))?, precision })
    }

    /// `x` above zero and `slope`·`x` below.
    ///
    /// # Errors
    /// When the device fails.
    pub fn activate(&self, slope: f64) -> Result<Self> {
        Ok(self.of(activated(&self.tensor, slope)?))
    }

    /// The sum of two maps of one shape, in the precision of the first.
    ///
    /// # Errors
    /// When the shapes differ or the device fails.
    pub fn add(&self, other: &Self) -> Result<Self> {
        if self.tensor.dims() != other.tensor.dims() {
            return Err(Error::new(format!("cannot add {:?} and {:?}", self.tensor.dims(), other.tensor.dims())));
        }
        Ok(self.of((&self.tensor + &other.to_precision(self.precision)?.tensor)?))
    }

    /// Each pixel as a `factor`×`factor` square.
    ///
    /// # Errors
    /// When the device fails.
    pub fn upsample(&self, factor: usize) -> Result<Self> {
        let (batch, channels, height, width) = self.tensor.dims4()?;
        // candle's own upsampling overwrites gradients that come from elsewhere.
        let pixels = self.tensor.reshape((batch, channels, height, 1, width, 1))?;
        let squares = pixels.broadcast_as((batch, channels, height, factor, width, factor))?;
        Ok(self.of(squares.contiguous()?.reshape((batch, channels, height * factor, width * factor))?))
    }

    /// The largest of each `size`×`size` square.
    ///
    /// # Errors
    /// When the device fails.
    pub fn max_pool(&self, size: usize) -> Result<Self> {
        Ok(self.of(self.squares(size)?.max(D::Minus1)?))
    }

    /// The mean of each `size`×`size` square.
    ///
    /// # Errors
    /// When the device fails.
    pub fn average_pool(&self, size: usize) -> Result<Self> {
        Ok(self.of(self.squares(size)?.mean(D::Minus1)?))
    }

    /// `[B, C, H/size, W/size, size²]`; rows and columns left over are dropped.
    fn squares(&self, size: usize) -> Result<Tensor> {
        let (batch, channels, height, width) = self.tensor.dims4()?;
        let (rows, columns) = (height / size, width / size);
        let whole = self.tensor.narrow(2, 0, rows * size)?.narrow(3, 0, columns * size)?.contiguous()?;
        let squares = whole.reshape((batch, channels, rows, size, columns, size))?.permute((0, 1, 2, 4, 3, 5))?;
        Ok(squares.contiguous()?.reshape((batch, channels, rows, columns, size * size))?)
    }

    /// The mean of each channel over the whole map: `[B, C]`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn global_average(&self) -> Result<Tensor> {
        Ok(self.to_nchw()?.mean((2, 3))?)
    }

    /// Where a classifier looks, `[B, H·W]`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn attention_map(&self) -> Result<Tensor> {
        let energies = self.to_nchw()?.sqr()?.mean(1)?.flatten_from(1)?;
        let norms = energies.sqr()?.sum_keepdim(1)?.sqrt()?;
        // Below epsilon the divisor is a constant.
        let norms = norms.maximum(&(norms.ones_like()? * ATTENTION_EPSILON)?)?;
        Ok(energies.broadcast_div(&norms)?)
    }

    /// The mean squared difference between the attention map and another's.
    ///
    /// # Errors
    /// When the shapes or types differ or the device fails.
    pub fn attention_distance(&self, target: &Tensor) -> Result<Tensor> {
        Ok((self.attention_map()? - target)?.sqr()?.mean_all()?)
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
        let x = self.to_precision(precision)?.tensor;
        let weight = weight.to_dtype(stored(precision))?;
        let y = conv2d(&x, &weight, geometry)?;
        let y = match bias {
            Some(bias) => y.broadcast_add(&per_channel(&bias.to_dtype(y.dtype())?)?)?,
            None => y,
        };
        Ok(Self { tensor: y, precision })
    }

    /// Mean and biased variance of each channel, `[C]`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn batch_moments(&self) -> Result<BatchNormStatistics> {
        let (mean, variance) = moments(&self.to_nchw()?.detach())?;
        let [mean, variance] = [mean, variance].map(|values| values.flatten_all());
        Ok(BatchNormStatistics { mean: mean?, variance: variance?, of_batch: true })
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
        let x = self.to_nchw()?;
        let (mean, variance) = if statistics.of_batch {
            // Once more, for the gradient to flow through them.
            moments(&x)?
        } else {
            (per_channel(&statistics.mean)?, per_channel(&statistics.variance)?)
        };
        let scale = per_channel(gamma)?.broadcast_div(&(variance + epsilon)?.sqrt()?)?;
        let normalized = x.broadcast_sub(&mean)?.broadcast_mul(&scale)?.broadcast_add(&per_channel(beta)?)?;
        Ok(self.of(activated(&normalized, slope)?.to_dtype(stored(self.precision))?))
    }
}

/// The type of a map's numbers in memory.
fn stored(precision: Precision) -> DType {
    match precision {
        Precision::F32 => DType::F32,
        Precision::F64 => DType::F64,
        Precision::Bf16 => DType::BF16,
    }
}

/// `[C]` as `[1, C, 1, 1]`.
fn per_channel(values: &Tensor) -> Result<Tensor> {
    Ok(values.reshape((1, values.elem_count(), 1, 1))?)
}

/// Mean and biased variance of each channel, `[1, C, 1, 1]`.
fn moments(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let mean = x.mean_keepdim((0, 2, 3))?;
    let variance = x.broadcast_sub(&mean)?.sqr()?.mean_keepdim((0, 2, 3))?;
    Ok((mean, variance))
}

fn activated(x: &Tensor, slope: f64) -> Result<Tensor> {
    if slope == 1.0 {
        return Ok(x.clone());
    }
    // One above zero and `slope` below: a constant to the gradient.
    let above = x.detach().gt(0.0)?.to_dtype(x.dtype())?;
    Ok((x * above.affine(1.0 - slope, slope)?)?)
}
