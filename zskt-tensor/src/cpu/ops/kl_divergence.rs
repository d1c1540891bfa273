//! Kullback–Leibler divergence.

use candle_core::{Result, Tensor};

use crate::cpu::ops::log_softmax::log_softmax;

/// The mean over images and classes of `t · (log t − log s)`, where `s` is the softmax of `logits / temperature`.
///
/// # Errors
/// When there is no room.
pub fn kl_divergence(logits: &Tensor, target: &Tensor, log_target: &Tensor, temperature: f64) -> Result<Tensor> {
    (target * (log_target - log_probabilities(logits, temperature)?)?)?.mean_all()
}

/// The same for the softmax `t` of `target_logits / temperature`.
///
/// # Errors
/// When there is no room.
pub fn kl_divergence_with_logits(logits: &Tensor, target_logits: &Tensor, temperature: f64) -> Result<Tensor> {
    let log_target = log_probabilities(target_logits, temperature)?;
    kl_divergence(logits, &log_target.exp()?, &log_target, temperature)
}

fn log_probabilities(logits: &Tensor, temperature: f64) -> Result<Tensor> {
    if temperature == 1.0 { log_softmax(logits) } else { log_softmax(&(logits / temperature)?) }
}
