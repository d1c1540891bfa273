//! Operations on plain tensors, by candle's own.

use candle_core::{D, DType, Tensor};

use crate::Result;
use crate::ops::Update;

/// `x · weightᵀ + bias`.
///
/// # Errors
/// When the device fails.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    Ok(x.matmul(&weight.t()?)?.broadcast_add(bias)?)
}

/// The logarithm of the softmax over the classes.
///
/// # Errors
/// When the device fails.
pub fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    Ok(candle_nn::ops::log_softmax(logits, D::Minus1)?)
}

/// Updates `target` in place.
///
/// # Errors
/// When the device fails.
pub fn update(target: &Tensor, a: &Tensor, b: &Tensor, update: Update) -> Result<()> {
    let (t, a, b) = (target.detach(), a.detach(), b.detach());
    let updated = match update {
        Update::Average { decay, share, weight_decay } => ((&t * decay)? + ((a + (b * weight_decay)?)? * share)?)?,
        Update::AverageOfSquares { decay, weight_decay } => {
            ((&t * decay)? + ((a + (b * weight_decay)?)?.sqr()? * (1.0 - decay))?)?
        }
        Update::Adam { keep, rate, root_bias, epsilon } => {
            ((&t * keep)? - ((a * rate)? / ((b.sqrt()? / root_bias)? + epsilon)?)?)?
        }
        Update::Step { keep, x, y } => (((&t * keep)? + (a * x)?)? + (b * y)?)?,
    };
    if target.rank() == 0 {
        let (target, updated) = (target.reshape(1)?, updated.reshape(1)?);
        return Ok(target.slice_set(&updated, 0, 0)?);
    }
    Ok(target.slice_set(&updated.contiguous()?, 0, 0)?)
}

/// The sum of the squares of all numbers of some tensors, which is waited for once.
///
/// # Errors
/// When the device fails.
pub fn sum_of_squares(tensors: &[&Tensor]) -> Result<f64> {
    if tensors.is_empty() {
        return Ok(0.0);
    }
    let sums = tensors.iter().map(|tensor| tensor.sqr()?.sum_all()?.to_dtype(DType::F64));
    Ok(Tensor::stack(&sums.collect::<candle_core::Result<Vec<_>>>()?, 0)?.sum_all()?.to_scalar::<f64>()?)
}
