//! The losses of a step and their sum. Nothing is computed that none of them asks for.

use std::sync::Arc;

use zskt_api::candle_core::Tensor;
use zskt_api::nn::{Wanted, observe};
use zskt_api::ops::add_scalars;
use zskt_api::{
    ClassifierNetwork, ClassifierOutput, Error, FeatureMap, ForwardMode, LoggedScalar, Loss, LossBatch, Objective,
    Result, TeacherOutput,
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

/// The sum of the losses, a scalar, and what it is made of.
pub struct LossSum {
    /// The sum, through which gradients flow.
    pub sum: Tensor,
    /// The losses, in their order; empty where there is but one, which is the sum.
    parts: Vec<Tensor>,
}

impl LossSum {
    /// The sum, and what it is made of.
    pub fn scalars(&self) -> impl Iterator<Item = Tensor> {
        std::iter::once(&self.sum).chain(&self.parts).map(Tensor::detach)
    }

    /// The places of those losses through which no gradient flows, where there are several.
    pub fn constants(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().enumerate().filter(|(_, loss)| !loss.track_op()).map(|(index, _)| index)
    }

    /// The same of what is minimized in place of a sum that is made large.
    pub fn negated(self) -> Result<Self> {
        Ok(Self { sum: self.sum.neg()?, ..self })
    }
}

/// What the parts of a turn's loss are called in the log, and what makes a part of the loss itself a part of what is minimized; nothing
/// of a part without a name, or with that of another.
pub fn part_names(turn: &str, objective: Objective, losses: &[Arc<dyn Loss>]) -> Vec<Option<(String, f64)>> {
    if losses.len() < 2 {
        return Vec::new();
    }
    let sign = if objective == Objective::Maximize { -1.0 } else { 1.0 };
    let is_alone = |node: &&str| losses.iter().filter(|loss| loss.node() == Some(*node)).count() == 1;
    let name = |loss: &Arc<dyn Loss>| {
        let node = loss.node().filter(is_alone)?;
        Some((format!("{turn}.loss.{node}"), sign))
    };
    losses.iter().map(name).collect()
}

/// The figures of the parts with names.
pub fn part_figures(names: &[Option<(String, f64)>], losses: &[f64]) -> impl Iterator<Item = LoggedScalar> {
    let named = names.iter().zip(losses).filter_map(|(name, loss)| Some((name.as_ref()?, loss)));
    named.map(|((name, sign), loss)| LoggedScalar::on_progress_line(name.clone(), sign * loss))
}

/// The sum of the losses.
///
/// # Errors
/// When there is none.
pub fn sum(losses: &[Arc<dyn Loss>], student: Option<&ClassifierOutput>, given: &Given) -> Result<LossSum> {
    let mut parts = Vec::with_capacity(losses.len());
    for (loss, target) in losses.iter().zip(&given.targets) {
        let needs = loss.needs();
        parts.push(loss.value(&LossBatch {
            student: student.filter(|_| needs.student),
            target,
            labels: given.labels.as_ref().filter(|_| needs.labels),
            images: given.images.as_ref().filter(|_| needs.images),
        })?);
    }
    Ok(match &parts[..] {
        [] => return Err(Error::new("it has no loss")),
        [loss] => LossSum { sum: loss.clone(), parts: Vec::new() },
        losses => LossSum { sum: add_scalars(losses)?, parts },
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use zskt_api::candle_core::{Device, Tensor};
    use zskt_api::ops::gather_scalars;
    use zskt_api::{Loss, LossBatch, LossInputs, Objective, Result};

    use super::{Given, part_figures, part_names, sum};

    struct Constant(Option<&'static str>, f64);

    impl Loss for Constant {
        fn needs(&self) -> LossInputs {
            LossInputs { student: false, ..LossInputs::default() }
        }
        fn value(&self, _batch: &LossBatch<'_>) -> Result<Tensor> {
            Ok(Tensor::new(self.1, &Device::Cpu)?)
        }
        fn node(&self) -> Option<&str> {
            self.0
        }
    }

    #[test]
    fn parts_add_up_to_what_is_minimized_and_those_without_a_name_of_their_own_are_left_out() -> Result<()> {
        let given = Given { targets: vec![Vec::new(); 5], images: None, labels: None };
        type Logged = (Vec<f64>, Vec<(String, f64)>);
        let of = |losses: &[(Option<&'static str>, f64)]| -> Result<Logged> {
            let losses: Vec<Arc<dyn Loss>> =
                losses.iter().map(|(node, value)| Arc::new(Constant(*node, *value)) as Arc<dyn Loss>).collect();
            let scalars: Vec<_> = sum(&losses, None, &given)?.negated()?.scalars().collect();
            let numbers = gather_scalars(&scalars)?.to_vec1::<f64>()?;
            let names = part_names("seek", Objective::Maximize, &losses);
            let figures = part_figures(&names, &numbers[1..]).map(|figure| (figure.name, figure.value)).collect();
            Ok((numbers, figures))
        };
        let (numbers, figures) = of(&[(Some("belief"), 2.0), (Some("attention"), -0.5)])?;
        assert_eq!(numbers, [-1.5, 2.0, -0.5]);
        assert_eq!(figures, [("seek.loss.belief".to_owned(), -2.0), ("seek.loss.attention".to_owned(), 0.5)]);
        let (_, figures) = of(&[(Some("a"), 1.0), (None, 2.0), (Some("b"), 3.0), (Some("b"), 4.0)])?;
        assert_eq!(figures, [("seek.loss.a".to_owned(), -1.0)]);
        assert_eq!(of(&[(Some("alone"), 2.0)])?, (vec![-2.0], Vec::new()));
        Ok(())
    }
}
