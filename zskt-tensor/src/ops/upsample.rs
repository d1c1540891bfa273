//! Nearest-neighbour upsampling.

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::feature_map::{FeatureMap, on_backend};
use crate::shape::MapShape;
use crate::trace::{self, TracedOperation};

/// Each pixel as a `factor`×`factor` square: `[B, C, H·factor, W·factor]`.
///
/// # Errors
/// When the factor is zero or too large for the result to be in memory, or the device fails.
pub fn upsample_nearest(x: &FeatureMap, factor: usize) -> Result<FeatureMap> {
    if factor == 0 {
        return Err(Error::new("cannot upsample by a factor of 0"));
    }
    let MapShape { batch, height, width, channels } = x.shape();
    let extents = [Some(batch), height.checked_mul(factor), width.checked_mul(factor), Some(channels)];
    if !MapShape::is_countable(extents) {
        return Err(Error::new(format!("{x:?} upsampled by {factor} has more numbers than memory")));
    }
    let upsampled = on_backend!(x, x => x.upsample(factor)?.into());
    Ok(trace::map(&[x], || TracedOperation::Upsample(factor), upsampled))
}
