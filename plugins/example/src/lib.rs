//! Squared difference of logits.

use zskt_api::candle_core::Tensor;
use zskt_api::{Error, Loss, LossBatch, LossInputs, Result, TeacherOutput, params};

params! {
    /// Mean over batch and classes of the squared difference of the student's logits from the teacher's (Ba & Caruana,
    /// NeurIPS 2014).
    pub struct ExampleLoss {
        /// Factor of this loss in the sum.
        pub weight: f64 = 1.0 => 0.0..,
    }
}

impl Loss for ExampleLoss {
    fn needs(&self) -> LossInputs {
        LossInputs {
            teacher: true,
            ..LossInputs::default()
        }
    }

    fn target(&self, teacher: &TeacherOutput) -> Result<Vec<Tensor>> {
        Ok(vec![teacher.logits.clone()])
    }

    fn value(&self, batch: &LossBatch<'_>) -> Result<Tensor> {
        let [logits] = batch.target else {
            return Err(Error::new("the teacher's logits are missing"));
        };
        Ok(((&batch.student()?.logits - logits)?.sqr()?.mean_all()? * self.weight)?)
    }

    // It computes on the device only, with numbers that never change: a GPU may replay it.
    fn replays(&self) -> bool {
        true
    }
}

zskt_api::export! { reads: none; loss: ExampleLoss }

#[cfg(test)]
mod tests {
    use zskt_api::candle_core::{Device, Tensor};
    use zskt_api::testing::conforms;
    use zskt_api::{ClassifierOutput, Loss, LossBatch, Result};

    use super::ExampleLoss;

    #[test]
    fn it_keeps_its_contract() -> Result<()> {
        conforms("ExampleLoss(weight: 2.0)")
    }

    #[test]
    fn it_is_the_mean_of_squares() -> Result<()> {
        let output = |logits: [[f64; 2]; 2]| -> Result<ClassifierOutput> {
            Ok(ClassifierOutput {
                logits: Tensor::new(&logits, &Device::Cpu)?,
                activations: Vec::new(),
            })
        };
        let loss = ExampleLoss { weight: 2.0 };
        let target = loss.target(&output([[1.0, 0.0], [0.0, -1.0]])?.into())?;
        let student = output([[2.0, 0.0], [0.0, 2.0]])?;
        let value = loss
            .value(&LossBatch::new(&student, &target))?
            .to_scalar::<f64>()?;
        assert_eq!(value, 2.0 * (1.0 + 9.0) / 4.0);
        Ok(())
    }
}
