//! Losses: what a turn minimizes, or maximizes.

use candle_core::Tensor;

use super::ClassifierOutput;
use crate::nn::{BatchNormInput, Observation, Wanted};
use crate::{CheckError, Error, FeatureMap, OutputShape, Result};

/// What a loss looks at. Nothing is computed that no loss of a turn asks for: one that does not look at the student costs no pass through
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossInputs {
    /// The student's output.
    pub student: bool,
    /// A teacher's output, which [`Loss::target`] is given.
    pub teacher: bool,
    /// Within the teacher: its features, and the statistics of its batch norms' inputs.
    pub within_teacher: Wanted,
    /// The images' labels: of made images, the classes that the stage's targets have them show.
    pub labels: bool,
    /// The images themselves.
    pub images: bool,
}

impl Default for LossInputs {
    /// The student's output alone.
    fn default() -> Self {
        Self { student: true, teacher: false, within_teacher: Wanted::default(), labels: false, images: false }
    }
}

/// A teacher's output, and what was seen within it.
#[derive(Clone)]
pub struct TeacherOutput {
    /// Logits and activations.
    pub output: ClassifierOutput,
    /// What losses wanted to see within.
    pub within: Observation,
}

impl From<ClassifierOutput> for TeacherOutput {
    fn from(output: ClassifierOutput) -> Self {
        Self { output, within: Observation::default() }
    }
}

impl std::ops::Deref for TeacherOutput {
    type Target = ClassifierOutput;
    fn deref(&self) -> &ClassifierOutput {
        &self.output
    }
}

impl TeacherOutput {
    /// The input of its last fully connected layer, `[B, N]`.
    ///
    /// # Errors
    /// When it has no such layer, or [`LossInputs`] did not ask for it.
    pub fn features(&self) -> Result<&Tensor> {
        self.within.features.as_ref().ok_or_else(|| {
            Error::new(
                "the teacher has no fully connected layer, so no features, or the loss did not ask for them: its `needs` has to say \
                 `within_teacher: Wanted { features: true, .. }`",
            )
        })
    }

    /// The statistics of its batch norms' inputs, in the order of their computing.
    ///
    /// # Errors
    /// When it has no batch norm, or [`LossInputs`] did not ask for them.
    pub fn batch_norms(&self) -> Result<&[BatchNormInput]> {
        match &self.within.batch_norms[..] {
            [] => Err(Error::new(
                "the teacher has no batch norm, so no statistics of what it was trained on, or the loss did not ask for them: its `needs` has \
                 to say `within_teacher: Wanted { batch_norms: true, .. }`",
            )),
            inputs => Ok(inputs),
        }
    }
}

/// One batch as a loss sees it: what it asked for.
#[derive(Clone, Copy, Default)]
pub struct LossBatch<'a> {
    /// The student's output.
    pub student: Option<&'a ClassifierOutput>,
    /// What [`Loss::target`] made of the teacher's output; empty where there is none.
    pub target: &'a [Tensor],
    /// The class of each image, `u32` `[B]`; `None` where it did not ask for them.
    pub labels: Option<&'a Tensor>,
    /// The images, `[B, C, H, W]`.
    pub images: Option<&'a FeatureMap>,
}

impl<'a> LossBatch<'a> {
    /// Of a student's output, and of what [`Loss::target`] made of a teacher's, on images without labels.
    pub fn new(student: &'a ClassifierOutput, target: &'a [Tensor]) -> Self {
        Self { student: Some(student), target, ..Self::default() }
    }

    /// The student's output.
    ///
    /// # Errors
    /// When the loss did not ask for it.
    pub fn student(&self) -> Result<&'a ClassifierOutput> {
        let missing = "the loss did not ask for the student's output: its `needs` says `student: false`";
        self.student.ok_or_else(|| Error::new(missing))
    }

    /// The labels.
    ///
    /// # Errors
    /// When the loss did not ask for them. That there are some is part of the check before a run, for losses that do.
    pub fn labels(&self) -> Result<&'a Tensor> {
        let missing = "the loss did not ask for the labels: its `needs` has to say `LossInputs { labels: true, .. }`";
        self.labels.ok_or_else(|| Error::new(missing))
    }

    /// The images.
    ///
    /// # Errors
    /// When the loss did not ask for them.
    pub fn images(&self) -> Result<&'a FeatureMap> {
        let missing = "the loss did not ask for the images: its `needs` has to say `LossInputs { images: true, .. }`";
        self.images.ok_or_else(|| Error::new(missing))
    }
}

/// A plugin that scores a batch: what a student gives, what a teacher gives, or the images themselves.
///
/// ```
/// use zskt_api::candle_core::Tensor;
/// use zskt_api::{Error, Loss, LossBatch, LossInputs, Result, TeacherOutput, params};
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
///         LossInputs { teacher: true, ..LossInputs::default() }
///     }
///
///     fn target(&self, teacher: &TeacherOutput) -> Result<Vec<Tensor>> {
///         Ok(vec![teacher.logits.clone()])
///     }
///
///     fn value(&self, batch: &LossBatch<'_>) -> Result<Tensor> {
///         let [logits] = batch.target else { return Err(Error::new("the teacher's logits are missing")) };
///         Ok(((&batch.student()?.logits - logits)?.abs()?.mean_all()? * self.weight)?)
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
    /// What it looks at: the student's output, unless it says otherwise.
    fn needs(&self) -> LossInputs;

    /// Checks the shapes that the networks will give, before anything is built. `teacher` is `None` where there is none, or where
    /// its shapes are not known.
    ///
    /// # Errors
    /// What does not fit, as a fault without a place: the stage knows where the networks come from, and adds it.
    fn check(&self, _student: &OutputShape, _teacher: Option<&OutputShape>) -> Result<(), CheckError> {
        Ok(())
    }

    /// What the loss needs of the teacher's output, as it likes: [`value`](Self::value) gets it back in [`LossBatch::target`].
    /// Computed once per turn where the images stay the same for all steps (a student's turn); once per step, and part of the
    /// gradient, where they change (a generator's). A loss that needs no teacher returns nothing.
    fn target(&self, _teacher: &TeacherOutput) -> Result<Vec<Tensor>> {
        Ok(Vec::new())
    }

    /// The loss, a scalar tensor (shape `[]`) of the logits' type and device: `f64` in the precision of that name, else `f32`.
    ///
    /// - The reduction, over batch and classes, is the loss's own business.
    /// - So is its factor, if it has one among its parameters: values are added as they come, and negated for a turn that
    ///   maximizes.
    /// - The gradient flows into `student`, and through [`LossBatch::target`] and [`LossBatch::images`] into the images, where they are a generator's.
    fn value(&self, batch: &LossBatch<'_>) -> Result<Tensor>;

    /// Whether a GPU may capture [`target`](Self::target) and [`value`](Self::value) once, in a CUDA graph, and replay them for
    /// other batches. `true` is right where the conditions of [`Classifier::replays`](super::Classifier::replays) hold for both; a
    /// temperature that is annealed from call to call breaks them.
    ///
    /// `false` unless a plugin says otherwise, so that one that knows nothing of this is never replayed.
    fn replays(&self) -> bool {
        false
    }

    /// The node that it is in a pipeline, after which its value is logged where a turn adds up several: `imitate.loss.belief`. The run
    /// answers this; a plugin leaves it as it is.
    fn node(&self) -> Option<&str> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::LossBatch;

    #[test]
    fn what_a_loss_did_not_ask_for_is_told_with_how_to_ask() {
        let batch = LossBatch::default();
        let errors = [batch.labels().err(), batch.images().err(), batch.student().err()];
        let errors = errors.map(|error| error.unwrap().to_string());
        for (error, way) in errors.iter().zip(["`LossInputs { labels: true, .. }`", "images: true", "`student: false`"])
        {
            assert!(error.starts_with("the loss did not ask for the ") && error.contains(way), "{error}");
        }
    }
}
