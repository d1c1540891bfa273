//! Attention transfer (Zagoruyko & Komodakis, ICLR 2017), as the paper's code computes it.

use zskt_api::candle_core::Tensor;
use zskt_api::ops::{attention_distances, attention_map};
use zskt_api::{CheckError, Loss, LossBatch, LossInputs, OutputShape, Result, TeacherOutput, params};

params! {
    /// Makes the student look where the teacher looks: for each pair of activations, the mean over batch and pixels of
    /// the squared difference of their attention maps, times `beta`, summed over the pairs.
    pub struct AttentionTransfer {
        /// Factor of this loss in the sum.
        pub beta: f64 = 250.0 => 0.0..,
        /// Which activations are compared, the student's and the teacher's of each pair counted from 0, from input to output. Left
        /// out, all of both in their order: as many, and each as large as its counterpart. `[[0, 0], [1, 1], [2, 2]]` is for a
        /// student of three stages and a teacher with a fourth.
        pub pairs: Option<Vec<[usize; 2]>> = None,
    }
}

impl AttentionTransfer {
    /// The pairs of a student with so many activations.
    fn pairs(&self, count: usize) -> Vec<[usize; 2]> {
        self.pairs.clone().unwrap_or_else(|| (0..count).map(|index| [index, index]).collect())
    }
}

impl Loss for AttentionTransfer {
    fn needs(&self) -> LossInputs {
        LossInputs { teacher: true, ..LossInputs::default() }
    }

    fn check(&self, student: &OutputShape, teacher: Option<&OutputShape>) -> std::result::Result<(), CheckError> {
        let Some(teacher) = teacher else { return Ok(()) };
        let (mine, theirs) = (&student.activations, &teacher.activations);
        let wrong = if self.pairs.is_none() && (mine.is_empty() || mine.len() != theirs.len()) {
            let (mine, theirs) = (mine.len(), theirs.len());
            Some(format!("attention transfer pairs activations: the student has {mine}, the teacher {theirs}"))
        } else {
            self.pairs(mine.len()).into_iter().enumerate().find_map(|(index, [one, other])| {
                let (Some(one), Some(other)) = (mine.get(one), theirs.get(other)) else {
                    let (mine, theirs) = (mine.len(), theirs.len());
                    let pair = format!("there is no pair [{one}, {other}]");
                    return Some(format!(
                        "{pair}: the student has {mine} activations, the teacher {theirs}, counted from 0"
                    ));
                };
                ((one.height, one.width) != (other.height, other.width)).then(|| {
                    format!(
                        "attention map {} differs in size: the student's is {}×{}, the teacher's {}×{}",
                        index + 1,
                        one.height,
                        one.width,
                        other.height,
                        other.width
                    )
                })
            })
        };
        let Some(wrong) = wrong else { return Ok(()) };
        let fitting = student.pairs_of_equal_size(teacher);
        let help = if fitting.is_empty() {
            "leave the attention loss out, or take networks of one family".to_owned()
        } else {
            format!("those of equal size are `pairs: {fitting:?}`")
        };
        Err(CheckError::new(wrong).help(help))
    }

    fn target(&self, teacher: &TeacherOutput) -> Result<Vec<Tensor>> {
        let activation = |[_, theirs]: [usize; 2]| teacher.activations.get(theirs).map(attention_map);
        self.pairs(teacher.activations.len()).into_iter().filter_map(activation).collect()
    }

    fn value(&self, batch: &LossBatch<'_>) -> Result<Tensor> {
        let student = batch.student()?;
        let pairs = self.pairs(student.activations.len()).into_iter().zip(batch.target);
        let pairs = pairs.filter_map(|([mine, _], target)| Some((student.activations.get(mine)?, target)));
        let pairs: Vec<_> = pairs.collect();
        if pairs.is_empty() {
            return Err(zskt_api::Error::new("the networks have no activations to compare"));
        }
        attention_distances(&pairs, self.beta)
    }

    fn replays(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use zskt_api::candle_core::{Device, Tensor};
    use zskt_api::{ClassifierOutput, FeatureMap, ImageShape, Loss, LossBatch, OutputShape, Result};

    use super::AttentionTransfer;

    fn shape(sizes: &[usize]) -> OutputShape {
        OutputShape { classes: 2, activations: sizes.iter().map(|size| ImageShape::new(1, *size, *size)).collect() }
    }

    #[test]
    fn the_pairs_that_fit_are_said_and_taken() {
        let fault = |pairs, student: &[usize], teacher: &[usize]| {
            AttentionTransfer { beta: 1.0, pairs }.check(&shape(student), Some(&shape(teacher))).err()
        };
        let refused = fault(None, &[8, 4], &[8, 8, 4, 2]).expect("two and four");
        assert_eq!(refused.help.as_deref(), Some("those of equal size are `pairs: [[0, 1], [1, 2]]`"));
        assert_eq!(fault(Some(vec![[0, 1], [1, 2]]), &[8, 4], &[8, 8, 4, 2]), None);
        assert_eq!(fault(None, &[8, 4], &[8, 4]), None);
        let beyond = fault(Some(vec![[2, 0]]), &[8, 4], &[8]).expect("no third");
        assert!(beyond.message.contains("no pair [2, 0]"), "{beyond:?}");
        let nothing = fault(None, &[8], &[4]).expect("other sizes");
        assert!(nothing.help.is_some_and(|help| help.starts_with("leave")));
    }

    #[test]
    fn only_the_activations_of_pairs_are_compared() -> Result<()> {
        let output = |maps: &[[f32; 2]]| -> Result<ClassifierOutput> {
            let map = |values: &[f32; 2]| FeatureMap::from_nchw(&Tensor::new(&[[[*values]]], &Device::Cpu)?);
            let activations = maps.iter().map(map).collect::<Result<_>>()?;
            Ok(ClassifierOutput {
                logits: Tensor::zeros((1, 2), zskt_api::candle_core::DType::F32, &Device::Cpu)?,
                activations,
            })
        };
        let (student, teacher) = (output(&[[3.0, 1.0], [0.0, 5.0]])?, output(&[[9.0, 9.0], [9.0, 9.0], [0.0, 2.0]])?);
        let value = |pairs| -> Result<f32> {
            let loss = AttentionTransfer { beta: 1.0, pairs: Some(pairs) };
            let target = loss.target(&teacher.clone().into())?;
            Ok(loss.value(&LossBatch::new(&student, &target))?.to_scalar()?)
        };
        assert_eq!(value(vec![[1, 2]])?, 0.0);
        assert!(value(vec![[0, 2]])? > 0.1);
        Ok(())
    }
}
