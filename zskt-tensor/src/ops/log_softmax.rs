//! Log-probabilities.

use candle_core::Tensor;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::feature_map::with_backend;

/// The logarithm of the softmax over the classes of `logits` `[B, classes]`.
///
/// # Errors
/// When the logits have another rank or type, or the device fails.
pub fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    if logits.rank() != 2 {
        return Err(Error::new(format!("expected logits [B, classes], found {:?}", logits.dims())));
    }
    Ok(with_backend!(logits.device(), B => B::log_softmax(logits))?)
}
