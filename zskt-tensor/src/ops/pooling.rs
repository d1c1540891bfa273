//! Pooling.

use candle_core::Tensor;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::feature_map::{FeatureMap, on_backend};

/// The largest of each `size`×`size` square: `[B, C, H/size, W/size]`, rows and columns left over are dropped.
///
/// # Errors
/// When the map is smaller than a square, or the device fails.
pub fn max_pool(x: &FeatureMap, size: usize) -> Result<FeatureMap> {
    check_size(x, size)?;
    on_backend!(x, x => Ok(x.max_pool(size)?.into()))
}

/// The mean of each `size`×`size` square: `[B, C, H/size, W/size]`, rows and columns left over are dropped.
///
/// # Errors
/// When the map is smaller than a square, or the device fails.
pub fn average_pool(x: &FeatureMap, size: usize) -> Result<FeatureMap> {
    check_size(x, size)?;
    on_backend!(x, x => Ok(x.average_pool(size)?.into()))
}

/// The mean of each channel over the whole map: `[B, C]`.
///
/// # Errors
/// When the device fails.
pub fn global_average(x: &FeatureMap) -> Result<Tensor> {
    Ok(on_backend!(x, x => x.global_average())?)
}

fn check_size(x: &FeatureMap, size: usize) -> Result<()> {
    let image = x.image();
    if size == 0 || image.height < size || image.width < size {
        return Err(Error::new(format!("cannot pool {size}×{size} squares of a map {image}")));
    }
    Ok(())
}
