//! Generators: latents or labels in, images out.

use std::collections::BTreeSet;

use candle_core::Tensor;

use super::Network;
use crate::{
    Builder, CheckError, FeatureMap, ForwardMode, ImageShape, Normalization, Result, StreamRng, Weights,
    standard_normal,
};

/// What one batch of images is made from.
#[derive(Clone, Copy, Debug)]
pub struct GeneratorInput<'a> {
    /// `[B, latent_dim]`.
    pub latents: &'a Tensor,
    /// The class that each image is to show, `u32` `[B]`; `None` where the stage has no class targets.
    pub labels: Option<&'a Tensor>,
}

impl<'a> GeneratorInput<'a> {
    /// Latents alone.
    pub fn unconditional(latents: &'a Tensor) -> Self {
        Self { latents, labels: None }
    }
}

/// A network that makes images.
pub trait Generator: Send + Sync {
    /// Images `[B, C, H, W]`, in the normalized space that classifiers take.
    ///
    /// # Errors
    /// When a generator of classes is given no labels, or its weights are for batches of another size.
    fn forward(&self, input: &GeneratorInput<'_>, mode: ForwardMode) -> Result<FeatureMap>;

    /// Whether a GPU may capture [`forward`](Self::forward) once, in a CUDA graph, and replay it with other latents and labels. The
    /// conditions are those of [`Classifier::replays`](super::Classifier::replays); the latents and labels themselves may change.
    ///
    /// `false` unless a plugin says otherwise, so that one that knows nothing of this is never replayed.
    fn replays(&self) -> bool {
        false
    }

    /// Length of one latent vector; 0 where it takes none.
    fn latent_dim(&self) -> usize;

    /// Draws `batch` latent vectors, from N(0, 1) unless the generator wants other numbers: `batch * latent_dim` numbers, row-major
    /// `[batch, latent_dim]`, one vector after the other. They are `f64` whatever the precision, so that runs of one seed in
    /// different precisions differ by rounding only; the stage converts them.
    fn sample(&self, batch: usize, rng: &mut StreamRng) -> Vec<f64> {
        standard_normal(rng, batch * self.latent_dim())
    }

    /// Draws anew the weights that it draws for each synthesis, such as noisy layers. Called before each; does nothing by default.
    fn redraw(&self, _rng: &mut StreamRng) -> Result<()> {
        Ok(())
    }

    /// Puts weights back where they have to be, such as pixels into what an image can hold. Called after each update, and the one place
    /// beside updates where a generator may change its own weights within a batch; does nothing by default.
    fn constrain(&self) -> Result<()> {
        Ok(())
    }
}

/// A generator and its weights.
pub type GeneratorNetwork = Network<dyn Generator>;

/// What a generator is made of, as turns name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratorParts {
    /// Its layers: the names of its weights, without the last part.
    pub layers: BTreeSet<String>,
    /// Length of one latent vector; 0 where it takes none.
    pub latent_dim: usize,
}

impl GeneratorParts {
    /// Of a generator and its weights.
    pub fn of(generator: &dyn Generator, weights: &Weights) -> Self {
        let layers = weights.parameters().filter_map(|weight| Some(weight.name().rsplit_once('.')?.0.to_owned()));
        Self { layers: layers.collect(), latent_dim: generator.latent_dim() }
    }
}

/// A plugin that makes generators.
pub trait GeneratorArchitecture: Send + Sync {
    /// The shape of the images it makes.
    ///
    /// # Errors
    /// When the parameters do not go together: a [`CheckError`] that names the parameter to change.
    fn image(&self) -> Result<ImageShape, CheckError>;

    /// Checks, without building anything, what the files say that its parameters name. Asked only where files are looked at.
    ///
    /// # Errors
    /// What is wrong, and the way out.
    fn check(&self) -> Result<(), CheckError> {
        Ok(())
    }

    /// What it reads from files that its parameters name and that is no image, in words: "the label vectors of `labels.safetensors`, f32
    /// [10, 512]". The data-free proof names it as metadata; a generator that reads files and does not say so is not proven to be
    /// data-free.
    fn metadata(&self) -> Option<String> {
        None
    }

    /// The classes it makes images of, where it is told by labels which to make; `None` where it is not conditional.
    fn classes(&self) -> Option<usize> {
        None
    }

    /// The size of its batches, where its weights are made for one.
    fn batch_size(&self) -> Option<usize> {
        None
    }

    /// Whether it makes pixels from 0 to 1, which have to be normalized as its teacher wants them. It is refused before the run where no
    /// normalization is known.
    fn needs_normalization(&self) -> bool {
        false
    }

    /// Makes the network, asking the builder for each weight under PyTorch's name. `normalization` is that of its teacher, where it is
    /// known; it has a number for each channel of [`image`](Self::image) where [`needs_normalization`](Self::needs_normalization).
    fn build(&self, builder: &Builder, normalization: Option<&Normalization>) -> Result<Box<dyn Generator>>;

    /// What it is made of, found without room for any weight; `None` where it cannot be made, such as without a file.
    fn parts(&self) -> Option<GeneratorParts> {
        // How its images are normalized changes no part.
        let any = Normalization::identity(self.image().ok()?.channels);
        let mut parts = None;
        Builder::shapes_of(|builder| {
            parts = Some(GeneratorParts::of(&*self.build(builder, Some(&any))?, &builder.weights()));
            Ok(())
        })
        .ok()?;
        parts
    }
}
