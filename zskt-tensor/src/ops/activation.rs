//! Activations that follow no batch norm.

use crate::backend::Backend;
use crate::error::Result;
use crate::feature_map::{FeatureMap, on_backend};

/// `x` above zero and `slope`·`x` below, `[B, C, H, W]`: 0 for ReLU.
///
/// # Errors
/// When the device fails.
pub fn activate(x: &FeatureMap, slope: f64) -> Result<FeatureMap> {
    on_backend!(x, x => Ok(x.activate(slope)?.into()))
}
