//! Kullback–Leibler divergence between beliefs.

use candle_core::Tensor;

use super::log_softmax;
use crate::{Error, Result, device};

/// The mean over images **and classes** of `t · (log t − log s)`, where `s` is the softmax of `logits / temperature`
/// `[B, classes]`, and `belief` and `log_belief` are `t` and `log t`, of the same shape.
///
/// # Errors
/// When the shapes differ or the device fails.
pub fn kl_divergence(logits: &Tensor, belief: &Tensor, log_belief: &Tensor, temperature: f64) -> Result<Tensor> {
    if belief.dims() != logits.dims() || log_belief.dims() != logits.dims() {
        let message =
            format!("beliefs {:?} and {:?} do not fit logits {:?}", belief.dims(), log_belief.dims(), logits.dims());
        return Err(Error::new(message));
    }
    if !logits.device().is_cpu() && !belief.track_op() && !log_belief.track_op() {
        return Ok(device::kl_divergence(logits, belief, log_belief, temperature)?);
    }
    let log_softmax = if temperature == 1.0 { log_softmax(logits)? } else { log_softmax(&(logits / temperature)?)? };
    Ok((belief * (log_belief - log_softmax)?)?.mean_all()?)
}
