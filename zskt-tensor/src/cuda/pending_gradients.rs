//! Gradients of parameters whose numbers come later than they are handed over: those of weights, whose parts one kernel adds up for all
//! convolutions of a backward pass, and those of batch norms, which the kernel that reads their sums next makes.

use std::cell::RefCell;

use candle_core::{DType, Result, Tensor};

use crate::autograd::{Later, TensorInput};
use crate::cuda::conv::{WeightParts, tensor_cores};
use crate::cuda::exact_sums;
use crate::cuda::launch::empty;
use crate::shape::ConvGeometry;

thread_local! {
    /// Parts, and the gradients that are to be made of them.
    static PARTS: RefCell<Vec<(WeightParts, Tensor)>> = const { RefCell::new(Vec::new()) };
}

const LATER: Later = Later { complete, discard: || drop(PARTS.take()) };

/// Gives a weight its gradient, which is the sum of its parts.
///
/// # Errors
/// When the device fails.
pub fn accumulate_parts(weight: &TensorInput, geometry: &ConvGeometry, parts: WeightParts) -> Result<()> {
    let ConvGeometry { out_channels, kernel, .. } = *geometry;
    let shape = (out_channels, geometry.group_inputs(), kernel, kernel);
    let of_weight = empty(shape, DType::F32, parts.0.device())?;
    PARTS.with_borrow_mut(|pending| pending.push((parts, of_weight.clone())));
    accumulate(weight, of_weight)
}

/// Gives a parameter a gradient whose numbers are there when the backward pass ends, or somebody else needs them.
///
/// # Errors
/// When the device fails.
pub fn accumulate(parameter: &TensorInput, gradient: Tensor) -> Result<()> {
    parameter.accumulate_later(gradient, LATER)
}

/// Computes the gradients that are pending.
fn complete() -> Result<()> {
    tensor_cores::add_up(&PARTS.take())?;
    exact_sums::finish_all()
}
