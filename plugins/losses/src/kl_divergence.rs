//! Kullback–Leibler divergence between the outputs of two classifiers.

use zskt_api::candle_core::{D, Tensor};
use zskt_api::ops::{kl_divergence, kl_divergence_with_logits, log_softmax};
use zskt_api::{Loss, LossBatch, LossInputs, Result, TeacherOutput, above, choice, params};

choice! {
    /// Over what a divergence is averaged.
    pub enum Reduction {
        /// Batch and classes, PyTorch's default.
        Mean,
        /// The batch alone, PyTorch's `batchmean`: the divergence itself.
        BatchMean,
    }
}

params! {
    /// Kullback–Leibler divergence of the student's belief from the teacher's, `Σ t·(log t − log s)`, by default averaged over the
    /// batch **and the classes** (PyTorch's `kl_div` default, as the paper's code uses it: ten times smaller than the
    /// mean over the batch for ten classes), without a factor temperature².
    pub struct KlDivergence {
        /// Softmax temperature: above 1 smooths both beliefs, below 1 sharpens them.
        pub temperature: f64 = 1.0 => above(0.0),
        /// Factor of this loss in the sum; negative for a player that makes it large beside others that it makes small.
        pub weight: f64 = 1.0,
        /// Over what it is averaged.
        pub reduction: Reduction = Reduction::Mean,
        /// Whether it is multiplied by temperature², which keeps gradients at their size (Hinton et al. 2015).
        pub temperature_squared: bool = false,
        /// Whether only images count for which both networks choose the same class, as in CMI, Fast-Datafree and NAYER; it is averaged
        /// over all.
        pub agreeing_only: bool = false,
    }
}

pub(crate) fn log_probabilities(logits: &Tensor, temperature: f64) -> Result<Tensor> {
    if temperature == 1.0 { log_softmax(logits) } else { log_softmax(&(logits / temperature)?) }
}

/// What each class adds to the divergence of each image, `[B, classes]`.
pub(crate) fn divergence_terms(
    logits: &Tensor,
    target: &Tensor,
    log_target: &Tensor,
    temperature: f64,
) -> Result<Tensor> {
    Ok((target * (log_target - log_probabilities(logits, temperature)?)?)?)
}

impl KlDivergence {
    /// The mean over images and classes of those images for which both choose the same class; which they are is a constant.
    fn of_agreeing(&self, logits: &Tensor, target: &Tensor, log_target: &Tensor) -> Result<Tensor> {
        let divergence = divergence_terms(logits, target, log_target, self.temperature)?;
        let chosen = |scores: &Tensor| scores.detach().argmax_keepdim(D::Minus1);
        let agree = chosen(logits)?.eq(&chosen(log_target)?)?.to_dtype(logits.dtype())?;
        Ok(divergence.broadcast_mul(&agree)?.mean_all()?)
    }
}

impl Loss for KlDivergence {
    fn needs(&self) -> LossInputs {
        LossInputs { teacher: true, ..LossInputs::default() }
    }

    fn target(&self, teacher: &TeacherOutput) -> Result<Vec<Tensor>> {
        // A target that gradients flow into serves one step: computed with the divergence it costs no kernel of its own.
        if teacher.logits.track_op() && !self.agreeing_only {
            return Ok(vec![teacher.logits.clone()]);
        }
        let log_target = log_probabilities(&teacher.logits, self.temperature)?;
        Ok(vec![log_target.exp()?, log_target])
    }

    fn value(&self, batch: &LossBatch<'_>) -> Result<Tensor> {
        let logits = &batch.student()?.logits;
        let divergence = match batch.target {
            [target_logits] => kl_divergence_with_logits(logits, target_logits, self.temperature)?,
            [target, log_target] if self.agreeing_only => self.of_agreeing(logits, target, log_target)?,
            [target, log_target] => kl_divergence(logits, target, log_target, self.temperature)?,
            _ => return Err(zskt_api::Error::new("the teacher's output is missing")),
        };
        let mut factor = self.weight;
        if self.reduction == Reduction::BatchMean {
            factor *= logits.dim(D::Minus1)? as f64;
        }
        if self.temperature_squared {
            factor *= self.temperature * self.temperature;
        }
        if factor == 1.0 { Ok(divergence) } else { Ok((divergence * factor)?) }
    }

    fn replays(&self) -> bool {
        true
    }
}
