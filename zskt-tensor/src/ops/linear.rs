//! Fully connected layers.

use candle_core::Tensor;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::feature_map::with_backend;
use crate::flop;
use crate::trace::{self, TracedOperation};

/// `x · weightᵀ + bias` with `x` `[B, I]`, `weight` `[O, I]`, `bias` `[O]`, giving `[B, O]`.
///
/// # Errors
/// When the shapes do not fit or the device fails.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (_, inputs) = x.dims2()?;
    let (outputs, expected) = weight.dims2()?;
    if expected != inputs || bias.dims() != [outputs] {
        let message = format!("a weight {:?} with bias {:?} does not fit {inputs} inputs", weight.dims(), bias.dims());
        return Err(Error::new(message));
    }
    let gradients = u64::from(x.track_op()) + u64::from(weight.track_op());
    flop::add(x.elem_count() as u64 * outputs as u64, 1 + gradients);
    let made = with_backend!(x.device(), B => B::linear(x, weight, bias))?;
    let operation = || TracedOperation::Linear { weight: trace::weight(weight), bias: trace::weight(bias) };
    Ok(trace::tensor(x, operation, made))
}
