//! The losses of a step and their sum. Nothing is computed that none of them asks for.

use std::sync::Arc;

use zskt_api::candle_core::Tensor;
use zskt_api::nn::{Wanted, observe};
use zskt_api::{
    ClassifierNetwork, ClassifierOutput, Error, FeatureMap, ForwardMode, Loss, LossBatch, Result, TeacherOutput,
};

/// What the losses of a step are given beside the student's output.
pub struct Given {
    /// What each loss made of the teacher's output.
    pub targets: Vec<Vec<Tensor>>,
    /// The images, where a loss may look at them.
    pub images: Option<FeatureMap>,
    /// Their classes, where they have any.
    pub labels: Option<Tensor>,
}

/// What the teacher gives for these images, where a loss asks for it, with all that losses want to see within it and what is wanted
/// `beside`.
pub fn teacher_output(
    losses: &[Arc<dyn Loss>],
    beside: Wanted,
    teacher: Option<&ClassifierNetwork>,
    images: &FeatureMap,
) -> Result<Option<TeacherOutput>> {
    let Some(teacher) = teacher.filter(|_| losses.iter().any(|loss| loss.needs().teacher)) else { return Ok(None) };
    let wanted = losses.iter().fold(beside, |wanted, loss| wanted.or(loss.needs().within_teacher));
    let (output, within) = observe(wanted, || teacher.forward.forward(images, ForwardMode::eval()))?;
    Ok(Some(TeacherOutput { output, within }))
}

/// What each loss makes of the teacher's output.
pub fn targets(losses: &[Arc<dyn Loss>], teacher: Option<&TeacherOutput>) -> Result<Vec<Vec<Tensor>>> {
    let target = |loss: &Arc<dyn Loss>| {
        let teacher = teacher.filter(|_| loss.needs().teacher);
        teacher.map_or_else(|| Ok(Vec::new()), |teacher| loss.target(teacher))
    };
    losses.iter().map(target).collect()
}

/// The sum of the losses, a scalar.
///
/// # Errors
/// When there is none.
pub fn sum(losses: &[Arc<dyn Loss>], student: Option<&ClassifierOutput>, given: &Given) -> Result<Tensor> {
    let mut sum: Option<Tensor> = None;
    for (loss, target) in losses.iter().zip(&given.targets) {
        let needs = loss.needs();
        let value = loss.value(&LossBatch {
            student: student.filter(|_| needs.student),
            target,
            labels: given.labels.as_ref().filter(|_| needs.labels),
            images: given.images.as_ref().filter(|_| needs.images),
        })?;
        sum = Some(match sum {
            None => value,
            Some(sum) => (sum + value)?,
        });
    }
    sum.ok_or_else(|| Error::new("it has no loss"))
}
