//! Losses: what a turn makes small, or large.

use candle_core::Tensor;

use super::Beliefs;
use crate::{BeliefShape, Error, Fault, Result};

/// What a loss needs besides the student's beliefs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// A teacher's beliefs.
    pub teacher: bool,
    /// The images' labels.
    pub labels: bool,
}

/// What a loss compares the student with, computed once where it is the same for several steps.
#[derive(Clone)]
pub struct Target {
    /// What the loss made of the teacher's beliefs in [`Loss::target`].
    pub teacher: Vec<Tensor>,
    /// The images' labels, `u32` `[B]`.
    pub labels: Option<Tensor>,
}

impl Target {
    /// The labels.
    ///
    /// # Errors
    /// When the images have none; the check before a run excludes that for losses that say they need them.
    pub fn labels(&self) -> Result<&Tensor> {
        self.labels.as_ref().ok_or_else(|| Error::new("the images have no labels"))
    }
}

/// A plugin that scores beliefs.
pub trait Loss: Send + Sync {
    /// What it needs besides the student's beliefs.
    fn needs(&self) -> Needs;

    /// Whether beliefs of these shapes can be scored.
    ///
    /// # Errors
    /// What does not fit; a fault without a place, for the stage knows where the beliefs come from.
    fn check(&self, _student: &BeliefShape, _teacher: Option<&BeliefShape>) -> Result<(), Fault> {
        Ok(())
    }

    /// What the loss needs of the teacher's beliefs: computed once per turn where the images do not change, and part of
    /// the gradient where they do. A loss that needs no teacher returns nothing.
    ///
    /// # Errors
    /// When the device fails.
    fn target(&self, _teacher: &Beliefs) -> Result<Vec<Tensor>> {
        Ok(Vec::new())
    }

    /// Whether a GPU may replay what it has recorded of this loss: not if [`value`](Self::value) or [`target`](Self::target)
    /// compute with numbers of the host that change from batch to batch.
    fn replays(&self) -> bool {
        true
    }

    /// The loss, a scalar.
    ///
    /// # Errors
    /// When the device fails.
    fn value(&self, student: &Beliefs, target: &Target) -> Result<Tensor>;
}
