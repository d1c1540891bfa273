//! Losses: what a turn minimizes, or maximizes.

use candle_core::Tensor;

use super::ClassifierOutput;
use crate::{CheckError, Error, OutputShape, Result};

/// What a loss needs besides the student's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LossInputs {
    /// A teacher's output: the teacher is run only where a loss needs it.
    pub teacher: bool,
    /// The images' labels, which generated images have not.
    pub labels: bool,
}

/// What a loss compares the student with, computed once where it is the same for several steps.
#[derive(Clone)]
pub struct LossTarget {
    /// What [`Loss::target`] returned; empty where there is no teacher.
    pub teacher: Vec<Tensor>,
    /// The class of each image, `u32` `[B]`; `None` where images are generated.
    pub labels: Option<Tensor>,
}

impl LossTarget {
    /// The labels.
    ///
    /// # Errors
    /// When the images have none; the check before a run excludes that for losses that say they need them.
    pub fn labels(&self) -> Result<&Tensor> {
        self.labels.as_ref().ok_or_else(|| Error::new("the images have no labels"))
    }
}

/// A plugin that scores what a student gives.
///
/// ```
/// use zskt_api::candle_core::Tensor;
/// use zskt_api::{ClassifierOutput, Error, Loss, LossInputs, Result, LossTarget, params};
///
/// params! {
///     /// Mean absolute difference of the student's logits from the teacher's.
///     pub struct LogitDistance {
///         /// Factor of this loss in the sum.
///         pub weight: f64 = 1.0 => 0.0..,
///     }
/// }
///
/// impl Loss for LogitDistance {
///     fn needs(&self) -> LossInputs {
///         LossInputs { teacher: true, labels: false }
///     }
///
///     fn target(&self, teacher: &ClassifierOutput) -> Result<Vec<Tensor>> {
///         Ok(vec![teacher.logits.clone()])
///     }
///
///     fn value(&self, student: &ClassifierOutput, target: &LossTarget) -> Result<Tensor> {
///         let [logits] = &target.teacher[..] else { return Err(Error::new("the teacher's logits are missing")) };
///         Ok(((&student.logits - logits)?.abs()?.mean_all()? * self.weight)?)
///     }
///
///     // Tensors only, and a weight that never changes.
///     fn replays(&self) -> bool {
///         true
///     }
/// }
///
/// zskt_api::export! { reads: none; loss: LogitDistance }
/// # fn main() {}
/// ```
pub trait Loss: Send + Sync {
    /// What it needs besides the student's output.
    fn needs(&self) -> LossInputs;

    /// Checks the shapes that the networks will give, before anything is built. `teacher` is `None` where there is none, or where
    /// its shapes are not known.
    ///
    /// # Errors
    /// What does not fit, as a fault without a place: the stage knows where the networks come from, and adds it.
    fn check(&self, _student: &OutputShape, _teacher: Option<&OutputShape>) -> Result<(), CheckError> {
        Ok(())
    }

    /// What the loss needs of the teacher's output, as it likes: [`value`](Self::value) gets it back in [`LossTarget::teacher`].
    /// Computed once per turn where the images stay the same for all steps (a student's turn); once per step, and part of the
    /// gradient, where they change (a generator's). A loss that needs no teacher returns nothing.
    fn target(&self, _teacher: &ClassifierOutput) -> Result<Vec<Tensor>> {
        Ok(Vec::new())
    }

    /// The loss, a scalar tensor (shape `[]`) of the logits' type and device: `f64` in the precision of that name, else `f32`.
    ///
    /// - The reduction, over batch and classes, is the loss's own business.
    /// - So is its factor, if it has one among its parameters: values are added as they come, and negated for a turn that
    ///   maximizes.
    /// - The gradient flows into `student`, and through [`LossTarget::teacher`] into the images, where they are a generator's.
    fn value(&self, student: &ClassifierOutput, target: &LossTarget) -> Result<Tensor>;

    /// Whether a GPU may capture [`target`](Self::target) and [`value`](Self::value) once, in a CUDA graph, and replay them for
    /// other batches. `true` is right where the conditions of [`Classifier::replays`](super::Classifier::replays) hold for both; a
    /// temperature that is annealed from call to call breaks them.
    ///
    /// `false` unless a plugin says otherwise, so that one that knows nothing of this is never replayed.
    fn replays(&self) -> bool {
        false
    }
}
