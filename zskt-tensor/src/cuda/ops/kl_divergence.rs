//! Kullback–Leibler divergence.

use candle_core::{Result, Tensor};

use crate::autograd::function_of;
use crate::candle_function::Values;
use crate::cuda::kernel_source::KernelVariant;
use crate::cuda::launch::Argument::{self, Address, Count, Real, Tensor as Of};
use crate::cuda::launch::{empty, launch};
use crate::cuda::ops::log_softmax::log_softmax;
use crate::cuda::ticket::ticket;

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
    let divergence = Divergence::of(logits, target.contiguous()?, log_target.contiguous()?, temperature)?;
    let values = divergence.values(None)?;
    function_of([logits], values, move |gradient| {
        let of_logits = divergence.like_logits()?;
        divergence.backward(gradient, Some(&of_logits), None)?;
        Ok([Some(of_logits)])
    })
}

/// The same for the softmax `t` of `target_logits / temperature`, in one kernel too.
///
/// # Errors
/// When the device fails.
pub fn kl_divergence_with_logits(logits: &Tensor, target_logits: &Tensor, temperature: f64) -> Result<Tensor> {
    let like = || empty(logits.shape(), logits.dtype(), logits.device());
    let divergence = Divergence::of(logits, like()?, like()?, temperature)?;
    let values = divergence.values(Some(target_logits.detach().contiguous()?))?;
    let tracked = [logits.track_op(), target_logits.track_op()];
    function_of([logits, target_logits], values, move |gradient| {
        let [of_logits, of_target] = tracked.map(|tracked| tracked.then(|| divergence.like_logits()).transpose());
        let (of_logits, of_target) = (of_logits?, of_target?);
        divergence.backward(gradient, of_logits.as_ref(), of_target.as_ref())?;
        Ok([of_logits, of_target])
    })
}

/// A divergence, and what its gradients take.
#[derive(Clone)]
struct Divergence {
    logits: Tensor,
    target: Tensor,
    log_target: Tensor,
    log_softmax: Tensor,
    /// That of each image.
    divergences: Tensor,
    temperature: f64,
}

impl Divergence {
    fn of(logits: &Tensor, target: Tensor, log_target: Tensor, temperature: f64) -> Result<Self> {
        let logits = logits.detach().contiguous()?;
        let log_softmax = empty(logits.shape(), logits.dtype(), logits.device())?;
        let divergences = empty(logits.dim(0)?, logits.dtype(), logits.device())?;
        Ok(Self { logits, target, log_target, log_softmax, divergences, temperature })
    }

    /// The mean, and what the target is where its logits are given.
    fn values(&self, target_logits: Option<Tensor>) -> Result<Values> {
        let (computed, ticket) = (self.clone(), ticket(self.logits.device())?);
        let write = move |mean| {
            let Self { logits, target, log_target, log_softmax, divergences, temperature } = &computed;
            let arguments = [
                Of(logits),
                target_logits.as_ref().into(),
                Of(target),
                Of(log_target),
                Of(log_softmax),
                Of(divergences),
                Address(mean),
                Of(&ticket),
                Count(logits.dim(1)?),
                Real(*temperature),
                Real(computed.share()),
            ];
            computed.launch("divergence", &arguments)
        };
        Ok(Values::written(self.logits.device(), self.logits.dtype(), (), write))
    }

    /// Writes the gradients of the logits and those of the target, where they are wanted.
    fn backward(&self, gradient: &Tensor, of_logits: Option<&Tensor>, of_target: Option<&Tensor>) -> Result<()> {
        let arguments = [
            Of(&self.target),
            Of(&self.log_target),
            Of(&self.log_softmax),
            Of(&self.divergences),
            Of(gradient),
            of_logits.into(),
            of_target.into(),
            Count(self.logits.dim(1)?),
            Real(self.share() / self.temperature),
        ];
        self.launch("divergence_gradient", &arguments)
    }

    /// What a term of the sum is in the mean.
    fn share(&self) -> f64 {
        1.0 / self.logits.elem_count() as f64
    }

    fn like_logits(&self) -> Result<Tensor> {
        empty(self.logits.shape(), self.logits.dtype(), self.logits.device())
    }

    fn launch(&self, kernel: &'static str, arguments: &[Argument<'_>]) -> Result<()> {
        let variant = KernelVariant::of_tensors(self.logits.dtype())?;
        launch(self.logits.device(), variant, kernel, self.logits.dim(0)?, arguments)
    }
}
