//! Beliefs, and the fully connected layer in front of them, on accelerators.

use candle_core::{Result, Tensor};

use super::kernel::Argument::{Count, Real, Tensor as Of};
use super::kernel::{Variant, empty, launch};
use super::tape::function;

/// `x · weightᵀ + bias`.
///
/// # Errors
/// When the device fails.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.matmul(&weight.t()?)?.broadcast_add(bias)
}

/// The logarithm of the softmax over the classes of `[B, classes]`.
///
/// # Errors
/// When the device fails.
pub fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let dense = logits.detach().contiguous()?;
    let (batch, classes) = dense.dims2()?;
    let log_beliefs = empty((batch, classes), dense.dtype(), dense.device())?;
    let variant = Variant::of_tensors(dense.dtype())?;
    launch(dense.device(), variant, "log_softmax", batch, &[Of(&dense), Of(&log_beliefs), Count(classes)])?;
    function(logits, log_beliefs.clone(), move |gradient| {
        let of_logits = empty((batch, classes), log_beliefs.dtype(), log_beliefs.device())?;
        let arguments = [Of(&log_beliefs), Of(gradient), Of(&of_logits), Count(classes)];
        launch(log_beliefs.device(), variant, "log_softmax_gradient", batch, &arguments)?;
        Ok(of_logits)
    })
}

/// The mean over images and classes of `t · (log t − log s)`, for constants `t` and `log t`, where `s` is the softmax of
/// `logits / temperature`.
///
/// # Errors
/// When the device fails.
pub fn kl_divergence(logits: &Tensor, belief: &Tensor, log_belief: &Tensor, temperature: f64) -> Result<Tensor> {
    let [dense, belief, log_belief] = [logits.detach(), belief.clone(), log_belief.clone()].map(|t| t.contiguous());
    let (dense, belief, log_belief) = (dense?, belief?, log_belief?);
    let (batch, classes) = dense.dims2()?;
    let (device, dtype, variant) = (dense.device(), dense.dtype(), Variant::of_tensors(dense.dtype())?);
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
