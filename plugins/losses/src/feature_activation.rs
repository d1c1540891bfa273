//! How strongly images activate the teacher's features.

use zskt_api::candle_core::Tensor;
use zskt_api::nn::Wanted;
use zskt_api::{Error, Loss, LossBatch, LossInputs, Result, TeacherOutput, params};

params! {
    /// Minus the mean absolute value of the teacher's features, the input of its last fully connected layer: small for images that activate
    /// them, as real ones do (the activation loss of DAFL, Chen et al., ICCV 2019). It does not look at the student.
    pub struct FeatureActivation {
        /// Factor of this loss in the sum.
        pub weight: f64 = 1.0,
    }
}

impl Loss for FeatureActivation {
    fn needs(&self) -> LossInputs {
        let within_teacher = Wanted { features: true, ..Wanted::default() };
        LossInputs { student: false, teacher: true, within_teacher, ..LossInputs::default() }
    }

    fn target(&self, teacher: &TeacherOutput) -> Result<Vec<Tensor>> {
        Ok(vec![teacher.features()?.clone()])
    }

    fn value(&self, batch: &LossBatch<'_>) -> Result<Tensor> {
        let [features] = batch.target else { return Err(Error::new("the teacher's features are missing")) };
        Ok((features.abs()?.mean_all()? * -self.weight)?)
    }

    fn replays(&self) -> bool {
        true
    }
}
