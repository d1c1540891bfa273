//! In-place updates: what optimizers do to weights and to their own state.

use candle_core::Tensor;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::feature_map::with_backend;
use crate::update_rule::{UpdateOperands, UpdateRule};

/// Updates tensors of one type and device in place: on a GPU many of them at once.
///
/// # Errors
/// When shapes differ or the device fails.
pub fn apply_updates(tensors: &[UpdateOperands<'_>], update: UpdateRule) -> Result<()> {
    for UpdateOperands { target, a, b } in tensors {
        if target.dims() != a.dims() || target.dims() != b.dims() {
            let message = format!("cannot update {:?} from {:?} and {:?}", target.dims(), a.dims(), b.dims());
            return Err(Error::new(message));
        }
        if [a.dtype(), b.dtype()] != [target.dtype(); 2] {
            let message = format!("cannot update {:?} from {:?} and {:?}", target.dtype(), a.dtype(), b.dtype());
            return Err(Error::new(message));
        }
        if ![a, b].iter().all(|source| source.device().same_device(target.device())) {
            return Err(Error::new("cannot update a tensor from tensors on another device"));
        }
    }
    let Some(first) = tensors.first() else { return Ok(()) };
    Ok(with_backend!(first.target.device(), B => B::update(tensors, update))?)
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
