//! Mean absolute difference of logits.

use zskt_api::candle_core::Tensor;
use zskt_api::{Error, Loss, LossBatch, LossInputs, Result, TeacherOutput, params};

params! {
    /// The mean over batch and classes of the absolute difference of the student's logits from the teacher's, which data-free
    /// adversarial distillation plays for (Fang et al. 2019).
    pub struct MeanAbsoluteError {
        /// Factor of this loss in the sum; negative for a player that makes it large.
        pub weight: f64 = 1.0,
    }
}

impl Loss for MeanAbsoluteError {
    fn needs(&self) -> LossInputs {
        LossInputs { teacher: true, ..LossInputs::default() }
    }

    fn target(&self, teacher: &TeacherOutput) -> Result<Vec<Tensor>> {
        Ok(vec![teacher.logits.clone()])
    }

    fn value(&self, batch: &LossBatch<'_>) -> Result<Tensor> {
        let [logits] = batch.target else { return Err(Error::new("the teacher's logits are missing")) };
        Ok(((&batch.student()?.logits - logits)?.abs()?.mean_all()? * self.weight)?)
    }

    fn replays(&self) -> bool {
        true
    }
}
