//! Log-probabilities.

use candle_core::{D, Tensor};

use crate::Result;

/// The logarithm of the softmax over the classes of `logits` `[B, classes]`.
///
/// # Errors
/// When the device fails.
pub fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    // The maximum cancels out, so no gradient needs to flow through it.
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    Ok(shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)?)
}
