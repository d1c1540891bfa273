//! Kullback–Leibler divergence between the outputs of two classifiers.

use zskt_api::candle_core::Tensor;
use zskt_api::ops::{kl_divergence, log_softmax};
use zskt_api::{ClassifierOutput, Loss, LossInputs, LossTarget, Result, above, params};

params! {
    /// Kullback–Leibler divergence of the student's belief from the teacher's, `Σ t·(log t − log s)`, averaged over the
    /// batch **and the classes** (PyTorch's `kl_div` default, as the paper's code uses it: ten times smaller than the
    /// mean over the batch for ten classes), without a factor temperature².
    pub struct KlDivergence {
        /// Softmax temperature: above 1 smooths both beliefs, below 1 sharpens them.
        pub temperature: f64 = 1.0 => above(0.0),
        /// Factor of this loss in the sum.
        pub weight: f64 = 1.0 => 0.0..,
    }
}

impl KlDivergence {
    fn log_probabilities(&self, logits: &Tensor) -> Result<Tensor> {
        if self.temperature == 1.0 { log_softmax(logits) } else { log_softmax(&(logits / self.temperature)?) }
    }
}

impl Loss for KlDivergence {
    fn needs(&self) -> LossInputs {
        LossInputs { teacher: true, labels: false }
    }

    fn target(&self, teacher: &ClassifierOutput) -> Result<Vec<Tensor>> {
        let log_target = self.log_probabilities(&teacher.logits)?;
        Ok(vec![log_target.exp()?, log_target])
    }

    fn value(&self, student: &ClassifierOutput, target: &LossTarget) -> Result<Tensor> {
        let [target_probabilities, log_target] = &target.teacher[..] else {
            return Err(zskt_api::Error::new("the teacher's output is missing"));
        };
        let divergence = kl_divergence(&student.logits, target_probabilities, log_target, self.temperature)?;
        if self.weight == 1.0 { Ok(divergence) } else { Ok((divergence * self.weight)?) }
    }

    fn replays(&self) -> bool {
        true
    }
}
