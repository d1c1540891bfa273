//! Attention transfer (Zagoruyko & Komodakis, ICLR 2017), as the paper's code computes it.

use zskt_api::candle_core::Tensor;
use zskt_api::ops::{attention_distance, attention_map};
use zskt_api::{CheckError, ClassifierOutput, Loss, LossInputs, LossTarget, OutputShape, Result, params};

params! {
    /// Makes the student look where the teacher looks: for each pair of activations, the mean over batch and pixels of
    /// the squared difference of their attention maps, times `beta`, summed over the pairs.
    pub struct AttentionTransfer {
        /// Factor of this loss in the sum.
        pub beta: f64 = 250.0 => 0.0..,
    }
}

impl Loss for AttentionTransfer {
    fn needs(&self) -> LossInputs {
        LossInputs { teacher: true, labels: false }
    }

    fn check(&self, student: &OutputShape, teacher: Option<&OutputShape>) -> std::result::Result<(), CheckError> {
        let Some(teacher) = teacher else { return Ok(()) };
        let (mine, theirs) = (&student.activations, &teacher.activations);
        if mine.is_empty() || mine.len() != theirs.len() {
            return Err(CheckError::new(format!(
                "attention transfer pairs activations: the student has {}, the teacher {}",
                mine.len(),
                theirs.len()
            ))
            .help("leave the attention loss out, or take networks of one family"));
        }
        for (index, (mine, theirs)) in mine.iter().zip(theirs).enumerate() {
            if (mine.height, mine.width) != (theirs.height, theirs.width) {
                return Err(CheckError::new(format!(
                    "attention map {} differs in size: the student's is {}×{}, the teacher's {}×{}",
                    index + 1,
                    mine.height,
                    mine.width,
                    theirs.height,
                    theirs.width
                ))
                .help("leave the attention loss out, or take networks of one family"));
            }
        }
        Ok(())
    }

    fn target(&self, teacher: &ClassifierOutput) -> Result<Vec<Tensor>> {
        teacher.activations.iter().map(attention_map).collect()
    }

    fn value(&self, student: &ClassifierOutput, target: &LossTarget) -> Result<Tensor> {
        let mut sum: Option<Tensor> = None;
        for (activation, target) in student.activations.iter().zip(&target.teacher) {
            let distance = attention_distance(activation, target)?;
            sum = Some(match sum {
                None => distance,
                Some(sum) => (sum + distance)?,
            });
        }
        let sum = sum.ok_or_else(|| zskt_api::Error::new("the networks have no activations to compare"))?;
        Ok((sum * self.beta)?)
    }

    fn replays(&self) -> bool {
        true
    }
}
