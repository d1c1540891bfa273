//! Fully connected layers.

use candle_core::{Result, Tensor};

/// `x · weightᵀ + bias`.
///
/// # Errors
/// When the device fails.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.matmul(&weight.t()?)?.broadcast_add(bias)
}
