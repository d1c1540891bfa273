//! Nearest-neighbour upsampling: noted down, and done where the map is read.

use crate::feature_map::Place;
use crate::{Error, FeatureMap, Result};

/// Each pixel as a `factor`×`factor` square: `[B, C, H·factor, W·factor]`.
///
/// # Errors
/// When the factor is zero.
pub fn upsample_nearest(x: &FeatureMap, factor: usize) -> Result<FeatureMap> {
    if factor == 0 {
        return Err(Error::new("cannot upsample by a factor of 0"));
    }
    match &x.0 {
        Place::Host(x) => {
            let mut upsampled = x.clone();
            upsampled.input.load.upsampling *= factor;
            Ok(upsampled.into())
        }
        Place::Device(x) => Ok(x.upsample(factor)?.into()),
    }
}
