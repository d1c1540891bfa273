//! Nearest-neighbour upsampling.

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::feature_map::{FeatureMap, on_backend};

/// Each pixel as a `factor`×`factor` square: `[B, C, H·factor, W·factor]`.
///
/// # Errors
/// When the factor is zero, or the device fails.
pub fn upsample_nearest(x: &FeatureMap, factor: usize) -> Result<FeatureMap> {
    if factor == 0 {
        return Err(Error::new("cannot upsample by a factor of 0"));
    }
    on_backend!(x, x => Ok(x.upsample(factor)?.into()))
}
