//! Images of which the teacher is sure and the student is not.

use zskt_api::candle_core::{D, Tensor};
use zskt_api::ops::log_softmax;
use zskt_api::{CheckError, Error, Loss, LossBatch, LossInputs, OutputShape, Result, TeacherOutput, above, params};

use crate::kl_divergence::{divergence_terms, log_probabilities};

params! {
    /// Kullback–Leibler divergence of the student's belief from the teacher's on the images of a batch of which the teacher is sure and the
    /// student is not, for distillation on images without labels: the mean over the batch of `mᵢ·Σ t·(log t − log s)`, summed over the
    /// classes. `mᵢ` is 1 where `max t ≥ confidence` and `−Σ s·log s ≥ uncertainty`, both without temperature, else 0.
    ///
    /// After LLKD (Li et al., Findings of NAACL 2025, "Learning with Less: Knowledge Distillation from Large Language Models via Unlabeled
    /// Data"). There the thresholds follow the training, by moving averages over all images and of each class, images that count are
    /// weighted by how sure and how unsure the two are, and the student learns the teacher's class alone. Here the thresholds are the means
    /// over the batch at hand, or fixed, images count alike, and the student learns the teacher's belief.
    pub struct LearningWithLess {
        /// Softmax temperature of the divergence.
        pub temperature: f64 = 1.0 => above(0.0),
        /// How probable the teacher's class has to be; left out, as probable as the mean over the batch.
        pub confidence: Option<f64> = None => 0.0..=1.0,
        /// The least entropy of the student's belief, in nats: from 0, sure, to the logarithm of the number of classes. Left out, the mean
        /// over the batch.
        pub uncertainty: Option<f64> = None => 0.0..,
        /// Factor of this loss in the sum.
        pub weight: f64 = 1.0,
    }
}

/// 1 for the values `[B, 1]` that reach the threshold, or their mean, else 0.
fn reaches(values: &Tensor, threshold: Option<f64>) -> Result<Tensor> {
    let threshold = match threshold {
        Some(threshold) => values.zeros_like()?.affine(1.0, threshold)?,
        None => values.mean_keepdim(0)?,
    };
    Ok(values.broadcast_ge(&threshold)?.to_dtype(values.dtype())?)
}

impl Loss for LearningWithLess {
    fn needs(&self) -> LossInputs {
        LossInputs { teacher: true, ..LossInputs::default() }
    }

    fn check(&self, student: &OutputShape, _: Option<&OutputShape>) -> Result<(), CheckError> {
        let largest = (student.classes as f64).ln();
        match self.uncertainty {
            Some(uncertainty) if uncertainty > largest => {
                let message = format!(
                    "no belief in {} classes has an entropy of {uncertainty}: the largest is {largest:.4}, of all equally probable",
                    student.classes
                );
                Err(CheckError::parameter("uncertainty", message)
                    .help("leave it out, and it is the mean over the batch"))
            }
            _ => Ok(()),
        }
    }

    fn target(&self, teacher: &TeacherOutput) -> Result<Vec<Tensor>> {
        let log_target = log_probabilities(&teacher.logits, self.temperature)?;
        let confidence = log_softmax(&teacher.logits.detach())?.exp()?.max_keepdim(D::Minus1)?;
        Ok(vec![log_target.exp()?, log_target, reaches(&confidence, self.confidence)?])
    }

    fn value(&self, batch: &LossBatch<'_>) -> Result<Tensor> {
        let [target, log_target, is_sure] = batch.target else {
            return Err(Error::new("the teacher's output is missing"));
        };
        let logits = &batch.student()?.logits;
        let log_belief = log_softmax(&logits.detach())?;
        let entropy = (log_belief.exp()? * log_belief)?.sum_keepdim(D::Minus1)?.neg()?;
        let counts = (is_sure * reaches(&entropy, self.uncertainty)?)?;
        let divergences = divergence_terms(logits, target, log_target, self.temperature)?.sum_keepdim(D::Minus1)?;
        Ok(((divergences * counts)?.mean_all()? * self.weight)?)
    }

    fn replays(&self) -> bool {
        true
    }
}
