//! Kullback–Leibler divergence.

use candle_core::{Result, Tensor};

use crate::cpu::ops::log_softmax::log_softmax;

/// The mean over images and classes of `t · (log t − log s)`, where `s` is the softmax of `logits / temperature`.
///
/// # Errors
/// When there is no room.
pub fn kl_divergence(logits: &Tensor, target: &Tensor, log_target: &Tensor, temperature: f64) -> Result<Tensor> {
    let log_softmax = if temperature == 1.0 { log_softmax(logits)? } else { log_softmax(&(logits / temperature)?)? };
    (target * (log_target - log_softmax)?)?.mean_all()
}
