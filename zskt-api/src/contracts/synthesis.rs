//! Synthesis: a turn that makes images for the turns after it.

use std::sync::Arc;

use super::Optimizer;
use crate::{Augmentation, choice};

/// What makes a turn a synthesis. Instead of an update per batch it plays, every so many batches, an inner game: a fresh optimizer takes
/// [`steps`](super::Turn::steps) steps on the generator and perhaps on its latents, and the images that come of it are kept as 8 bits per
/// channel in a bank, which the stage's student learns from.
pub struct Synthesis {
    /// Images of one synthesis.
    pub images: usize,
    /// When it takes place.
    pub rounds: Rounds,
    /// Which of its images are kept.
    pub keep: KeptImages,
    /// What is done to the images before the classifiers see them, anew at each step. Gradients flow through it.
    pub transforms: Transforms,
    /// The learning rate of the latents, where they are learnt beside the generator's weights.
    pub latents_lr: Option<f64>,
    /// Where a synthesis changes a copy of the generator: what moves the generator itself, once for each synthesis, by the sum of the copy's
    /// gradients (first-order meta-learning, as Fast-Datafree does).
    pub outer: Option<Arc<dyn Optimizer>>,
    /// What the moving averages of batch norms' statistics keep from synthesis to synthesis; without it, losses see those of each batch.
    /// The batch's own part, and its gradient, is the rest, which PyTorch's `BatchNorm2d` calls `momentum`.
    pub statistics_momentum: Option<f64>,
    /// When all the generator's weights are drawn anew: after so many rounds, counted from the end of the warm-up and within it.
    pub reinitialize_every: Option<usize>,
    /// Weights that are drawn anew once.
    pub reset: Option<Reset>,
    /// What is done to an image each time the student learns from it.
    pub augmentation: Augmentation,
    /// How many images the bank holds; when it is full, the oldest leave.
    pub capacity: Option<usize>,
}

/// When syntheses take place: in rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounds {
    /// Batches of the stage from one round to the next; the first comes before the first batch.
    pub every: usize,
    /// Syntheses in a round.
    pub syntheses: usize,
    /// Rounds before the first batch, beside its own.
    pub warm_up: usize,
    /// Syntheses in each of those.
    pub warm_up_syntheses: usize,
    /// Syntheses before losses that look at the student count.
    pub student_after: usize,
}

impl Rounds {
    /// How many rounds are over when the stage's batch number `batch` (0 is the first) begins.
    pub fn before(&self, batch: usize) -> usize {
        self.warm_up + 1 + batch / self.every
    }

    /// Syntheses in round number `round`.
    pub fn syntheses_of(&self, round: usize) -> usize {
        if round < self.warm_up { self.warm_up_syntheses } else { self.syntheses }
    }
}

/// Some weights, drawn anew from N(0, std²), biases at 0, before one synthesis.
#[derive(Clone, Debug, PartialEq)]
pub struct Reset {
    /// The synthesis, counted from 1.
    pub synthesis: usize,
    /// The names of their weights, without the last part: `fc`, `body.bn0`.
    pub layers: Vec<String>,
    /// Standard deviation.
    pub std: f64,
}

/// What is done to made images before classifiers see them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transforms {
    /// Pixels of black padding at each side before a random crop to the old size, for each image.
    pub crop: usize,
    /// The largest shift in either direction by which the whole batch is rolled, wrapping round.
    pub roll: usize,
    /// Whether images are mirrored left to right by chance: each for itself, or all together where they are rolled.
    pub flip: bool,
}

choice! {
    /// Which images of a synthesis are kept.
    pub enum KeptImages {
        /// Those of the step with the smallest loss, as Fast-Datafree and NAYER do.
        Best,
        /// Those after the last step, as DeepInversion does.
        Last,
    }
}
