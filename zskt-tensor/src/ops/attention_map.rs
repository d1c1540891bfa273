//! Attention maps (Zagoruyko & Komodakis, ICLR 2017), and how far two are apart.

use candle_core::Tensor;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::feature_map::{FeatureMap, on_backend};
use crate::shape::MapShape;

/// Where a classifier looks: the mean over the channels of the squared activation, divided by its L2 norm over the map,
/// `[B, H·W]`.
///
/// # Errors
/// When the device fails.
pub fn attention_map(x: &FeatureMap) -> Result<Tensor> {
    Ok(on_backend!(x, x => x.attention_map())?)
}

/// The mean over batch and pixels of the squared difference between the attention map of `x` `[B, C, H, W]` and `target`
/// `[B, H·W]`, another's attention map: a scalar.
///
/// # Errors
/// When the shapes or types differ or the device fails.
pub fn attention_distance(x: &FeatureMap, target: &Tensor) -> Result<Tensor> {
    let MapShape { batch, height, width, .. } = x.shape();
    if target.dims() != [batch, height * width] || target.dtype() != x.dtype() {
        let message =
            format!("an attention map of {x:?} cannot be compared with {:?} of {:?}", target.dims(), target.dtype());
        return Err(Error::new(message));
    }
    x.check_device(&[target])?;
    Ok(on_backend!(x, x => x.attention_distance(target))?)
}
