//! In-place updates: what optimizers do to weights and to their own state.

use candle_core::Tensor;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::feature_map::with_backend;
use crate::update_rule::{AdamOperands, AdamStep, UpdateOperands, UpdateRule};

/// Updates tensors of one type and device in place: on a GPU many of them at once.
///
/// # Errors
/// When shapes differ or the device fails.
pub fn apply_updates(tensors: &[UpdateOperands<'_>], update: UpdateRule) -> Result<()> {
    for UpdateOperands { target, a, b } in tensors {
        check(target, &[a, b])?;
    }
    let Some(first) = tensors.first() else { return Ok(()) };
    Ok(with_backend!(first.target.device(), B => B::update(tensors, update))?)
}

/// Moves weights of one type and device by Adam, and the averages that it takes: on a GPU many of them by one kernel, which reads
/// each number once.
///
/// # Errors
/// When shapes differ or the device fails.
pub fn apply_adam(tensors: &[AdamOperands<'_>], step: AdamStep) -> Result<()> {
    for AdamOperands { weight, gradient, average, average_of_squares } in tensors {
        check(weight, &[gradient, average, average_of_squares])?;
    }
    let Some(first) = tensors.first() else { return Ok(()) };
    Ok(with_backend!(first.weight.device(), B => B::adam(tensors, step))?)
}

/// That tensors can be updated together.
fn check(target: &Tensor, others: &[&Tensor]) -> Result<()> {
    for other in others {
        if other.dims() != target.dims() || other.dtype() != target.dtype() {
            let of = |tensor: &Tensor| format!("{:?} of {:?}", tensor.dims(), tensor.dtype());
            return Err(Error::new(format!("cannot update {} from {}", of(target), of(other))));
        }
        if !other.device().same_device(target.device()) {
            return Err(Error::new("cannot update a tensor from tensors on another device"));
        }
    }
    Ok(())
}

/// The L2 norm of all numbers of some tensors of one device, an `f64` scalar there: on a GPU nothing waits for it.
///
/// # Errors
/// When there is no tensor, or the device fails.
pub(crate) fn norm(tensors: &[Tensor]) -> Result<Tensor> {
    let Some(first) = tensors.first() else { return Err(Error::new("a norm of nothing")) };
    Ok(with_backend!(first.device(), B => B::norm(tensors))?)
}

/// Dense tensors times `limit / (norm + 1e-6)` where that is below one, as PyTorch's `clip_grad_norm_` has it.
///
/// # Errors
/// When the device fails.
pub(crate) fn clip(tensors: &[Tensor], norm: &Tensor, limit: f64) -> Result<Vec<Tensor>> {
    Ok(with_backend!(norm.device(), B => B::clip(tensors, norm, limit))?)
}
