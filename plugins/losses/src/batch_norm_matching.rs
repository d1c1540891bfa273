//! Whether images look to the teacher's batch norms as its training images did.

use zskt_api::candle_core::Tensor;
use zskt_api::nn::Wanted;
use zskt_api::{Error, Loss, LossBatch, LossInputs, Result, TeacherOutput, params};

/// Keeps the gradient of a norm of nothing from being infinite.
const SMALLEST: f64 = 1e-24;

params! {
    /// The distance of the statistics of what the teacher's batch norms are given from those that they tracked in its training,
    /// `Σ ‖mean − running mean‖ + ‖variance − running variance‖` over all of them, with L2 norms that are not squared and biased variances
    /// (DeepInversion's feature regularization, Yin et al., CVPR 2020). It does not look at the student.
    pub struct BatchNormMatching {
        /// Factor of this loss in the sum.
        pub weight: f64 = 1.0,
    }
}

impl Loss for BatchNormMatching {
    fn needs(&self) -> LossInputs {
        let within_teacher = Wanted { batch_norms: true, ..Wanted::default() };
        LossInputs { student: false, teacher: true, within_teacher, ..LossInputs::default() }
    }

    fn target(&self, teacher: &TeacherOutput) -> Result<Vec<Tensor>> {
        let distance = |found: &Tensor, tracked: &Tensor| -> Result<Tensor> {
            let difference = (found - tracked.to_dtype(found.dtype())?)?;
            Ok((difference.sqr()?.sum_all()? + SMALLEST)?.sqrt()?)
        };
        let mut distances = Vec::new();
        for input in teacher.batch_norms()? {
            distances.push(distance(&input.mean, &input.running_mean)?);
            distances.push(distance(&input.variance, &input.running_variance)?);
        }
        Ok(vec![Tensor::stack(&distances, 0)?.sum_all()?.to_dtype(teacher.logits.dtype())?])
    }

    fn value(&self, batch: &LossBatch<'_>) -> Result<Tensor> {
        let [distance] = batch.target else { return Err(Error::new("the teacher's statistics are missing")) };
        Ok((distance * self.weight)?)
    }

    fn replays(&self) -> bool {
        true
    }
}
