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
    check(logits, &[target, log_target])?;
    Ok(with_backend!(logits.device(), B => B::kl_divergence(logits, target, log_target, temperature))?)
}

/// The same for the softmax `t` of `target_logits / temperature`: on a GPU it costs less where gradients flow into the target too.
///
/// # Errors
/// When the shapes differ or the device fails.
pub fn kl_divergence_with_logits(logits: &Tensor, target_logits: &Tensor, temperature: f64) -> Result<Tensor> {
    check(logits, &[target_logits])?;
    Ok(with_backend!(logits.device(), B => B::kl_divergence_with_logits(logits, target_logits, temperature))?)
}

fn check(logits: &Tensor, targets: &[&Tensor]) -> Result<()> {
    if targets.iter().any(|target| target.dims() != logits.dims()) {
        let found: Vec<_> = targets.iter().map(|target| target.dims()).collect();
        return Err(Error::new(format!("targets {found:?} do not fit logits {:?}", logits.dims())));
    }
    if let Some(other) =
        targets.iter().find(|other| other.dtype() != logits.dtype() || !other.device().same_device(logits.device()))
    {
        let message = format!(
            "logits of {:?} cannot be compared with {:?} on another device or of {:?}",
            logits.dtype(),
            other.dims(),
            other.dtype()
        );
        return Err(Error::new(message));
    }
    Ok(())
}
