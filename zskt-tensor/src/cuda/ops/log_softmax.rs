//! Log-probabilities.

use candle_core::{Result, Tensor};

use crate::autograd::function_of;
use crate::cuda::kernel_source::KernelVariant;
use crate::cuda::launch::Argument::{Count, Tensor as Of};
use crate::cuda::launch::{empty, launch};

/// The logarithm of the softmax over the classes of `[B, classes]`.
///
/// # Errors
/// When the device fails.
pub fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let dense = logits.detach().contiguous()?;
    let (batch, classes) = dense.dims2()?;
    let log_beliefs = empty((batch, classes), dense.dtype(), dense.device())?;
    let variant = KernelVariant::of_tensors(dense.dtype())?;
    launch(dense.device(), variant, "log_softmax", batch, &[Of(&dense), Of(&log_beliefs), Count(classes)])?;
    function_of([logits], log_beliefs.clone(), move |gradient| {
        let of_logits = empty((batch, classes), log_beliefs.dtype(), log_beliefs.device())?;
        let arguments = [Of(&log_beliefs), Of(gradient), Of(&of_logits), Count(classes)];
        launch(log_beliefs.device(), variant, "log_softmax_gradient", batch, &arguments)?;
        Ok([Some(of_logits)])
    })
}
