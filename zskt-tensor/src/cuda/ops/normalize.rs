//! Normalization by the statistics of parts of single images, by candle's operations.

use candle_core::{D, Result, Tensor};

use crate::cuda::map::CudaMap;
use crate::ops::NormalizedOver;

/// `(x − mean) / √(variance + epsilon)`.
///
/// # Errors
/// When the device fails.
pub fn normalize(x: &CudaMap, over: NormalizedOver, epsilon: f64) -> Result<CudaMap> {
    let numbers = x.channels_last()?;
    let (batch, height, width, channels) = numbers.dims4()?;
    let normalized = match over {
        NormalizedOver::Pixels => normalized(&numbers, &|numbers| numbers.mean_keepdim(D::Minus1), epsilon)?,
        NormalizedOver::Groups(groups) => {
            let parts = numbers.reshape((batch, height * width, groups, channels / groups))?;
            normalized(&parts, &|parts| parts.mean_keepdim((1, 3)), epsilon)?
        }
    };
    CudaMap::from_channels_last(&normalized.reshape((batch, height, width, channels))?)?.to_precision(x.precision)
}

fn normalized(x: &Tensor, mean: &dyn Fn(&Tensor) -> Result<Tensor>, epsilon: f64) -> Result<Tensor> {
    let differences = x.broadcast_sub(&mean(x)?)?;
    let variance = mean(&differences.sqr()?)?;
    differences.broadcast_div(&(variance + epsilon)?.sqrt()?)
}
