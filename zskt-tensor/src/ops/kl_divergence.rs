//! Kullback–Leibler divergence between the outputs of two classifiers.

use candle_core::Tensor;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::feature_map::with_backend;

/// The mean over images **and classes** of `t · (log t − log s)`, where `s` is the softmax of `logits / temperature`
/// `[B, classes]`, and `target` and `log_target` are `t` and `log t`, of the same shape.
///
/// # Errors
/// When the shapes differ or the device fails.
pub fn kl_divergence(logits: &Tensor, target: &Tensor, log_target: &Tensor, temperature: f64) -> Result<Tensor> {
    if target.dims() != logits.dims() || log_target.dims() != logits.dims() {
        let message =
            format!("targets {:?} and {:?} do not fit logits {:?}", target.dims(), log_target.dims(), logits.dims());
        return Err(Error::new(message));
    }
    if let Some(other) = [target, log_target]
        .iter()
        .find(|other| other.dtype() != logits.dtype() || !other.device().same_device(logits.device()))
    {
        let message = format!(
            "logits of {:?} cannot be compared with {:?} on another device or of {:?}",
            logits.dtype(),
            other.dims(),
            other.dtype()
        );
        return Err(Error::new(message));
    }
    Ok(with_backend!(logits.device(), B => B::kl_divergence(logits, target, log_target, temperature))?)
}
