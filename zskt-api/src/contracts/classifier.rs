//! Classifiers: images in, beliefs out.

use candle_core::Tensor;

use super::Network;
use crate::{Builder, ClassifierShape, Fault, FeatureMap, Pass, Result};

/// What a classifier believes about a batch of images.
#[derive(Clone)]
pub struct Beliefs {
    /// Scores before the softmax, `[B, classes]`.
    pub logits: Tensor,
    /// The activations that attention transfer compares, from input to output, each `[B, C, H, W]`.
    pub activations: Vec<FeatureMap>,
}

impl Beliefs {
    /// The same beliefs, through which no gradient flows.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self { logits: self.logits.detach(), activations: self.activations.iter().map(FeatureMap::detach).collect() }
    }
}

/// A network that tells classes apart.
pub trait Classifier: Send + Sync {
    /// Beliefs about `images`, `[B, C, H, W]`.
    ///
    /// # Errors
    /// When the device fails.
    fn forward(&self, images: &FeatureMap, pass: Pass) -> Result<Beliefs>;

    /// Whether a GPU may replay what it has recorded of [`forward`](Self::forward): not if that computes with numbers of the host
    /// that change from batch to batch.
    fn replays(&self) -> bool {
        true
    }
}

/// A classifier and its weights.
pub type ClassifierNetwork = Network<dyn Classifier>;

/// A plugin that makes classifiers.
pub trait Architecture: ClassifierShape {
    /// Whether its parameters go together, whatever the images are: asked once, before any shape. What depends on the images is
    /// for [`beliefs`](ClassifierShape::beliefs) to say.
    ///
    /// # Errors
    /// What does not go together; a fault of a parameter is shown where that is written.
    fn check(&self) -> Result<(), Fault> {
        Ok(())
    }

    /// Makes the network, asking the builder for each weight under PyTorch's name.
    ///
    /// # Errors
    /// When the device has no room.
    fn build(&self, builder: &Builder) -> Result<Box<dyn Classifier>>;
}
