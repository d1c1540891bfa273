//! Generators: latents in, images out.

use candle_core::Tensor;

use super::Network;
use crate::{Builder, CheckError, FeatureMap, ForwardMode, ImageShape, Result, StreamRng, standard_normal};

/// A network that makes images.
pub trait Generator: Send + Sync {
    /// Images `[B, C, H, W]`, in the normalized space that classifiers take, from `latents` `[B, latent_dim]`.
    fn forward(&self, latents: &Tensor, mode: ForwardMode) -> Result<FeatureMap>;

    /// Whether a GPU may capture [`forward`](Self::forward) once, in a CUDA graph, and replay it with other latents. The conditions
    /// are those of [`Classifier::replays`](super::Classifier::replays); the latents themselves may change.
    ///
    /// `false` unless a plugin says otherwise, so that one that knows nothing of this is never replayed.
    fn replays(&self) -> bool {
        false
    }

    /// Length of one latent vector.
    fn latent_dim(&self) -> usize;

    /// Draws `batch` latent vectors, from N(0, 1) unless the generator wants other numbers: `batch * latent_dim` numbers, row-major
    /// `[batch, latent_dim]`, one vector after the other. They are `f64` whatever the precision, so that runs of one seed in
    /// different precisions differ by rounding only; the stage converts them.
    fn sample(&self, batch: usize, rng: &mut StreamRng) -> Vec<f64> {
        standard_normal(rng, batch * self.latent_dim())
    }
}

/// A generator and its weights.
pub type GeneratorNetwork = Network<dyn Generator>;

/// A plugin that makes generators.
pub trait GeneratorArchitecture: Send + Sync {
    /// The shape of the images it makes.
    ///
    /// # Errors
    /// When the parameters do not go together: a [`CheckError`] that names the parameter to change.
    fn image(&self) -> Result<ImageShape, CheckError>;

    /// Makes the network, asking the builder for each weight under PyTorch's name.
    fn build(&self, builder: &Builder) -> Result<Box<dyn Generator>>;
}
