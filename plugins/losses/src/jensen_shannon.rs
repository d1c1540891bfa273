//! Jensen–Shannon divergence between the outputs of two classifiers.

use zskt_api::candle_core::{D, Tensor};
use zskt_api::ops::log_softmax;
use zskt_api::{Error, Loss, LossBatch, LossInputs, Result, TeacherOutput, above, params};

params! {
    /// Jensen–Shannon divergence of the student's and the teacher's beliefs, `(KL(m‖s) + KL(m‖t)) / 2` with their mean `m`, summed over
    /// classes, averaged over the batch: the competition of Adaptive DeepInversion (Yin et al., CVPR 2020). As in the authors' code, each of
    /// the three is clamped to 0.01..0.99 and not normalized again, and there is no factor temperature².
    pub struct JensenShannon {
        /// Softmax temperature.
        pub temperature: f64 = 3.0 => above(0.0),
        /// Factor of this loss in the sum; negative for a player that makes it large.
        pub weight: f64 = 1.0,
    }
}

impl JensenShannon {
    fn probabilities(&self, logits: &Tensor) -> Result<Tensor> {
        Ok(log_softmax(&(logits / self.temperature)?)?.exp()?)
    }
}

impl Loss for JensenShannon {
    fn needs(&self) -> LossInputs {
        LossInputs { teacher: true, ..LossInputs::default() }
    }

    fn target(&self, teacher: &TeacherOutput) -> Result<Vec<Tensor>> {
        Ok(vec![self.probabilities(&teacher.logits)?])
    }

    fn value(&self, batch: &LossBatch<'_>) -> Result<Tensor> {
        let [teacher] = batch.target else { return Err(Error::new("the teacher's output is missing")) };
        let student = self.probabilities(&batch.student()?.logits)?;
        let clamped = |probabilities: &Tensor| probabilities.clamp(0.01, 0.99);
        let mean = clamped(&((&student + teacher)? * 0.5)?)?;
        let others = (clamped(&student)?.log()? + clamped(teacher)?.log()?)?;
        let divergence = (&mean * (mean.log()? - (others * 0.5)?)?)?.sum(D::Minus1)?.mean_all()?;
        Ok((divergence * self.weight)?)
    }

    fn replays(&self) -> bool {
        true
    }
}
