//! Kullback–Leibler divergence.

use candle_core::{Result, Tensor};

use crate::autograd::function;
use crate::candle_function::Values;
use crate::cuda::kernel_source::KernelVariant;
use crate::cuda::launch::Argument::{Address, Count, Real, Tensor as Of};
use crate::cuda::launch::{empty, launch};
use crate::cuda::ops::log_softmax::log_softmax;
use crate::cuda::ticket::tickets;

/// The mean over images and classes of `t · (log t − log s)`, in one kernel for constants `t` and `log t`, where `s` is the softmax of
/// `logits / temperature`.
///
/// # Errors
/// When the device fails.
pub fn kl_divergence(logits: &Tensor, target: &Tensor, log_target: &Tensor, temperature: f64) -> Result<Tensor> {
    if target.track_op() || log_target.track_op() {
        let log_softmax = log_softmax(&(logits / temperature)?)?;
        return (target * (log_target - log_softmax)?)?.mean_all();
    }
    let [dense, target, log_target] = [logits.detach(), target.clone(), log_target.clone()].map(|t| t.contiguous());
    let (dense, target, log_target) = (dense?, target?, log_target?);
    let (batch, classes) = dense.dims2()?;
    let (device, dtype, variant) = (dense.device(), dense.dtype(), KernelVariant::of_tensors(dense.dtype())?);
    let log_softmax = empty((batch, classes), dtype, device)?;
    let divergences = empty(batch, dtype, device)?;
    let (share, ticket) = (1.0 / (batch * classes) as f64, tickets(device)?);
    let (on, kept, constant) = (device.clone(), log_softmax.clone(), target.clone());
    let write = move |mean| {
        let sources = [Of(&dense), Of(&constant), Of(&log_target)];
        let results = [Of(&kept), Of(&divergences), Address(mean), Of(&ticket)];
        let scalars = [Count(classes), Real(temperature), Real(share)];
        launch(&on, variant, "divergence", batch, &[&sources[..], &results, &scalars].concat())
    };
    function(logits, Values::written(logits.device(), dtype, (), write), move |gradient| {
        let of_logits = empty((batch, classes), dtype, gradient.device())?;
        let tensors = [Of(&target), Of(&log_softmax), Of(gradient), Of(&of_logits)];
        let scalars = [Count(classes), Real(share / temperature)];
        launch(gradient.device(), variant, "divergence_gradient", batch, &[&tensors[..], &scalars].concat())?;
        Ok(of_logits)
    })
}
