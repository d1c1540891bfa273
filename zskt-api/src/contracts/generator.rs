//! Generators: latents in, images out.

use candle_core::Tensor;

use super::Network;
use crate::{Builder, Fault, FeatureMap, ImageShape, Pass, Result, StreamRng, standard_normal};

/// A network that makes images.
pub trait Generator: Send + Sync {
    /// Images `[B, C, H, W]`, in the normalized space that classifiers take, from `latents` `[B, latent_dim]`.
    ///
    /// # Errors
    /// When the device fails.
    fn forward(&self, latents: &Tensor, pass: Pass) -> Result<FeatureMap>;

    /// Whether a GPU may replay what it has recorded of [`forward`](Self::forward): not if that computes with numbers of the host
    /// that change from batch to batch.
    fn replays(&self) -> bool {
        true
    }

    /// Length of one latent vector.
    fn latent_dim(&self) -> usize;

    /// Draws the numbers of `batch` latent vectors; N(0, 1) unless the generator wants others.
    fn sample(&self, batch: usize, rng: &mut StreamRng) -> Vec<f64> {
        standard_normal(rng, batch * self.latent_dim())
    }
}

/// A generator and its weights.
pub type GeneratorNetwork = Network<dyn Generator>;

/// A plugin that makes generators.
pub trait GeneratorArchitecture: Send + Sync {
    /// The images it makes, or what is wrong with its parameters.
    ///
    /// # Errors
    /// When the parameters do not go together.
    fn image(&self) -> Result<ImageShape, Fault>;

    /// Makes the network, asking the builder for each weight under PyTorch's name.
    ///
    /// # Errors
    /// When the device has no room.
    fn build(&self, builder: &Builder) -> Result<Box<dyn Generator>>;
}
