//! Attention maps (Zagoruyko & Komodakis, ICLR 2017), and how far two are apart.

use candle_core::Tensor;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::feature_map::{FeatureMap, Storage, on_backend};
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
    attention_distances(&[(x, target)], 1.0)
}

/// `factor` times the sum of the [distances](attention_distance) of maps from their targets, a scalar: on a GPU it costs less than the
/// sum of as many tensors.
///
/// # Errors
/// When there are no maps, the shapes, types or devices differ or the device fails.
pub fn attention_distances(pairs: &[(&FeatureMap, &Tensor)], factor: f64) -> Result<Tensor> {
    let Some((first, _)) = pairs.first() else { return Err(Error::new("a distance of no maps")) };
    for (x, target) in pairs {
        let MapShape { batch, height, width, .. } = x.shape();
        if target.dims() != [batch, height * width] || target.dtype() != x.dtype() || x.dtype() != first.dtype() {
            let (dims, dtype) = (target.dims(), target.dtype());
            return Err(Error::new(format!("an attention map of {x:?} cannot be compared with {dims:?} of {dtype:?}")));
        }
        x.check_device(&[target])?;
        first.check_device(&[target])?;
    }
    let pairs = pairs.iter().copied();
    Ok(match &first.0 {
        Storage::Cpu(_) => {
            let of = pairs.filter_map(|(x, target)| if let Storage::Cpu(x) = &x.0 { Some((x, target)) } else { None });
            Backend::attention_distances(&of.collect::<Vec<_>>(), factor)?
        }
        Storage::Cuda(_) => {
            let of = pairs.filter_map(|(x, target)| if let Storage::Cuda(x) = &x.0 { Some((x, target)) } else { None });
            Backend::attention_distances(&of.collect::<Vec<_>>(), factor)?
        }
    })
}
