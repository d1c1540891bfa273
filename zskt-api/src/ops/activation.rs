//! Activations that follow no batch norm.

use candle_core::Shape;

use super::map::{MapOp, apply};
use super::storage::Element;
use crate::kernels::{MapShape, Real, batch_norm as kernel};
use crate::{FeatureMap, Result};

/// `x` above zero and `slope`·`x` below, `[B, C, H, W]`: 0 for ReLU.
///
/// # Errors
/// When the device fails.
pub fn activate(x: &FeatureMap, slope: f64) -> Result<FeatureMap> {
    FeatureMap::from_channels_last(apply(x, Activate(slope))?)
}

struct Activate(f64);

impl MapOp for Activate {
    const NAME: &'static str = "activation";

    fn forward<T: Element>(&self, shape: &MapShape, x: &[T]) -> (Vec<T>, Shape) {
        let (one, zero) = (vec![T::ONE; shape.channels], vec![T::ZERO; shape.channels]);
        let y = kernel::apply(x, shape.channels, &one, &zero, <T as Real>::from_f64(self.0));
        (y, (shape.batch, shape.height, shape.width, shape.channels).into())
    }

    fn backward<T: Element>(&self, shape: &MapShape, x: &[T], grad: &[T]) -> Vec<T> {
        let (one, zero) = (vec![T::ONE; shape.channels], vec![T::ZERO; shape.channels]);
        let activation = kernel::Activation { scale: &one, shift: &zero, slope: <T as Real>::from_f64(self.0) };
        kernel::backward_running_statistics(x, grad, shape.channels, &activation)
    }
}
