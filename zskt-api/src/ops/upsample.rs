//! Nearest-neighbour upsampling.

use candle_core::Shape;

use super::map::{MapOp, apply};
use super::storage::Element;
use crate::kernels::{MapShape, upsample as kernel};
use crate::{Error, FeatureMap, Result};

/// Each pixel as a `factor`×`factor` square: `[B, C, H·factor, W·factor]`.
///
/// # Errors
/// When the factor is zero, or the device fails.
pub fn upsample_nearest(x: &FeatureMap, factor: usize) -> Result<FeatureMap> {
    if factor == 0 {
        return Err(Error::new("cannot upsample by a factor of 0"));
    }
    FeatureMap::from_channels_last(apply(x, Nearest(factor))?)
}

struct Nearest(usize);

impl MapOp for Nearest {
    const NAME: &'static str = "nearest upsampling";

    fn forward<T: Element>(&self, shape: &MapShape, x: &[T]) -> (Vec<T>, Shape) {
        let MapShape { batch, height, width, channels } = *shape;
        (kernel::forward(shape, self.0, x), (batch, height * self.0, width * self.0, channels).into())
    }

    fn backward<T: Element>(&self, shape: &MapShape, _x: &[T], grad: &[T]) -> Vec<T> {
        kernel::backward(shape, self.0, grad)
    }
}
