//! Gradients of weights, whose parts one kernel adds up for all convolutions of a backward pass.

use std::cell::RefCell;

use candle_core::{DType, Result, Tensor};

use crate::autograd::{Later, TensorInput};
use crate::cuda::conv::{WeightParts, tensor_cores};
use crate::cuda::launch::empty;
use crate::shape::ConvGeometry;

thread_local! {
    /// Parts, and the gradients that are to be made of them.
    static PENDING: RefCell<Vec<(WeightParts, Tensor)>> = const { RefCell::new(Vec::new()) };
}

/// Gives a weight its gradient, whose numbers are there when the backward pass ends.
///
/// # Errors
/// When the device fails.
pub fn accumulate(weight: &TensorInput, geometry: &ConvGeometry, parts: WeightParts) -> Result<()> {
    let ConvGeometry { out_channels, kernel, .. } = *geometry;
    let shape = (out_channels, geometry.group_inputs(), kernel, kernel);
    let of_weight = empty(shape, DType::F32, parts.0.device())?;
    PENDING.with_borrow_mut(|pending| pending.push((parts, of_weight.clone())));
    weight.accumulate_later(of_weight, Later { complete, discard: || drop(PENDING.take()) })
}

/// Computes the gradients that are pending.
fn complete() -> Result<()> {
    tensor_cores::add_up(&PENDING.take())
}
