//! Kullback–Leibler divergence.

use candle_core::{Result, Tensor};

use crate::autograd::function;
use crate::cuda::launch::Argument::{Count, Real, Tensor as Of};
use crate::cuda::launch::{KernelVariant, empty, launch};
use crate::cuda::ops::log_softmax::log_softmax;

/// The mean over images and classes of `t · (log t − log s)`, in one kernel for constants `t` and `log t`, where `s` is the softmax of
/// `logits / temperature`.
///
/// # Errors
/// When the device fails.
pub fn kl_divergence(logits: &Tensor, belief: &Tensor, log_belief: &Tensor, temperature: f64) -> Result<Tensor> {
    if belief.track_op() || log_belief.track_op() {
        let log_softmax = log_softmax(&(logits / temperature)?)?;
        return (belief * (log_belief - log_softmax)?)?.mean_all();
    }
    let [dense, belief, log_belief] = [logits.detach(), belief.clone(), log_belief.clone()].map(|t| t.contiguous());
    let (dense, belief, log_belief) = (dense?, belief?, log_belief?);
    let (batch, classes) = dense.dims2()?;
    let (device, dtype, variant) = (dense.device(), dense.dtype(), KernelVariant::of_tensors(dense.dtype())?);
    let log_softmax = empty((batch, classes), dtype, device)?;
    let (divergences, divergence) = (empty(batch, dtype, device)?, empty((), dtype, device)?);
    let tensors = [Of(&dense), Of(&belief), Of(&log_belief), Of(&log_softmax), Of(&divergences)];
    launch(device, variant, "divergence", batch, &[&tensors[..], &[Count(classes), Real(temperature)]].concat())?;
    let share = 1.0 / (batch * classes) as f64;
    launch(device, variant, "total", 1, &[Of(&divergences), Of(&divergence), Count(batch), Real(share)])?;
    function(logits, divergence, move |gradient| {
        let of_logits = empty((batch, classes), dtype, gradient.device())?;
        let tensors = [Of(&belief), Of(&log_softmax), Of(gradient), Of(&of_logits)];
        let scalars = [Count(classes), Real(share / temperature)];
        launch(gradient.device(), variant, "divergence_gradient", batch, &[&tensors[..], &scalars].concat())?;
        Ok(of_logits)
    })
}
